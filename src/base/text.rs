//! Text for people: aligned tables, times, and the escaping of what other machines said.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use super::clock::Wall;

/// Written at once: tables may have many long lines.
const BLANKS: &str = "                                                                ";

/// Columns that widen to fit, two spaces between them, no trailing blanks.
#[must_use]
pub fn table<T: AsRef<str>, R: AsRef<[T]>>(head: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::under(head);
    rows.into_iter().for_each(|row| table.row(row.as_ref()));
    table.laid_out()
}

/// A [`table`] that is given its rows one by one and keeps their text alone, back to back: what ten thousand
/// rows were made of is looked at once.
#[derive(Debug)]
pub struct Table {
    width: Vec<usize>,
    text: String,
    /// Where each cell ends in the text.
    ends: Vec<usize>,
}

impl Table {
    /// With these words above its columns.
    #[must_use]
    pub fn under(head: &[&str]) -> Table {
        let mut table = Table { width: vec![0; head.len()], text: String::new(), ends: Vec::new() };
        table.row(head);
        table
    }

    /// So many rows will come, of about so many bytes.
    pub fn expect(&mut self, rows: usize, bytes: usize) {
        self.ends.reserve(rows * self.width.len());
        self.text.reserve(rows * bytes);
    }

    /// One row more. Cells that are missing are empty; what has no column is left out.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        for (at, width) in self.width.iter_mut().enumerate() {
            let cell = cells.get(at).map_or("", AsRef::as_ref);
            *width = (*width).max(characters(cell));
            self.text.push_str(cell);
            self.ends.push(self.text.len());
        }
    }

    /// The whole, a line a row.
    #[must_use]
    pub fn laid_out(&self) -> String {
        let rows = self.ends.chunks(self.width.len().max(1));
        let widest: usize = self.width.iter().map(|w| w + 2).sum();
        let mut out = String::with_capacity((rows.len() * widest).min(self.text.len() * 2));
        let mut from = 0;
        for row in rows {
            for (end, width) in row.iter().zip(&self.width) {
                let cell = &self.text[from..*end];
                from = *end;
                out.push_str(cell);
                pad(&mut out, width - characters(cell) + 2);
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

fn pad(out: &mut String, mut owed: usize) {
    while owed > 0 {
        let some = owed.min(BLANKS.len());
        out.push_str(&BLANKS[..some]);
        owed -= some;
    }
}

fn characters(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Makes text from elsewhere harmless on a terminal, in a log line and in a mail: control
/// characters and those that reorder text are shown as `\u{..}`, never obeyed.
#[must_use]
pub fn harmless(text: &str) -> String {
    shown(text).into_owned()
}

/// As [`harmless`], without a copy of what is harmless already.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    shown_but(text, None)
}

/// As [`shown`], of a text of many lines: their ends stay.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    shown_but(text, Some('\n'))
}

fn shown_but(text: &str, kept: Option<char>) -> Cow<'_, str> {
    let is_shown = |c: char| is_harmful(c) && kept != Some(c);
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~') || kept == Some(char::from(b)));
    if plain || !text.chars().any(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same for JSON: as its own escapes, so that the value is what it was.
#[must_use]
pub fn harmless_json(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|b| b < 0x7f) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Control characters below 0x80 are escaped already, or are blanks between the items.
        if is_harmful(c) && c >= '\u{7f}' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `limit` characters; a cut is shown by `...`.
#[must_use]
pub fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let keep = limit.saturating_sub(3);
    let mut short: String = text.chars().take(keep).collect();
    short.push_str("...");
    short
}

/// `2026-05-12T15:01:32Z` (RFC 3339, UTC, whole seconds).
#[must_use]
pub fn rfc3339(at: Wall) -> String {
    let (year, month, day, secs) = civil(at);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", secs / 3600, secs / 60 % 60, secs % 60)
}

/// `20260512T150132Z`: for file names.
#[must_use]
pub fn compact_time(at: Wall) -> String {
    rfc3339(at).replace(['-', ':'], "")
}

/// Reads what [`rfc3339`] writes, and fractions of a second.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Wall> {
    let body = text.strip_suffix('Z')?;
    let (date, time) = body.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (y, m, d) = (date.next()??, date.next()??, date.next()??);
    let (hms, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut hms = hms.splitn(3, ':').map(|p| p.parse::<i64>().ok());
    let (h, mi, s) = (hms.next()??, hms.next()??, hms.next()??);
    let in_range = (1970..=9999).contains(&y) && (1..=12).contains(&m) && (1..=31).contains(&d);
    if !in_range || !(0..24).contains(&h) || !(0..60).contains(&mi) || !(0..=60).contains(&s) {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = days_from_civil(y, m, d) * 86_400 + h * 3600 + mi * 60 + s;
    // The leap second at the end of the last year that can be written.
    let seconds = seconds.min(days_from_civil(10_000, 1, 1) * 86_400 - 1);
    u64::try_from(seconds * 1000 + ms).ok().map(Wall)
}

/// Year, month, day and seconds of the day, by the era arithmetic of the proleptic Gregorian
/// calendar (400-year eras of 146097 days, years beginning in March).
fn civil(at: Wall) -> (u64, u64, u64, u64) {
    let seconds = at.0 / 1000;
    let shifted = seconds / 86_400 + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, seconds % 86_400)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let year_of_era = y - era * 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A length of time for people: the two largest units, `2h5m`, `1m30s`, `4s`, `350ms`.
#[must_use]
pub fn about(d: Duration) -> String {
    let ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    for (at, (unit, scale)) in units.iter().enumerate() {
        if ms >= *scale {
            let next = units.get(at + 1);
            let rest = next.map_or(0, |(_, s)| ms % scale / s);
            return match next {
                Some((u, _)) if rest > 0 => format!("{}{unit}{rest}{u}", ms / scale),
                _ => format!("{}{unit}", ms / scale),
            };
        }
    }
    format!("{ms}ms")
}

/// An error with all its causes in one line: `what: why: why`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_widen_and_lines_have_no_trailing_blanks() {
        let rows = vec![vec!["a", "x"], vec!["longer", ""]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID      NAME\na       x\nlonger\n");
    }

    #[test]
    fn times_go_there_and_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_778_598_092_000, "2026-05-12T15:01:32Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(Wall(ms)), text);
            assert_eq!(parse_rfc3339(text), Some(Wall(ms)));
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00.25Z"), Some(Wall(250)));
        for bad in ["", "Z", "1970-01-01", "1970-13-01T00:00:00Z", "a-b-cTd:e:fZ", "1970-01-01T00:00:00.éZ"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_target_says_cannot_steer_a_terminal() {
        assert_eq!(harmless("a\x1b[31m\r\n\u{202e}b"), "a\\u{1b}[31m\\u{d}\\u{a}\\u{202e}b");
        assert_eq!(shown_lines("a\x1b[31m\r\n\u{202e}b\n"), "a\\u{1b}[31m\\u{d}\n\\u{202e}b\n");
    }

    #[test]
    fn json_keeps_its_values_and_steers_no_terminal() {
        let said = "a\u{1b}[31m\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{e9}\n";
        let json = serde_json::to_string_pretty(&[said]).unwrap();
        let safe = harmless_json(&json);
        assert!(!safe.chars().any(|c| is_harmful(c) && c != '\n'), "{safe:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [said]);
        assert!(safe.contains('\u{e9}'));
    }

    #[test]
    fn lengths_of_time_read_well() {
        for (ms, text) in
            [(350, "350ms"), (4_000, "4s"), (90_000, "1m30s"), (7_500_000, "2h5m"), (86_400_000, "1d")]
        {
            assert_eq!(about(Duration::from_millis(ms)), text);
        }
    }
}
