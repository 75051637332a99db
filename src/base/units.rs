//! Durations as operators write them (`5s`, `1m30s`, `500ms`, `1.5h`), and `host:port`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A positive length of time in Go's notation, whole milliseconds, at most ten years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// The longest span: beyond it somebody mistyped, and sums of a few spans stay far from overflow.
const LONGEST_MS: u64 = 10 * 366 * 24 * 3600 * 1000;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSpan {
    /// Not in the notation at all.
    Shape(String),
    /// Zero or negative.
    NotPositive(String),
    /// Over ten years, or under a millisecond.
    Range(String),
}

impl fmt::Display for BadSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSpan::Shape(t) => write!(f, "{t:?} is not a duration (examples: 500ms, 30s, 1m30s, 2h)"),
            BadSpan::NotPositive(t) => write!(f, "duration {t:?} must be greater than zero"),
            BadSpan::Range(t) => write!(f, "duration {t:?} is out of range (1ms to ten years)"),
        }
    }
}

impl std::error::Error for BadSpan {}

impl Span {
    /// From whole milliseconds, clamped to what a span can hold.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Span {
        if ms == 0 {
            Span(1)
        } else if ms > LONGEST_MS {
            Span(LONGEST_MS)
        } else {
            Span(ms)
        }
    }

    /// From whole seconds, clamped likewise.
    #[must_use]
    pub const fn from_secs(s: u64) -> Span {
        Span::from_millis(s.saturating_mul(1000))
    }

    /// Milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// As the standard library counts time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

fn unit_ms(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    }
}

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Span, BadSpan> {
        let shape = || BadSpan::Shape(text.to_owned());
        if let Some(rest) = text.strip_prefix('-') {
            let rest = rest.parse::<Span>();
            return Err(if matches!(rest, Err(BadSpan::Shape(_))) {
                shape()
            } else {
                BadSpan::NotPositive(text.to_owned())
            });
        }
        let mut rest = text;
        let mut total: u64 = 0;
        if rest == "0" {
            return Err(BadSpan::NotPositive(text.to_owned()));
        }
        if rest.is_empty() {
            return Err(shape());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(shape)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let scale = unit_ms(unit).ok_or_else(shape)?;
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty()
                || fraction.contains('.')
                || whole.len() > 15
                || fraction.len() > 9
            {
                return Err(shape());
            }
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| shape())? };
            let mut ms = whole.checked_mul(scale).ok_or_else(|| BadSpan::Range(text.to_owned()))?;
            if !fraction.is_empty() {
                let part: u64 = fraction.parse().map_err(|_| shape())?;
                let digits = u32::try_from(fraction.len()).map_err(|_| shape())?;
                ms = ms.saturating_add(part * scale / 10_u64.pow(digits));
            }
            total = total.saturating_add(ms);
            rest = tail;
        }
        match total {
            0 if text.chars().any(|c| ('1'..='9').contains(&c)) => Err(BadSpan::Range(text.to_owned())),
            0 => Err(BadSpan::NotPositive(text.to_owned())),
            ms if ms > LONGEST_MS => Err(BadSpan::Range(text.to_owned())),
            ms => Ok(Span(ms)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = self.0;
        for (unit, scale) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if ms >= scale {
                write!(f, "{}{unit}", ms / scale)?;
                ms %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(super::id::FromText(std::marker::PhantomData))
    }
}

/// A host: an address, or a name that could be one in the DNS (RFC 1123, section 2.1; underscores
/// are let through, since operators have them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name to be resolved, lower case.
    Name(String),
}

/// Why a text is not a host or not a `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// Empty, too long, or with characters that no host has.
    Host(String),
    /// The port is missing.
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    Port(String),
}

impl fmt::Display for BadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHost::Host(t) => write!(f, "{t:?} is not a host name or address"),
            BadHost::NoPort(t) => {
                write!(f, "{t:?} has no port (want host:port; an IPv6 address in brackets)")
            }
            BadHost::Port(t) => write!(f, "{t:?} has no valid port (want 1 to 65535)"),
        }
    }
}

