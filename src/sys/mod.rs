//! Layer 0: the only `unsafe` of the program: signals, peer credentials, limits, disk space, poll, ICMP sockets.
//! Layer 0: the only `unsafe` of the program: signals, peer credentials, limits, poll, ICMP sockets,
//! and what the allocator keeps.
#![allow(unsafe_code)]

pub mod child;
pub mod cred;
pub mod disk;
pub mod errno;
pub mod files;
pub mod host;
pub mod icmp;
pub mod memory;
pub mod net;
pub mod poll;
pub mod random;
pub mod signal;
pub mod wait;
