//! Layer 3: the local socket, between the command line and the daemon of the same host.
//!
//! One connection carries one [`Request`] and one [`Reply`], each a frame of JSON. File
//! permissions guard the socket; who asked is known from the kernel and logged with each change.
//! Questions about what is (`qu status` and the listings) are answered from the published
//! picture, without the core; everything else goes to the [`Desk`].
//!
//! The socket knows nothing of the other nodes, and decides nothing.
#![forbid(unsafe_code)]

pub mod client;
pub mod edit;
pub mod message;
pub mod server;
mod stream;

pub use message::{Ask, Done, Reply, Request};
pub use server::{Caller, Desk, Server};
