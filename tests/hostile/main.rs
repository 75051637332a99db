//! A hostile network against real `qu serve` processes: floods, bad bytes, a trusted peer that has
//! gone bad, a man in the middle, bad callers, too few descriptors.
//!
//! Every attack runs against a cluster with the timings that every cluster begins with, and ends
//! with the same questions ([`siege::Siege`]): is the master the same, did everybody hear everybody
//! all the time, is the memory given back? `QUPTIME_HOSTILE_SECONDS` makes the flood of handshakes
//! longer than the few seconds of an ordinary run.

mod client;
mod flood;
mod limits;
mod local;
mod middle;
mod peer;
mod siege;
#[allow(dead_code, unused_imports)] // shared with tests/cluster, each uses its part of it
#[path = "../cluster/support/mod.rs"]
mod support;
