//! `SHA256:<base64>` of a certificate's SubjectPublicKeyInfo: what an operator compares, and what
//! trust is pinned to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of a SubjectPublicKeyInfo (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Why a text is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAFingerprint(pub String);

impl fmt::Display for NotAFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a fingerprint (want SHA256: and 43 characters of base64)", self.0)
    }
}

impl std::error::Error for NotAFingerprint {}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Fingerprint {
    /// Of a DER-encoded SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Fingerprint {
        Fingerprint(digest(der))
    }
}

/// SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

impl fmt::Display for Fingerprint {
    /// Unpadded base64 (RFC 4648, section 4), as OpenSSH prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SHA256:")?;
        for chunk in self.0.chunks(3) {
            let mut bits = 0_u32;
            for at in 0..3 {
                bits = (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0));
            }
            for digit in 0..=chunk.len() {
                let six = (bits >> (18 - 6 * digit)) & 63;
                write!(f, "{}", ALPHABET[six as usize] as char)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;
    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        let bad = || NotAFingerprint(text.to_owned());
        let digits = text.strip_prefix("SHA256:").ok_or_else(bad)?.trim_end_matches('=');
        let mut bytes = Vec::with_capacity(33);
        let (mut bits, mut held) = (0_u32, 0);
        for c in digits.bytes() {
            let six = ALPHABET.iter().position(|a| *a == c).ok_or_else(bad)?;
            bits = (bits << 6) | u32::try_from(six).map_err(|_| bad())?;
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push(u8::try_from((bits >> held) & 0xff).map_err(|_| bad())?);
            }
        }
        let exact = digits.len() == 43 && bits & ((1 << held) - 1) == 0;
        bytes.try_into().ok().filter(|_| exact).map(Fingerprint).ok_or_else(bad)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_as_openssh_would_print_it_and_comes_back() {
        // sha256("abc"), from FIPS 180-2, appendix B.1.
        let of_abc = Fingerprint::of_spki(b"abc");
        assert_eq!(of_abc.to_string(), "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0");
        assert_eq!(of_abc.to_string().parse(), Ok(of_abc));
    }

    #[test]
    fn what_is_cut_or_padded_or_of_another_hash_is_refused() {
        for bad in [
            "",
            "SHA256:",
            "MD5:abc",
            "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa",
            "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa1",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
