//! Pages of the manual as mdoc source: sections, macros, literal blocks, references.

use std::collections::BTreeSet;
use std::fs;

use super::{read, root};

/// A page's source.
pub struct Page {
    pub name: String,
    pub text: String,
}

impl Page {
    /// Macro lines, continued ones joined, as words; with the section and subsection they are in.
    pub fn lines(&self) -> Vec<Line> {
        let joined = self.text.replace("\\\n", " ");
        let (mut section, mut subsection) = (String::new(), String::new());
        let mut found = Vec::new();
        for line in joined.lines().filter_map(|l| l.strip_prefix('.')) {
            let words: Vec<String> =
                line.split_whitespace().map(|w| w.trim_matches('"').to_owned()).collect();
            match words.first().map(String::as_str) {
                Some("Sh") => (section, subsection) = (words[1..].join(" "), String::new()),
                Some("Ss") => subsection = words[1..].join(" "),
                _ => {}
            }
            found.push(Line { section: section.clone(), subsection: subsection.clone(), words });
        }
        found
    }

    /// The literal blocks.
    pub fn literal(&self) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut inside: Option<String> = None;
        for line in self.text.lines() {
            if line.starts_with(".Bd -literal") {
                inside = Some(String::new());
            } else if line.starts_with(".Ed") {
                blocks.extend(inside.take());
            } else if let Some(block) = &mut inside {
                block.push_str(line.strip_prefix("\\&").unwrap_or(line));
                block.push('\n');
            }
        }
        blocks
    }
}

pub struct Line {
    pub section: String,
    pub subsection: String,
    pub words: Vec<String>,
}

impl Line {
    /// Long flags that this line names: `Fl -json`.
    pub fn flags(&self) -> impl Iterator<Item = String> + '_ {
        let pairs = self.words.iter().zip(self.words.iter().skip(1));
        // `.Fl h , -help`: one `Fl` goes on over what follows it up to the next macro.
        let after_fl = self.words.iter().enumerate().filter(|(at, w)| {
            w.starts_with('-') && w.len() > 2 && {
                let before = self.words[..*at].iter().rev().take_while(|b| b.as_str() != "Ar");
                before.into_iter().any(|b| b == "Fl")
            }
        });
        let direct = pairs.filter(|(fl, name)| *fl == "Fl" && name.starts_with('-')).map(|(_, name)| name);
        let names: BTreeSet<&String> = direct.chain(after_fl.map(|(_, w)| w)).collect();
        names
            .into_iter()
            .map(|n| n[1..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>())
    }

    /// The arguments of this macro when it is an item of that kind: `.It Cm a , b`.
    pub fn item(&self, kind: &str) -> Vec<String> {
        match self.words.as_slice() {
            [it, what, names @ ..] if it == "It" && what == kind => {
                names.iter().filter(|n| *n != ",").cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}

pub fn page(name: &str) -> Page {
    Page { name: name.to_owned(), text: read(&format!("man/{name}")) }
}

pub fn pages() -> Vec<Page> {
    let mut names: Vec<String> = fs::read_dir(root().join("man"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".1") || n.ends_with(".5") || n.ends_with(".7"))
        .collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    names.iter().map(|n| page(n)).collect()
}

/// `quptime...(N)` and `qu-...(N)` in a text.
pub fn references(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('(') {
        let section = text[at + 1..].split(')').next().unwrap_or_default();
        let name: Vec<char> = text[..at]
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_lowercase() || matches!(c, '-' | '.'))
            .collect();
        let name: String = name.into_iter().rev().collect();
        let ours =
            name == "qu" || name == "quptime" || name.starts_with("qu-") || name.starts_with("quptime");
        if ours && section.len() == 1 && section.chars().all(|c| c.is_ascii_digit()) {
            found.push((name, section.to_owned()));
        }
    }
    found
}
