//! What cores say to each other. One variant a message; every field documented.
//!
//! The sender is not a field: the driver passes in who the connection's key proved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::id::{NodeId, RequestId};

/// A term of mastership; at most one master in each (I1).
pub type Term = u64;
/// A position in the log; the first entry has 1.
pub type Index = u64;

/// One life of a node's `state/`. Drawn at random when `state/` is made; a node that lost it comes
/// back with another one, and everything the old one promised is then known to be forgotten (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Which start from a configuration file a log goes back to (`refound.rs`): no two logs of different
/// starts are ever mixed. 0 is the log that a cluster began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Founding(pub u64);

impl Founding {
    /// The log that a cluster began with.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.0 == 0
    }
}

/// Who counts. Thesis, section 4.1: a change adds or removes one voter at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Members that count towards the quorum, each with the life of its `state/` that was counted
    /// in. A promise of any other life of that node is void.
    pub voters: BTreeMap<NodeId, Incarnation>,
    /// Members that are being caught up (thesis, section 4.2.1) and do not count yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub learners: BTreeSet<NodeId>,
    /// What the log goes back to.
    #[serde(default, skip_serializing_if = "Founding::is_first")]
    pub founding: Founding,
}

impl Membership {
    /// How many voters are a quorum: floor(N/2)+1.
    #[must_use]
    pub fn need(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Voters and learners.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.keys().copied().chain(self.learners.iter().copied())
    }

    /// Whether `node` is a voter in this life.
    #[must_use]
    pub fn counts(&self, node: NodeId, life: Incarnation) -> bool {
        self.voters.get(&node) == Some(&life)
    }
}

/// A command, opaque to the core: text that the state machine understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Under which it is applied once.
    pub request: RequestId,
    /// What it says. Shared: the log, the links and the disk all hold it.
    pub text: Arc<str>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub index: Index,
    /// The term of the master that made it.
    pub term: Term,
    /// What the state machine is told; `None` for the first entry of a term (thesis, section 6.4)
    /// and for changes of membership that the core makes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// The membership from this entry on; it holds as soon as the entry is in the log (thesis,
    /// section 4.1), and is taken back when the entry is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
}

impl Entry {
    /// About how much it takes in a message, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.command.as_ref().map_or(0, |c| c.text.len()) + 64
    }
}

/// Where a log ends: what votes are judged by (thesis, section 3.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEnd {
    /// Term of the last entry. Compared first.
    pub term: Term,
    /// Index of the last entry.
    pub index: Index,
}

/// The state machine at one index, with what the core must know to go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry it contains.
    pub end: LogEnd,
    /// The membership at that entry.
    pub membership: Membership,
    /// The state machine's own form, opaque here.
    pub data: Arc<str>,
}

