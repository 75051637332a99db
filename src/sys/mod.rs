//! Layer 0: the only `unsafe` of the program: signals, peer credentials, limits, poll, ICMP sockets.
#![allow(unsafe_code)]

pub mod errno;
pub mod icmp;
pub mod poll;
