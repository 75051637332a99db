//! A key names its successor: how a node gets another key and stays the same node.
//!
//! A [`Letter`] says "in this cluster, after this key of this node, that key", signed by the first
//! of the two. It is used twice:
//! * as a committed change, in which it names the config version that it changes, so that it can
//!   never be applied a second time, and comes with the consent of the new key, so that nobody
//!   names a key that is not theirs;
//! * in the node's handshakes, beside its certificate: a peer that has not heard of the change yet
//!   (it was away, its files are older) knows the first key, and by the letter accepts the second.
//!   The other way round nothing is accepted: no letter leads from a new key to an old one.
//!
//! Nothing here knows the configuration, a file or a connection.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::SignatureScheme;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fingerprint::Fingerprint;
use super::keys::Keys;
use crate::base::id::{ClusterId, NodeId};

/// What every signed text begins with: it is of no use in any other protocol.
const LABEL: &[u8] = b"quptime key succession 1";
/// So many letters are shown in a handshake and looked at: a peer that missed more changes of the
/// key than that has to learn of them from others.
pub const MOST: usize = 4;
/// A letter of RSA keys of 8192 bits has some 6 kB; nothing larger is parsed.
const LARGEST: usize = 12 * 1024;
/// Bytes of a public key, and of a signature.
const LARGEST_PART: usize = 2048;

/// How the older key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    RsaPssSha256,
    EcdsaP256Sha256,
}

impl Scheme {
    const ALL: [(Scheme, SignatureScheme); 2] = [
        (Scheme::RsaPssSha256, SignatureScheme::RSA_PSS_SHA256),
        (Scheme::EcdsaP256Sha256, SignatureScheme::ECDSA_NISTP256_SHA256),
    ];

    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Scheme::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
            Scheme::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        }
    }
}

/// Bytes, written as lower-case hex.
#[derive(Clone, PartialEq, Eq)]
struct Hex(Vec<u8>);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        let fits = bytes.filter(|b| (1..=LARGEST_PART).contains(&b.len()));
        fits.map(Hex).ok_or_else(|| serde::de::Error::custom("no lower-case hex of a fitting length"))
    }
}

/// A signature and how it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    scheme: Scheme,
    bytes: Hex,
}

impl Signature {
    fn made(keys: &Keys, text: &[u8]) -> Result<Signature, CannotSign> {
        let found = Scheme::ALL.iter().find_map(|(scheme, offered)| {
            let signer = keys.certified().key.choose_scheme(&[*offered])?;
            Some((*scheme, signer))
        });
        let (scheme, signer) = found.ok_or_else(|| {
            CannotSign(format!("the key {} is neither RSA nor ECDSA on P-256", keys.fingerprint()))
        })?;
        let bytes = signer.sign(text).map_err(|e| CannotSign(e.to_string()))?;
        Ok(Signature { scheme, bytes: Hex(bytes) })
    }

    fn is_of(&self, spki: &Hex, text: &[u8]) -> bool {
        UnparsedPublicKey::new(self.scheme.algorithm(), &spki.0).verify(text, &self.bytes.0).is_ok()
    }
}

/// A key could not sign: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotSign(String);

impl fmt::Display for CannotSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no signature: {}", self.0)
    }
}

impl std::error::Error for CannotSign {}

/// One key's word that another comes after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letter {
    /// In which cluster.
    pub cluster: ClusterId,
    /// Whose keys.
    pub node: NodeId,
    /// The config version that it changes, as a committed change.
    pub version: u64,
    /// The key that signs, DER.
    old: Hex,
    /// The key that follows, DER.
    new: Hex,
    signature: Signature,
}

/// A letter with the consent of the key that it names: what is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The old key's word.
    pub letter: Letter,
    /// The new key's signature over the same.
    consent: Signature,
}

fn spki(keys: &Keys) -> Result<Hex, CannotSign> {
    let der = keys.certified().key.public_key().map(|spki| Hex(spki.as_ref().to_vec()));
    der.ok_or_else(|| CannotSign(format!("the public part of {} is not known", keys.fingerprint())))
}

