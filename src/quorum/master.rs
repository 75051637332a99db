//! The master: replicates, commits by majority, and acts only while a majority is known to follow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::{NodeId, RequestId};

use super::core::Core;
use super::io::{MemberChange, Output, Proposal, Refusal, Write};
use super::lesion::Rule;
use super::message::{Command, Entry, Incarnation, Index, Membership, Message, Outcome};
use super::progress::{Mode, Progress};

/// A master acts for this share of what a majority has promised, counted from when it *sent* what
/// they answered. Its clock may run 10 % slow against a voter's: 4/5 * 1.1 < 1.
const LEASE: (u32, u32) = (4, 5);
const _: () = assert!(LEASE.0 * 110 < LEASE.1 * 100);

/// Bytes of commands in one append: small enough that a heartbeat behind it is not late.
const BATCH: usize = 256 * 1024;
/// Bytes of one piece of a snapshot.
const PIECE: usize = 128 * 1024;
/// Entries that may wait for their commit. Full: clients are asked to come again.
const UNCOMMITTED: u64 = 4096;
/// Rounds whose time of sending is remembered; an answer to an older one renews nothing.
const ROUNDS: usize = 64;
/// A learner that lacks no more than this is caught up (thesis, section 4.2.1).
const CAUGHT_UP: u64 = 64;

/// The role.
#[derive(Debug)]
pub struct Master {
    progress: BTreeMap<NodeId, Progress>,
    /// Index of the first entry of this term (thesis, section 6.4).
    first: Index,
    /// Requests in the log of this term that are not committed.
    pending: BTreeMap<Index, RequestId>,
    round: u64,
    sent: VecDeque<(u64, Mono)>,
    elected: Mono,
    /// Handing over to this node; proposals wait until it is done or given up.
    handing: Option<(NodeId, Mono)>,
}

/// What goes with every message of a master.
#[derive(Clone, Copy, Debug)]
struct Round {
    number: u64,
    settled: bool,
}

/// What a master's step ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing changes.
    Stay,
    /// It is master no more.
    StepDown,
}

impl Master {
    /// Takes the role in the present term: the first entry makes it possible to commit what
    /// earlier terms left (thesis, sections 3.6.2 and 6.4).
    pub fn new(core: &mut Core) -> Master {
        let last = core.log.last();
        let mut master = Master {
            progress: BTreeMap::new(),
            first: last + 1,
            pending: BTreeMap::new(),
            round: 0,
            sent: VecDeque::new(),
            elected: core.now,
            handing: None,
        };
        master.follow_membership(core);
        master.append(core, None, None);
        master.beat(core);
        master
    }

    /// Everything of this term up to the first entry is committed: the state is complete.
    pub fn ready(&self, core: &Core) -> bool {
        core.commit >= self.first
    }

    /// Until when a majority follows nobody else.
    pub fn lease(&self, core: &Core) -> Mono {
        let Some(members) = core.membership() else { return Mono(0) };
        let lease_of = |(id, life): (&NodeId, &Incarnation)| {
            let p = self.progress.get(id);
            let same = p.is_some_and(|p| p.life == Some(*life) || !core.lesions.holds(Rule::AmnesiacCounts));
            if *id == core.me { Mono::FAR } else { p.filter(|_| same).map_or(Mono(0), |p| p.lease) }
        };
        let mut leases: Vec<Mono> = members.voters.iter().map(lease_of).collect();
        leases.sort_unstable_by(|a, b| b.cmp(a));
        leases.get(members.need() - 1).copied().unwrap_or(Mono(0))
    }

    /// When it steps down unless answers come (check-quorum, thesis section 6.2).
    pub fn ends(&self, core: &Core) -> Mono {
        self.lease(core).max(self.elected + core.timing.dead_after)
    }

    /// What it tells everybody now: its round, and whether it may act.
    fn said(&self, core: &Core) -> Round {
        Round { number: self.round, settled: self.ready(core) && core.now < self.lease(core) }
    }

    /// Requests whose fate is open when the role ends.
    pub fn open_requests(&self) -> Vec<RequestId> {
        self.pending.values().copied().collect()
    }

    /// A client's command.
    pub fn propose(&mut self, core: &mut Core, proposal: Proposal) {
        let request = proposal.command.request;
        match self.accept(core, &proposal) {
            Ok(membership) => self.append(core, Some(proposal.command), membership),
            Err(why) => core.out.push(Output::Refused { request, why }),
        }
    }

