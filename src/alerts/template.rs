//! An operator's own subject and body, in the syntax of Jinja2 (as in Ansible).
//!
//! What may be written: text, `{{ expressions }}`, `{% if %}`, `{% for %}`, `{# comments #}`; see
//! [`super::restrict`] for what may not, and why. Filters: `upper` `lower` `capitalize` `trim`
//! `replace(from, to)` `truncate(length)` `default(value)` `length` `first` `last`
//! `join(separator, field)`. Tests: `defined` `undefined` `none`. A name that does not exist is an
//! error, not an empty text.
//!
//! | field | what it is |
//! | --- | --- |
//! | `kind` | `down`, `recovered`, `reminder`, `summary`, `test-down`, `test-recovered` |
//! | `event` | `DOWN` or `RECOVERED` |
//! | `test` | true for a test message |
//! | `name` | the check's name |
//! | `type` | `http`, `tcp`, `icmp` |
//! | `target` | what is watched |
//! | `state`, `previous` | the verdict now and before: `up`, `down`, `unknown` |
//! | `time` | when, RFC 3339 UTC |
//! | `unix` | when, seconds since 1970 |
//! | `down_for` | how long it was down (recovered) or has been (reminder), `5m30s`; else empty |
//! | `down_seconds` | the same in seconds; else 0 |
//! | `reports` | list of `node`, `ok` (true, false), `detail` |
//! | `ok`, `failed`, `total` | nodes that report success, nodes that report failure, peers |
//! | `detail` | the first failing node's detail; may be empty |
//! | `master` | the master that decided |
//! | `alert` | the alert's name |
//! | `incident` | the incident's id, as `qu incident show` takes it; empty for a test |
//! | `id` | the delivery's id, as in the Message-ID |
//! | `changes` | in a summary: list of `time`, `from`, `to`, `detail`; else empty |
//! | `subject`, `body` | the built-in text, to add to |
//!
//! In a chat message what comes out of `{{ }}` is shown as it is, markup and mentions in it do
//! nothing; the template's own text may contain markup.
//!
//! Pure and total: no I/O, no include, bounded steps, bounded output.

use std::fmt;
use std::io;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use super::{Facts, Kind, escape, render as built_in, restrict};
use crate::base::text::{about, harmless, rfc3339};

/// A template longer than this is refused when it is set, by a command or in `cluster.yaml`.
pub const LONGEST: usize = crate::config::model::LONGEST_TEMPLATE;
/// Instructions that one rendering may take: a hundred times what a long template needs.
const FUEL: u64 = 50_000;
/// Bytes that one rendering, or one filter in it, may make.
const ROOM: usize = 64 * 1024;

/// Why a template was refused, or passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Line in the template, from 1.
    pub line: u32,
    /// Column in that line in characters, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong, one line.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "template:{}:{column}: {}", self.line, self.message),
            None => write!(f, "template:{}: {}", self.line, self.message),
        }
    }
}

impl std::error::Error for TemplateError {}

/// What happens to the text that an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// It stays (mail: the whole text is made harmless later).
    Nothing,
    /// Markup in it is shown.
    Markdown,
}

/// Judges a template when it is set: its syntax, and a rendering of every kind of message.
///
/// # Errors
/// [`TemplateError`] with line and column.
pub fn check(template: &str) -> Result<(), TemplateError> {
    if template.len() > LONGEST {
        let message = format!("a template may have {LONGEST} bytes at most, this one has {}", template.len());
        return Err(TemplateError { line: 1, column: None, message });
    }
    for kind in [Kind::Down, Kind::Recovered, Kind::Reminder, Kind::Summary, Kind::TestDown] {
        render(template, &Facts::sample(kind), Escape::Nothing)?;
    }
    Ok(())
}

/// Renders a template.
///
/// # Errors
/// [`TemplateError`]; the caller falls back to the built-in text.
pub fn render(template: &str, facts: &Facts, escape: Escape) -> Result<String, TemplateError> {
    restrict::scan(template).map_err(|r| located(template, r.at, r.why))?;
    let env = environment(escape);
    let parsed = env.template_from_str(template).map_err(|e| told(template, &e))?;
    let mut out = Bounded::default();
    let done = parsed.render_captured_to(Value::from_pairs(fields(facts)), &mut out).map(drop);
    if out.full {
        return Err(located(template, 0, format!("the text is longer than {ROOM} bytes")));
    }
    done.map_err(|e| told(template, &e))?;
    String::from_utf8(out.bytes).map_err(|_| located(template, 0, "the text is not UTF-8".to_owned()))
}

#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > ROOM {
            self.full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn located(template: &str, at: usize, message: String) -> TemplateError {
    let before = template.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    TemplateError {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: Some(u32::try_from(column).unwrap_or(u32::MAX)),
        message,
    }
}