/// What is signed: every part has a fixed length, so no two successions share a text.
fn text(cluster: ClusterId, node: NodeId, version: u64, old: Fingerprint, new: Fingerprint) -> Vec<u8> {
    let mut text = LABEL.to_vec();
    text.extend_from_slice(cluster.to_string().as_bytes());
    text.extend_from_slice(node.to_string().as_bytes());
    text.extend_from_slice(&version.to_be_bytes());
    text.extend_from_slice(&old.0);
    text.extend_from_slice(&new.0);
    text
}

impl Succession {
    /// Both keys agree that `new` follows `old` as the key of `node`, as a change of this config
    /// version.
    ///
    /// # Errors
    /// [`CannotSign`].
    pub fn agreed(
        cluster: ClusterId,
        node: NodeId,
        version: u64,
        old: &Keys,
        new: &Keys,
    ) -> Result<Succession, CannotSign> {
        let signed = text(cluster, node, version, old.fingerprint(), new.fingerprint());
        let signature = Signature::made(old, &signed)?;
        let consent = Signature::made(new, &signed)?;
        let letter = Letter { cluster, node, version, old: spki(old)?, new: spki(new)?, signature };
        Ok(Succession { letter, consent })
    }

    /// Whether both keys have signed.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.letter.is_signed() && self.consent.is_of(&self.letter.new, &self.letter.text())
    }
}

impl Letter {
    /// The key that signs.
    #[must_use]
    pub fn old(&self) -> Fingerprint {
        Fingerprint::of_spki(&self.old.0)
    }

    /// The key that follows.
    #[must_use]
    pub fn new_key(&self) -> Fingerprint {
        Fingerprint::of_spki(&self.new.0)
    }

    fn text(&self) -> Vec<u8> {
        text(self.cluster, self.node, self.version, self.old(), self.new_key())
    }

    /// Whether the old key has signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signature.is_of(&self.old, &self.text())
    }

    /// As it goes beside a certificate.
    ///
    /// # Errors
    /// The serialiser's; no value of a letter is known to have one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|e| e.to_string())
    }

    /// A letter that came beside a certificate; `None` when it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Letter> {
        let small = bytes.len() <= LARGEST && bytes.first() == Some(&b'{');
        if small { serde_json::from_slice(bytes).ok() } else { None }
    }
}

