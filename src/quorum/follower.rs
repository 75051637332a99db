//! A follower: takes entries and snapshots from the master, and promises.

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::core::Core;
use super::io::Write;
use super::lesion::Rule;
use super::message::{Entry, Index, LogEnd, Membership, Message, Outcome, Snapshot};

/// The largest snapshot that is taken, bytes: far above what 100,000 checks need, and a bound on
/// what a peer can make this node hold.
const LARGEST_SNAPSHOT: u64 = 256 * 1024 * 1024;

/// A snapshot that is coming in.
#[derive(Debug)]
struct Incoming {
    end: LogEnd,
    total: u64,
    data: String,
}

/// The role.
#[derive(Debug)]
pub struct Follower {
    /// The master of this term, while it is heard.
    pub master: Option<NodeId>,
    /// When it last was.
    pub heard: Mono,
    round: u64,
    /// The log is the master's up to here.
    matched: Index,
    /// What of it was acknowledged.
    acked: Index,
    incoming: Option<Incoming>,
    /// A majority follows the master, by its own word.
    pub settled: bool,
}

/// What came with an append.
pub struct Appending {
    pub round: u64,
    pub before: LogEnd,
    pub entries: Vec<Entry>,
    pub commit: Index,
}

/// What came with a piece of a snapshot.
pub struct Piece {
    pub round: u64,
    pub end: LogEnd,
    pub membership: Membership,
    pub offset: u64,
    pub total: u64,
    pub data: String,
}

impl Follower {
    /// A follower of nobody yet.
    pub fn new(now: Mono) -> Follower {
        Follower { master: None, heard: now, round: 0, matched: 0, acked: 0, incoming: None, settled: false }
    }

    /// The master of this term speaks: it is followed, and held to (thesis, section 6.4.1: the
    /// voters' side of the lease). False when another one was followed in the same term.
    fn follow(&mut self, core: &mut Core, from: NodeId, round: u64) -> bool {
        if self.master.is_some_and(|m| m != from) {
            core.misbehaved(from, "claims to be master in a term that has another one");
            return false;
        }
        if self.master.is_none() {
            *self = Follower { master: Some(from), ..Follower::new(core.now) };
        }
        self.heard = core.now;
        self.round = self.round.max(round);
        core.hold_until = core.hold_until.max(core.now + core.timing.dead_after);
        core.campaign_from = core.now + core.timing.dead_after;
        true
    }

    fn answer(&self, core: &mut Core, to: NodeId, outcome: Outcome) {
        let hold_ms = u64::try_from(core.timing.dead_after.as_millis()).unwrap_or(u64::MAX);
        let message =
            Message::Appended { term: core.term, round: self.round, life: core.life, hold_ms, outcome };
        core.send(to, message);
    }

    /// Acknowledges what is both the master's and on disk.
    fn acknowledge(&mut self, core: &mut Core, to: NodeId) {
        let durable =
            if core.lesions.holds(Rule::AckBeforeFsync) { core.log.durable() } else { core.log.last() };
        self.acked = self.matched.min(durable);
        self.answer(core, to, Outcome::Matched { matched: self.acked });
    }

    /// The disk has got on: the master is told when that makes more of its entries durable.
    pub fn on_persisted(&mut self, core: &mut Core) {
        if let Some(master) = self.master.filter(|_| self.matched.min(core.log.durable()) > self.acked) {
            self.acknowledge(core, master);
        }
    }

    /// Entries from the master (thesis, section 3.5). The term has been dealt with.
    pub fn on_append(&mut self, core: &mut Core, from: NodeId, said: Appending) {
        if let Err(what) = well_formed(core, &said) {
            return core.misbehaved(from, what);
        }
        if !self.follow(core, from, said.round) {
            return;
        }
        if core.blank.is_some() {
            return self.answer(core, from, Outcome::Empty);
        }
        let floor = core.commit;
        if said.before.index > floor && core.log.term_at(said.before.index) != Some(said.before.term) {
            let hint = disagreement(core, said.before.index, floor);
            return self.answer(core, from, Outcome::Gap { before: said.before.index, hint });
        }
        let matched = said.before.index + said.entries.len() as u64;
        if let Err(what) = take(core, said.entries) {
            return core.misbehaved(from, what);
        }
        // Below the commit index everything agrees already (the state machine safety property,
        // thesis section 3.6.3).
        self.matched = self.matched.max(matched).max(floor).min(core.log.last());
        core.commit_to(said.commit.min(self.matched));
        self.acknowledge(core, from);
    }

