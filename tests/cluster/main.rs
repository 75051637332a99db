//! Real `qu serve` processes on loopback: real TLS between them, real probes, real mails and posts.
//!
//! Every test makes its own cluster of its own directories and ports, so they can run side by
//! side. Each waits for states with a limit. What a failed test leaves behind (logs included) is
//! in the directory that it names.

mod account;
mod alerts;
mod duties;
mod edits;
mod endings;
mod joining;
mod keys;
mod leftovers;
mod looking;
mod manual;
mod mishaps;
mod procedures;
mod refusals;
mod sandbox;
mod secret;
mod standing;
mod storm;
mod support;
mod verdicts;
mod wanted;
