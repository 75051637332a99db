//! Layer 2: consensus. Who is master, and what has been decided; commands are opaque text.
//!
//! # What it is for
//!
//! Several nodes keep one log of commands. An entry that a majority has on disk is *committed* and
//! is in every later log; every node applies the committed entries in order and so arrives at the
//! same state. One node, the *master*, is elected for a *term* and alone appends. This is Raft as
//! in Ongaro's thesis ("Consensus: Bridging Theory and Practice", Stanford 2014); the sections
//! below and in the code are the thesis's.
//!
//! The code is a function of its inputs ([`io`]): no clock, socket, file, thread or chance. The
//! same code runs in the daemon and in `tests/sim`.
//!
//! # What differs from the textbook, and why it is safe
//!
//! **Rank in place of chance (3.4).** A follower that has not heard a master for dead-after waits
//! one more heartbeat for each live voter of lower NodeID, then campaigns. The order only chooses
//! *who tries first*; safety rests on votes alone. A candidate that is behind or cut off fails its
//! pre-vote (9.6), which changes nothing anywhere, and the next rank tries a heartbeat later (I7).
//! Nodes that see different peers may count the same rank: of two that ask at the same time the
//! higher NodeID stands aside for one heartbeat.
//!
//! **The lease (6.4.1) and what a voter promises (4.2.3).** Each answer to the master carries a
//! promise: for so many milliseconds from now this node helps no other candidate. The master
//! counts 4/5 of that from when it *sent* what was answered, and acts only while a majority's
//! promises run; clocks may differ in rate by 10 %. A voter keeps its promise as a point in time,
//! so that a change of dead-after takes nothing back. A voter that restarts has forgotten its
//! promises: for dead-after from its start its yes is marked *not free*, and such yeses elect
//! only when every voter gave one, the old master among them, whose own vote ends its role.
//!
//! **Handing over (3.10).** The master brings the successor level, stops for good in this term,
//! and only then tells it to campaign; that campaign is exempt from the promises, since the one
//! whom they were made to has stopped. Rank decides when: a voter of lower NodeID that was live
//! without a gap for the cooldown, and hears and is heard by a quorum. An orderly stop and the
//! removal of the master use the same road.
//!
//! **Lives of `state/` (I5).** `state/` carries a random number, its *life*, and the membership
//! records for each voter the life that was counted in. Votes and acknowledgements carry it too;
//! those of another life are void. So a node that lost its disk may say what it likes: it counts
//! for nothing until the master has made it a learner and, when it has caught up, a voter again,
//! with its new life; two single-server changes (4.1), which is what makes forgotten votes
//! harmless: whoever would be elected with them lacks a committed entry that a majority of the
//! others has.
//!
//! **Starting again (I5).** When *every* member is in that state, or an operator says that a majority
//! of those whom a newer file names is enough, `refound.rs` makes a new log of a configuration file.
//! Every message about a log says which start it goes back to, and a node takes up another one only
//! by forgetting its own: so two clusters are never mixed into one.
//!
//! **Membership (4.1, 4.2.1).** One change at a time, in force from the moment it is in the log,
//! begun only when the one before is committed and the first entry of the term is (the flaw in
//! the thesis's first printing). New members are learners until they lack no more than a few
//! entries.
//!
//! **Commands once (6.3).** The core refuses a request that is already in its log and not yet
//! committed; the state machine remembers the results of committed ones. A new master takes
//! proposals only when the first entry of its term is committed, so the two together are complete.
//!
//! # Files
//!
//! `node.rs` is the step and the only door between roles; `core.rs` what all roles share;
//! `follower.rs`, `candidate.rs`, `master.rs` the roles; `progress.rs` what the master knows of one
//! follower; `log.rs` the entries above the snapshot; `liveness.rs` who is heard; `refound.rs` the
//! start from a file; `status.rs` what a node tells of itself; `message.rs` and [`io`] the contracts.
//!
//! # What it leaves out
//!
//! Reads through the log (`qu status` shows what this node knows, and says so), witnesses,
//! pipelined snapshots. A node that can reach the master in one direction only is not live for it.
//! In a cluster of two, the loss of either `state/` stops it until an operator says with a newer file
//! what to believe.
#![forbid(unsafe_code)]

mod candidate;
mod core;
mod follower;
pub mod io;
pub mod lesion;
mod liveness;
mod log;
mod master;
pub mod message;
mod node;
mod progress;
mod refound;
mod status;

pub use node::Node;
