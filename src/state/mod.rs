//! Layer 2: the replicated state machine.
#![forbid(unsafe_code)]

pub mod command;
