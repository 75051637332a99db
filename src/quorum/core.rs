//! What every role has: identity, term and vote, log, disk queue, liveness, timing, output.
//!
//! Roles get `&mut Core` and may change all of it but the role itself; that is `node.rs`'s door.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::io::{Output, Timing, VoteRecord, Write};
use super::lesion::{Lesions, Rule};
use super::liveness::Liveness;
use super::log::Log;
use super::message::{Incarnation, Index, LogEnd, Membership, Message, Snapshot, Term};
use super::refound::BlankPart;

/// The common part.
#[derive(Debug)]
pub struct Core {
    pub me: NodeId,
    pub life: Incarnation,
    pub term: Term,
    pub vote: Option<NodeId>,
    pub log: Log,
    pub commit: Index,
    pub applied: Index,
    pub liveness: Liveness,
    /// It goes on from no `state/`.
    pub blank: Option<BlankPart>,
    pub timing: Timing,
    pub now: Mono,
    /// Promised to a master that was heard: no vote for anybody else until then. Absolute, so that
    /// a change of dead-after takes nothing back.
    pub hold_until: Mono,
    /// Before this the node may be bound by a promise from before its restart.
    pub free_from: Mono,
    /// Not before this, plus one heartbeat for each live voter of lower NodeID.
    pub campaign_from: Mono,
    /// When a voter of lower NodeID last asked whether it would win, and might.
    pub lower_asked: Option<Mono>,
    /// Since when a quorum of voters is live, without a gap.
    pub quorum_since: Option<Mono>,
    pub next_beat: Mono,
    pub disk_works: bool,
    /// A master of this term was known.
    pub knew_master: bool,
    pub lesions: Lesions,
    /// Whether the state machine can go on from a snapshot's data.
    pub readable: fn(&str) -> bool,
    pub out: Vec<Output>,
    seq: u64,
    persisted: u64,
    hinted: Index,
    waiting: VecDeque<(u64, NodeId, Message)>,
}

impl Core {
    pub fn new(me: NodeId, timing: Timing, now: Mono, vote: VoteRecord, log: Log) -> Core {
        let commit = log.snapshot().map_or(0, |s| s.end.index);
        let term = vote.term.max(log.end().term);
        let others = log.membership().is_some_and(|m| m.voters.len() > 1);
        Core {
            me,
            life: vote.life,
            term,
            // A term that only the log knows is one that this node never voted in.
            vote: if term == vote.term { vote.vote } else { None },
            knew_master: log.end().term == term && term > 0,
            log,
            commit,
            applied: commit,
            liveness: Liveness::default(),
            blank: None,
            timing,
            now,
            hold_until: Mono(0),
            free_from: if others { now + timing.dead_after } else { now },
            campaign_from: now,
            lower_asked: None,
            quorum_since: None,
            next_beat: now,
            disk_works: true,
            lesions: Lesions::default(),
            readable: |_| true,
            out: Vec::new(),
            seq: 0,
            persisted: 0,
            hinted: commit,
            waiting: VecDeque::new(),
        }
    }

    /// A duration that is a fraction of the heartbeat.
    pub fn beats(&self, of: u32, by: u32) -> Duration {
        self.timing.heartbeat * of / by
    }

    pub fn send(&mut self, to: NodeId, message: Message) {
        self.out.push(Output::Send { to, message });
    }

    /// Sends when everything up to `seq` is on disk.
    pub fn send_after(&mut self, seq: u64, to: NodeId, message: Message) {
        if seq <= self.persisted {
            self.send(to, message);
        } else {
            self.waiting.push_back((seq, to, message));
        }
    }

    pub fn misbehaved(&mut self, from: NodeId, what: &'static str) {
        self.out.push(Output::Misbehaved { from, what });
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.out.push(Output::Note(text.into()));
    }

    /// Hands a write to the disk; the number tells when it is done.
    pub fn persist(&mut self, write: Write) -> u64 {
        self.seq += 1;
        let changes_log = matches!(write, Write::Append { .. } | Write::Snapshot { .. });
        self.out.push(Output::Persist { seq: self.seq, write });
        if changes_log {
            self.log.writing(self.seq);
        }
        self.seq
    }

    /// Writes term and vote as they are now. A blank node has promised nothing that another life
    /// would be bound by, so it writes nothing until it has a state.
    pub fn persist_vote(&mut self) -> u64 {
        if self.blank.is_some() {
            return self.persisted;
        }
        let record = VoteRecord { term: self.term, vote: self.vote, life: self.life };
        self.persist(Write::Vote(record))
    }

    /// Everything up to `seq` is on disk: what waited for it goes out.
    pub fn on_persisted(&mut self, seq: u64) {
        self.persisted = self.persisted.max(seq);
        self.log.written(seq);
        while self.waiting.front().is_some_and(|(n, ..)| *n <= self.persisted) {
            if let Some((_, to, message)) = self.waiting.pop_front() {
                self.send(to, message);
            }
        }
    }

    pub fn is_persisted(&self, seq: u64) -> bool {
        seq <= self.persisted
    }

    /// The next start may go on from the commit index as it is now.
    pub fn hint_commit(&mut self) {
        if self.commit > self.hinted && self.blank.is_none() {
            self.hinted = self.commit;
            self.persist(Write::Commit(self.commit));
        }
    }

