//! Addresses and header fields of mails: nothing that could end a line is one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::units::Host;

/// A mail address `local@domain`, optionally `Name <local@domain>`. Nothing that could end a
/// header line or an SMTP command gets in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mailbox(String);

impl Mailbox {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Mailbox {
    type Err = String;
    fn from_str(text: &str) -> Result<Mailbox, String> {
        let bad = || format!("{:?} is not a mail address", crate::base::text::shorten(text, 120));
        let address = match text.rsplit_once('<') {
            Some((_, inside)) => inside.strip_suffix('>').ok_or_else(bad)?,
            None => text,
        };
        let (local, domain) = address.rsplit_once('@').ok_or_else(bad)?;
        let local_ok = !local.is_empty()
            && local.len() <= 64
            && local.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>()[],;:\\\"@".contains(c));
        let domain_ok = domain.parse::<Host>().is_ok()
            || !domain.is_ascii() && !domain.chars().any(|c| c.is_control() || c.is_whitespace());
        if text.len() > 320
            || text.trim() != text
            || text.chars().any(char::is_control)
            || !local_ok
            || !domain_ok
        {
            return Err(bad());
        }
        Ok(Mailbox(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A further mail header, `Name: value`; never one that the program writes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The field name (RFC 5322, section 2.2: printable ASCII but the colon).
    pub name: String,
    /// The value, one line.
    pub value: String,
}

/// Fields that the program writes; a second one of them would contradict it.
const OWN_HEADERS: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "sender",
    "auto-submitted",
];

impl FromStr for Header {
    type Err = String;
    fn from_str(text: &str) -> Result<Header, String> {
        let bad =
            |why: &str| format!("{:?} is not a mail header ({why})", crate::base::text::shorten(text, 120));
        let (name, value) = text.split_once(':').ok_or_else(|| bad("want 'Name: value'"))?;
        let value = value.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("the name must be printable ASCII without blanks"));
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad("this field is written by qu itself"));
        }
        if text.len() > 900 || value.is_empty() || value.chars().any(char::is_control) {
            return Err(bad("the value must be one line of text"));
        }
        Ok(Header { name: name.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl Serialize for Header {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_ends_a_line_becomes_a_mail_address_or_header() {
        for good in ["ops@example.com", "Ops <ops@example.com>", "a+b@[::1]"] {
            assert!(good.parse::<Mailbox>().is_ok(), "{good}");
        }
        for bad in ["", "ops", "a@", "@b", "a@b\r\nRCPT TO:<x@y>", "a b@c", "a@b c", "<a@b", "a,b@c"] {
            assert!(bad.parse::<Mailbox>().is_err(), "{bad}");
        }
        assert!("X-Team: ops".parse::<Header>().is_ok());
        for bad in ["X-Team", "Subject: x", "X-A: b\nBcc: c", ": x", "X A: y", "X-A:"] {
            assert!(bad.parse::<Header>().is_err(), "{bad}");
        }
    }
}
