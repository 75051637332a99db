//! Layer 2: what `qu doctor` thinks of what it was shown.
//!
//! [`Facts`] are gathered elsewhere (the command line looks at files, the daemon asks its peers);
//! here they become [`Finding`]s: good, worth a look, or wrong with the remedy. No file, no socket,
//! no clock: every judgement is a row in a test.
//!
//! What peers say is shown as their word. Nothing here changes anything, and nothing follows from a
//! finding but what a person does about it.

pub mod cluster;
pub mod facts;
pub mod local;

use std::fmt;

use serde::Serialize;

use crate::base::text;

pub use facts::{Daemon, Disk, Facts, FileFact, FileKind, KeyFacts, Port, Read};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a look in daylight.
    Warning,
    /// Something does not work, or a promise is in danger.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about: one word, the same in every version.
    pub about: &'static str,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn ok(about: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, about, text: text.into(), remedy: None }
    }

    /// Worth a look.
    #[must_use]
    pub fn warning(about: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, ..Finding::ok(about, text) }
    }

    /// Wrong.
    #[must_use]
    pub fn problem(about: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Problem, ..Finding::ok(about, text) }
    }

    /// With what to do.
    #[must_use]
    pub fn to_do(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }
}

/// Everything there is to say, in a fixed order of subjects.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut all = local::judge(facts);
    all.extend(cluster::judge(facts));
    all
}

/// How many are of that level.
#[must_use]
pub fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|f| f.level == level).count()
}

/// One line each: level, subject, what was found, what to do.
#[must_use]
pub fn lines(findings: &[Finding]) -> String {
    let mut out = String::new();
    for f in findings {
        let remedy = f.remedy.as_ref().map_or(String::new(), |r| format!("; {r}"));
        let line = format!("{:<7}  {:<8}  {}{remedy}", f.level, f.about, f.text);
        out.push_str(&text::harmless(&line));
        out.push('\n');
    }
    out
}

/// A subject with nothing wrong has one good line instead.
fn or_ok(found: Vec<Finding>, good: impl FnOnce() -> Finding) -> Vec<Finding> {
    if found.is_empty() { vec![good()] } else { found }
}

/// `1 file`, `2 files`.
fn several(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
