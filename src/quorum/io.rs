//! The contract between the core and its driver: what goes in, what comes out.
//!
//! The driver's duties, in full:
//! 1. Call [`step`](super::Node::step) with every input, in any order, and with
//!    [`Input::Tick`] no later than [`deadline`](super::Node::deadline).
//! 2. Carry out the outputs of one step in order. [`Output::Persist`] goes to the disk, which
//!    carries writes out in the order of `seq` and answers [`Input::Persisted`] when everything up
//!    to a `seq` survives a power cut. Messages that depend on a write are not in the outputs
//!    until that answer has come in: the driver cannot send too early.
//! 3. Apply [`Output::Apply`] entries in order, and replace everything at [`Output::Restore`].
//! 4. Act as master (decide verdicts, deliver alerts) only while
//!    [`may_act`](super::Node::may_act) says so at that moment.
//! 5. A disk that fails: [`Input::DiskFailed`] once, keep trying, [`Input::DiskWorks`] when the
//!    writes go through again. Nothing is dropped in between; the core simply gets no
//!    `Persisted`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::id::{NodeId, RequestId};

use super::message::{
    Blank, Command, Entry, Incarnation, Index, LogEnd, Membership, Message, Snapshot, Term,
};

/// Timing that the operator may change at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often every node speaks to every peer.
    pub heartbeat: Duration,
    /// A peer not heard from for this long is not live; also the election timeout.
    pub dead_after: Duration,
    /// How long a lower NodeID must be live without a gap before it takes over.
    pub cooldown: Duration,
}

/// What the disk remembered, or that it remembers nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// `state/` is whole.
    Remembered(Remembered),
    /// There is no `state/` to go on from: a new node that waits to be added, one that lost it
    /// (I5), or one whose `cluster.yaml` is newer. What `state/` still holds then stays on disk
    /// until the first writes replace it; its life of before is mute until then.
    Blank {
        /// The life that begins now, drawn at random, not 0.
        life: Incarnation,
        /// The highest term that the disk knows; 0 without `state/`.
        term: Term,
        /// What `cluster.yaml` says; `None` for a node that was never a member.
        file: Option<File>,
    },
}

/// A configuration file without the `state/` that belongs to it, or newer than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What is told to the others.
    pub known: Blank,
    /// The state machine made of the file alone: what the cluster starts again from, should every
    /// member have lost its `state/` and this file be the newest.
    pub data: Arc<str>,
    /// This node knows of others than the file names: it gives them time to be heard before it
    /// acts.
    pub others: bool,
}

/// The content of `state/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Term, vote, life.
    pub vote: VoteRecord,
    /// The newest good snapshot. A cluster begins with one (index 0 or higher), so there is
    /// always one.
    pub snapshot: Snapshot,
    /// What follows it, contiguous.
    pub entries: Vec<Entry>,
    /// A commit index that was certain when it was written; a hint, may be behind.
    pub commit: Index,
}

/// What a node must not forget about elections (I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    /// The highest term seen.
    pub term: Term,
    /// For whom it voted in that term.
    pub vote: Option<NodeId>,
    /// Which life of `state/` this is.
    pub life: Incarnation,
}

/// What goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A message; `from` is what the connection's key proved.
    Received {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Everything up to this write is durable.
    Persisted {
        /// The number of the last such write.
        seq: u64,
    },
    /// The disk fails: no promise can be kept until it works again.
    DiskFailed,
    /// The disk works again.
    DiskWorks,
    /// A client's command, at the master.
    Propose(Proposal),
    /// The state machine at `index`, to be kept instead of the log up to there.
    Compact {
        /// An index that was applied.
        index: Index,
        /// The state machine's form.
        data: Arc<str>,
    },
    /// Other timing from now on.
    Timing(Timing),
    /// Give the role away if it is held: to `to`, or to the best follower. For an orderly stop.
    HandOver {
        /// Preferred successor.
        to: Option<NodeId>,
    },
}

/// A command with what it means for the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The command.
    pub command: Command,
    /// The change of members that goes with it, if any.
    pub change: Option<MemberChange>,
}

