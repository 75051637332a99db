//! Web addresses, as far as a probe or a webhook needs them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::units::HostPort;

/// An `http` or `https` address: scheme, host, port, path with query. No user information (it
/// would be a secret in every listing) and no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// TLS or not.
    pub https: bool,
    /// Where.
    pub to: HostPort,
    /// Path and query, with the leading slash.
    pub path: String,
    text: String,
}

impl Url {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Url {
    type Err = String;
    fn from_str(text: &str) -> Result<Url, String> {
        let bad =
            |why: &str| format!("{:?} is not a URL to watch ({why})", crate::base::text::shorten(text, 200));
        let lower = text.to_ascii_lowercase();
        let (https, at) = match lower.as_str() {
            l if l.starts_with("https://") => (true, 8),
            l if l.starts_with("http://") => (false, 7),
            _ => return Err(bad("want http:// or https://")),
        };
        if text.len() > 2000 || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(bad("only printable ASCII without blanks, 2000 characters at most; encode the rest"));
        }
        let rest = &text[at..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("no user name or password in it"));
        }
        let to = HostPort::with_default(authority, if https { 443 } else { 80 })
            .map_err(|e| bad(&e.to_string()))?;
        let path = tail.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { https, to, path, text: text.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Url {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_bad_ones_refused() {
        let url: Url = "https://Example.com:8443/a?b#c".parse().unwrap();
        assert_eq!(
            (url.https, url.to.to_string().as_str(), url.path.as_str()),
            (true, "example.com:8443", "/a?b")
        );
        assert_eq!("http://[::1]".parse::<Url>().unwrap().to.to_string(), "[::1]:80");
        assert_eq!("http://a?x=1".parse::<Url>().unwrap().path, "/?x=1");
        for bad in [
            "not a url",
            "ftp://a",
            "http://",
            "http://u:p@a/",
            "http://a b/",
            "http:///x",
            "http://a:0/",
            "http://é/",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
