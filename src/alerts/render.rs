//! The built-in texts, and the choice between them and an operator's templates.
//!
//! Mail: subject `[quptime] <name> <DOWN|RECOVERED> - <target>` and a body of labelled lines.
//! Chat (Discord): the subject in bold and the same lines, foreign words in code spans, at most
//! [`CHAT_LIMIT`] UTF-16 units, no mention of anybody. A test says so in subject and body, also
//! where a template makes the text.

use std::fmt::Write as _;

use super::escape::{code, cut_utf16, lines, markdown, no_mentions, one_line};
use super::template::{self, Escape, TemplateError};
use super::{Facts, Kind};
use crate::base::text::{about, rfc3339};

/// What Discord takes in one message.
pub const CHAT_LIMIT: usize = 2000;
/// A subject longer than this is cut by mail programs anyway.
const SUBJECT_LIMIT: usize = 250;
/// A body longer than this was a mistake of a template.
const BODY_LIMIT: usize = 20_000;
const TEST_WORDS: &str = "This is a test: nothing has happened.";

/// A mail's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line without control characters.
    pub subject: String,
    /// Lines ended by `\n`.
    pub body: String,
    /// Why a template was passed over, for the log.
    pub trouble: Option<TemplateError>,
}

/// A chat message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Markdown within the limit.
    pub content: String,
    /// Why a template was passed over, for the log.
    pub trouble: Option<TemplateError>,
}

/// The operator's own wording; what is `None` is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wording<'a> {
    /// In place of the built-in subject.
    pub subject: Option<&'a str>,
    /// In place of the built-in body.
    pub body: Option<&'a str>,
}

/// The mail that tells these facts.
#[must_use]
pub fn mail(facts: &Facts, wording: Wording<'_>) -> Mail {
    let mut trouble = None;
    let subject = own(facts, wording.subject, Escape::Nothing, &mut trouble)
        .map(|s| one_line(&s, SUBJECT_LIMIT))
        .filter(|s| !s.is_empty());
    let body = own(facts, wording.body, Escape::Nothing, &mut trouble).map(|b| lines(&b, BODY_LIMIT));
    let mark = if facts.kind.is_test() { "[TEST] " } else { "" };
    Mail {
        subject: subject.map_or_else(|| subject_line(facts), |s| format!("{mark}{s}")),
        body: match body {
            Some(own) if facts.kind.is_test() => format!("{TEST_WORDS}\n\n{own}\n"),
            Some(own) => format!("{own}\n"),
            None => mail_body(facts),
        },
        trouble,
    }
}

/// The chat message that tells these facts.
#[must_use]
pub fn chat(facts: &Facts, wording: Wording<'_>) -> Chat {
    let mut trouble = None;
    let mark = if facts.kind.is_test() { "**\\[TEST\\]** " } else { "" };
    let subject = own(facts, wording.subject, Escape::Markdown, &mut trouble)
        .map(|s| one_line(&s, SUBJECT_LIMIT))
        .filter(|s| !s.is_empty())
        .map_or_else(|| chat_subject(facts), |s| format!("{mark}{s}"));
    let body = own(facts, wording.body, Escape::Markdown, &mut trouble)
        .map_or_else(|| chat_body(facts), |b| lines(&b, BODY_LIMIT));
    let test = if facts.kind.is_test() { format!("{TEST_WORDS}\n") } else { String::new() };
    let content = cut_utf16(&no_mentions(&format!("{subject}\n{test}{body}")), CHAT_LIMIT);
    Chat { content, trouble }
}

fn own(
    facts: &Facts,
    template: Option<&str>,
    escape: Escape,
    trouble: &mut Option<TemplateError>,
) -> Option<String> {
    match template::render(template?, facts, escape) {
        Ok(text) => Some(text),
        Err(e) => {
            trouble.get_or_insert(e);
            None
        }
    }
}