fn told(template: &str, error: &Error) -> TemplateError {
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (ErrorKind::SyntaxError, Some(detail)) => format!("syntax error: {detail}"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let message = harmless(&message);
    match error.range() {
        Some(range) => located(template, range.start, message),
        None => {
            let line = error.line().and_then(|l| u32::try_from(l).ok()).unwrap_or(1);
            TemplateError { line, column: None, message }
        }
    }
}

/// The fields, in the words of the table above.
fn fields(facts: &Facts) -> Vec<(&'static str, Value)> {
    let line = |text: &str| Value::from(escape::one_line(text, 2100));
    let report = |r: &super::NodeReport| {
        Value::from_pairs([("node", line(&r.node)), ("ok", r.ok.into()), ("detail", line(&r.detail))])
    };
    let change = |c: &super::Change| {
        Value::from_pairs([
            ("time", Value::from(rfc3339(c.at))),
            ("from", c.from.to_string().into()),
            ("to", c.to.to_string().into()),
            ("detail", line(&c.detail)),
        ])
    };
    vec![
        ("kind", facts.kind.word().into()),
        ("event", facts.event().into()),
        ("test", facts.kind.is_test().into()),
        ("name", line(&facts.check_name)),
        ("type", line(&facts.check_type)),
        ("target", line(&facts.target)),
        ("state", facts.state.to_string().into()),
        ("previous", facts.previous.to_string().into()),
        ("time", rfc3339(facts.at).into()),
        ("unix", (facts.at.0 / 1000).into()),
        ("down_for", facts.down_for.map(about).unwrap_or_default().into()),
        ("down_seconds", facts.down_for.map_or(0, |d| d.as_secs()).into()),
        ("reports", facts.reports.iter().map(report).collect::<Vec<_>>().into()),
        ("ok", facts.ok.into()),
        ("failed", facts.reports.iter().filter(|r| !r.ok).count().into()),
        ("total", facts.total.into()),
        ("detail", line(&facts.detail)),
        ("master", line(&facts.master)),
        ("alert", line(&facts.alert)),
        ("incident", facts.incident.clone().unwrap_or_default().into()),
        ("id", line(&facts.id)),
        ("changes", facts.folded.iter().map(change).collect::<Vec<_>>().into()),
        ("subject", built_in::subject_line(facts).into()),
        ("body", built_in::mail_body(facts).into()),
    ]
}

fn environment<'a>(escape: Escape) -> Environment<'a> {
    let mut env = Environment::empty();
    env.set_debug(true);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(50);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    if escape == Escape::Markdown {
        env.set_formatter(|out, _, value| {
            out.write_str(&escape::markdown(&value.to_string())).map_err(Error::from)
        });
    }
    env.add_filter("upper", |v: Value| bounded(text(&v)?.to_uppercase()));
    env.add_filter("lower", |v: Value| bounded(text(&v)?.to_lowercase()));
    env.add_filter("capitalize", |v: Value| capitalize(text(&v)?));
    env.add_filter("trim", |v: Value| text(&v).map(|t| t.trim().to_owned()));
    env.add_filter("replace", replace);
    env.add_filter("truncate", |v: Value, length: usize| {
        text(&v).map(|t| crate::base::text::shorten(t, length.min(ROOM)))
    });
    env.add_filter("default", |v: Value, other: Value| if v.is_undefined() { other } else { v });
    env.add_filter("length", |v: Value| {
        v.len().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "this has no length"))
    });
    env.add_filter("first", |v: Value| Ok::<_, Error>(v.try_iter()?.next().unwrap_or_default()));
    env.add_filter("last", |v: Value| Ok::<_, Error>(v.try_iter()?.last().unwrap_or_default()));
    env.add_filter("join", join);
    env.add_test("defined", |v: Value| !v.is_undefined());
    env.add_test("undefined", |v: Value| v.is_undefined());
    env.add_test("none", |v: Value| v.is_none());
    env
}

fn text(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("this filter wants a text, not a {}", value.kind()))
    })
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > ROOM {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a text over {ROOM} bytes")));
    }
    Ok(text)
}

fn capitalize(text: &str) -> Result<String, Error> {
    let mut chars = text.chars();
    let head: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    bounded(head + &chars.as_str().to_lowercase())
}

#[allow(clippy::needless_pass_by_value)] // the engine hands values over
fn replace(value: Value, from: Value, to: Value) -> Result<String, Error> {
    let (whole, from, to) = (text(&value)?, text(&from)?, text(&to)?);
    let times = whole.matches(from).count();
    if whole.len().saturating_add(times.saturating_mul(to.len())) > ROOM {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a text over {ROOM} bytes")));
    }
    Ok(whole.replace(from, to))
}

#[allow(clippy::needless_pass_by_value)]
fn join(value: Value, between: Option<Value>, field: Option<Value>) -> Result<String, Error> {
    let between = between.unwrap_or_else(|| Value::from(""));
    let mut out = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let item = match &field {
            Some(name) => item.get_attr(text(name)?)?,
            None => item,
        };
        if at > 0 {
            out.push_str(text(&between)?);
        }
        out.push_str(text(&item)?);
        if out.len() > ROOM {
            return bounded(out);
        }
    }
    bounded(out)
}

#[cfg(test)]
#[path = "template/tests.rs"]
mod tests;
