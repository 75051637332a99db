//! A message as bytes (RFC 5322, MIME): headers that thread, nothing foreign outside its place.
//!
//! Everything in it follows from the facts and the alert, the date and the Message-ID too: a
//! message that is sent again after a doubt is the same message.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox as LettreMailbox, Message, MessageBuilder};

use crate::alerts::{Facts, Mail};
use crate::base::clock::Wall;
use crate::config::{Header, Mailbox};

/// The end of year 9998: what the date printer can still print.
const LAST_DATE: Wall = Wall(253_370_764_799_000);

/// The message.
///
/// # Errors
/// A sentence, when an address cannot be written in a mail.
pub(super) fn compose(
    facts: &Facts,
    text: &Mail,
    from: &Mailbox,
    to: &[Mailbox],
    headers: &[Header],
) -> Result<Vec<u8>, String> {
    let date = UNIX_EPOCH + Duration::from_millis(facts.at.min(LAST_DATE).0);
    let mut builder = Message::builder()
        .from(mailbox(from)?)
        .date(date)
        .message_id(Some(message_id(&facts.id)))
        .subject(text.subject.clone())
        .header(ContentType::TEXT_PLAIN);
    for recipient in to {
        builder = builder.to(mailbox(recipient)?);
    }
    if let Some(before) = &facts.in_reply_to {
        builder = builder.in_reply_to(message_id(before)).references(message_id(before));
    }
    builder = raw(builder, "Auto-Submitted", "auto-generated");
    for header in headers {
        builder = raw(builder, &header.name, &header.value);
    }
    let message = builder.body(text.body.clone()).map_err(|e| format!("compose the mail: {e}"))?;
    Ok(message.formatted())
}

/// `<id@quptime>`; what is not letter, digit, `.`, `-`, `_` becomes `-`.
pub(super) fn message_id(id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let id: String = id.chars().map(safe).take(200).collect();
    format!("<{}@quptime>", id.trim_matches('.').replace("..", ".-"))
}

/// A field that cannot be written (its name is too long for the encoder) is left out: the alert
/// matters more.
fn raw(builder: MessageBuilder, name: &str, value: &str) -> MessageBuilder {
    match HeaderName::new_from_ascii(name.to_owned()) {
        Ok(name) => builder.raw_header(HeaderValue::new(name, value.to_owned())),
        Err(_) => builder,
    }
}

fn mailbox(mailbox: &Mailbox) -> Result<LettreMailbox, String> {
    let text = mailbox.as_str();
    let name = text.rsplit_once('<').map(|(name, _)| name.trim().trim_matches('"').trim().to_owned());
    Ok(LettreMailbox::new(name.filter(|n| !n.is_empty()), address(mailbox)?))
}

/// The address alone, as SMTP wants it.
pub(super) fn address(mailbox: &Mailbox) -> Result<Address, String> {
    let text = mailbox.as_str();
    let bare = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches('>'));
    let (local, domain) = bare.rsplit_once('@').unwrap_or((bare, ""));
    // SMTP writes an address literal of version 6 with its tag (RFC 5321, section 4.1.3).
    let domain = match domain.strip_prefix('[').filter(|d| !d.to_ascii_lowercase().starts_with("ipv6:")) {
        Some(literal) if literal.contains(':') => format!("[IPv6:{literal}"),
        _ => domain.to_owned(),
    };
    Address::new(local, &domain).map_err(|e| format!("{bare:?} is not an address that mail can carry: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Kind;

    fn composed(facts: &Facts, subject: &str, body: &str) -> String {
        let text = Mail { subject: subject.to_owned(), body: body.to_owned(), trouble: None };
        let from = "Qu Ptime <qu@example.com>".parse().unwrap();
        let to = ["ops@example.com".parse().unwrap(), "J\u{f6}rg <joerg@example.com>".parse().unwrap()];
        let headers = ["X-Team: n\u{e4}chte".parse().unwrap()];
        String::from_utf8(compose(facts, &text, &from, &to, &headers).unwrap()).unwrap()
    }

    #[test]
    fn the_headers_thread_and_the_message_is_the_same_each_time() {
        let mut facts = Facts::sample(Kind::Recovered);
        facts.in_reply_to = Some("1.0.cluster".to_owned());
        facts.id = "2.0.cluster".to_owned();
        let mail = composed(&facts, "[quptime] web RECOVERED - x", "line\n");
        for want in [
            "Message-ID: <2.0.cluster@quptime>\r\n",
            "In-Reply-To: <1.0.cluster@quptime>\r\n",
            "References: <1.0.cluster@quptime>\r\n",
            "Date: Tue, 12 May 2026 15:01:32 +0000\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Subject: [quptime] web RECOVERED - x\r\n",
            "\r\n\r\nline\r\n",
        ] {
            assert!(mail.contains(want), "{want:?} in {mail}");
        }
        assert!(mail.is_ascii(), "{mail}");
        assert_eq!(mail, composed(&facts, "[quptime] web RECOVERED - x", "line\n"));
    }

    #[test]
    fn ids_addresses_and_dates_that_are_odd_stay_in_their_place() {
        assert_eq!(message_id("a b\r\nBcc: x@y>"), "<a-b--Bcc--x-y-@quptime>");
        assert_eq!(message_id(".1..2."), "<1.-2@quptime>");
        let mut facts = Facts::sample(Kind::Down);
        facts.at = Wall(u64::MAX);
        assert!(composed(&facts, "s", "b").contains("9998"));
        assert_eq!(address(&"X <a@[::1]>".parse().unwrap()).unwrap().to_string(), "a@[IPv6:::1]");
        assert_eq!(address(&"a+b@example.com".parse().unwrap()).unwrap().to_string(), "a+b@example.com");
    }

    #[test]
    fn even_a_subject_with_a_line_break_adds_no_header() {
        let mail = composed(&Facts::sample(Kind::Down), "x\r\nBcc: all@example.com\r\n\r\nhello", "b");
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|l| l.to_ascii_lowercase().starts_with("bcc")), "{mail}");
    }
}
