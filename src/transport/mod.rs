//! Layer 3: bytes between nodes.
//!
//! [`Links`] keeps one link to every peer: TLS 1.3 with pinned keys (`tls`), length-prefixed JSON
//! ([`PeerMessage`]), reconnecting for ever. It listens for peers and for those who want to join
//! (`join`); `admit` bounds what strangers may cost. What messages mean, who is a peer and whether
//! to join a cluster is the daemon's; nothing here knows the quorum's rules.
//!
//! ```text
//!   daemon --send, set_peers--> Links ==mailbox==> run (one thread, all sockets) --Event--> daemon
//!                                                  |- dialling   resolve, connect, handshake
//!                                                  |- peers      hello, hear, send
//!                                                  `- strangers  accept, handshake, join
//! ```
//!
//! Adding a node from the other side (`asker`) is a pair of blocking calls for the daemon's own
//! threads.
#![forbid(unsafe_code)]

pub mod admit;
mod answerer;
pub mod asker;
mod dialling;
pub mod frames;
pub mod join;
mod link;
mod links;
pub mod listen;
pub mod message;
mod peers;
mod run;
mod stats;
mod strangers;
mod stream;
pub mod tls;

pub use link::Why;
pub use links::{Event, Links, QUEUE, Sent, Setup, Spawn, StartError, plain_spawn};
pub use message::{AnswerOutcome, Bye, Hello, Misbehaviour, PeerMessage};
pub use stats::{GateStats, PeerStats};

#[cfg(test)]
mod tests;