    fn accept(&mut self, core: &mut Core, proposal: &Proposal) -> Result<Option<Membership>, Refusal> {
        if !self.ready(core) || self.handing.is_some() {
            return Err(Refusal::NotReady);
        }
        if self.pending.values().any(|r| *r == proposal.command.request) {
            return Err(Refusal::Duplicate);
        }
        if core.log.last() - core.commit >= UNCOMMITTED {
            return Err(Refusal::Busy);
        }
        let Some(change) = proposal.change else { return Ok(None) };
        if self.change_pending(core) {
            return Err(Refusal::ChangePending);
        }
        let mut members = core.membership().cloned().unwrap_or_default();
        match change {
            MemberChange::Add(node) => {
                if members.members().any(|m| m == node) {
                    return Err(Refusal::AlreadyMember);
                }
                members.learners.insert(node);
            }
            MemberChange::Remove(node) => self.take_out(core, &mut members, node)?,
        }
        Ok(Some(members))
    }

    fn take_out(&mut self, core: &mut Core, members: &mut Membership, node: NodeId) -> Result<(), Refusal> {
        if members.learners.remove(&node) {
            return Ok(());
        }
        if members.voters.remove(&node).is_none() {
            return Err(Refusal::NotMember);
        }
        if members.voters.is_empty() {
            return Err(Refusal::LastVoter);
        }
        // One that has lost its `state/` is live and yet no help.
        let live = core.able_voters(members);
        if live < members.need() {
            return Err(Refusal::WouldLoseQuorum { live, need: members.need() });
        }
        if node == core.me {
            self.hand_over(core, None);
            return Err(Refusal::HandingOver);
        }
        Ok(())
    }

    /// A change of members that is not committed yet: no other one may begin (thesis, section 4.1;
    /// that the first entry of the term is committed too is `ready`'s part of the rule).
    fn change_pending(&self, core: &Core) -> bool {
        core.log.membership_index() > core.commit && core.lesions.holds(Rule::ChangeWithoutCommit)
    }

    fn append(&mut self, core: &mut Core, command: Option<Command>, membership: Option<Membership>) {
        let after = core.log.last();
        if let Some(c) = &command {
            self.pending.insert(after + 1, c.request);
        }
        let changed = membership.is_some();
        let entry = Entry { index: after + 1, term: core.term, command, membership };
        core.log.push(entry.clone());
        core.persist(Write::Append { after, entries: vec![entry] });
        if changed {
            self.follow_membership(core);
        }
        self.feed_all(core, false);
        self.advance(core);
    }

    /// One progress for each other member, none for anybody else.
    fn follow_membership(&mut self, core: &Core) {
        let members: BTreeSet<NodeId> = core.membership().map(|m| m.members().collect()).unwrap_or_default();
        self.progress.retain(|id, _| members.contains(id));
        for id in members {
            if id != core.me {
                self.progress.entry(id).or_insert_with(|| Progress::new(core.log.last()));
            }
        }
    }

    /// Once each heartbeat: a new round to everybody, and what only the master looks after.
    pub fn on_beat(&mut self, core: &mut Core) -> Then {
        if self.handing.is_none() && self.ready(core) {
            self.mend_membership(core);
            if let Some(target) = self.successor_by_rank(core) {
                core.note(format!("handing over to {target}: lower NodeID, live for the whole cooldown"));
                self.hand_over(core, Some(target));
            }
        }
        self.beat(core);
        self.try_hand_over(core)
    }

    fn beat(&mut self, core: &mut Core) {
        self.round += 1;
        self.sent.push_back((self.round, core.now));
        if self.sent.len() > ROUNDS {
            self.sent.pop_front();
        }
        self.feed_all(core, true);
    }

    fn feed_all(&mut self, core: &mut Core, beat: bool) {
        let ids: Vec<NodeId> = self.progress.keys().copied().collect();
        for id in ids {
            self.feed(core, id, beat);
        }
    }

    /// Sends `to` what it lacks, as its mode allows; with `beat`, something in any case.
    fn feed(&mut self, core: &mut Core, to: NodeId, beat: bool) {
        let round = self.said(core);
        let Some(p) = self.progress.get_mut(&to) else { return };
        let mut beat = beat;
        loop {
            if core.log.term_at(p.next - 1).is_none() && !matches!(p.mode, Mode::Snapshot { .. }) {
                let Some(snapshot) = core.log.snapshot() else { return };
                p.mode = Mode::Snapshot { end: snapshot.end, have: 0 };
                beat = true;
            }
            match p.mode {
                Mode::Snapshot { .. } if beat => return send_piece(core, p, to, round),
                Mode::Probe { asked } if beat || !asked => {
                    p.mode = Mode::Probe { asked: true };
                    return send_entries(core, p, to, round);
                }
                Mode::Replicate if beat || (p.next <= core.log.last() && p.has_room()) => {
                    beat = false;
                    send_entries(core, p, to, round);
                }
                _ => return,
            }
        }
    }

