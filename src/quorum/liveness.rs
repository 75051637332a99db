//! Who is heard, and since when without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::message::{Blank, Incarnation, Term};

/// What is known of one peer from what it sends.
#[derive(Clone, Debug)]
pub struct Contact {
    /// When the last message came.
    pub heard: Mono,
    /// When the first one after the last gap came.
    pub since: Mono,
    /// The term it last named.
    pub term: Term,
    /// Its life of `state/`.
    pub life: Option<Incarnation>,
    /// Whom it hears.
    pub hears: BTreeSet<NodeId>,
    /// What it knows while it has no `state/`; `None` when it has one.
    pub blank: Option<Blank>,
}

/// Last contact with each peer.
#[derive(Debug, Default)]
pub struct Liveness {
    contacts: BTreeMap<NodeId, Contact>,
}

impl Liveness {
    /// Something came from `peer`.
    pub fn heard(&mut self, peer: NodeId, now: Mono, dead_after: Duration) -> &mut Contact {
        let contact = self.contacts.entry(peer).or_insert(Contact {
            heard: now,
            since: now,
            term: 0,
            life: None,
            hears: BTreeSet::new(),
            blank: None,
        });
        if now.since(contact.heard) > dead_after {
            contact.since = now;
            contact.hears.clear();
        }
        contact.heard = now;
        contact
    }

    /// Whether `peer` was heard within `dead_after`.
    pub fn live(&self, peer: NodeId, now: Mono, dead_after: Duration) -> bool {
        self.contacts.get(&peer).is_some_and(|c| now.since(c.heard) <= dead_after)
    }

    /// Everybody who was.
    pub fn all_live(&self, now: Mono, dead_after: Duration) -> BTreeSet<NodeId> {
        let live = |c: &Contact| now.since(c.heard) <= dead_after;
        self.contacts.iter().filter(|(_, c)| live(c)).map(|(id, _)| *id).collect()
    }

    /// What is known of `peer`.
    pub fn contact(&self, peer: NodeId) -> Option<&Contact> {
        self.contacts.get(&peer)
    }

    /// The highest term that anybody named.
    pub fn highest_term(&self) -> Term {
        self.contacts.values().map(|c| c.term).max().unwrap_or(0)
    }

    /// Forgets who is neither a member nor live.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool, now: Mono, dead_after: Duration) {
        self.contacts.retain(|id, c| keep(*id) || now.since(c.heard) <= dead_after);
    }
}
