//! Identities: 128 random bits, written as a version 4 UUID (RFC 9562, section 5.4).
//!
//! One macro makes the kinds apart: a [`NodeId`] can never stand where a [`CheckId`] is meant.
//! The order of ids is the order of their text, which is what an operator compares by eye.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnId(pub String);

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an id (want 8-4-4-4-12 lower-case hex digits)", self.0)
    }
}

impl std::error::Error for NotAnId {}

/// The written form: so many digits, a dash, so many digits and so on.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
/// Its length.
const LENGTH: usize = 36;
/// Where the two digits of each byte begin in it.
const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The written form of an id, without an allocation: listings of ten thousand checks write and read ids by
/// the ten thousand.
#[derive(Clone, Copy)]
pub struct Written([u8; LENGTH]);

impl Written {
    fn of(bits: u128) -> Written {
        let mut text = [b'-'; LENGTH];
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 0xf)];
        for (byte, at) in bits.to_be_bytes().into_iter().zip(PAIRS) {
            text[at] = digit(byte >> 4);
            text[at + 1] = digit(byte);
        }
        Written(text)
    }
}

impl AsRef<str> for Written {
    fn as_ref(&self) -> &str {
        // Digits and dashes.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn parse_uuid(text: &str) -> Result<u128, NotAnId> {
    let bad = || NotAnId(text.to_owned());
    if text.len() != LENGTH {
        return Err(bad());
    }
    let mut bits = 0;
    let mut bytes = text.bytes();
    for digits in GROUPS {
        for byte in bytes.by_ref().take(digits) {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(bad()),
            };
            bits = bits << 4 | u128::from(digit);
        }
        if bytes.next().is_some_and(|byte| byte != b'-') {
            return Err(bad());
        }
    }
    Ok(bits)
}

/// Reads something from its text, without keeping the text.
pub struct FromText<T>(pub PhantomData<T>);

impl<T> serde::de::Visitor<'_> for FromText<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// An id from 128 random bits; version and variant are set.
            #[must_use]
            pub fn from_random(bits: u128) -> Self {
                let version = (bits & !(0xf << 76)) | (0x4 << 76);
                Self((version & !(0x3 << 62)) | (0x2 << 62))
            }

            /// The text, without an allocation.
            #[must_use]
            pub fn written(self) -> Written {
                Written::of(self.0)
            }

            /// The first eight digits, for tables and log lines.
            #[must_use]
            pub fn short(self) -> String {
                self.written().as_ref()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.written().as_ref())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.written().as_ref())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_uuid(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.written().as_ref())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(FromText(PhantomData))
            }
        }
    };
}

id!(
    /// One node, for ever.
    NodeId
);
id!(
    /// One cluster: what is written by another cluster is refused by this.
    ClusterId
);
id!(
    /// One check.
    CheckId
);
id!(
    /// One alert (destination).
    AlertId
);
id!(
    /// One request of one client; a command that arrives twice under it is applied once.
    RequestId
);

/// What an operator typed in place of an id: resolved against a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolve<T> {
    /// Exactly one item.
    One(T),
    /// No item has that name or a prefix of that id.
    None,
    /// More than one id begins so.
    Ambiguous(Vec<String>),
}

/// Finds what `typed` means among `(id, name)` pairs: an exact name, an exact id, or the beginning
/// of exactly one id (four digits at least, so that a slip does not hit by chance).
pub fn resolve<T: Copy + fmt::Display, N: AsRef<str>>(
    typed: &str,
    items: impl Iterator<Item = (T, N)>,
) -> Resolve<T> {
    // Most of what is typed cannot begin an id; then no id needs to be written out.
    let may_be_id = typed.len() >= 4 && typed.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let mut by_prefix = Vec::new();
    for (id, name) in items {
        if name.as_ref() == typed {
            return Resolve::One(id);
        }
        if may_be_id {
            let text = id.to_string();
            if text == typed {
                return Resolve::One(id);
            }
            if text.starts_with(typed) {
                by_prefix.push((id, text));
            }
        }
    }
    match by_prefix.as_slice() {
        [] => Resolve::None,
        [(id, _)] => Resolve::One(*id),
        many => Resolve::Ambiguous(many.iter().map(|(_, text)| text.clone()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_carries_version_four() {
        let id = NodeId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let text = id.to_string();
        assert_eq!(&text[14..15], "4");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
        assert_eq!(text.parse::<NodeId>().unwrap(), id);
    }

    #[test]
    fn what_is_not_an_id_is_refused_and_named() {
        for bad in [
            "",
            "x",
            "0123456789ab",
            "A7f30000-0000-4000-8000-000000000000",
            "a7f3é000-0000-4000-8000-00000000000",
        ] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_of_four_digits_finds_one_and_two_are_ambiguous() {
        let a = CheckId::from_random(0xaaaa_0000_0000_0000_0000_0000_0000_0001);
        let b = CheckId::from_random(0xaaaa_1000_0000_0000_0000_0000_0000_0002);
        let items = || [(a, "web".to_owned()), (b, "db".to_owned())].into_iter();
        assert_eq!(resolve("web", items()), Resolve::One(a));
        assert_eq!(resolve("aaaa1", items()), Resolve::One(b));
        assert!(matches!(resolve("aaaa", items()), Resolve::Ambiguous(_)));
        assert_eq!(resolve("aaa", items()), Resolve::None);
    }
}
