//! Starting again when every member has lost its `state/` (I5).
//!
//! A blank node tells everybody the config version of its `cluster.yaml`. The founder is the one
//! with the highest version, the lowest NodeID among equals, as every blank node can work out for
//! itself. It asks all members that its file names, each heartbeat, and starts the cluster again
//! only when *every one* of them has answered that it is blank too and follows: then no promise of
//! the old cluster is left that could be broken. One member that remembers is enough to stop it.
//!
//! A pledge needs no disk: a node that crashes comes back with another life, and the pledge of the
//! old life counts for nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::NodeId;

use super::core::Core;
use super::message::{Blank, Incarnation, LogEnd, Membership, Message, Snapshot, Term};

/// The founder's book.
#[derive(Debug, Default)]
pub struct Refound {
    /// The term that is asked for; 0 while nothing is.
    term: Term,
    pledges: BTreeMap<NodeId, Incarnation>,
}

/// What founders are compared by: the higher version, then the lower NodeID.
fn better(a: (u64, NodeId), b: (u64, NodeId)) -> bool {
    a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)
}

fn own_file(core: &Core) -> Option<&Blank> {
    core.blank.as_ref()?.file.as_ref().map(|f| &f.known)
}

fn blank_of(core: &Core, node: NodeId) -> Option<&Blank> {
    if !core.is_live(node) {
        return None;
    }
    core.liveness.contact(node)?.blank.as_ref()
}

/// Whether this node is the one to found: everybody it knows of is live, blank, and not better.
fn is_founder(core: &Core, known: &Blank) -> bool {
    let others: BTreeSet<NodeId> = known.members.iter().copied().filter(|m| *m != core.me).collect();
    let mine = (known.version, core.me);
    known.members.contains(&core.me)
        && others.iter().all(|m| blank_of(core, *m).is_some_and(|b| !better((b.version, *m), mine)))
}

impl Refound {
    /// Once each heartbeat: the founder asks. True when it has founded, alone or with all pledges.
    pub fn on_beat(&mut self, core: &mut Core) -> bool {
        let Some(known) = own_file(core).cloned().filter(|k| is_founder(core, k)) else {
            *self = Refound::default();
            return false;
        };
        let above = core.term.max(core.liveness.highest_term()) + 1;
        if self.term == 0 {
            self.term = above;
        }
        let me = core.me;
        for member in known.members.iter().filter(|m| **m != me) {
            let message = Message::Refound { term: self.term, version: known.version };
            core.send(*member, message);
        }
        self.found(core, &known)
    }

    /// Another blank node wants to found.
    pub fn on_refound(core: &mut Core, from: NodeId, term: Term, version: u64) {
        let Some(known) = own_file(core).cloned() else { return };
        let worthy = blank_of(core, from).is_some_and(|b| b.version == version)
            && better((version, from), (known.version, core.me))
            && term > core.term;
        if worthy {
            core.send(from, Message::Refounded { term, life: core.life });
        }
    }

    /// A pledge. True when it was the last one.
    pub fn on_refounded(&mut self, core: &mut Core, from: NodeId, term: Term, life: Incarnation) -> bool {
        let Some(known) = own_file(core).cloned().filter(|k| is_founder(core, k)) else { return false };
        if self.term == 0 || term != self.term || !known.members.contains(&from) {
            return false;
        }
        self.pledges.insert(from, life);
        self.found(core, &known)
    }

    fn found(&mut self, core: &mut Core, known: &Blank) -> bool {
        let mut voters = BTreeMap::new();
        for member in &known.members {
            let life = if *member == core.me { Some(core.life) } else { self.pledges.get(member).copied() };
            let Some(life) = life else { return false };
            voters.insert(*member, life);
        }
        let Some(data) = core.blank.as_ref().and_then(|b| b.file.as_ref()).map(|f| f.data.clone()) else {
            return false;
        };
        core.note(match known.members.len() {
            1 => format!("no state yet: starting as a cluster of one, config version {}", known.version),
            _ => {
                format!("no member has any state left: starting again from config version {}", known.version)
            }
        });
        core.term = self.term;
        core.vote = Some(core.me);
        core.knew_master = false;
        // The term before its own: an entry of `self.term` has yet to be made.
        let end = LogEnd { term: self.term - 1, index: 1 };
        let membership = Membership { voters, learners: BTreeSet::new() };
        core.install(Snapshot { end, membership, data });
        *self = Refound::default();
        true
    }
}
