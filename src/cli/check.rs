//! `qu check`: what is watched.

use crate::base::text;
use crate::base::units::{Host, HostPort, Span};
use crate::config::{Name, Target};
use crate::control::Ask;
use crate::control::edit::CheckFields;
use crate::control::message::TestState;
use crate::view::Filter;

use super::parse::Said;
use super::{Failure, Session, ask, show};

/// `qu check add http <name> <url>`.
pub fn add_http(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let url = said.parse_arg("url")?;
    let expect_status = status_code(said)?.unwrap_or(200);
    let body_match = said.text("body-match").map(str::to_owned);
    if body_match.as_ref().is_some_and(String::is_empty) {
        return Err(Failure::Usage("--body-match: there is no text in it".to_owned()));
    }
    add(session, said, Target::Http { url, expect_status, body_match })
}

/// `qu check add tcp <name> <host:port>`.
pub fn add_tcp(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let to: HostPort = said.parse_arg("host:port")?;
    add(session, said, Target::Tcp { to })
}

/// `qu check add icmp <name> <host>`.
pub fn add_icmp(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let host: Host = said.parse_arg("host")?;
    add(session, said, Target::Icmp { host })
}

fn add(session: &mut Session<'_>, said: &Said, target: Target) -> Result<(), Failure> {
    let name: Name = said.parse_arg("name")?;
    let (interval, timeout) = timing(said)?;
    let alerts = said.list("alerts").unwrap_or_default();
    let suppress = said.list("suppress").unwrap_or_default();
    ask::deed(session, said, Ask::AddCheck { name, target, interval, timeout, alerts, suppress })
}

fn timing(said: &Said) -> Result<(Option<Span>, Option<Span>), Failure> {
    let (interval, timeout): (Option<Span>, Option<Span>) = (said.parse("interval")?, said.parse("timeout")?);
    match (interval, timeout) {
        (Some(i), Some(t)) if t > i => {
            Err(Failure::Usage(format!("--timeout {t} is longer than --interval {i}")))
        }
        both => Ok(both),
    }
}

fn status_code(said: &Said) -> Result<Option<u16>, Failure> {
    let Some(text) = said.text("expect") else { return Ok(None) };
    let code: Option<u16> = text.parse().ok().filter(|c| *c == 0 || (100..=599).contains(c));
    let wrong =
        || Failure::Usage(format!("--expect: {text:?} is not an HTTP status (100 to 599, 0 for any 2xx)"));
    code.map(Some).ok_or_else(wrong)
}

/// `qu check list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let view = ask::view(session, Filter { nodes: said.has("json"), ..Filter::default() })?;
    if said.has("json") {
        return show::json(session, &view.checks);
    }
    let rows = view.checks.iter().map(|c| {
        vec![
            c.id.to_string(),
            show::cell(&c.name),
            show::cell(&c.kind),
            show::cell(&c.target),
            c.interval.to_string(),
            c.timeout.to_string(),
            c.word().to_owned(),
            show::time(c.since),
            show::names(&c.alerts),
        ]
    });
    let head = ["ID", "NAME", "TYPE", "TARGET", "INTERVAL", "TIMEOUT", "STATE", "SINCE", "ALERTS"];
    session.print(&text::table(&head, rows))
}

/// `qu check edit <id-or-name> ...`.
pub fn edit(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let (interval, timeout) = timing(said)?;
    let fields = CheckFields {
        name: said.parse("name")?,
        target: said.text("target").map(str::to_owned),
        expect_status: status_code(said)?,
        body_match: said.text("body-match").map(str::to_owned),
        interval,
        timeout,
        alerts: said.list("alerts"),
        suppress: said.list("suppress"),
    };
    if fields == CheckFields::default() {
        return Err(Failure::Usage("nothing to change: give a flag (qu help check edit)".to_owned()));
    }
    ask::deed(session, said, Ask::EditCheck { who: who(said), fields })
}

/// `qu check remove <id-or-name>`.
pub fn remove(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::RemoveCheck { who: who(said) })
}

/// `qu check enable <id-or-name>`.
pub fn enable(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::EnableCheck { who: who(said), on: true })
}

/// `qu check disable <id-or-name>`.
pub fn disable(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::EnableCheck { who: who(said), on: false })
}

/// `qu check test <id-or-name>`.
pub fn test(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let state = match said.text("state") {
        Some("recovered") => TestState::Recovered,
        _ => TestState::Down,
    };
    ask::deed(session, said, Ask::TestCheck { who: who(said), state })
}

fn who(said: &Said) -> String {
    said.arg("check").to_owned()
}