    /// A higher term was seen: it is ours from now on, with no vote in it.
    pub fn enter_term(&mut self, term: Term) {
        assert!(term > self.term, "enter_term: {term} is not above {}", self.term);
        self.term = term;
        self.vote = None;
        self.knew_master = false;
        self.persist_vote();
    }

    pub fn membership(&self) -> Option<&Membership> {
        self.log.membership()
    }

    /// Whether a promise of `node` in this life counts.
    pub fn counts(&self, node: NodeId, life: Incarnation) -> bool {
        let Some(m) = self.membership() else { return false };
        if self.lesions.holds(Rule::AmnesiacCounts) {
            m.counts(node, life)
        } else {
            m.voters.contains_key(&node)
        }
    }

    pub fn is_voter(&self) -> bool {
        self.counts(self.me, self.life)
    }

    pub fn need(&self) -> usize {
        self.membership().map_or(usize::MAX, Membership::need)
    }

    /// Everybody whom this node speaks to: members, who the file says they are, and who speaks to
    /// it.
    pub fn peers(&self) -> BTreeSet<NodeId> {
        let mut all = self.liveness.all_live(self.now, self.timing.dead_after);
        if let Some(m) = self.membership() {
            all.extend(m.members());
        }
        if let Some(file) = self.blank.as_ref().and_then(|b| b.file.as_ref()) {
            all.extend(file.known.members.iter().copied());
        }
        all.remove(&self.me);
        all
    }

    pub fn is_live(&self, node: NodeId) -> bool {
        node == self.me || self.liveness.live(node, self.now, self.timing.dead_after)
    }

    /// Live voters, this node included when it is one.
    pub fn live_voters(&self) -> usize {
        self.membership().map_or(0, |m| m.voters.keys().filter(|v| self.is_live(**v)).count())
    }

    /// How many of these voters are live in the life that was counted in.
    pub fn able_voters(&self, members: &Membership) -> usize {
        let able = |(v, life): &(&NodeId, &Incarnation)| {
            **v == self.me
                || (self.is_live(**v) && self.liveness.contact(**v).and_then(|c| c.life) == Some(**life))
        };
        members.voters.iter().filter(able).count()
    }

    /// How many live voters of lower NodeID could win before this node: each is given one
    /// heartbeat (the rank, in place of the random timeout of thesis section 3.4).
    pub fn rank(&self) -> u32 {
        let Some(m) = self.membership() else { return 0 };
        let able = |v: &NodeId| {
            *v < self.me && self.is_live(*v) && self.liveness.contact(*v).is_none_or(|c| c.blank.is_none())
        };
        u32::try_from(m.voters.keys().filter(|v| able(v)).count()).unwrap_or(u32::MAX)
    }

    /// Whether it can promise anything: it has a state to judge others by, and a disk to remember on
    /// (I5).
    pub fn may_vote(&self) -> bool {
        self.disk_works && (self.blank.is_none() || !self.lesions.holds(Rule::AmnesiacCounts))
    }

    /// No promise to a master stands against helping another candidate.
    pub fn unheld(&self) -> bool {
        self.now >= self.hold_until || !self.lesions.holds(Rule::VoterHold)
    }

    /// Whether this node's yes stands alone: it remembers every promise that may still bind it.
    pub fn free(&self) -> bool {
        self.now >= self.free_from || !self.lesions.holds(Rule::VoterHold)
    }

    pub fn up_to_date(&self, end: LogEnd) -> bool {
        end >= self.log.end() || !self.lesions.holds(Rule::UpToDateCheck)
    }

    /// Commits up to `to` and hands the entries out.
    pub fn commit_to(&mut self, to: Index) {
        assert!(to <= self.log.last(), "commit_to: {to} is beyond the log");
        if to <= self.commit {
            return;
        }
        self.commit = to;
        while self.applied < self.commit {
            self.applied += 1;
            // Between snapshot and end nothing is missing (the log's first invariant).
            if let Some(entry) = self.log.get(self.applied) {
                self.out.push(Output::Apply(entry.clone()));
            }
        }
    }

    /// Nothing that is in memory of the log counts any more.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.log.clear();
        self.commit = 0;
        self.applied = 0;
        self.hinted = 0;
    }

    /// A snapshot from the master, or the founding one, becomes the state.
    pub fn install(&mut self, snapshot: Snapshot) -> u64 {
        if self.blank.take().is_some() {
            self.persist_vote();
        }
        let keep_log = self.log.install(snapshot.clone());
        self.commit = snapshot.end.index;
        self.applied = snapshot.end.index;
        self.hinted = snapshot.end.index;
        self.out.push(Output::Restore(snapshot.clone()));
        self.persist(Write::Snapshot { snapshot, keep_log })
    }

    pub fn beat(&self, master: Option<NodeId>) -> Message {
        Message::Beat {
            term: self.term,
            master,
            life: self.life,
            hears: self.liveness.all_live(self.now, self.timing.dead_after),
            end: self.log.durable_end(),
            blank: self.blank.as_ref().and_then(|b| b.file.as_ref()).map(|f| f.known.clone()),
        }
    }
}
