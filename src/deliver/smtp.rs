//! One mail to one relay: connect, protect, log in, hand over (RFC 5321, 3207, 4954).
//!
//! An attempt ends in one of four ways ([`Tried`]). A relay's 5xx is a refusal for good, 4xx and
//! everything of network and TLS may be better next time. The message counts as handed over when
//! the relay has said 250 to its end, whatever happens after that.
//!
//! Several recipients, one message: those the relay refuses for good are named in the note and
//! dropped as long as one was accepted; those it refuses for now are handed back in `left`, to be
//! tried alone, so that nobody gets the message twice. When nobody was accepted the attempt as a
//! whole failed, for good only when everybody was refused for good.
//!
//! Permission to send is asked again right before the message itself: a master that lost its role
//! while a slow relay made it wait sends nothing.

use std::error::Error as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use super::{Tried, mail};
use crate::base::text::about;
use crate::base::units::Host;
use crate::config::{MailTls, Mailbox, Secret};

/// The end of the message is judged by filters behind the relay: it may take this many times as
/// long as other answers, for giving up here means that the message is sent twice.
const PATIENCE_AT_THE_END: u32 = 4;
/// For the good-bye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The relay and how to talk to it.
pub(super) struct Relay<'a> {
    pub host: &'a Host,
    pub port: u16,
    pub user: Option<&'a str>,
    pub password: Option<&'a Secret>,
    pub tls: MailTls,
    pub ca_pem: Option<&'a str>,
    /// For each answer.
    pub timeout: Duration,
}

/// What to hand over.
pub(super) struct Parcel<'a> {
    pub from: &'a Mailbox,
    /// Who of the recipients still has to get it.
    pub to: &'a [Mailbox],
    pub bytes: &'a [u8],
}

/// One attempt. `go` is asked right before the message is sent.
pub(super) fn send(relay: &Relay<'_>, parcel: &Parcel<'_>, go: &dyn Fn() -> bool) -> Tried {
    match converse(relay, parcel, go) {
        Ok(tried) | Err(tried) => tried,
    }
}

fn converse(relay: &Relay<'_>, parcel: &Parcel<'_>, go: &dyn Fn() -> bool) -> Result<Tried, Tried> {
    let failed = |stage: &str, e: &Error| judge(stage, e, relay.timeout);
    let mut conn = open(relay)?;
    if let Some(user) = relay.user {
        let password = relay.password.map_or("", Secret::reveal).to_owned();
        let credentials = Credentials::new(user.to_owned(), password);
        conn.auth(DEFAULT_MECHANISMS, &credentials).map_err(|e| failed("log in", &e))?;
    }
    let from = mail::address(parcel.from).map_err(|why| Tried::Refused { why })?;
    let mut parameters = Vec::new();
    let utf8 = |m: &Mailbox| mail::address(m).is_ok_and(|a| !a.to_string().is_ascii());
    if parcel.to.iter().chain([parcel.from]).any(utf8)
        && conn.server_info().supports_feature(Extension::SmtpUtfEight)
    {
        parameters.push(MailParameter::SmtpUtfEight);
    }
    conn.command(Mail::new(Some(from), parameters)).map_err(|e| failed("sender", &e))?;
    let recipients = name_recipients(&mut conn, parcel.to, &failed)?;
    if recipients.accepted == 0 {
        return Err(recipients.nobody());
    }
    if !go() {
        good_bye(conn);
        return Err(Tried::Held);
    }
    conn.command(Data).map_err(|e| failed("message", &e))?;
    // Setting a timeout on an open socket does not fail; if it does, the shorter one stays.
    drop(conn.set_timeout(Some(relay.timeout * PATIENCE_AT_THE_END)));
    conn.message(parcel.bytes).map_err(|e| failed("message", &e))?;
    good_bye(conn);
    Ok(recipients.sent())
}

