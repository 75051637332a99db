//! The node: one step from an input to outputs, and the only door between roles.

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::candidate::{Answer, Candidate};
use super::core::Core;
use super::follower::{Appending, Follower, Piece};
use super::io::{Boot, Input, Output, Proposal, Refusal, Role, Timing, VoteRecord, Write};
use super::lesion::{Lesions, Rule};
use super::log::Log;
use super::master::{Master, Then};
use super::message::{Founding, Index, LogEnd, Message, Snapshot, Term};
use super::refound::{self, BlankPart, Refound};

/// What the node is just now.
#[derive(Debug)]
enum Part {
    Follower(Follower),
    Candidate(Candidate),
    Master(Master),
}

/// One member's core. See the module's essay for the rules, and [`super::io`] for the contract.
#[derive(Debug)]
pub struct Node {
    pub(super) core: Core,
    part: Part,
    refound: Refound,
    pub(super) shown: Role,
}

impl Node {
    /// A node as its disk remembers it. The first [`step`](Node::step) brings the state to start
    /// from as [`Output::Restore`] and [`Output::Apply`].
    #[must_use]
    pub fn new(me: NodeId, timing: Timing, boot: Boot, now: Mono) -> Node {
        let core = match boot {
            Boot::Remembered(r) => {
                let restore = Output::Restore(r.snapshot.clone());
                let mut core = Core::new(me, timing, now, r.vote, Log::remembered(r.snapshot, r.entries));
                core.out.push(restore);
                core.commit_to(r.commit.min(core.log.last()));
                core
            }
            Boot::Blank { life, term, file } => {
                let vote = VoteRecord { term, vote: None, life };
                let mut core = Core::new(me, timing, now, vote, Log::empty());
                core.blank = Some(BlankPart::new(file, &core));
                core
            }
        };
        let shown = Role { shown_term: 0, master: None, me: false };
        let mut node =
            Node { part: Part::Follower(Follower::new(now)), core, refound: Refound::default(), shown };
        node.shown.shown_term = node.shown_term(None);
        node
    }

    /// Takes one input at `now` (which never goes back) and says what is to be done.
    pub fn step(&mut self, now: Mono, input: Input) -> Vec<Output> {
        self.core.now = self.core.now.max(now);
        self.watch_role();
        match input {
            Input::Tick => {}
            Input::Received { from, message } => self.on_message(from, message),
            Input::Persisted { seq } => self.on_persisted(seq),
            Input::DiskFailed => self.on_disk_failed(),
            Input::DiskWorks => self.core.disk_works = true,
            Input::Propose(proposal) => self.on_propose(proposal),
            Input::Compact { index, data } => self.on_compact(index, data),
            Input::Timing(timing) => self.core.timing = timing,
            Input::HandOver { to } => self.on_hand_over(to),
        }
        self.on_time();
        self.show();
        std::mem::take(&mut self.core.out)
    }

    /// How to tell whether a peer's snapshot is one that the state machine can go on from; without
    /// this, every one is taken to be.
    pub fn judge_snapshots(&mut self, readable: fn(&str) -> bool) {
        self.core.readable = readable;
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let core = &self.core;
        let by_role = match &self.part {
            Part::Follower(f) => {
                // While a master is known nobody campaigns, even if an earlier dead-after was shorter.
                let silent = f.heard + core.timing.dead_after;
                let campaign = if self.may_campaign() { self.campaign_at() } else { Mono::FAR };
                if f.master.is_some() { silent } else { campaign }
            }
            Part::Candidate(c) => c.ask_again.min(c.until),
            Part::Master(m) => m.ends(core),
        };
        // A nanosecond on, since "within" includes the last moment.
        core.next_beat.min(Mono(by_role.0.saturating_add(1)))
    }

    /// Whether this node is master and a majority is known to follow it, at `now` (I1).
    #[must_use]
    pub fn may_act(&self, now: Mono) -> bool {
        now < self.acts_until()
    }

