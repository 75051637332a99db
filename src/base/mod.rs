//! Layer 0: what knows nothing of monitoring. Identities, time, chance, text, files, frames.
//!
//! Uses std and serde only. Nothing here starts a thread or opens a socket.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod file;
pub mod frame;
pub mod id;
pub mod log;
pub mod rng;
pub mod shared;
pub mod tar;
pub mod text;
pub mod units;
