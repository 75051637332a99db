//! One attempt at one message: its text, its way, and a reason without secrets.

use std::time::Duration;

use super::redact::Redactor;
use super::smtp::{Parcel, Relay};
use super::{Tried, discord, mail, smtp};
use crate::alerts::render::{self, Wording};
use crate::alerts::{Facts, TemplateError};
use crate::base::clock::Wall;
use crate::config::{Alert, Channel, Mailbox};
use crate::log;

/// What an attempt needs to know beside the message.
pub(super) struct Means<'a> {
    pub wall: Wall,
    /// For each answer of the destination.
    pub answer: Duration,
    /// Authorities that webhooks may have beside the system's.
    pub roots: &'a [ureq::tls::Certificate<'static>],
    /// Asked immediately before anything is sent.
    pub go: &'a dyn Fn() -> bool,
}

/// Tries once; `only` restricts a mail to these recipients.
pub(super) fn attempt(alert: &Alert, facts: &Facts, only: Option<&[Mailbox]>, means: &Means<'_>) -> Tried {
    if !(means.go)() {
        return Tried::Held;
    }
    let wording =
        Wording { subject: alert.subject_template.as_deref(), body: alert.body_template.as_deref() };
    let tried = match &alert.channel {
        Channel::Smtp { .. } => by_mail(alert, facts, only, wording, means),
        Channel::Discord { webhook } => {
            let chat = render::chat(facts, wording);
            complain(alert, chat.trouble.as_ref());
            discord::send(webhook, &chat.content, means.answer, means.wall, means.roots)
        }
    };
    without_secrets(tried, &Redactor::of(&alert.channel))
}

fn by_mail(
    alert: &Alert,
    facts: &Facts,
    only: Option<&[Mailbox]>,
    wording: Wording<'_>,
    means: &Means<'_>,
) -> Tried {
    let Channel::Smtp { host, port, user, password, from, to, tls, ca_pem, headers } = &alert.channel else {
        return Tried::Refused { why: "not a mail alert".to_owned() };
    };
    // Recipients that were taken out of the alert since are not waited for.
    let remaining: Vec<Mailbox> =
        to.iter().filter(|m| only.is_none_or(|only| only.contains(m))).cloned().collect();
    if remaining.is_empty() && only.is_some() {
        return Tried::Sent { left: Vec::new(), note: None, pause: None };
    }
    let text = render::mail(facts, wording);
    complain(alert, text.trouble.as_ref());
    let bytes = match mail::compose(facts, &text, from, to, headers) {
        Ok(bytes) => bytes,
        Err(why) => return Tried::Refused { why },
    };
    let relay = Relay {
        host,
        port: *port,
        user: user.as_deref(),
        password: password.as_ref(),
        tls: *tls,
        ca_pem: ca_pem.as_deref(),
        timeout: means.answer,
    };
    smtp::send(&relay, &Parcel { from, to: &remaining, bytes: &bytes }, means.go)
}

fn complain(alert: &Alert, trouble: Option<&TemplateError>) {
    if let Some(why) = trouble {
        log!(Warn, "deliver", "a template failed, the built-in text is sent", alert = alert.name, why = why);
    }
}

fn without_secrets(tried: Tried, redactor: &Redactor) -> Tried {
    match tried {
        Tried::Sent { left, note, pause } => {
            Tried::Sent { left, note: note.map(|n| redactor.line(&n)), pause }
        }
        Tried::Refused { why } => Tried::Refused { why: redactor.line(&why) },
        Tried::Failed { why, retry_after } => Tried::Failed { why: redactor.line(&why), retry_after },
        Tried::Held => Tried::Held,
    }
}
