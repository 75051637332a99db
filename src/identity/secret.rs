//! The cluster secret, and the proof of knowing it without saying it.
//!
//! A proof is an HMAC-SHA256, keyed with the secret, over
//! * a label, so that it is of no use in any other protocol;
//! * the role of who proves, so that a proof sent back to its maker does not verify;
//! * the TLS exporter value (RFC 8446, section 7.5) of the connection it is sent over, so that it
//!   is of no use on any other connection, now or later;
//! * the key fingerprints of both ends, asker first: a TLS 1.3 exporter does not cover the
//!   client's certificate, so the client's key is tied in here.
//!
//! A man in the middle who was trusted by mistake has two TLS connections, hence two exporter
//! values: what one side proves to him he cannot show to the other. What he does get is a MAC to
//! try guesses against, which is why the asker (who chose the other end, and whose operator
//! confirmed it) proves first, why a stranger who connects gets none, and why a secret that
//! somebody thought up is warned about ([`weakness`]).

use aws_lc_rs::hmac;

use super::fingerprint::Fingerprint;
use super::{NoRandom, pem};
use crate::base::id::{NodeId, RequestId};

/// Bytes of chance in a secret that this program makes.
const LENGTH: usize = 32;
/// Under this many characters a secret is within reach of guessing.
const SHORT: usize = 22;
/// What every proof begins with.
const LABEL: &[u8] = b"quptime join proof 1";
/// What every comparison between peers begins with.
const COMPARED: &[u8] = b"quptime secret compared 1";
/// Bytes of the exporter value.
pub const EXPORTER_LENGTH: usize = 32;
/// The exporter's label.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-quptime-join-1";

/// Makes a cluster secret: 32 random bytes as 43 characters that need no quoting anywhere.
///
/// # Errors
/// [`NoRandom`].
pub fn make() -> Result<String, NoRandom> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(pem::base64_url(&bytes))
}

/// What is wrong with a secret that an operator chose, as a warning; `None` when it is long enough.
#[must_use]
pub fn weakness(secret: &str) -> Option<String> {
    let length = secret.trim().chars().count();
    (length < SHORT).then(|| {
        format!(
            "the cluster secret has {length} characters and could be guessed \
             (want {SHORT} or more; `qu init` makes one when none is given)"
        )
    })
}

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that dialled: the member that adds.
    Asker,
    /// The side that was dialled: the node that is added.
    Answerer,
}

/// One TLS connection, as both its ends see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The exporter value under [`EXPORTER_LABEL`], without context.
    pub exporter: [u8; EXPORTER_LENGTH],
    /// The asker's key.
    pub asker: Fingerprint,
    /// The answerer's key.
    pub answerer: Fingerprint,
}

fn mac(secret: &str, role: Role, session: &Session) -> Vec<u8> {
    let mut text = LABEL.to_vec();
    text.push(match role {
        Role::Asker => 1,
        Role::Answerer => 2,
    });
    // Every part has a fixed length: no two sessions share a text.
    text.extend_from_slice(&session.exporter);
    text.extend_from_slice(&session.asker.0);
    text.extend_from_slice(&session.answerer.0);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim().as_bytes());
    hmac::sign(&key, &text).as_ref().to_vec()
}

/// The proof that `role` knows the secret, as lower-case hex.
#[must_use]
pub fn prove(secret: &str, role: Role, session: &Session) -> String {
    mac(secret, role, session).iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether `proof` shows that the other end, being `role`, knows the secret. Takes the same time
/// for every wrong proof of the right length. An empty secret verifies nothing.
#[must_use]
pub fn verify(secret: &str, role: Role, session: &Session, proof: &str) -> bool {
    let wanted = prove(secret, role, session);
    let equal = aws_lc_rs::constant_time::verify_slices_are_equal(wanted.as_bytes(), proof.as_bytes());
    equal.is_ok() && !secret.trim().is_empty()
}

/// What a peer shows another to find out whether their secrets are the same: a MAC over a number
/// that is used once and who shows it, as lower-case hex. Peers only: they know a secret already.
#[must_use]
pub fn show(secret: &str, nonce: RequestId, who: NodeId) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim().as_bytes());
    let text = [COMPARED, nonce.to_string().as_bytes(), who.to_string().as_bytes()].concat();
    hmac::sign(&key, &text).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether what `who` shows was made with this secret.
#[must_use]
pub fn same(secret: &str, nonce: RequestId, who: NodeId, shown: &str) -> bool {
    let wanted = show(secret, nonce, who);
    aws_lc_rs::constant_time::verify_slices_are_equal(wanted.as_bytes(), shown.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session { exporter: [1; 32], asker: Fingerprint([2; 32]), answerer: Fingerprint([3; 32]) }
    }

    #[test]
    fn a_proof_verifies_for_its_secret_role_and_session_and_for_no_other() {
        let proof = prove("secret", Role::Asker, &session());
        assert!(verify("secret", Role::Asker, &session(), &proof));
        assert!(verify(" secret\n", Role::Asker, &session(), &proof), "blanks of a file do not count");
        assert!(!verify("Secret", Role::Asker, &session(), &proof));
        assert!(!verify("secret", Role::Answerer, &session(), &proof), "a reflected proof");
        for other in [
            Session { exporter: [9; 32], ..session() },
            Session { asker: Fingerprint([9; 32]), ..session() },
            Session { answerer: Fingerprint([9; 32]), ..session() },
            Session { asker: session().answerer, answerer: session().asker, ..session() },
        ] {
            assert!(!verify("secret", Role::Asker, &other, &proof));
        }
        for bad in ["", "00", &proof[1..], &proof.to_uppercase(), &format!("{proof}0")] {
            assert!(!verify("secret", Role::Asker, &session(), bad));
        }
    }

    #[test]
    fn secrets_are_compared_without_being_told_and_only_by_whoever_shows_them() {
        let (nonce, who) = (RequestId::from_random(1), NodeId::from_random(2));
        let shown = show("secret", nonce, who);
        assert!(same("secret", nonce, who, &shown) && same("secret\n", nonce, who, &shown));
        assert!(!same("Secret", nonce, who, &shown));
        assert!(!same("secret", RequestId::from_random(3), who, &shown));
        assert!(!same("secret", nonce, NodeId::from_random(3), &shown), "sent back to who showed it");
        assert!(!same("secret", nonce, who, ""));
    }

    #[test]
    fn no_secret_lets_nobody_in() {
        let proof = prove("", Role::Asker, &session());
        assert!(!verify("", Role::Asker, &session(), &proof));
    }

    #[test]
    fn a_secret_that_was_made_is_strong_and_never_the_same() {
        let (one, two) = (make().unwrap(), make().unwrap());
        assert_ne!(one, two);
        assert_eq!((one.len(), weakness(&one)), (43, None));
        assert!(weakness("hunter2").unwrap().contains("7 characters"));
    }
}