    /// Until when it may act as master unless answers extend it; [`Mono`] zero when it may not.
    #[must_use]
    pub fn acts_until(&self) -> Mono {
        match &self.part {
            Part::Master(m) if m.ready(&self.core) && self.core.disk_works => {
                if self.core.lesions.holds(Rule::LeaseCheck) { m.lease(&self.core) } else { Mono::FAR }
            }
            _ => Mono(0),
        }
    }

    /// Danger: switches a safety rule off. For tests that show that the simulator notices.
    pub fn lesion(&mut self, rule: Rule) {
        let lesions: &mut Lesions = &mut self.core.lesions;
        lesions.add(rule);
    }

    // --- transitions: the only door ------------------------------------------------------------

    fn become_follower(&mut self) {
        if let Part::Master(m) = &self.part {
            for request in m.open_requests() {
                let why = Refusal::NotMaster(None);
                self.core.out.push(Output::Refused { request, why });
            }
        }
        self.core.campaign_from = self.core.now + self.core.beats(1, 2);
        self.part = Part::Follower(Follower::new(self.core.now));
    }

    fn become_candidate(&mut self, candidate: Candidate) {
        assert!(!matches!(self.part, Part::Master(_)), "become_candidate: a master does not campaign");
        self.part = Part::Candidate(candidate);
        self.count_votes();
    }

    fn become_master(&mut self) {
        assert_eq!(self.core.vote, Some(self.core.me), "become_master: not its own candidate");
        let master = Master::new(&mut self.core);
        self.part = Part::Master(master);
    }

    fn step_down(&mut self) {
        self.become_follower();
        // Let those who know better go first.
        self.core.campaign_from = self.core.now + self.core.timing.heartbeat;
    }

    /// A higher term than ours was named by somebody who may name it.
    fn see_term(&mut self, term: Term) {
        if term > self.core.term {
            self.core.enter_term(term);
            self.become_follower();
        }
    }

    // --- time ----------------------------------------------------------------------------------

    /// Before anything else is looked at: a role whose time has run out is over.
    fn watch_role(&mut self) {
        match &self.part {
            Part::Master(m)
                if self.core.now > m.ends(&self.core) && self.core.lesions.holds(Rule::CheckQuorum) =>
            {
                self.core.note("no majority answers: not master any more");
                self.become_follower();
            }
            Part::Follower(f)
                if f.master.is_some() && self.core.now > f.heard + self.core.timing.dead_after =>
            {
                self.part = Part::Follower(Follower::new(self.core.now));
            }
            _ => {}
        }
    }

    fn on_time(&mut self) {
        self.watch_quorum();
        if self.core.now >= self.core.next_beat {
            self.core.next_beat = self.core.now + self.core.timing.heartbeat;
            self.on_beat();
        }
        match &mut self.part {
            Part::Follower(f) if f.master.is_none() => self.campaign_when_due(),
            Part::Candidate(c) if self.core.now >= c.until => self.become_follower(),
            Part::Candidate(c) if self.core.now >= c.ask_again => {
                let real = c.real;
                if real || self.may_campaign() {
                    if let Part::Candidate(c) = &mut self.part {
                        c.ask(&mut self.core);
                    }
                    // Its own vote may stand alone by now.
                    self.count_votes();
                } else {
                    self.become_follower();
                }
            }
            _ => {}
        }
    }

    /// Quorum that comes back from none starts the order of ranks afresh, a little more than one
    /// heartbeat later, so that the lowest of those who come together has been heard.
    fn watch_quorum(&mut self) {
        let core = &mut self.core;
        let quorum = core.live_voters() >= core.need();
        if !quorum {
            core.quorum_since = None;
        } else if core.quorum_since.is_none() {
            core.quorum_since = Some(core.now);
            let alone = core.membership().is_none_or(|m| m.voters.len() <= 1);
            let settle = if alone { core.now } else { core.now + core.beats(5, 4) };
            core.campaign_from = core.campaign_from.max(settle);
        }
    }