impl std::error::Error for BadHost {}

impl FromStr for Host {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<Host, BadHost> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Some(inside) = bare {
            return inside
                .parse::<Ipv6Addr>()
                .map(|a| Host::Ip(IpAddr::V6(a)))
                .map_err(|_| BadHost::Host(text.to_owned()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip));
        }
        let trimmed = text.strip_suffix('.').unwrap_or(text);
        let label_ok = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        // A name whose last label is all digits would be a mistyped IPv4 address.
        let numeric = trimmed.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if trimmed.is_empty() || trimmed.len() > 253 || numeric || !trimmed.split('.').all(label_ok) {
            return Err(BadHost::Host(text.to_owned()));
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    /// Without brackets: as a person names a host. [`HostPort`] adds them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Where.
    pub host: Host,
    /// 1 to 65535.
    pub port: u16,
}

impl HostPort {
    /// Puts the two together.
    #[must_use]
    pub fn new(host: Host, port: u16) -> HostPort {
        HostPort { host, port }
    }

    /// Parses `host:port`; where the port is left out, `default` is taken.
    ///
    /// # Errors
    /// [`BadHost`] when host or port are not valid.
    pub fn with_default(text: &str, default: u16) -> Result<HostPort, BadHost> {
        match text.parse() {
            Err(BadHost::NoPort(_)) => Ok(HostPort { host: text.parse()?, port: default }),
            other => other,
        }
    }
}

impl FromStr for HostPort {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<HostPort, BadHost> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(BadHost::NoPort(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| BadHost::NoPort(text.to_owned()))?;
        if host.starts_with('[') && !host.ends_with(']') {
            return Err(BadHost::NoPort(text.to_owned()));
        }
        let host: Host = host.parse().map_err(|_| BadHost::Host(text.to_owned()))?;
        let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        let port: u16 = if digits { port.parse().unwrap_or(0) } else { 0 };
        if port == 0 {
            return Err(BadHost::Port(text.to_owned()));
        }
        Ok(HostPort { host, port })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(a: SocketAddr) -> HostPort {
        HostPort { host: Host::Ip(a.ip()), port: a.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Host HostPort);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, ms, back) in [
            ("5s", 5000, "5s"),
            ("1m30s", 90_000, "1m30s"),
            ("2h", 7_200_000, "2h"),
            ("500ms", 500, "500ms"),
            ("1.5h", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "168h"),
            (".5s", 500, "500ms"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.millis(), span.to_string().as_str()), (ms, back), "{text}");
        }
    }

    #[test]
    fn durations_that_are_none_are_refused_by_kind() {
        let kind = |t: &str| t.parse::<Span>().unwrap_err();
        for t in ["-5s", "0s", "0", "0h0m", "-0s"] {
            assert!(matches!(kind(t), BadSpan::NotPositive(_)), "{t}");
        }
        for t in ["", "5", "s", "5 s", "5x", "1..5s", "five", "5s-", "-", "-x", "é"] {
            assert!(matches!(kind(t), BadSpan::Shape(_)), "{t}: {:?}", kind(t));
        }
        for t in ["99999999h", "0.0001ms"] {
            assert!(matches!(kind(t), BadSpan::Range(_)), "{t}");
        }
    }

    #[test]
    fn host_and_port_take_names_and_both_families() {
        for (text, back) in [
            ("alpha.example.com:9901", "alpha.example.com:9901"),
            ("Alpha:1", "alpha:1"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:9901", "[::1]:9901"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), back);
        }
        for bad in [
            "alpha",
            "::1",
            "alpha:",
            "alpha:0",
            "alpha:70000",
            "al pha:1",
            ":80",
            "1.2.3:80",
            "[::1]",
            "[zz]:1",
            "a:+5",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
        assert_eq!(HostPort::with_default("::1", 9901).unwrap().to_string(), "[::1]:9901");
    }
}
