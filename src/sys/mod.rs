//! Layer 0: the only `unsafe` of the program: signals, peer credentials, limits, poll, ICMP sockets.
#![allow(unsafe_code)]

pub mod signal;
pub mod cred;
pub mod net;
pub mod poll;
pub mod files;
pub mod random;