/// What one core tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Every node to every peer each heartbeat, for ever: I live.
    Beat {
        /// The sender's term.
        term: Term,
        /// Whom the sender follows in that term, itself when it is master.
        master: Option<NodeId>,
        /// Which life of `state/` speaks.
        life: Incarnation,
        /// Peers that the sender hears (from which something came within dead-after).
        hears: BTreeSet<NodeId>,
        /// The sender's log end; what it has durable.
        end: LogEnd,
        /// Set while the sender goes on from no `state/`: what its `cluster.yaml` says (I5).
        blank: Option<Blank>,
    },
    /// Would you vote for me? Changes nothing at either side (thesis, section 9.6).
    PreVote {
        /// The term the sender would campaign in.
        term: Term,
        /// Its log end.
        end: LogEnd,
    },
    /// Answer to [`Message::PreVote`].
    PreVoted {
        /// The term that was asked about.
        asked: Term,
        /// The voter's own term.
        term: Term,
        /// Yes or no.
        granted: bool,
        /// The voter's life of `state/`.
        life: Incarnation,
        /// False while the voter may still be held by a promise to a master that it has forgotten
        /// by restarting: such a yes counts only together with everybody's.
        free: bool,
    },
    /// Vote for me (thesis, section 3.4).
    Vote {
        /// The candidate's term.
        term: Term,
        /// Its log end.
        end: LogEnd,
        /// The old master handed over to this candidate: the lease does not hold the voter back
        /// (thesis, section 4.2.3).
        transfer: bool,
    },
    /// Answer to [`Message::Vote`]; sent only when the vote is on disk.
    Voted {
        /// The voter's term.
        term: Term,
        /// Yes or no.
        granted: bool,
        /// The voter's life of `state/`.
        life: Incarnation,
        /// As in [`Message::PreVoted`].
        free: bool,
    },
    /// Master to follower: entries, or none (thesis, section 3.5).
    Append {
        /// The master's term.
        term: Term,
        /// Counts the master's rounds; answered with, so that the master knows when it *sent*
        /// what a majority answered (the lease, thesis section 6.4.1).
        round: u64,
        /// The entry before the first of `entries`.
        before: LogEnd,
        /// In order, contiguous; bounded in bytes.
        entries: Vec<Entry>,
        /// The master's commit index.
        commit: Index,
        /// What the master's log goes back to.
        founding: Founding,
        /// A majority follows the master: it may act.
        settled: bool,
    },
    /// Answer to [`Message::Append`] and [`Message::Piece`]; `matched` never goes beyond what is
    /// on the follower's disk.
    Appended {
        /// The follower's term.
        term: Term,
        /// The highest round seen from this master in this term.
        round: u64,
        /// The follower's life of `state/`.
        life: Incarnation,
        /// The follower's promise, milliseconds: for so long from when it got that round it votes
        /// for nobody else. The master's lease rests on it.
        hold_ms: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// Master to follower: a bounded piece of a snapshot (thesis, section 5.3).
    Piece {
        /// The master's term.
        term: Term,
        /// As in [`Message::Append`].
        round: u64,
        /// Which snapshot.
        end: LogEnd,
        /// Its membership.
        membership: Membership,
        /// Byte at which `data` begins.
        offset: u64,
        /// Length of the whole, bytes.
        total: u64,
        /// The piece.
        data: String,
        /// As in [`Message::Append`].
        settled: bool,
    },
    /// The master has stopped and hands over: campaign now (thesis, section 3.10).
    TakeOver {
        /// The term that the sender was master of.
        term: Term,
    },
    /// Between nodes that go on from no `state/`: let us start again from my configuration.
    Refound {
        /// The new term, above every one that was heard of.
        term: Term,
        /// The founder's config version.
        version: u64,
        /// What the new log would go back to.
        founding: Founding,
    },
    /// Answer to [`Message::Refound`]: I go on from nothing else, and follow you in `term`.
    Refounded {
        /// The term that was agreed to.
        term: Term,
        /// The life of `state/` that starts with it.
        life: Incarnation,
    },
}

/// No cluster comes to as many entries, rounds or bytes: numbers up to here can be added to.
const MOST: u64 = 1 << 62;
/// No two members are as many elections apart: a term takes a majority that was asked before, so it
/// would have been an election each heartbeat for half a year.
const MOST_TERMS: Term = 1 << 24;
/// More members no cluster has.
const CROWD: usize = 1024;