    /// A follower answered. Its term has been dealt with.
    pub fn on_appended(
        &mut self,
        core: &mut Core,
        from: NodeId,
        round: u64,
        life: Incarnation,
        hold_ms: u64,
        outcome: Outcome,
    ) -> Then {
        let last = core.log.last();
        let said = self.said(core);
        let Some(p) = self.progress.get_mut(&from) else { return Then::Stay };
        p.heard(life, core.now, last);
        if let Some((_, sent)) = self.sent.iter().find(|(r, _)| *r == round) {
            let held = core.timing.dead_after.min(Duration::from_millis(hold_ms));
            p.lease = p.lease.max(*sent + held * LEASE.0 / LEASE.1);
        }
        match outcome {
            Outcome::Matched { matched } if matched > last => {
                core.misbehaved(from, "acknowledges entries that do not exist");
            }
            Outcome::Matched { matched } => p.matches(matched),
            Outcome::Gap { before, hint } => p.gap(before, hint.min(last)),
            Outcome::Empty => {
                let sending = matches!(p.mode, Mode::Snapshot { .. });
                if let Some(end) = core.log.snapshot().map(|s| s.end).filter(|_| !sending) {
                    p.mode = Mode::Snapshot { end, have: 0 };
                    send_piece(core, p, from, said);
                }
            }
            Outcome::Piece { end, have } => {
                if let Mode::Snapshot { end: ours, have: had } = p.mode
                    && ours == end
                    && have > had
                {
                    p.mode = Mode::Snapshot { end, have };
                    send_piece(core, p, from, said);
                }
            }
        }
        self.feed(core, from, false);
        self.advance(core);
        self.try_hand_over(core)
    }

    /// The own disk has got on.
    pub fn on_persisted(&mut self, core: &mut Core) {
        self.advance(core);
    }

    /// Commits what a majority has on disk (thesis, sections 3.5 and 3.6.2: by counting only
    /// entries of the own term).
    fn advance(&mut self, core: &mut Core) {
        let Some(members) = core.membership() else { return };
        let durable =
            if core.lesions.holds(Rule::AckBeforeFsync) { core.log.durable() } else { core.log.last() };
        let matched_of = |(id, life): (&NodeId, &Incarnation)| {
            let p = self.progress.get(id);
            let same = p.is_some_and(|p| p.life == Some(*life) || !core.lesions.holds(Rule::AmnesiacCounts));
            if *id == core.me { durable } else { p.filter(|_| same).map_or(0, |p| p.matched) }
        };
        let mut matched: Vec<Index> = members.voters.iter().map(matched_of).collect();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let Some(by_majority) = matched.get(members.need() - 1).copied() else { return };
        let own_term = core.log.term_at(by_majority) == Some(core.term);
        if by_majority > core.commit && (own_term || !core.lesions.holds(Rule::CommitOwnTermOnly)) {
            core.commit_to(by_majority);
            self.pending = self.pending.split_off(&(by_majority + 1));
            self.announce_commit(core);
        }
    }

    /// Followers learn of a commit at once, so that what a client was told is soon true everywhere.
    fn announce_commit(&mut self, core: &mut Core) {
        let round = self.said(core);
        for (id, p) in &mut self.progress {
            if p.mode == Mode::Replicate {
                send_entries(core, p, *id, round);
            }
        }
    }

    /// Learners that have caught up become voters; a voter that has lost its `state/` becomes a
    /// learner first (I5). One at a time.
    fn mend_membership(&mut self, core: &mut Core) {
        if self.change_pending(core) {
            return;
        }
        let Some(mut members) = core.membership().cloned() else { return };
        let answered = |p: &Progress| core.now.since(p.answered) <= core.timing.heartbeat * 2;
        let lost = members.voters.iter().find(|(id, life)| {
            self.progress.get(id).is_some_and(|p| p.life.is_some_and(|l| l != **life) && answered(p))
        });
        if let Some(id) = lost.map(|(id, _)| *id) {
            members.voters.remove(&id);
            members.learners.insert(id);
            if core.able_voters(&members) >= members.need() {
                core.note(format!(
                    "{id} has lost its state: it does not count until it has learned it again"
                ));
                self.append(core, None, Some(members));
            }
            return;
        }
        let caught_up = |p: &&Progress| {
            p.mode == Mode::Replicate
                && p.matched + CAUGHT_UP >= core.log.last()
                && p.matched > 0
                && answered(p)
                // Its promise must run, or to count it in could end this role.
                && p.lease > core.now
        };
        let ready = members.learners.iter().find_map(|id| {
            let life = self.progress.get(id).filter(caught_up).and_then(|p| p.life)?;
            Some((*id, life))
        });
        if let Some((id, life)) = ready {
            members.learners.remove(&id);
            members.voters.insert(id, life);
            core.note(format!("{id} has caught up and counts towards the quorum from now on"));
            self.append(core, None, Some(members));
        }
    }

