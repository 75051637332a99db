//! Layer 2: consensus.
#![forbid(unsafe_code)]

pub mod io;
pub mod message;
