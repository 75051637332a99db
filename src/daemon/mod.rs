//! Layer 4: the wiring.
#![forbid(unsafe_code)]

pub mod lock;
pub mod notify;
pub mod plan;
pub mod threads;