    fn on_beat(&mut self) {
        let master = self.known_master();
        let beat = self.core.beat(master);
        let members = self.core.peers();
        for peer in &members {
            self.core.send(*peer, beat.clone());
        }
        let (now, dead_after) = (self.core.now, self.core.timing.dead_after);
        self.core.liveness.retain(|id| members.contains(&id), now, dead_after);
        self.core.hint_commit();
        if self.core.blank.is_some() {
            if self.known_master().is_none() && self.refound.on_beat(&mut self.core) {
                self.become_master();
            }
            return;
        }
        if let Part::Master(m) = &mut self.part
            && m.on_beat(&mut self.core) == Then::StepDown
        {
            self.step_down();
        }
    }

    /// A voter with a working disk that hears a quorum and no master.
    fn may_campaign(&self) -> bool {
        let core = &self.core;
        core.disk_works && core.blank.is_none() && core.is_voter() && core.live_voters() >= core.need()
    }

    fn campaign_at(&self) -> Mono {
        self.core.campaign_from + self.core.timing.heartbeat * self.core.rank()
    }

    fn campaign_when_due(&mut self) {
        if self.may_campaign() && self.core.now >= self.campaign_at() {
            self.campaign();
        }
    }

    fn campaign(&mut self) {
        let asks_first = self.core.lesions.holds(Rule::PreVote);
        let candidate = if asks_first {
            Candidate::asking(&mut self.core)
        } else {
            Candidate::running(&mut self.core, false)
        };
        self.become_candidate(candidate);
    }

    fn count_votes(&mut self) {
        let Part::Candidate(c) = &mut self.part else { return };
        c.count_own(&self.core);
        if !c.won(&self.core) {
            return;
        }
        if c.real {
            self.become_master();
        } else if !c.stands_aside(&self.core) {
            let candidate = Candidate::running(&mut self.core, false);
            self.become_candidate(candidate);
        }
    }

    // --- inputs --------------------------------------------------------------------------------

    fn on_persisted(&mut self, seq: u64) {
        self.core.on_persisted(seq);
        match &mut self.part {
            Part::Follower(f) => f.on_persisted(&mut self.core),
            Part::Candidate(_) => self.count_votes(),
            Part::Master(m) => m.on_persisted(&mut self.core),
        }
    }

    /// A node that cannot write can promise nothing: it gives the role away.
    fn on_disk_failed(&mut self) {
        self.core.disk_works = false;
        match &mut self.part {
            Part::Master(m) => {
                m.hand_over(&mut self.core, None);
                // Level or not: the role ends now.
                m.try_hand_over(&mut self.core);
                self.core.note("the disk fails: not master any more");
                self.step_down();
            }
            Part::Candidate(_) => self.become_follower(),
            Part::Follower(_) => {}
        }
    }

    fn on_propose(&mut self, proposal: Proposal) {
        let request = proposal.command.request;
        let known = self.known_master();
        let now = self.core.now;
        match &mut self.part {
            Part::Master(m) if !m.ready(&self.core) => {
                self.core.out.push(Output::Refused { request, why: Refusal::NotReady });
            }
            Part::Master(m) if now < m.lease(&self.core) || !self.core.lesions.holds(Rule::LeaseCheck) => {
                m.propose(&mut self.core, proposal);
                if m.try_hand_over(&mut self.core) == Then::StepDown {
                    self.step_down();
                }
            }
            _ => {
                let other = known.filter(|m| *m != self.core.me);
                self.core.out.push(Output::Refused { request, why: Refusal::NotMaster(other) });
            }
        }
    }

    fn on_compact(&mut self, index: Index, data: std::sync::Arc<str>) {
        let newer = self.core.log.snapshot().is_some_and(|s| index > s.end.index);
        if !newer || index > self.core.applied {
            return;
        }
        let Some(term) = self.core.log.term_at(index) else { return };
        let membership = self.core.log.membership_at(index).cloned().unwrap_or_default();
        let snapshot = Snapshot { end: LogEnd { term, index }, membership, data };
        self.core.log.compact(snapshot.clone());
        self.core.persist(Write::Snapshot { snapshot, keep_log: true });
    }