    /// The lowest NodeID that has been live without a gap for the whole cooldown, is not behind,
    /// and is heard by and hears a quorum (SPEC section 5: a returning peer takes over only then).
    fn successor_by_rank(&self, core: &Core) -> Option<NodeId> {
        let members = core.membership()?;
        let waited = |v: &NodeId| {
            let contact = core.liveness.contact(*v);
            core.is_live(*v) && contact.is_some_and(|c| core.now.since(c.since) >= core.timing.cooldown)
        };
        let lower = members.voters.iter().filter(|(v, _)| **v < core.me);
        lower
            .filter(|(v, life)| waited(v) && self.progress.get(v).is_some_and(|p| p.life == Some(**life)))
            .map(|(v, _)| *v)
            .find(|v| self.is_level(core, *v) && connected(core, members, *v))
    }

    fn is_level(&self, core: &Core, node: NodeId) -> bool {
        self.progress.get(&node).is_some_and(|p| p.matched == core.log.last())
    }

    /// Begins to hand over: to `to`, or to the voter that has most of the log (the lowest NodeID
    /// among equals).
    pub fn hand_over(&mut self, core: &mut Core, to: Option<NodeId>) {
        let Some(members) = core.membership() else { return };
        let able = |id: &NodeId| {
            let life = members.voters.get(id);
            let p = self.progress.get(id);
            core.is_live(*id) && life.is_some() && p.is_some_and(|p| p.life.as_ref() == life)
        };
        let best = || {
            let matched = |id: &NodeId| self.progress.get(id).map_or(0, |p| p.matched);
            self.progress.keys().filter(|id| able(id)).max_by_key(|id| (matched(id), std::cmp::Reverse(**id)))
        };
        let target = to.filter(|id| able(id)).or_else(|| best().copied());
        if let Some(target) = target {
            self.handing = Some((target, core.now + core.timing.heartbeat * 2));
            self.feed(core, target, true);
        }
    }

    /// The successor is level: it is told, and this node is master no more from that moment on
    /// (thesis, section 3.10; it never takes the role back in this term, so a late message cannot
    /// make two).
    pub fn try_hand_over(&mut self, core: &mut Core) -> Then {
        let Some((target, until)) = self.handing else { return Then::Stay };
        if self.is_level(core, target) {
            core.send(target, Message::TakeOver { term: core.term });
            if core.lesions.holds(Rule::TransferStops) {
                return Then::StepDown;
            }
            self.handing = None;
        } else if core.now >= until {
            core.note(format!("{target} did not catch up in time to take over"));
            self.handing = None;
        }
        Then::Stay
    }
}

/// Whether a quorum of voters hears `node` and is heard by it, as far as their heartbeats tell.
fn connected(core: &Core, members: &Membership, node: NodeId) -> bool {
    let hears = |a: NodeId, b: NodeId| {
        if a == core.me {
            core.is_live(b)
        } else {
            core.is_live(a) && core.liveness.contact(a).is_some_and(|c| c.hears.contains(&b))
        }
    };
    let linked = |v: &&NodeId| **v == node || (hears(node, **v) && hears(**v, node));
    members.voters.keys().filter(linked).count() >= members.need()
}

fn send_entries(core: &mut Core, p: &mut Progress, to: NodeId, round: Round) {
    let before_index = p.next - 1;
    let Some(before_term) = core.log.term_at(before_index) else { return };
    let entries = if p.has_room() { core.log.after(before_index, BATCH) } else { Vec::new() };
    if p.mode == Mode::Replicate {
        p.next += entries.len() as u64;
    }
    let before = super::message::LogEnd { term: before_term, index: before_index };
    let message = Message::Append {
        term: core.term,
        round: round.number,
        before,
        entries,
        commit: core.commit,
        founding: core.founding(),
        settled: round.settled,
    };
    core.send(to, message);
}

fn send_piece(core: &mut Core, p: &mut Progress, to: NodeId, round: Round) {
    let Some(snapshot) = core.log.snapshot().cloned() else { return };
    if let Mode::Snapshot { end, have } = &mut p.mode {
        if *end != snapshot.end {
            (*end, *have) = (snapshot.end, 0);
        }
        let data = piece_of(&snapshot.data, *have);
        let message = Message::Piece {
            term: core.term,
            round: round.number,
            end: snapshot.end,
            membership: snapshot.membership,
            offset: *have,
            total: snapshot.data.len() as u64,
            data,
            settled: round.settled,
        };
        core.send(to, message);
    }
    p.next = snapshot.end.index + 1;
}

/// A piece of text from byte `offset` on, cut between characters.
fn piece_of(text: &str, offset: u64) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let mut end = (start + PIECE).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    text.get(start..end).unwrap_or_default().to_owned()
}