/// What happened, without the target: `web DOWN`, `web still DOWN (2h)`.
fn headline(facts: &Facts) -> (String, String) {
    let name = one_line(&facts.check_name, 120);
    let event = match facts.kind {
        Kind::Reminder => match facts.down_for {
            Some(d) => format!("still DOWN ({})", about(d)),
            None => "still DOWN".to_owned(),
        },
        Kind::Summary => format!("{} after {} changes", facts.event(), facts.folded.len()),
        _ => facts.event().to_owned(),
    };
    (name, event)
}

/// The built-in subject.
#[must_use]
pub fn subject_line(facts: &Facts) -> String {
    let (name, event) = headline(facts);
    let test = if facts.kind.is_test() { "[TEST] " } else { "" };
    let target = one_line(&facts.target, 100);
    one_line(&format!("[quptime] {test}{name} {event} - {target}"), SUBJECT_LIMIT)
}

fn chat_subject(facts: &Facts) -> String {
    let (name, event) = headline(facts);
    let test = if facts.kind.is_test() { "\\[TEST\\] " } else { "" };
    format!("**\\[quptime\\] {test}{} {event}** \\- {}", markdown(&name), code(&facts.target, 200))
}

/// Label and value of each line of the built-in body; a value is still to be escaped.
fn labelled(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("check", format!("{} ({})", one_line(&facts.check_name, 120), facts.check_type)),
        ("target", facts.target.clone()),
        ("state", facts.state.to_string()),
        ("previous", facts.previous.to_string()),
        ("time", rfc3339(facts.at)),
    ];
    if let Some(down) = facts.down_for {
        rows.push(("down for", about(down)));
    }
    if !facts.detail.is_empty() {
        rows.push(("detail", facts.detail.clone()));
    }
    rows.push(("reports", format!("{} of {} ok", facts.ok, facts.total)));
    rows.push(("master", facts.master.clone()));
    rows.push(("alert", facts.alert.clone()));
    if let Some(incident) = &facts.incident {
        rows.push(("incident", incident.clone()));
    }
    rows
}

/// What one transition of a summary was.
fn change_line(change: &super::Change) -> String {
    let detail = one_line(&change.detail, 200);
    let told = format!("{}  {} to {}", rfc3339(change.at), change.from, change.to);
    if detail.is_empty() { told } else { format!("{told}  {detail}") }
}

fn report_line(report: &super::NodeReport, width: usize) -> String {
    let node = one_line(&report.node, 100);
    let word = if report.ok { "ok" } else { "fail" };
    format!("{node:width$}  {word:<4}  {}", one_line(&report.detail, 300)).trim_end().to_owned()
}

fn extra_lines(facts: &Facts) -> Vec<(&'static str, Vec<String>)> {
    let width = facts.reports.iter().map(|r| one_line(&r.node, 100).chars().count()).max().unwrap_or(0);
    let reports: Vec<String> = facts.reports.iter().map(|r| report_line(r, width)).collect();
    let changes: Vec<String> = facts.folded.iter().map(change_line).collect();
    [("reports by node", reports), ("changes", changes)].into_iter().filter(|(_, l)| !l.is_empty()).collect()
}

/// The built-in body of a mail.
#[must_use]
pub fn mail_body(facts: &Facts) -> String {
    let mut body = String::new();
    if facts.kind.is_test() {
        let _ = writeln!(body, "{TEST_WORDS}\n");
    }
    let (name, event) = headline(facts);
    let _ = writeln!(body, "{name} {event}\n");
    for (label, value) in labelled(facts) {
        let _ = writeln!(body, "{:<11} {}", format!("{label}:"), one_line(&value, 2100));
    }
    for (title, lines) in extra_lines(facts) {
        let _ = writeln!(body, "\n{title}:");
        for line in lines {
            let _ = writeln!(body, "  {line}");
        }
    }
    body
}

fn chat_body(facts: &Facts) -> String {
    let mut body = String::new();
    for (label, value) in labelled(facts) {
        let _ = writeln!(body, "{label}: {}", code(&value, 300));
    }
    for (title, lines) in extra_lines(facts) {
        let _ = writeln!(body, "{title}:");
        for line in lines {
            let _ = writeln!(body, "{}", code(&line, 300));
        }
    }
    body.trim_end().to_owned()
}

#[cfg(test)]
#[path = "render/tests.rs"]
mod tests;
