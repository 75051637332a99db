//! Sets a page of mdoc(7) in lines: headings, paragraphs, lists, displays.
//!
//! Model: words wait until something ends their paragraph; then they are broken into lines between
//! the current margin and [`WIDTH`]. A list item may put a lead (a tag, a bullet) into the margin.

use super::mdoc::{Arg, Words, args, unescape};

/// Lines are not longer, but for those of displays, which are set as they are.
const WIDTH: usize = 78;
/// Where text begins.
const MARGIN: usize = 5;
/// How far `-offset indent` moves.
const OFFSET: usize = 4;

/// A list that is open.
struct List {
    kind: String,
    compact: bool,
    /// From an item's margin to its text.
    width: usize,
    /// Of a table, but for the last one.
    columns: Vec<usize>,
    /// Items so far.
    count: usize,
    /// The margin of its items, and the one around it.
    margin: usize,
    outer: usize,
}

struct Layout {
    out: String,
    words: Words,
    margin: usize,
    /// What stands left of the text of the next paragraph, and where it begins.
    lead: Option<(usize, String)>,
    /// An empty line before the next paragraph.
    gap: bool,
    lists: Vec<List>,
    name: String,
    section: String,
    literal: bool,
    /// Parts of a reference to a book, while one is open.
    book: Option<Vec<String>>,
    date: String,
    title: String,
}

/// The page as text.
#[must_use]
pub fn render(source: &str) -> String {
    let mut layout = Layout {
        out: String::new(),
        words: Words::default(),
        margin: MARGIN,
        lead: None,
        gap: false,
        lists: Vec::new(),
        name: String::new(),
        section: String::new(),
        literal: false,
        book: None,
        date: String::new(),
        title: String::new(),
    };
    // A backslash at its end continues a line.
    for line in source.replace("\\\n", " ").lines() {
        match line.strip_prefix('.') {
            Some(comment) if comment.starts_with("\\\"") => {}
            Some(line) => layout.line(&args(line)),
            None if layout.literal => layout.verbatim(line),
            None => layout.words.text(line),
        }
    }
    layout.end()
}

impl Layout {
    fn line(&mut self, line: &[Arg]) {
        let Some((first, rest)) = line.split_first() else { return };
        match first.text.as_str() {
            "Dd" => self.date = text_of(rest),
            "Dt" => self.title = rest.iter().map(|a| a.text.clone()).collect::<Vec<_>>().join("("),
            "Os" => {
                let title = format!("{})", self.title);
                self.out =
                    format!("{title}{}{title}\n", " ".repeat(WIDTH.saturating_sub(2 * title.len()).max(1)));
            }
            "Sh" => self.heading(rest, 0),
            "Ss" => self.heading(rest, 2),
            "Pp" => self.paragraph(),
            "Bl" => self.list(rest),
            "It" => self.item(rest),
            "El" => self.list_ends(),
            "Bd" => {
                self.paragraph();
                self.margin += OFFSET;
                self.literal = rest.iter().any(|a| matches!(a.text.as_str(), "-literal" | "-unfilled"));
            }
            "Ed" => {
                self.flush();
                self.margin = self.margin.saturating_sub(OFFSET);
                self.literal = false;
            }
            "D1" | "Dl" => self.display(rest),
            "Rs" => self.book = Some(Vec::new()),
            "Re" => self.words.text(&format!("{}.", self.book.take().unwrap_or_default().join(", "))),
            part if part.starts_with('%') => self.book.get_or_insert_default().push(text_of(rest)),
            "Nd" => {
                self.words.text("-");
                self.words.phrase(rest, &self.name);
            }
            _ => self.phrase(line),
        }
    }

    /// A line of macros that are words.
    fn phrase(&mut self, line: &[Arg]) {
        if let [nm, name, ..] = line
            && nm.text == "Nm"
            && self.name.is_empty()
        {
            self.name.clone_from(&name.text);
        }
        if self.section == "SYNOPSIS" && line.first().is_some_and(|a| a.text == "Nm") {
            // Every form begins a line, and its own lines hang below its name.
            self.flush();
            let mut words = Words::default();
            words.phrase(line, &self.name);
            let begun = words.list.first().cloned().unwrap_or_default();
            self.margin = MARGIN + begun.chars().count() + 1;
            self.lead = Some((MARGIN, begun));
            for word in words.list.iter().skip(1) {
                self.words.text(word);
            }
            return;
        }
        if self.literal {
            let mut words = Words::default();
            words.phrase(line, &self.name);
            return self.verbatim(&words.line());
        }
        self.words.phrase(line, &self.name);
    }

    fn heading(&mut self, words: &[Arg], margin: usize) {
        self.flush();
        self.margin = MARGIN;
        let mut said = Words::default();
        said.phrase(words, &self.name);
        if margin == 0 {
            self.section = said.line();
        }
        self.out.push_str(&format!("\n{}{}\n", " ".repeat(margin), said.line()));
        self.gap = false;
    }