    fn on_hand_over(&mut self, to: Option<NodeId>) {
        if let Part::Master(m) = &mut self.part {
            m.hand_over(&mut self.core, to);
            if m.try_hand_over(&mut self.core) == Then::StepDown {
                self.step_down();
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        if from == self.core.me {
            return self.core.misbehaved(from, "speaks in this node's name");
        }
        if let Some(why) = message.impossible(self.core.term) {
            return self.core.misbehaved(from, why);
        }
        let (now, dead_after) = (self.core.now, self.core.timing.dead_after);
        let contact = self.core.liveness.heard(from, now, dead_after);
        match message {
            Message::Beat { term, life, hears, blank, .. } => {
                contact.term = term;
                contact.life = Some(life);
                contact.hears = hears;
                contact.blank = blank;
            }
            Message::PreVote { term, end } => self.on_pre_vote(from, term, end),
            Message::Vote { term, end, transfer } => self.on_vote(from, term, end, transfer),
            Message::PreVoted { asked, term, granted, life, free } => {
                self.on_answer(from, term, Answer { real: false, asked, granted, life, free });
            }
            Message::Voted { term, granted, life, free } => {
                self.on_answer(from, term, Answer { real: true, asked: term, granted, life, free });
            }
            Message::Append { term, round, before, entries, commit, founding, settled } => {
                if !self.admits(term, founding, settled) {
                    return;
                }
                self.follow(from, term, round);
                if let (Part::Follower(f), true) = (&mut self.part, term == self.core.term) {
                    f.settled |= settled;
                    f.on_append(&mut self.core, from, Appending { round, before, entries, commit });
                }
            }
            Message::Piece { term, round, end, membership, offset, total, data, settled } => {
                if !self.admits(term, membership.founding, settled) {
                    return;
                }
                self.follow(from, term, round);
                if let (Part::Follower(f), true) = (&mut self.part, term == self.core.term) {
                    f.settled |= settled;
                    f.on_piece(&mut self.core, from, Piece { round, end, membership, offset, total, data });
                }
            }
            Message::Appended { term, round, life, hold_ms, outcome } => {
                self.see_term(term);
                if let (Part::Master(m), true) = (&mut self.part, term == self.core.term)
                    && m.on_appended(&mut self.core, from, round, life, hold_ms, outcome) == Then::StepDown
                {
                    self.step_down();
                }
            }
            Message::TakeOver { term } => self.on_take_over(from, term),
            Message::Refound { term, version, founding } => {
                if self.known_master().is_none() {
                    refound::on_refound(&mut self.core, from, term, version, founding);
                }
            }
            Message::Refounded { term, life } => {
                if self.known_master().is_none()
                    && self.refound.on_refounded(&mut self.core, from, term, life)
                {
                    self.become_master();
                }
            }
        }
    }

    /// A master whose role has not run out.
    fn leads(&self) -> bool {
        matches!(&self.part, Part::Master(m) if self.core.now < m.ends(&self.core))
    }

    /// Whether what a master sends is for this node; one that takes up another log than its own
    /// begins anew with that.
    fn admits(&mut self, term: Term, founding: Founding, settled: bool) -> bool {
        let own = self.core.founding() == founding;
        if !self.core.takes(term, founding, settled) || (self.leads() && !own) {
            return false;
        }
        let anew = !own && self.core.blank.is_none() && self.core.lesions.holds(Rule::FoundingsApart);
        if anew && term >= self.core.term {
            self.become_follower();
            self.core.begin_anew(founding);
        }
        true
    }

    fn on_pre_vote(&mut self, from: NodeId, asked: Term, end: LogEnd) {
        let core = &self.core;
        let helps = core.may_vote() && core.unheld() && !self.leads();
        let granted = asked > core.term && core.up_to_date(end) && helps;
        let message =
            Message::PreVoted { asked, term: core.term, granted, life: core.life, free: core.free() };
        let is_lower = from < core.me && core.membership().is_some_and(|m| m.voters.contains_key(&from));
        if granted && is_lower {
            self.core.lower_asked = Some(self.core.now);
        }
        self.core.send(from, message);
    }

    /// Thesis, sections 3.4 and 3.6.1; a voter that hears a master does not even take the term
    /// over (section 4.2.3), unless that master hands over.
    fn on_vote(&mut self, from: NodeId, term: Term, end: LogEnd, transfer: bool) {
        let held = !self.core.unheld() || self.leads();
        if term < self.core.term || (held && !transfer) {
            let refused =
                Message::Voted { term: self.core.term, granted: false, life: self.core.life, free: false };
            return self.core.send(from, refused);
        }
        self.see_term(term);
        let core = &mut self.core;
        let granted = core.vote.is_none_or(|v| v == from)
            && core.up_to_date(end)
            && core.may_vote()
            && !matches!(self.part, Part::Master(_));
        let free = transfer || core.free();
        let message = Message::Voted { term, granted, life: core.life, free };
        if !granted {
            return core.send(from, message);
        }
        core.vote = Some(from);
        let seq = core.persist_vote();
        if core.lesions.holds(Rule::VotePersisted) {
            core.send_after(seq, from, message);
        } else {
            core.send(from, message);
        }
        core.campaign_from = core.campaign_from.max(core.now + core.timing.heartbeat);
    }

    fn on_answer(&mut self, from: NodeId, term: Term, answer: Answer) {
        self.see_term(term);
        if let Part::Candidate(c) = &mut self.part {
            c.on_answer(&self.core, from, &answer);
            self.count_votes();
        }
    }

    /// Before what only a master sends: the term is taken over, a candidate has lost, a stale
    /// master is told.
    fn follow(&mut self, from: NodeId, term: Term, round: u64) {
        self.see_term(term);
        let core = &mut self.core;
        if term < core.term {
            let outcome = super::message::Outcome::Gap { before: 0, hint: 0 };
            let stale = Message::Appended { term: core.term, round, life: core.life, hold_ms: 0, outcome };
            return core.send(from, stale);
        }
        match &self.part {
            Part::Master(_) => core.misbehaved(from, "claims to be master in this master's term"),
            Part::Candidate(_) => self.become_follower(),
            Part::Follower(_) => {}
        }
    }

    fn on_take_over(&mut self, from: NodeId, term: Term) {
        let Part::Follower(f) = &self.part else { return };
        let expected = term == self.core.term && f.master == Some(from);
        if expected && self.core.disk_works && self.core.blank.is_none() && self.core.is_voter() {
            let candidate = Candidate::running(&mut self.core, true);
            self.become_candidate(candidate);
        }
    }

    // --- showing -------------------------------------------------------------------------------

    fn known_master(&self) -> Option<NodeId> {
        match &self.part {
            Part::Follower(f) => f.master,
            Part::Candidate(_) => None,
            Part::Master(_) => Some(self.core.me),
        }
    }

    fn shown_term(&self, master: Option<NodeId>) -> u64 {
        let twice = self.core.term * 2;
        match (master, self.core.knew_master) {
            (Some(_), _) => twice,
            (None, true) => twice + 1,
            (None, false) => twice.saturating_sub(1),
        }
    }

    /// A founder whose founding no majority has joined yet is nobody's master: there may be another
    /// one in its term.
    fn is_agreed(&self) -> bool {
        match &self.part {
            Part::Follower(f) if f.settled => true,
            _ if self.core.blank.is_some() => false,
            _ => self.core.founding().is_first() || self.core.commit > refound::INDEX,
        }
    }

    fn show(&mut self) {
        let master = self.known_master().filter(|_| self.is_agreed());
        self.core.knew_master |= master.is_some();
        let me = master == Some(self.core.me);
        let role = Role { shown_term: self.shown_term(master), master, me };
        if role != self.shown {
            self.shown = role;
            self.core.out.push(Output::Role(role));
        }
    }
}