    /// A piece of the master's snapshot (thesis, section 5.3).
    pub fn on_piece(&mut self, core: &mut Core, from: NodeId, piece: Piece) {
        if !self.follow(core, from, piece.round) {
            return;
        }
        let old = piece.end.index <= core.commit && core.lesions.holds(Rule::OldSnapshotAccepted);
        if old && core.blank.is_none() {
            self.matched = self.matched.max(piece.end.index);
            return self.acknowledge(core, from);
        }
        let end = piece.offset.saturating_add(piece.data.len() as u64);
        if piece.total > LARGEST_SNAPSHOT || end > piece.total {
            return core.misbehaved(from, "sends a snapshot beyond its announced or allowed size");
        }
        let current = self.incoming.as_ref().is_some_and(|i| i.end == piece.end && i.total == piece.total);
        if !current {
            self.incoming = Some(Incoming { end: piece.end, total: piece.total, data: String::new() });
        }
        let Some(incoming) = self.incoming.as_mut() else { return };
        if piece.offset == incoming.data.len() as u64 {
            incoming.data.push_str(&piece.data);
        }
        let have = incoming.data.len() as u64;
        if have < incoming.total {
            return self.answer(core, from, Outcome::Piece { end: piece.end, have });
        }
        let data = self.incoming.take().map(|i| i.data).unwrap_or_default();
        if !(core.readable)(&data) {
            return core.misbehaved(from, "sends a snapshot that this version cannot read");
        }
        core.install(Snapshot { end: piece.end, membership: piece.membership, data: data.into() });
        self.matched = piece.end.index;
        self.acked = 0;
        self.acknowledge(core, from);
    }
}

/// What a well-meaning master cannot send.
fn well_formed(core: &Core, said: &Appending) -> Result<(), &'static str> {
    let mut last = said.before;
    for entry in &said.entries {
        if entry.index != last.index.wrapping_add(1) {
            return Err("sends entries with a gap");
        }
        if entry.term < last.term || entry.term > core.term {
            return Err("sends entries whose terms are out of order");
        }
        last = LogEnd { term: entry.term, index: entry.index };
    }
    Ok(())
}

/// Nothing above this can be the master's: the start of the term that disagrees (thesis, section
/// 3.5, the optional acceleration), never below what is committed.
fn disagreement(core: &Core, before: Index, floor: Index) -> Index {
    let Some(term) = core.log.term_at(before) else { return core.log.last().max(floor) };
    let mut index = before.saturating_sub(1);
    while index > floor && core.log.term_at(index) == Some(term) {
        index -= 1;
    }
    index.max(floor)
}

/// Puts the entries that are not here yet into the log; what disagrees with them goes first.
fn take(core: &mut Core, entries: Vec<Entry>) -> Result<(), &'static str> {
    let mut fresh = Vec::new();
    for entry in entries {
        if entry.index <= core.commit && core.log.term_at(entry.index).is_none_or(|t| t == entry.term) {
            continue;
        }
        if !fresh.is_empty() || core.log.term_at(entry.index) != Some(entry.term) {
            if entry.index <= core.commit {
                return Err("contradicts a committed entry");
            }
            fresh.push(entry);
        }
    }
    let Some(first) = fresh.first() else { return Ok(()) };
    let after = first.index - 1;
    core.log.cut(after);
    for entry in &fresh {
        core.log.push(entry.clone());
    }
    core.persist(Write::Append { after, entries: fresh });
    Ok(())
}