/// Whether these letters lead from one key of a node to another. Nothing is verified before a
/// letter fits, so a stranger can have [`MOST`] signatures looked at, and no more.
#[must_use]
pub fn leads(
    letters: &[Letter],
    cluster: ClusterId,
    node: NodeId,
    from: Fingerprint,
    to: Fingerprint,
) -> bool {
    let mut at = from;
    for _ in 0..MOST {
        let fits = |l: &&Letter| l.cluster == cluster && l.node == node && l.old() == at;
        let Some(letter) = letters.iter().take(MOST).find(fits) else { return false };
        if !letter.is_signed() {
            return false;
        }
        at = letter.new_key();
        if at == to {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::{self, KeyKind};

    fn keys(kind: KeyKind) -> Keys {
        Keys::from_made(&keys::make(kind).unwrap()).unwrap()
    }

    fn ids() -> (ClusterId, NodeId) {
        (ClusterId::from_random(1), NodeId::from_random(2))
    }

    fn letter(old: &Keys, new: &Keys) -> Letter {
        let (cluster, node) = ids();
        Succession::agreed(cluster, node, 7, old, new).unwrap().letter
    }

    #[test]
    fn keys_of_either_kind_name_a_successor_of_either_kind() {
        let (rsa, ec) = (keys(KeyKind::Rsa3072), keys(KeyKind::EcdsaP256));
        let (cluster, node) = ids();
        for (old, new) in [(&rsa, &ec), (&ec, &rsa)] {
            let agreed = Succession::agreed(cluster, node, 7, old, new).unwrap();
            assert!(agreed.is_agreed());
            assert_eq!(
                (agreed.letter.old(), agreed.letter.new_key()),
                (old.fingerprint(), new.fingerprint())
            );
            let text = serde_json::to_string(&agreed).unwrap();
            assert_eq!(serde_json::from_str::<Succession>(&text).unwrap(), agreed);
            let bytes = agreed.letter.to_bytes().unwrap();
            assert!(bytes.len() < LARGEST, "{}", bytes.len());
            assert_eq!(Letter::from_bytes(&bytes), Some(agreed.letter));
        }
    }

    #[test]
    fn whatever_is_changed_afterwards_is_not_signed() {
        let (old, new, other) =
            (keys(KeyKind::EcdsaP256), keys(KeyKind::EcdsaP256), keys(KeyKind::EcdsaP256));
        let (cluster, node) = ids();
        let good = Succession::agreed(cluster, node, 7, &old, &new).unwrap();
        let foreign = Succession::agreed(cluster, node, 7, &other, &other).unwrap();
        let changed = |change: &dyn Fn(&mut Succession)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.is_agreed()
        };
        assert!(!changed(&|s| s.letter.version = 8));
        assert!(!changed(&|s| s.letter.cluster = ClusterId::from_random(9)));
        assert!(!changed(&|s| s.letter.node = NodeId::from_random(9)));
        assert!(!changed(&|s| s.letter.old = foreign.letter.old.clone()));
        assert!(!changed(&|s| s.letter.new = foreign.letter.new.clone()));
        assert!(!changed(&|s| s.letter.signature = foreign.letter.signature.clone()));
        assert!(!changed(&|s| s.letter.signature.scheme = Scheme::RsaPssSha256));
        assert!(!changed(&|s| s.consent = s.letter.signature.clone()), "the old key cannot consent");
        assert!(!changed(&|s| s.letter.signature.bytes.0.truncate(1)));
        assert!(!changed(&|s| s.letter.old = Hex(vec![0x30; 91])));
        assert!(changed(&|_| {}));
    }

    #[test]
    fn letters_lead_forward_and_never_back() {
        let all: Vec<Keys> = (0..6).map(|_| keys(KeyKind::EcdsaP256)).collect();
        let letters: Vec<Letter> = all.windows(2).map(|w| letter(&w[0], &w[1])).collect();
        let (cluster, node) = ids();
        let print = |n: usize| all[n].fingerprint();
        let go = |letters: &[Letter], from, to| leads(letters, cluster, node, print(from), print(to));
        assert!(go(&letters[..1], 0, 1));
        assert!(go(&letters[..3], 0, 3) && go(&letters[..3], 1, 3));
        assert!(!go(&letters[..3], 3, 0) && !go(&letters[..3], 1, 0) && !go(&letters[..3], 0, 0));
        assert!(!go(&letters[1..3], 0, 3), "a gap");
        assert!(!go(&letters, 0, 5), "more than are looked at");
        assert!(go(&letters[1..], 1, 5));
        assert!(!leads(&letters[..1], ClusterId::from_random(9), node, print(0), print(1)));
        assert!(!leads(&letters[..1], cluster, NodeId::from_random(9), print(0), print(1)));
        let mut forged = letters[..2].to_vec();
        forged[1].signature = forged[0].signature.clone();
        assert!(!go(&forged, 0, 2) && go(&forged, 0, 1));
    }

    #[test]
    fn what_is_no_letter_is_none_and_not_a_panic() {
        let whole = letter(&keys(KeyKind::EcdsaP256), &keys(KeyKind::EcdsaP256)).to_bytes().unwrap();
        for at in 0..whole.len() {
            assert_eq!(Letter::from_bytes(&whole[..at]), None);
        }
        let long = [whole.clone(), vec![b' '; LARGEST]].concat();
        for bad in [&b"{}"[..], b"[]", b"{\"old\":\"zz\"}", &[0x30, 0x82], &long] {
            assert_eq!(Letter::from_bytes(bad), None);
        }
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in
            [("\"old\":\"30", "\"old\":\"3"), ("\"old\":\"30", "\"old\":\"3G"), ("{", "{\"x\":1,")]
        {
            assert_eq!(Letter::from_bytes(text.replacen(from, to, 1).as_bytes()), None, "{from} {to}");
        }
    }
}
