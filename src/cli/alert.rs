//! `qu alert`: where alerts go.

use crate::base::text;
use crate::base::units::Span;
use crate::config::{Channel, Header, MailTls, Mailbox, Name, Secret, Url};
use crate::control::Ask;
use crate::control::edit::{AlertFields, Remind};
use crate::view::Filter;

use super::parse::Said;
use super::{Failure, Session, ask, input, show};

/// Mail submission (RFC 6409), its variant that is encrypted from the first byte (RFC 8314), and the
/// relay within a house that speaks in the clear: as `cluster.yaml` has it.
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;
const RELAY: u16 = 25;

/// `qu alert add smtp <name> ...`.
pub fn add_smtp(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let name: Name = said.parse_arg("name")?;
    let needed = |flag: &str| Failure::Usage(format!("--{flag} is missing (qu help alert add smtp)"));
    let host = said.parse("host")?.ok_or_else(|| needed("host"))?;
    let from = said.parse("from")?.ok_or_else(|| needed("from"))?;
    let to = recipients(said)?.ok_or_else(|| needed("to"))?;
    let given = port(said)?;
    let tls = protection(said, given)?.unwrap_or(MailTls::StartTls);
    let port = given.unwrap_or(match tls {
        MailTls::Implicit => SUBMISSIONS,
        MailTls::StartTls => SUBMISSION,
        MailTls::Plain => RELAY,
    });
    let user = said.text("user").filter(|u| !u.is_empty()).map(str::to_owned);
    let password = input::secret(session, said, "password")?;
    match (&user, &password) {
        (Some(_), None) => {
            return Err(Failure::Usage("--user needs --password-file or --password".to_owned()));
        }
        (None, Some(_)) => return Err(Failure::Usage("a password needs --user".to_owned())),
        (Some(_), Some(_)) if tls == MailTls::Plain => {
            session.say(
                "warning: the password will go over the network in the clear; leave --starttls=false out",
            );
        }
        _ => {}
    }
    let ca_pem = certificates(session, said)?.filter(|pem| !pem.is_empty());
    let headers = headers(said)?.unwrap_or_default();
    let channel = Channel::Smtp { host, port, user, password, from, to, tls, ca_pem, headers };
    add(session, said, name, channel)
}

/// `qu alert add discord <name> ...`.
pub fn add_discord(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let name: Name = said.parse_arg("name")?;
    let Some(webhook) = webhook(session, said)? else {
        return Err(Failure::Usage(
            "--webhook-file or --webhook is missing (qu help alert add discord)".into(),
        ));
    };
    add(session, said, name, Channel::Discord { webhook })
}

fn add(session: &mut Session<'_>, said: &Said, name: Name, channel: Channel) -> Result<(), Failure> {
    let remind = match remind(said)? {
        Some(Remind::Every(span)) => Some(span),
        Some(Remind::Off) | None => None,
    };
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let subject_template = given(template(session, said, "subject-file")?);
    let body_template = given(template(session, said, "body-file")?);
    let default = said.has("default");
    ask::deed(
        session,
        said,
        Ask::AddAlert { name, channel, default, remind, subject_template, body_template },
    )
}

/// `qu alert edit <id-or-name> ...`.
pub fn edit(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let fields = AlertFields {
        name: said.parse("name")?,
        remind: remind(said)?,
        subject_template: template(session, said, "subject-file")?,
        body_template: template(session, said, "body-file")?,
        webhook: webhook(session, said)?,
        host: said.parse("host")?,
        port: port(said)?,
        user: said.text("user").map(str::to_owned),
        password: input::secret(session, said, "password")?,
        from: said.parse("from")?,
        to: recipients(said)?,
        tls: protection(said, None)?,
        ca_pem: certificates(session, said)?,
        headers: headers(said)?,
    };
    if fields == AlertFields::default() {
        return Err(Failure::Usage("nothing to change: give a flag (qu help alert edit)".to_owned()));
    }
    ask::deed(session, said, Ask::EditAlert { who: who(said), fields: Box::new(fields) })
}

/// `qu alert list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let view = ask::view(session, Filter { no_checks: true, ..Filter::default() })?;
    if said.has("json") {
        return show::json(session, &view.alerts);
    }
    let rows = view.alerts.iter().map(|a| {
        vec![
            a.id.to_string(),
            show::cell(&a.name),
            show::cell(&a.kind),
            show::cell(&a.destination),
            show::yes(a.default),
            show::yes(a.enabled),
            a.queue.to_string(),
            a.failed.to_string(),
            show::time(a.last_success),
            show::maybe(a.last_error.as_ref()),
        ]
    });
    let head = [
        "ID",
        "NAME",
        "TYPE",
        "DESTINATION",
        "DEFAULT",
        "ENABLED",
        "QUEUE",
        "FAILED",
        "LAST_SUCCESS",
        "LAST_ERROR",
    ];
    session.print(&text::table(&head, rows))
}

