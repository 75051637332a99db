//! Layer 1: who we are and whom we know. Keys, certificate, fingerprints, trust store, the secret.
//!
//! Who a node is, is its key: [`Fingerprint`] is the SHA-256 of the certificate's
//! SubjectPublicKeyInfo, and [`Trust`] maps it to a [`NodeId`](crate::base::id::NodeId). Names and
//! dates inside a certificate mean nothing. No socket is opened here, and the YAML of
//! `trust.yaml` is `config::trust`'s.
#![forbid(unsafe_code)]

pub mod cert;
pub mod fingerprint;
pub mod keys;
pub mod pem;
pub mod secret;
pub mod succession;
pub mod trust;
pub mod turnover;
pub mod verifier;

pub use fingerprint::Fingerprint;
pub use keys::{KeyKind, Keys};
pub use succession::{Letter, Succession};
pub use trust::{Known, Trust};

use std::fmt;

/// The operating system gave no random bytes: nothing that must be secret can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes (is getrandom(2) forbidden here?)")
    }
}

impl std::error::Error for NoRandom {}

/// 128 bits that nobody can guess: for ids, seeds, lives of `state/`. From the kernel and not from
/// the crypto provider, whose first draw takes longer than the rest of a start.
///
/// # Errors
/// [`NoRandom`].
pub fn random() -> Result<u128, NoRandom> {
    crate::sys::random::bits().map_err(|_| NoRandom)
}
