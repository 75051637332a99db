//! Layer 0: the only `unsafe` of the program: signals, peer credentials, limits, disk space, poll, ICMP sockets.
#![allow(unsafe_code)]

pub mod child;
pub mod cred;
pub mod disk;
pub mod errno;
pub mod files;
pub mod icmp;
pub mod net;
pub mod poll;
pub mod random;
pub mod signal;
pub mod wait;
