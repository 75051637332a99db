//! What a node tells of itself and of its peers; looking changes nothing.

use std::collections::BTreeSet;

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::io::Status;
use super::message::Incarnation;
use super::node::Node;
use super::refound;

impl Node {
    /// Which life of `state/` speaks for it.
    #[must_use]
    pub fn life(&self) -> Incarnation {
        self.core.life
    }

    /// What it knows.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let mut live = core.liveness.all_live(core.now, core.timing.dead_after);
        live.insert(core.me);
        Status {
            term: core.term,
            role: self.shown,
            membership: core.membership().cloned().unwrap_or_default(),
            live,
            quorum: self.shown.master.is_some() || core.live_voters() >= core.need(),
            end: core.log.end(),
            commit: core.commit,
            counts: core.is_voter(),
            blank: core.blank.is_some(),
            standing: refound::standing(core),
        }
    }

    /// Whom a peer hears, by its own word; `None` when it has not said so, or is not live.
    #[must_use]
    pub fn heard_by(&self, peer: NodeId) -> Option<&BTreeSet<NodeId>> {
        let core = &self.core;
        core.liveness.contact(peer).filter(|_| core.is_live(peer)).map(|c| &c.hears)
    }

    /// When something last came from `peer`.
    #[must_use]
    pub fn heard_at(&self, peer: NodeId) -> Option<Mono> {
        self.core.liveness.contact(peer).map(|c| c.heard)
    }

    /// Voters that are live with another life of `state/` than the one that was counted in: heard,
    /// and of no use in an election.
    #[must_use]
    pub fn void_voters(&self) -> BTreeSet<NodeId> {
        let core = &self.core;
        let Some(members) = core.membership() else { return BTreeSet::new() };
        let other_life = |v: &NodeId, life: &Incarnation| {
            *v != core.me
                && core.is_live(*v)
                && core.liveness.contact(*v).and_then(|c| c.life).is_some_and(|now| now != *life)
        };
        members.voters.iter().filter(|(v, life)| other_life(v, life)).map(|(v, _)| *v).collect()
    }

    /// Whom this node speaks to.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<NodeId> {
        self.core.peers()
    }
}
