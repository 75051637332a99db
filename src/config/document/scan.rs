//! A look at YAML text before the parser gets it: what must not reach the parser is found here,
//! with its line and column.
//!
//! Refused are anchors and aliases (one short line can stand for a million), tags, nesting deeper than
//! any of our files has, more values than memory should be spent on, and a second document. The
//! scanner knows quotes, comments, block texts and flow lists well enough not to take a `*` in a
//! text for an alias. Where YAML is stranger than that (a plain text going on over lines that
//! begin with quotes) it may overlook an alias; the reader's own budget catches what that could
//! blow up.

/// A place in a text: line and column, both from one, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub line: usize,
    pub column: usize,
}

impl At {
    /// The beginning: for what is wrong with the whole file.
    pub const TOP: At = At { line: 1, column: 1 };
}

/// Lists and mappings within each other: our files need four levels.
const DEEPEST: usize = 32;
/// Values in one file. 50,000 checks have about a million; the parser takes some 100 bytes for
/// each.
const MOST_VALUES: usize = 4_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Between and inside plain values.
    Plain,
    /// Inside double quotes.
    Double,
    /// Inside single quotes.
    Single,
    /// Inside a block text, which lasts while lines are indented by this much.
    Block(usize),
}

struct Scan {
    mode: Mode,
    /// Open brackets and braces.
    flow: usize,
    values: usize,
    /// Something other than comments was seen in this document.
    content: bool,
}

