//! One mail to one relay: connect, protect, log in, hand over (RFC 5321, 3207, 4954). The steps
//! are here, the words are `lettre`'s, the socket is `wire.rs`'s.
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

use std::net::Ipv4Addr;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter, ServerInfo};

use super::wire::{Conversation, Trouble, tls};
use super::{Tried, mail};
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
    let (mut talk, offers) = open(relay)?;
    if let Some(user) = relay.user {
        let password = relay.password.map_or("", Secret::reveal);
        log_in(&mut talk, &offers, user, password).map_err(|e| judge("log in", &e))?;
    }
    let from = mail::address(parcel.from).map_err(|why| Tried::Refused { why })?;
    let mut parameters = Vec::new();
    let utf8 = |m: &Mailbox| mail::address(m).is_ok_and(|a| !a.to_string().is_ascii());
    if parcel.to.iter().chain([parcel.from]).any(utf8) && offers.supports_feature(Extension::SmtpUtfEight) {
        parameters.push(MailParameter::SmtpUtfEight);
    }
    talk.command(Mail::new(Some(from), parameters)).map_err(|e| judge("sender", &e))?;
    let recipients = name_recipients(&mut talk, parcel.to)?;
    if recipients.accepted == 0 {
        return Err(recipients.nobody());
    }
    if !go() {
        good_bye(talk);
        return Err(Tried::Held);
    }
    talk.command(Data).map_err(|e| judge("message", &e))?;
    talk.allow(relay.timeout * PATIENCE_AT_THE_END);
    talk.message(parcel.bytes).map_err(|e| judge("message", &e))?;
    good_bye(talk);
    Ok(recipients.sent())
}

/// Connected, protected as the alert says, and greeted.
fn open(relay: &Relay<'_>) -> Result<(Conversation, ServerInfo), Tried> {
    let hello = hello_name();
    let stage = format!("connect to {}:{}", relay.host, relay.port);
    let at = |e: Trouble| judge(&stage, &e);
    let mut talk = Conversation::connect(relay.host, relay.port, relay.timeout).map_err(at)?;
    if relay.tls == MailTls::Implicit {
        talk = talk.protect(relay.host, tls(relay.ca_pem).map_err(at)?).map_err(at)?;
    }
    talk.greeting().map_err(at)?;
    let mut offers = greet(&mut talk, &hello).map_err(at)?;
    if relay.tls == MailTls::StartTls {
        let at = |e: Trouble| judge("STARTTLS", &e);
        if !offers.supports_feature(Extension::StartTls) {
            return Err(at(Trouble::Lost("the relay does not offer it".to_owned())));
        }
        talk.command(Starttls).map_err(at)?;
        talk = talk.protect(relay.host, tls(relay.ca_pem).map_err(at)?).map_err(at)?;
        offers = greet(&mut talk, &hello).map_err(at)?;
    }
    Ok((talk, offers))
}

fn greet(talk: &mut Conversation, hello: &ClientId) -> Result<ServerInfo, Trouble> {
    let answer = talk.command(Ehlo::new(hello.clone()))?;
    ServerInfo::from_response(&answer).map_err(|e| Trouble::Lost(e.to_string()))
}

fn log_in(talk: &mut Conversation, offers: &ServerInfo, user: &str, password: &str) -> Result<(), Trouble> {
    let lost = |e: lettre::transport::smtp::Error| Trouble::Lost(e.to_string());
    let mechanism = offers
        .get_auth_mechanism(DEFAULT_MECHANISMS)
        .ok_or_else(|| Trouble::Lost("the relay offers neither PLAIN nor LOGIN".to_owned()))?;
    let credentials = Credentials::new(user.to_owned(), password.to_owned());
    let mut answer = talk.command(Auth::new(mechanism, credentials.clone(), None).map_err(lost)?)?;
    // User name and password: two questions, and one for a relay that begins with an empty one.
    for _ in 0..3 {
        if !answer.has_code(334) {
            return Ok(());
        }
        let reply = Auth::new_from_response(mechanism, credentials.clone(), &answer).map_err(lost)?;
        answer = talk.command(reply)?;
    }
    if answer.has_code(334) { Err(Trouble::Lost("the relay keeps asking".to_owned())) } else { Ok(()) }
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

fn name_recipients(talk: &mut Conversation, to: &[Mailbox]) -> Result<Recipients, Tried> {
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
        match talk.command(Rcpt::new(address, Vec::new())) {
            Ok(_) => recipients.accepted += 1,
            Err(e) if e.is_final() => recipients.refused.push(format!("{stage}: {}", e.told())),
            Err(Trouble::Answer(answer)) => {
                recipients.last = format!("{stage}: {}", Trouble::Answer(answer).told());
                recipients.left.push(recipient.clone());
            }
            Err(e @ Trouble::Lost(_)) => return Err(judge(&stage, &e)),
        }
    }
    Ok(recipients)
}

fn good_bye(mut talk: Conversation) {
    talk.allow(GOODBYE);
    // The message has its answer (or is not to be sent): nothing that goes wrong here matters.
    drop(talk.command(Quit));
}

fn judge(stage: &str, trouble: &Trouble) -> Tried {
    let mut why = format!("{stage}: {}", trouble.told());
    if trouble.is_final() {
        return Tried::Refused { why };
    }
    if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        why.push_str(
            " (the relay's certificate is not from an authority known here; give its CA with --ca-file)",
        );
    }
    Tried::failed(why)
}

/// The host's name, as the kernel knows it; an address literal where that is none.
fn hello_name() -> ClientId {
    match crate::sys::host::name().trim().parse::<Host>() {
        Ok(Host::Name(name)) if name != "localhost" => ClientId::Domain(name),
        _ => ClientId::Ipv4(Ipv4Addr::LOCALHOST),
    }
}
