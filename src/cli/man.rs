//! `qu man`: the manual from inside the program, for hosts that have no man(1) or no pages.
//!
//! The pages are the files of `man/` themselves. `mdoc.rs` takes a line of them apart, `layout.rs`
//! sets what they say in lines of 78. Nothing here pages: that is what a pipe is for.

mod layout;
mod mdoc;

use super::parse::Said;
use super::table::COMMANDS;
use super::{Failure, Session};

/// One page.
pub struct Page {
    /// `qu-check`.
    pub name: &'static str,
    /// `1`.
    pub section: &'static str,
    /// mdoc(7).
    pub source: &'static str,
}

macro_rules! pages {
    ($($name:literal $section:literal,)*) => {
        &[$(Page {
            name: $name,
            section: $section,
            source: include_str!(concat!("../../man/", $name, ".", $section)),
        }),*]
    };
}

/// All of them.
pub const PAGES: &[Page] = pages![
    "qu" "1",
    "qu-alert" "1",
    "qu-backup" "1",
    "qu-check" "1",
    "qu-cluster" "1",
    "qu-completion" "1",
    "qu-doctor" "1",
    "qu-incident" "1",
    "qu-init" "1",
    "qu-node" "1",
    "qu-restore" "1",
    "qu-sandbox" "1",
    "qu-serve" "1",
    "qu-silence" "1",
    "qu-status" "1",
    "qu-trust" "1",
    "quptime.yaml" "5",
    "quptime" "7",
    "quptime-operations" "7",
    "quptime-security" "7",
    "quptime-troubleshooting" "7",
];

/// `qu man [page...]`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let words: Vec<&str> = said.args().collect();
    let page = find(&words).ok_or_else(|| {
        let names: Vec<&str> = PAGES.iter().map(|p| p.name).collect();
        Failure::Usage(format!("no page is called {:?}; there are {}", words.join(" "), names.join(", ")))
    })?;
    session.print(&layout::render(page.source))
}

/// A page by what people type: nothing, a command, a page's name with or without what all begin
/// with, a section before or behind it, a file's name.
fn find(words: &[&str]) -> Option<&'static Page> {
    let words = words.strip_prefix(&["qu"]).unwrap_or(words);
    let (section, words) = match words {
        [number @ ("1" | "5" | "7"), rest @ ..] if !rest.is_empty() => (Some(*number), rest),
        _ => (None, words),
    };
    let Some(first) = words.first() else { return page("qu", section) };
    let (first, section) = match first.strip_suffix(')').and_then(|f| f.split_once('(')) {
        Some((name, number)) => (name, Some(number)),
        None => (*first, section),
    };
    let known = [first.to_owned(), format!("qu-{first}"), format!("quptime-{first}")];
    let found = known.iter().find_map(|name| page(name, section));
    found.or_else(|| match first {
        "node.yaml" | "cluster.yaml" | "trust.yaml" => page("quptime.yaml", section),
        // A command that is described with all of them.
        word if COMMANDS.iter().any(|c| c.path.first() == Some(&word)) => page("qu", section),
        _ => None,
    })
}

fn page(name: &str, section: Option<&str>) -> Option<&'static Page> {
    PAGES.iter().find(|p| p.name == name && section.is_none_or(|s| s == p.section))
}

#[cfg(test)]
mod tests;