/// Characters beside the line feed after which the parser counts a new line.
fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Characters that stand in no YAML text; the parser would tell only the byte.
fn is_forbidden(c: char) -> bool {
    c.is_control() && c != '\t' || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Refuses what must not reach the parser.
///
/// # Errors
/// Where, and a sentence.
pub(crate) fn scan(text: &str) -> Result<(), (At, String)> {
    let mut scan = Scan { mode: Mode::Plain, flow: 0, values: 0, content: false };
    let mut line = 0;
    for piece in text.split('\n') {
        if scan.simple(piece) {
            line += 1;
            continue;
        }
        for now in piece.strip_suffix('\r').unwrap_or(piece).split(is_break) {
            line += 1;
            scan.line(now).map_err(|(column, why)| (At { line, column: column + 1 }, why))?;
        }
    }
    Ok(())
}

/// What is known while going along one line in [`Mode::Plain`].
struct Along {
    /// A value may begin here.
    start: bool,
    /// The last character was a blank, or there was none.
    blank: bool,
    /// The last value was a quoted one that just ended.
    quoted: bool,
    /// Where the last value began.
    token: usize,
    /// Where the last key or dash of this line is.
    parent: Option<usize>,
    /// Dashes so far: `- - -` nests.
    dashes: usize,
}

/// Bytes that mean nothing wherever they are in a line, a dash at its beginning excepted.
const BLAND: [bool; 128] = {
    let mut bland = [false; 128];
    let mut at = 0_u8;
    while at < 128 {
        bland[at as usize] = at.is_ascii_alphanumeric()
            || matches!(at, b' ' | b'_' | b'.' | b':' | b'/' | b'@' | b'+' | b'=' | b';' | b'-');
        at += 1;
    }
    bland
};

impl Scan {
    /// Passes a line in which nothing can be wrong, `key: value` or `- key: value`: nearly all are
    /// such, and the long way takes ten times as long.
    fn simple(&mut self, line: &str) -> bool {
        let bare = line.trim_start_matches(' ');
        let value = bare.strip_prefix("- ").unwrap_or(bare);
        let bland = |b: u8| BLAND.get(usize::from(b)).copied().unwrap_or(false);
        let within = self.mode != Mode::Plain || self.flow > 0;
        if within || value.starts_with('-') || !line.bytes().all(bland) {
            return false;
        }
        self.content |= !value.is_empty();
        // The item, the field, its value; whether there are too many is `line`'s to say.
        self.values += usize::from(bare.len() > value.len()) + 2 * usize::from(!value.is_empty());
        self.values <= MOST_VALUES
    }

    fn line(&mut self, line: &str) -> Result<(), (usize, String)> {
        if let Some((column, c)) = line.chars().enumerate().find(|(_, c)| is_forbidden(*c)) {
            let why =
                format!("the character \\u{{{:x}}} is not allowed in YAML; write it as an escape", c as u32);
            return Err((column, why));
        }
        if let Mode::Block(floor) = self.mode {
            let indent = line.chars().take_while(|c| *c == ' ').count();
            if indent >= floor || line.trim_matches([' ', '\t']).is_empty() {
                return Ok(());
            }
            self.mode = Mode::Plain;
        }
        let mut chars = line.chars().enumerate().peekable();
        let mut along = Along { start: true, blank: true, quoted: false, token: 0, parent: None, dashes: 0 };
        if !self.content && line.starts_with('%') {
            return Ok(()); // a directive, `%YAML 1.2`
        }
        if self.mode == Mode::Plain && self.marker(line)? {
            chars.nth(2);
        }
        while let Some((column, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            match self.mode {
                Mode::Double if c == '\\' => drop(chars.next()),
                Mode::Single if c == '\'' && next == Some('\'') => drop(chars.next()),
                Mode::Double if c == '"' => self.unquote(&mut along),
                Mode::Single if c == '\'' => self.unquote(&mut along),
                Mode::Double | Mode::Single => {}
                Mode::Block(_) => return Ok(()),
                Mode::Plain if c == '#' && along.blank => return Ok(()),
                Mode::Plain => self.plain(c, next, column, &mut along)?,
            }
        }
        Ok(())
    }

    /// Whether the line begins with `---`; after content that is a second document.
    fn marker(&mut self, line: &str) -> Result<bool, (usize, String)> {
        let begins =
            |m: &str| line.strip_prefix(m).is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t']));
        if begins("---") && self.content {
            return Err((0, "a second document begins here; a file holds one".to_owned()));
        }
        Ok(begins("---"))
    }

    fn unquote(&mut self, along: &mut Along) {
        self.mode = Mode::Plain;
        along.quoted = true;
        along.blank = false;
    }

    fn plain(
        &mut self,
        c: char,
        next: Option<char>,
        column: usize,
        along: &mut Along,
    ) -> Result<(), (usize, String)> {
        if c == ' ' || c == '\t' || c == '\u{feff}' {
            along.blank = true;
            return Ok(());
        }
        self.content = true;
        let quoted = std::mem::take(&mut along.quoted);
        along.blank = false;
        let ends = next.is_none_or(|n| n == ' ' || n == '\t');
        match c {
            '[' | '{' if along.start || self.flow > 0 => {
                self.flow += 1;
                along.start = true;
                deep(self.flow, column)
            }
            ']' | '}' if self.flow > 0 => {
                self.flow -= 1;
                along.start = false;
                Ok(())
            }
            ',' if self.flow > 0 => {
                along.start = true;
                Ok(())
            }
            '-' | '?' if along.start && ends && self.flow == 0 => {
                along.parent = Some(column);
                along.dashes += 1;
                self.value(column)?;
                deep(along.dashes, column)
            }
            ':' if ends || self.flow > 0 && (quoted || next.is_some_and(|n| ",[]{}".contains(n))) => {
                along.start = true;
                along.parent = Some(along.token);
                Ok(())
            }
            _ if along.start => self.begin(c, column, along),
            _ => Ok(()),
        }
    }

    /// The first character of a value.
    fn begin(&mut self, c: char, column: usize, along: &mut Along) -> Result<(), (usize, String)> {
        match c {
            '*' => {
                return Err((
                    column,
                    "an alias (*) is not allowed here; write the value out, or quote it".into(),
                ));
            }
            '&' => {
                return Err((
                    column,
                    "an anchor (&) is not allowed here; remove it, or quote the value".into(),
                ));
            }
            '!' => {
                return Err((column, "a tag (!) is not allowed here; remove it, or quote the value".into()));
            }
            '"' => self.mode = Mode::Double,
            '\'' => self.mode = Mode::Single,
            '|' | '>' if self.flow == 0 => self.mode = Mode::Block(along.parent.map_or(column, |p| p + 1)),
            _ => {}
        }
        along.start = false;
        along.token = column;
        self.value(column)
    }

    fn value(&mut self, column: usize) -> Result<(), (usize, String)> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err((column, format!("more than {MOST_VALUES} values; that is no configuration")));
        }
        Ok(())
    }
}

fn deep(levels: usize, column: usize) -> Result<(), (usize, String)> {
    if levels > DEEPEST {
        return Err((
            column,
            format!("more than {DEEPEST} lists within each other; that is no configuration"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_too_many_are_refused() {
        let mut scan = Scan { mode: Mode::Plain, flow: 0, values: MOST_VALUES - 3, content: false };
        assert_eq!(scan.line("a: [b, c]"), Ok(()));
        let why = "more than 4000000 values; that is no configuration".to_owned();
        assert_eq!(scan.line("  d: e"), Err((2, why)));
    }
}