/// A change of members that a client may ask for. Promotion of a learner and the demotion of a
/// node that lost its `state/` are the core's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// As a learner.
    Add(NodeId),
    /// Voter or learner.
    Remove(NodeId),
}

/// Why a proposal was not taken. Nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This node is not master, or its lease has run out; ask that one, if known.
    NotMaster(Option<NodeId>),
    /// The master has not yet committed the first entry of its term, or is handing over: the same
    /// question in a moment.
    NotReady,
    /// Another change of members is under way (thesis, section 4.1): the same question in a moment.
    ChangePending,
    /// Too many uncommitted entries: the same question in a moment.
    Busy,
    /// The same request is in the log already and its result will come.
    Duplicate,
    /// The one to add is a member.
    AlreadyMember,
    /// The one to remove is not a member.
    NotMember,
    /// Removing the last voter.
    LastVoter,
    /// The voters that would remain and are live are fewer than the quorum they would need.
    WouldLoseQuorum {
        /// Live voters among those that would remain.
        live: usize,
        /// What they would need.
        need: usize,
    },
    /// The one to remove is this master: it hands over first; the same question to the next one.
    HandingOver,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the disk, in the order of `seq`.
    Persist {
        /// Number of this write.
        seq: u64,
        /// What.
        write: Write,
    },
    /// To a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Committed: tell the state machine. Every index once, in order, none left out (entries
    /// without a command too).
    Apply(Entry),
    /// Throw the state machine away and start from this one; the next [`Output::Apply`] follows it.
    Restore(Snapshot),
    /// Who is master has changed, as far as this node knows.
    Role(Role),
    /// A proposal was not taken, or was taken and lost with the role: it may or may not be
    /// committed later, which its request id will tell.
    Refused {
        /// Whose.
        request: RequestId,
        /// Why.
        why: Refusal,
    },
    /// A peer broke the rules; its message was ignored.
    Misbehaved {
        /// Who.
        from: NodeId,
        /// How, for the log.
        what: &'static str,
    },
    /// For the log: something that an operator should know.
    Note(String),
}

/// Who is master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Counts changes of the master, to and from "none" included: 2T while the master of Raft term
    /// T is known, one less before, one more after.
    pub shown_term: u64,
    /// The master, if one is known and heard.
    pub master: Option<NodeId>,
    /// This node is it.
    pub me: bool,
}

/// One write. The store makes each durable before it confirms a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Term and vote.
    Vote(VoteRecord),
    /// Entries follow the last one that was written, after everything above `after` is cut off.
    Append {
        /// The index before the first entry.
        after: Index,
        /// What is appended.
        entries: Vec<Entry>,
    },
    /// A snapshot in place of everything up to its end. `keep_log`: entries above the end that are
    /// in the log stay; otherwise the log is emptied.
    Snapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// Whether later entries stay.
        keep_log: bool,
    },
    /// The commit index, as a hint for the next start: need not be durable for the answer.
    Commit(Index),
}

/// What the driver may know of the core at any moment, for `qu status` and for its own decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Raft term.
    pub term: Term,
    /// As last told by [`Output::Role`].
    pub role: Role,
    /// The membership in force.
    pub membership: Membership,
    /// Live peers and self.
    pub live: BTreeSet<NodeId>,
    /// Live voters, self included when it counts, at least a quorum.
    pub quorum: bool,
    /// Log end.
    pub end: LogEnd,
    /// Commit index.
    pub commit: Index,
    /// This node counts in the membership in force.
    pub counts: bool,
    /// This node goes on from no `state/` of its cluster yet.
    pub blank: bool,
    /// It presents its configuration file, and waits.
    pub standing: Option<Standing>,
}

/// How it stands with a configuration file that a node presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its config version.
    pub version: u64,
    /// A majority of those named is enough.
    pub told: bool,
    /// This node has a `state/`, older than the file.
    pub remembers: bool,
    /// Who is named and presents it, this node included.
    pub with: BTreeSet<NodeId>,
    /// Who is named and presents another file, and of which version.
    pub other: Vec<(NodeId, u64)>,
    /// Who is named, is live and has a state that it goes on from.
    pub remember: BTreeSet<NodeId>,
    /// Who is named and not heard.
    pub silent: BTreeSet<NodeId>,
}