/// `qu alert remove <id-or-name>`.
pub fn remove(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::RemoveAlert { who: who(said) })
}

/// `qu alert test <id-or-name>`.
pub fn test(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::TestAlert { who: who(said) })
}

/// `qu alert enable <id-or-name>`.
pub fn enable(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::EnableAlert { who: who(said), on: true })
}

/// `qu alert disable <id-or-name>`.
pub fn disable(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::EnableAlert { who: who(said), on: false })
}

/// `qu alert default <id-or-name> on|off`.
pub fn default(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::DefaultAlert { who: who(said), on: said.arg("on|off") == "on" })
}

fn who(said: &Said) -> String {
    said.arg("alert").to_owned()
}

fn port(said: &Said) -> Result<Option<u16>, Failure> {
    let port = said.text("port").map(crate::config::node::port).transpose();
    port.map_err(|e| Failure::Usage(format!("--port: {e}")))
}

/// What `--tls` and `--starttls` say; `None` when they, and the port, say nothing.
fn protection(said: &Said, port: Option<u16>) -> Result<Option<MailTls>, Failure> {
    let by_port = (port == Some(SUBMISSIONS)).then_some(MailTls::Implicit);
    match (said.switch("tls"), said.switch("starttls")) {
        (Some(true), Some(true)) => Err(Failure::Usage("--tls and --starttls exclude each other".to_owned())),
        (Some(true), _) => Ok(Some(MailTls::Implicit)),
        (_, Some(true)) | (Some(false), None) => Ok(Some(MailTls::StartTls)),
        (Some(false), Some(false)) => Ok(Some(MailTls::Plain)),
        (None, Some(false)) => Ok(Some(by_port.unwrap_or(MailTls::Plain))),
        (None, None) => Ok(by_port),
    }
}

fn recipients(said: &Said) -> Result<Option<Vec<Mailbox>>, Failure> {
    if !said.has("to") {
        return Ok(None);
    }
    let items = said.many("to").flat_map(|list| list.split(',')).map(str::trim);
    let to: Result<Vec<Mailbox>, String> = items.map(str::parse).collect();
    to.map(Some).map_err(|e| Failure::Usage(format!("--to: {e}")))
}

fn headers(said: &Said) -> Result<Option<Vec<Header>>, Failure> {
    if !said.has("header") {
        return Ok(None);
    }
    let items = said.many("header").filter(|h| !h.is_empty());
    let all: Result<Vec<Header>, String> = items.map(str::parse).collect();
    all.map(Some).map_err(|e| Failure::Usage(format!("--header: {e}")))
}

fn certificates(session: &mut Session<'_>, said: &Said) -> Result<Option<String>, Failure> {
    // The name of no file ends the use of one; only `alert edit` has something to end.
    if said.text("ca-file") == Some("") {
        return Ok(Some(String::new()));
    }
    let pem = input::file(session, said, "ca-file")?;
    if pem.as_ref().is_some_and(|p| !p.contains("-----BEGIN CERTIFICATE-----")) {
        return Err(Failure::Failed("--ca-file: no certificate in it (want PEM)".to_owned()));
    }
    Ok(pem)
}

/// Templates are single texts; the line break that an editor leaves at the end is not theirs.
fn template(session: &mut Session<'_>, said: &Said, flag: &str) -> Result<Option<String>, Failure> {
    let text = input::file(session, said, flag)?;
    Ok(text.map(|t| t.strip_suffix('\n').map_or(t.clone(), str::to_owned)))
}

fn webhook(session: &mut Session<'_>, said: &Said) -> Result<Option<Secret>, Failure> {
    let Some(secret) = input::secret(session, said, "webhook")? else { return Ok(None) };
    // The URL is the secret: what is wrong with it must not be shown with it.
    match secret.reveal().parse::<Url>() {
        Ok(_) => Ok(Some(secret)),
        Err(_) => {
            Err(Failure::Usage("the webhook is not a URL (want https://..., not shown here)".to_owned()))
        }
    }
}

fn remind(said: &Said) -> Result<Option<Remind>, Failure> {
    match said.text("remind") {
        None => Ok(None),
        Some("off") => Ok(Some(Remind::Off)),
        Some(_) => Ok(said.parse::<Span>("remind")?.map(Remind::Every)),
    }
}
