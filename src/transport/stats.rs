//! What can be seen of the links from outside: for `qu status --mesh` and `qu doctor`.

use std::net::SocketAddr;
use std::time::Duration;

use super::message::{Hello, Misbehaviour};
use crate::base::clock::Wall;
use crate::base::id::NodeId;
use crate::base::units::HostPort;

/// What there is to know about the link to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStats {
    /// Who.
    pub peer: NodeId,
    /// Where it is dialled.
    pub address: HostPort,
    /// Since when there is a connection.
    pub up_since: Option<Wall>,
    /// The other end of the connection that this node dialled, when it is up.
    pub dialled: Option<SocketAddr>,
    /// The other end of the connection that the peer dialled, when it is up.
    pub accepted: Option<SocketAddr>,
    /// How long the last connection took to be made: one round trip.
    pub round_trip: Option<Duration>,
    /// Why it cannot be dialled just now.
    pub trouble: Option<String>,
    /// It refuses this node's key, by its own word.
    pub refuses: bool,
    /// What it last said about itself.
    pub hello: Option<Hello>,
    /// Raw bytes sent since the start.
    pub bytes_out: u64,
    /// Raw bytes received since the start.
    pub bytes_in: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages dropped because the queue was full.
    pub dropped: u64,
    /// Messages dropped because there was no connection.
    pub unsent: u64,
    /// Connections that were up.
    pub connections: u64,
    /// How often it broke the rules.
    pub misbehaviours: u64,
    /// The last time: how, and when.
    pub last_misbehaviour: Option<(Misbehaviour, Wall)>,
}

impl PeerStats {
    pub(super) fn new(peer: NodeId, address: HostPort) -> PeerStats {
        PeerStats {
            peer,
            address,
            up_since: None,
            dialled: None,
            accepted: None,
            round_trip: None,
            trouble: None,
            refuses: false,
            hello: None,
            bytes_out: 0,
            bytes_in: 0,
            sent: 0,
            received: 0,
            dropped: 0,
            unsent: 0,
            connections: 0,
            misbehaviours: 0,
            last_misbehaviour: None,
        }
    }
}

/// What there is to know about connections of strangers, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Connections just now that have not proved a known key.
    pub strangers: usize,
    /// Accepted.
    pub accepted: u64,
    /// Closed at once because there was no place.
    pub refused: u64,
    /// Closed to make room.
    pub pushed_out: u64,
    /// Closed because they did not get on in time or sent too much.
    pub slow: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// Handshakes with a key that is not known, not to join.
    pub untrusted: u64,
    /// Joins that failed.
    pub joins_failed: u64,
    /// Offers that were accepted.
    pub joins: u64,
    /// Times that descriptors or memory ran out.
    pub exhausted: u64,
}