fn open(relay: &Relay<'_>) -> Result<SmtpConnection, Tried> {
    let hello = hello_name();
    let host = relay.host.to_string();
    let stage = format!("connect to {host}:{}", relay.port);
    let tls = match relay.tls {
        MailTls::Plain => None,
        MailTls::StartTls | MailTls::Implicit => Some(parameters(&host, relay.ca_pem)?),
    };
    let wrapped = tls.as_ref().filter(|_| relay.tls == MailTls::Implicit);
    let mut conn =
        SmtpConnection::connect((host.as_str(), relay.port), Some(relay.timeout), &hello, wrapped, None)
            .map_err(|e| judge(&stage, &e, relay.timeout))?;
    if let Some(tls) = tls.filter(|_| relay.tls == MailTls::StartTls) {
        conn.starttls(&tls, &hello).map_err(|e| judge("STARTTLS", &e, relay.timeout))?;
    }
    Ok(conn)
}

fn parameters(host: &str, ca_pem: Option<&str>) -> Result<TlsParameters, Tried> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca_pem {
        let authority = Certificate::from_pem(pem.as_bytes())
            .map_err(|e| Tried::failed(format!("read the CA file's certificates: {e}")))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map_err(|e| Tried::failed(format!("set up TLS: {e}")))
}

#[derive(Default)]
struct Recipients {
    accepted: usize,
    left: Vec<Mailbox>,
    refused: Vec<String>,
    last: String,
}

impl Recipients {
    fn nobody(self) -> Tried {
        if self.left.is_empty() {
            return Tried::Refused { why: format!("no recipient was accepted: {}", self.refused.join("; ")) };
        }
        Tried::failed(format!("no recipient was accepted: {}", self.last))
    }

    fn sent(self) -> Tried {
        let mut notes = self.refused;
        if !self.left.is_empty() {
            notes.push(self.last);
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Tried::Sent { left: self.left, note, pause: None }
    }
}

fn name_recipients(
    conn: &mut SmtpConnection,
    to: &[Mailbox],
    failed: &dyn Fn(&str, &Error) -> Tried,
) -> Result<Recipients, Tried> {
    let mut recipients = Recipients::default();
    for recipient in to {
        let stage = format!("recipient {}", recipient.as_str());
        let address = match mail::address(recipient) {
            Ok(address) => address,
            Err(why) => {
                recipients.refused.push(why);
                continue;
            }
        };
        match conn.command(Rcpt::new(address, Vec::new())) {
            Ok(_) => recipients.accepted += 1,
            Err(e) if e.is_permanent() => recipients.refused.push(format!("{stage}: {}", told(&e))),
            Err(e) if e.is_transient() => {
                recipients.last = format!("{stage}: {}", told(&e));
                recipients.left.push(recipient.clone());
            }
            Err(e) => return Err(failed(&stage, &e)),
        }
    }
    Ok(recipients)
}

fn good_bye(mut conn: SmtpConnection) {
    // The message has its answer (or is not to be sent): nothing that goes wrong here matters.
    drop(conn.set_timeout(Some(GOODBYE)));
    drop(conn.quit());
}

fn judge(stage: &str, error: &Error, timeout: Duration) -> Tried {
    if error.is_permanent() {
        return Tried::Refused { why: format!("{stage}: {}", told(error)) };
    }
    if timed_out(error) {
        return Tried::failed(format!("{stage}: no answer within {}", about(timeout)));
    }
    let mut why = told(error);
    if why == "incomplete response" {
        "the connection was closed".clone_into(&mut why);
    }
    if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        why.push_str(
            " (the relay's certificate is not from an authority known here; give its CA with --ca-file)",
        );
    }
    Tried::failed(format!("{stage}: {why}"))
}

/// The relay's own words, or the innermost cause.
fn told(error: &Error) -> String {
    let cause = error.source().map(|c| {
        let mut innermost = c;
        while let Some(deeper) = innermost.source() {
            innermost = deeper;
        }
        innermost.to_string()
    });
    match (error.status(), cause) {
        (Some(code), Some(words)) => format!("{code} {words}"),
        (None, Some(words)) => words,
        (_, None) => error.to_string(),
    }
}

fn timed_out(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return matches!(io.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        }
        next = cause.source();
    }
    false
}

/// The host's name, as the kernel knows it; an address literal where that is none.
fn hello_name() -> ClientId {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse::<Host>().ok());
    match name {
        Some(Host::Name(name)) if name != "localhost" => ClientId::Domain(name),
        _ => ClientId::Ipv4(Ipv4Addr::LOCALHOST),
    }
}
