//! Layer 2: reports into verdicts, on the master.
//!
//! `report.rs` has the words; `evaluate.rs` is the rule for one check at one moment, and what
//! "two evaluations in a row" means; `tally.rs` keeps the newest report of every node for every
//! check and says which verdicts should change.
//!
//! Nothing here decides: a [`Transition`] is a proposal, and becomes true when a majority has
//! committed it and `state` has applied it. A verdict is therefore never kept here; the tally is
//! shown the committed one each time, so a new master carries on from the verdicts that are in the
//! state, with whatever reports have reached it.
//!
//! Left out on purpose: clocks (times come in as values), sending, and any memory of the past
//! beyond the newest report of each node.
#![forbid(unsafe_code)]

pub mod evaluate;
pub mod report;
pub mod tally;

pub use report::{Outcome, Report, Seen, Stage, Transition, Verdict, definition};
pub use tally::{NodeSays, Said, Taken, Tally};
