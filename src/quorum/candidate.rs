//! A candidate: asks whether it would win (pre-vote, thesis section 9.6), then for votes.
//!
//! It wins with a quorum of voters that are free to promise, or with every voter there is. The
//! second way is what starts a restarted cluster at once: a node that has just started may be bound
//! by a promise that it has forgotten, but a promise made to a master is void when that master
//! itself has voted.

use std::collections::BTreeMap;

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::core::Core;
use super::lesion::Rule;
use super::message::{Incarnation, Message, Term};

/// The role.
#[derive(Debug)]
pub struct Candidate {
    /// Votes are asked for in a term of its own; before that, only whether they would be given.
    pub real: bool,
    /// The old master has handed over.
    pub transfer: bool,
    /// Who said yes, and whether that yes stands alone.
    yes: BTreeMap<NodeId, bool>,
    /// Since when it would win, while it only asks.
    would_win: Option<Mono>,
    /// The write of its own vote.
    own_vote: u64,
    /// Ask again those who have not said yes.
    pub ask_again: Mono,
    /// A real candidate gives up here.
    pub until: Mono,
}

/// An answer to a candidate.
pub struct Answer {
    pub real: bool,
    pub asked: Term,
    pub granted: bool,
    pub life: Incarnation,
    pub free: bool,
}

impl Candidate {
    /// Asks whether it would win; the term stays.
    pub fn asking(core: &mut Core) -> Candidate {
        let mut candidate = Candidate {
            real: false,
            transfer: false,
            yes: BTreeMap::new(),
            would_win: None,
            own_vote: 0,
            ask_again: core.now,
            until: Mono::FAR,
        };
        candidate.ask(core);
        candidate
    }

    /// Raises the term, votes for itself and asks for votes.
    pub fn running(core: &mut Core, transfer: bool) -> Candidate {
        core.term += 1;
        core.vote = Some(core.me);
        core.knew_master = false;
        let own_vote = core.persist_vote();
        let mut candidate = Candidate {
            real: true,
            transfer,
            yes: BTreeMap::new(),
            would_win: None,
            own_vote,
            ask_again: core.now,
            until: core.now + core.timing.heartbeat,
        };
        candidate.ask(core);
        candidate
    }

    /// Its own vote counts when it is on disk.
    pub fn count_own(&mut self, core: &Core) {
        let durable = core.is_persisted(self.own_vote) || !core.lesions.holds(Rule::VotePersisted);
        if !self.real || durable {
            self.yes.insert(core.me, core.free() || self.transfer);
        }
    }

    /// Asks everybody who has not said a yes that stands alone: in time it may.
    pub fn ask(&mut self, core: &mut Core) {
        self.ask_again = core.now + core.beats(1, 4);
        self.count_own(core);
        let end = core.log.end();
        let message = if self.real {
            Message::Vote { term: core.term, end, transfer: self.transfer }
        } else {
            Message::PreVote { term: core.term + 1, end }
        };
        let voters: Vec<NodeId> =
            core.membership().map(|m| m.voters.keys().copied().collect()).unwrap_or_default();
        for voter in voters {
            if voter != core.me && self.yes.get(&voter) != Some(&true) {
                core.send(voter, message.clone());
            }
        }
    }

    /// Somebody answered. The answerer's term has been dealt with.
    pub fn on_answer(&mut self, core: &Core, from: NodeId, answer: &Answer) {
        let term = if self.real { core.term } else { core.term + 1 };
        if answer.real != self.real || answer.asked != term {
            return;
        }
        // A yes of another life of `state/` is void (I5).
        if answer.granted && core.counts(from, answer.life) {
            self.yes.insert(from, answer.free);
        }
    }

    /// Whether it stands aside although it would win: nodes that see different peers may come to the
    /// same rank, and would split the votes for ever. The higher NodeID gives the lower one that
    /// asks at the same time one heartbeat.
    pub fn stands_aside(&mut self, core: &Core) -> bool {
        let since = *self.would_win.get_or_insert(core.now);
        let asks = core.lower_asked.is_some_and(|at| core.now < at + core.beats(1, 2));
        asks && core.now < since + core.timing.heartbeat
    }

    /// Whether it has won this round. Its own vote is among those it needs: were it master of a
    /// term that its disk does not know, it could after a crash be master of that term once more,
    /// and make other entries under the same indexes.
    pub fn won(&self, core: &Core) -> bool {
        let Some(members) = core.membership() else { return false };
        if !self.yes.contains_key(&core.me) {
            return false;
        }
        let counted = |v: &NodeId| self.yes.get(v).copied();
        let free = members.voters.keys().filter(|v| counted(v) == Some(true)).count();
        let all = members.voters.keys().all(|v| counted(v).is_some());
        free >= members.need() || all
    }
}