    fn paragraph(&mut self) {
        self.flush();
        self.gap = true;
    }

    fn display(&mut self, line: &[Arg]) {
        self.flush();
        self.margin += OFFSET;
        self.words.phrase(line, &self.name);
        self.flush();
        self.margin -= OFFSET;
    }

    fn list(&mut self, options: &[Arg]) {
        self.flush();
        let has = |name: &str| options.iter().any(|a| a.text == name);
        let after = |name: &str| {
            let at = options.iter().position(|a| a.text == name);
            at.and_then(|at| options.get(at + 1)).map(|a| a.text.as_str())
        };
        let kind = options.first().map(|a| a.text.clone()).unwrap_or_default();
        let given = after("-width").map_or(6, |w| if w == "Ds" { 6 } else { w.chars().count() + 2 });
        let width = match kind.as_str() {
            "-bullet" | "-dash" => 2,
            "-enum" => 3,
            "-item" | "-column" => 0,
            _ => given,
        };
        let cells = options.iter().skip(1).take_while(|a| !a.text.starts_with('-') && kind == "-column");
        let columns = cells.map(|a| a.text.chars().count() + 2).collect();
        let margin = self.margin + if has("-offset") { OFFSET } else { 0 };
        let list =
            List { kind, compact: has("-compact"), width, columns, count: 0, margin, outer: self.margin };
        self.gap |= !list.compact;
        self.lists.push(list);
    }

    fn item(&mut self, head: &[Arg]) {
        self.flush();
        let Some(mut list) = self.lists.pop() else { return self.words.phrase(head, &self.name) };
        list.count += 1;
        let table = list.kind == "-column";
        self.gap |= !list.compact && !table;
        self.margin = list.margin + list.width;
        let mut said = Words::default();
        match list.kind.as_str() {
            "-bullet" | "-dash" => self.lead = Some((list.margin, "o".to_owned())),
            "-enum" => self.lead = Some((list.margin, format!("{}.", list.count))),
            "-item" => {}
            "-column" => self.row(&list, head),
            _ => {
                said.phrase(head, &self.name);
                self.lead = Some((list.margin, said.line()));
            }
        }
        self.lists.push(list);
    }

    /// A row of a table: all cells but the last are its lead.
    fn row(&mut self, list: &List, cells: &[Arg]) {
        let mut lead = String::new();
        let cells: Vec<&[Arg]> = cells.split(|a| !a.plain && a.text == "Ta").collect();
        for (at, cell) in cells.iter().enumerate() {
            let mut said = Words::default();
            said.phrase(cell, &self.name);
            if at + 1 == cells.len() {
                self.words = said;
            } else {
                let width = list.columns.get(at).copied().unwrap_or(2);
                lead.push_str(&format!("{:width$}", said.line()));
            }
        }
        self.margin = list.margin + lead.chars().count();
        self.lead = Some((list.margin, lead.trim_end().to_owned())).filter(|(_, lead)| !lead.is_empty());
    }

    fn list_ends(&mut self) {
        self.flush();
        if let Some(list) = self.lists.pop() {
            self.margin = list.outer;
        }
    }

    fn verbatim(&mut self, line: &str) {
        if std::mem::take(&mut self.gap) {
            self.out.push('\n');
        }
        let line = format!("{}{}", " ".repeat(self.margin), unescape(line));
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// Ends the paragraph: its words become lines.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.words).list;
        if words.is_empty() && self.lead.is_none() {
            return;
        }
        if std::mem::take(&mut self.gap) {
            self.out.push('\n');
        }
        let mut line = " ".repeat(self.margin);
        if let Some((at, lead)) = self.lead.take() {
            line = format!("{}{lead}", " ".repeat(at));
            if line.chars().count() < self.margin {
                line = format!("{line:width$}", width = self.margin);
            } else {
                self.fill(" ".repeat(at), at, lead.split(' '));
                line = " ".repeat(self.margin);
            }
        }
        self.fill(line, self.margin, words.iter().map(String::as_str));
    }

    /// Breaks words into lines; `line` is what the first one begins with.
    fn fill<'w>(&mut self, mut line: String, margin: usize, words: impl Iterator<Item = &'w str>) {
        let mut begun = false;
        for word in words {
            if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.out.push_str(&line);
                self.out.push('\n');
                line = " ".repeat(margin);
                begun = false;
            }
            if begun {
                line.push(' ');
            }
            line.push_str(word);
            begun = true;
        }
        if !line.trim().is_empty() {
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }

    fn end(mut self) -> String {
        self.flush();
        let version = concat!("quptime ", env!("CARGO_PKG_VERSION"));
        let room = WIDTH.saturating_sub(version.len() + self.date.chars().count()).max(1);
        self.out.push_str(&format!("\n{version}{}{}\n", " ".repeat(room), self.date));
        self.out
    }
}

fn text_of(words: &[Arg]) -> String {
    words.iter().map(|a| a.text.as_str()).collect::<Vec<_>>().join(" ")
}
