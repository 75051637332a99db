//! Layer 1: who we are and whom we know. Keys, certificate, fingerprints, trust store, the secret.
#![forbid(unsafe_code)]

pub mod fingerprint;

pub use fingerprint::Fingerprint;
