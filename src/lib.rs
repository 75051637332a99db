//! `qu`: a quorum-based uptime monitor.
//!
//! The rule behind the layout: **what decides is pure and simulated; what acts is small and
//! tested against a real socket.** A module imports from lower layers only; `tests/tidy.rs` holds
//! the table as a test.
//!
//! ```text
//! 5  main, cli                            a person
//! 4  daemon                               threads and channels; the only place that knows everybody
//! 3  store transport control probe deliver    one kind of I/O each; siblings never import each other
//! 2  quorum | verdict < state < alerts < view < doctor  pure: no clock, socket, file, thread
//! 1  config identity                      words of the domain, and their written forms
//! 0  base, sys                            no domain at all
//! ```
//!
//! `quorum` stands alone in layer 2: commands are text to it, and nobody in layer 2 but `view`
//! looks at it.
#![deny(unsafe_code)]

pub mod alerts;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod deliver;
pub mod doctor;
pub mod identity;
pub mod probe;
pub mod quorum;
pub mod state;
pub mod store;
pub mod sys;
pub mod transport;
pub mod verdict;
pub mod view;
