//! Layer 2: reports into verdicts, on the master.
#![forbid(unsafe_code)]

pub mod report;

pub use report::{Outcome, Report, Seen, Stage, Transition, Verdict};
