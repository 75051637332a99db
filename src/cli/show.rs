//! How answers look: tables, times, cells that are empty, JSON.
//!
//! Every empty cell is `-`, so that columns can be counted by a program. What comes from another
//! machine goes through [`safe`].

use serde::Serialize;

use crate::base::clock::Wall;
use crate::base::text;

use super::{Failure, Session};

/// Text from elsewhere: control characters are shown, not obeyed.
#[must_use]
pub fn safe(said: &str) -> String {
    text::harmless(said)
}

/// A cell: `-` when it is empty.
#[must_use]
pub fn cell(said: &str) -> String {
    if said.is_empty() { "-".to_owned() } else { safe(said) }
}

/// A cell that may be absent.
#[must_use]
pub fn maybe(said: Option<&String>) -> String {
    said.map_or_else(|| "-".to_owned(), |s| cell(s))
}

/// A time that may be absent.
#[must_use]
pub fn time(at: Option<Wall>) -> String {
    at.map_or_else(|| "-".to_owned(), text::rfc3339)
}

/// Names in one cell.
#[must_use]
pub fn names(all: &[String]) -> String {
    cell(&all.join(","))
}

/// `yes` or `no`.
#[must_use]
pub fn yes(b: bool) -> String {
    if b { "yes" } else { "no" }.to_owned()
}

/// `1 message`, `2 messages`.
#[must_use]
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// JSON, indented, with a line break at the end.
pub fn json(session: &mut Session<'_>, value: &impl Serialize) -> Result<(), Failure> {
    let mut json = serde_json::to_string_pretty(value).map_err(|e| Failure::of(&e))?;
    json.push('\n');
    session.print(&text::harmless_json(&json))
}