impl Message {
    /// Why no member can mean this, seen from one that is in `term`; `None` when one can. A number
    /// near the end of its range would leave nothing to count on with, and a term far ahead would
    /// take the members there with one message.
    #[must_use]
    pub fn impossible(&self, term: Term) -> Option<&'static str> {
        let (highest, count) = self.furthest();
        if highest > term.saturating_add(MOST_TERMS).min(MOST) {
            return Some("speaks of a term that no election came to");
        }
        if count > MOST {
            return Some("counts further than any log goes");
        }
        (self.crowd() > CROWD).then_some("names more peers than a cluster has")
    }

    /// The most nodes that one of its parts names.
    fn crowd(&self) -> usize {
        match self {
            Message::Beat { hears, blank, .. } => {
                hears.len().max(blank.as_ref().map_or(0, |b| b.members.len()))
            }
            Message::Piece { membership, .. } => membership.members().count(),
            Message::Append { entries, .. } => {
                let members = entries.iter().filter_map(|e| e.membership.as_ref());
                members.map(|m| m.members().count()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The highest of its terms, and the highest of its other numbers.
    fn furthest(&self) -> (Term, u64) {
        match self {
            Message::Beat { term, end, blank, .. } => {
                (end.term.max(*term), end.index.max(blank.as_ref().map_or(0, |b| b.version)))
            }
            Message::PreVote { term, end } | Message::Vote { term, end, .. } => {
                (end.term.max(*term), end.index)
            }
            Message::PreVoted { asked, term, .. } => (*asked.max(term), 0),
            Message::Voted { term, .. } | Message::TakeOver { term } | Message::Refounded { term, .. } => {
                (*term, 0)
            }
            Message::Append { term, round, before, entries, commit, .. } => {
                let first = (before.term.max(*term), before.index.max(*round).max(*commit));
                entries.iter().fold(first, |(t, n), e| (t.max(e.term), n.max(e.index)))
            }
            Message::Appended { term, round, hold_ms, outcome, .. } => {
                let end = outcome.furthest();
                (end.term.max(*term), end.index.max(*round).max(*hold_ms))
            }
            Message::Piece { term, round, end, offset, total, .. } => {
                (end.term.max(*term), end.index.max(*round).max(*offset).max(*total))
            }
            Message::Refound { term, version, .. } => (*term, *version),
        }
    }
}

/// What a node that goes on from no `state/` knows from its `cluster.yaml` (I5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blank {
    /// The config version in the file.
    pub version: u64,
    /// The members in the file.
    pub members: BTreeSet<NodeId>,
    /// Of the whole content: two files with the same one are the same.
    pub digest: u64,
    /// The operator said that a majority of those named is enough to start again (`--recover`).
    pub told: bool,
    /// The node has a `state/`, older than the file, that it may go back to.
    pub remembers: bool,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything up to `matched` is the master's and on disk here.
    Matched {
        /// Highest such index.
        matched: Index,
    },
    /// The entry before the first one is not here; send from after `hint` (thesis, section 3.5,
    /// with the follower's last index as the hint).
    Gap {
        /// The `before` index that did not fit.
        before: Index,
        /// Nothing above this can match.
        hint: Index,
    },
    /// There is no state here at all, not even the founding one: send the snapshot.
    Empty,
    /// A piece was taken; the next one starts here.
    Piece {
        /// Which snapshot.
        end: LogEnd,
        /// Bytes that are here.
        have: u64,
    },
}

impl Outcome {
    fn furthest(self) -> LogEnd {
        match self {
            Outcome::Matched { matched } => LogEnd { term: 0, index: matched },
            Outcome::Gap { before, hint } => LogEnd { term: 0, index: before.max(hint) },
            Outcome::Empty => LogEnd::default(),
            Outcome::Piece { end, have } => LogEnd { index: end.index.max(have), ..end },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_cluster_reaches_are_named_in_every_message() {
        let (far, life, end) = (u64::MAX, Incarnation(1), LogEnd::default());
        let (hears, blank, membership) = (BTreeSet::new(), None, Membership::default());
        let (index, term) = (LogEnd { term: 1, index: far }, LogEnd { term: far, index: 1 });
        let appended = |outcome| Message::Appended { term: 1, round: 1, life, hold_ms: 1, outcome };
        let append = |before, commit| {
            let (entries, founding) = (Vec::new(), Founding(1));
            Message::Append { term: 1, round: 1, before, entries, commit, founding, settled: true }
        };
        let piece = |end, offset, total| {
            let (membership, data) = (membership.clone(), String::new());
            Message::Piece { term: 1, round: 1, end, membership, offset, total, data, settled: true }
        };
        for message in [
            Message::Beat { term: far, master: None, life, hears: hears.clone(), end, blank: blank.clone() },
            Message::Beat { term: 1, master: None, life, hears, end: index, blank },
            Message::PreVote { term: far, end },
            Message::PreVoted { asked: far, term: 1, granted: true, life, free: true },
            Message::Vote { term: 1, end: term, transfer: true },
            Message::Voted { term: far, granted: true, life, free: true },
            Message::TakeOver { term: far },
            Message::Refound { term: far, version: 1, founding: Founding(1) },
            Message::Refounded { term: far, life },
            append(index, 1),
            append(end, far),
            piece(index, 0, 1),
            piece(end, far, 1),
            piece(end, 0, far),
            appended(Outcome::Matched { matched: far }),
            appended(Outcome::Gap { before: 1, hint: far }),
            appended(Outcome::Piece { end: term, have: 1 }),
        ] {
            assert!(message.impossible(1).is_some(), "{message:?}");
        }
        assert_eq!(appended(Outcome::Empty).impossible(1), None);
    }

    #[test]
    fn a_crowd_of_peers_is_named() {
        let beat = |count: u128| {
            let hears = (0..count).map(|n| NodeId::from_random(n << 90)).collect();
            let (master, life, end, blank) = (None, Incarnation(1), LogEnd::default(), None);
            Message::Beat { term: 1, master, life, hears, end, blank }
        };
        assert_eq!(beat(99).impossible(1), None);
        assert!(beat(2000).impossible(1).is_some_and(|why| why.contains("peers")));
    }
}
