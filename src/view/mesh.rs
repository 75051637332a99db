//! Who hears whom: what each node says of its own connections, side by side.
//!
//! The node that is asked puts the question to every peer; a peer that does not answer in time has
//! a row without a claim. A claim is what that peer says and nothing more: it is shown under the
//! peer's name, and nothing is decided by it. Its texts are cut to size and made harmless, nodes
//! that are no peers are left out of it.
//!
//! As in the picture, fields may be added with `#[serde(default)]`, never renamed or removed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::stamp;
use crate::base::clock::Wall;
use crate::base::id::NodeId;
use crate::base::text;
use crate::base::units::HostPort;

/// What one peer says, in characters at most: a version, a reason.
const LONGEST_WORD: usize = 64;
const LONGEST_REASON: usize = 200;

/// Every node's row, in order of NodeID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// When the question was put, by the wall clock of the node that answers.
    #[serde(with = "stamp")]
    pub at: Wall,
    /// The node that answers.
    pub node: NodeId,
    /// One for each peer, the node that answers among them.
    pub rows: Vec<MeshRow>,
    /// Connections of strangers to the node that answers, since its daemon started.
    #[serde(default)]
    pub strangers: Strangers,
    /// What the daemon that answers sees of its own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<Here>,
}

/// One peer and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshRow {
    /// Who.
    pub node_id: NodeId,
    /// Where the others reach it.
    pub advertise: HostPort,
    /// It is the node that answers.
    pub me: bool,
    /// What it says; absent when it did not answer.
    pub says: Option<Claim>,
    /// Why it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// Its wall clock minus that of the node that answers, milliseconds, half a round trip exact.
    pub clock_offset_ms: Option<i64>,
    /// How long its answer took, milliseconds.
    pub round_trip_ms: Option<u64>,
}

/// What one node says of itself and of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The version of its daemon.
    pub version: String,
    /// How long that has been running, milliseconds.
    pub uptime_ms: u64,
    /// Its wall clock when it answered, milliseconds since 1970: for showing how far apart they are.
    pub clock_ms: u64,
    /// Whom it takes for master.
    pub master: Option<NodeId>,
    /// Its config version.
    pub config_version: u64,
    /// Up to where of the log it has applied.
    pub applied: u64,
    /// Up to where the log is committed, from a node that may act as master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<u64>,
    /// What it sees of every other peer, in order of NodeID.
    pub peers: Vec<Contact>,
}

/// What one node sees of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Of whom.
    pub node_id: NodeId,
    /// Heard from within dead-after.
    pub live: bool,
    /// How long ago it was last heard, milliseconds; absent: never since the daemon started.
    pub heard_ms: Option<u64>,
    /// Where it is dialled.
    pub address: HostPort,
    /// The connection that was dialled there is up.
    pub dialled: bool,
    /// A connection that the other one dialled is up.
    pub accepted: bool,
    /// Why it cannot be dialled just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Messages to it that were dropped because it took them too slowly.
    pub dropped: u64,
    /// How often it spoke nonsense (broke the rules) and was disconnected for it.
    pub nonsense: u64,
    /// The last time: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_nonsense: Option<String>,
    /// And when.
    #[serde(default, with = "stamp::option", skip_serializing_if = "Option::is_none")]
    pub last_nonsense_at: Option<Wall>,
}

/// Connections that did not prove a peer's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Strangers {
    /// Just now.
    pub now: u64,
    /// Accepted so far.
    pub accepted: u64,
    /// Turned away for want of room, pushed out, too slow.
    pub refused: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// Handshakes with a key that is nobody's.
    pub untrusted: u64,
    /// Attempts to add this node to a cluster that failed.
    pub joins_failed: u64,
}

/// What a daemon sees of its own host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    /// Its data directory.
    pub dir: String,
    /// Its user.
    pub uid: u32,
    /// Where it listens for other nodes.
    pub listens: HostPort,
    /// How it may ping.
    pub pings: Pings,
}

/// How a process may ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pings {
    /// IPv4.
    pub v4: PingRight,
    /// IPv6.
    pub v6: PingRight,
    /// The group that `net.ipv4.ping_group_range` would have to include.
    pub group: u32,
    /// That sysctl, as it is.
    pub range: String,
}

/// How a process may ping in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PingRight {
    /// Through an unprivileged datagram socket.
    Datagram,
    /// Through a raw socket.
    Raw,
    /// Not at all.
    Forbidden,
    /// The host has no such family.
    Absent,
}

impl Claim {
    /// What came from a peer, cut to what this node may show: only of `known` peers, texts short
    /// and plain.
    #[must_use]
    pub fn fitted(mut self, known: &BTreeSet<NodeId>) -> Claim {
        // Cut before, because what is made harmless grows, and after, because it has grown.
        let plain =
            |said: &str, longest| text::shorten(&text::harmless(&text::shorten(said, longest)), longest);
        self.version = plain(&self.version, LONGEST_WORD);
        let mut seen = BTreeSet::new();
        self.peers.retain(|c| known.contains(&c.node_id) && seen.insert(c.node_id));
        self.peers.sort_by_key(|c| c.node_id);
        for contact in &mut self.peers {
            for said in [&mut contact.trouble, &mut contact.last_nonsense].into_iter().flatten() {
                *said = plain(said, LONGEST_REASON);
            }
        }
        self
    }

    /// What it says of that peer.
    #[must_use]
    pub fn of(&self, peer: NodeId) -> Option<&Contact> {
        self.peers.iter().find(|c| c.node_id == peer)
    }
}

impl Mesh {
    /// That node's row.
    #[must_use]
    pub fn row(&self, node: NodeId) -> Option<&MeshRow> {
        self.rows.iter().find(|r| r.node_id == node)
    }

    /// What that node says.
    #[must_use]
    pub fn claim(&self, node: NodeId) -> Option<&Claim> {
        self.row(node)?.says.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(n: u128) -> Contact {
        Contact {
            node_id: NodeId::from_random(n),
            live: true,
            heard_ms: Some(5),
            address: "a:1".parse().unwrap(),
            dialled: true,
            accepted: true,
            trouble: Some(format!("\u{1b}[2J{}", "x".repeat(500))),
            dropped: 0,
            nonsense: 0,
            last_nonsense: None,
            last_nonsense_at: None,
        }
    }

    #[test]
    fn a_claim_is_cut_to_known_peers_and_short_plain_texts() {
        let claim = Claim {
            version: "9\u{202e}".repeat(100),
            uptime_ms: 0,
            clock_ms: 0,
            master: None,
            config_version: 1,
            applied: 1,
            committed: None,
            peers: vec![contact(3), contact(2), contact(9), contact(2)],
        };
        let known = [2, 3].map(NodeId::from_random).into_iter().collect();
        let fitted = claim.fitted(&known);
        assert_eq!(fitted.peers.iter().map(|c| c.node_id).collect::<BTreeSet<_>>(), known);
        assert_eq!(fitted.peers.len(), 2);
        let said = fitted.peers[0].trouble.as_ref().unwrap();
        assert!(said.starts_with("\\u{1b}[2J") && said.len() < 250, "{said}");
        assert!(!fitted.version.contains('\u{202e}'));
    }

    #[test]
    fn a_claim_of_a_newer_version_may_say_more() {
        let mut value = serde_json::to_value(contact(1)).unwrap();
        value["colour"] = "blue".into();
        assert_eq!(serde_json::from_value::<Contact>(value).unwrap(), contact(1));
    }
}
