//! Layer 3: bytes between nodes.
//!
//! [`Links`] keeps one link to every peer: TLS 1.3 with pinned keys (`tls`), length-prefixed JSON
//! ([`PeerMessage`]), reconnecting for ever. It listens for peers and for those who want to join
//! (`join`); `admit` bounds what strangers may cost. What messages mean, who is a peer and whether
//! to join a cluster is the daemon's; nothing here knows the quorum's rules.
//!
//! ```text
//!   daemon --send, set_peers--> Links ==mailbox==> run (one thread, all sockets) --Event--> daemon
//!                                                  |- peers      dial, hear, send   (link, stream)
//!                                                  `- strangers  accept, join       (listen, admit)
//! ```
#![forbid(unsafe_code)]

pub mod admit;
pub mod join;
mod link;
mod links;
pub mod listen;
pub mod message;
mod peers;
mod run;
mod strangers;
mod stream;
pub mod tls;

pub use link::Why;
pub use links::{Event, GateStats, Links, PeerStats, QUEUE, Sent, Setup, Spawn, StartError, plain_spawn};
pub use message::{AnswerOutcome, Bye, Hello, Misbehaviour, PeerMessage};

#[cfg(test)]
mod tests;
