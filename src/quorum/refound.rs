//! Starting again from a configuration file (I5; SPEC section 11, procedures 4 and 6).
//!
//! A node that goes on from no `state/` presents its `cluster.yaml`: one that lost `state/`, and one
//! whose file was made newer than `state/` by an operator. The second kind is mute in its old
//! cluster, as if it were down; its `state/` lies untouched on its disk until another one replaces
//! it, and it goes back to it when the file is taken back.
//!
//! **Who founds.** Among those who present the same file the one with the lowest NodeID; a file of a
//! higher version wins over those of nodes that have nothing else. It asks all that the file names,
//! each heartbeat, and founds when *every one* of them has pledged to it: then nobody is left who
//! goes on from anything else. When an operator has *told* them so, a majority of those named is
//! enough. A pledge needs no disk: a node that crashes comes back with another life, and what the
//! old life pledged counts for nothing.
//!
//! **What a founding is.** A snapshot made of the file, at index 1 of a log of its own, which every
//! message about that log names ([`Founding`]). Its voters are those who pledged, each in the life
//! that it pledged with; a peer that is named and did not pledge has life 0, which nobody has: it
//! counts for the size of the quorum, and as a vote when the new master has brought it up to date
//! (`Master::mend_membership`). It becomes the cluster when a majority of them has it on disk and
//! follows: before that its master is not *settled*, and may do nothing.
//!
//! **Why there are never two.** Logs of different foundings are never mixed: whoever takes up
//! another one begins as a node that lost everything, with another life ([`Core::takes`]); so a
//! promise counts in one of them only, and
//! * *of two foundings from files that name the same peers*, or of one and the old cluster, only one
//!   can have a majority. The promise not to help another master than the old one is over when a
//!   node takes up a founding, since it has listened for dead-after before ([`BlankPart::act_from`]);
//! * *of one cluster and a file that names fewer*: that the others are gone for good, and do not
//!   come back with their old directories, is what the operator says by leaving them out. If a
//!   master with a majority is heard meanwhile, the file gives way to it.
//!
//! I2 holds for what the file holds: what only the lost ones had committed is lost with them. I3
//! holds when the file's version is above all that they may have reached; so it is raised
//! generously. Files of the same version with other contents never go together (I3).
//!
//! Left out: a founding whose voters crash before a majority has it stands still, since their lives
//! are others then. The operator raises the version and starts again. A founding that another one
//! has overtaken needs nobody: it takes up the other one.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::clock::Mono;
use crate::base::id::NodeId;

use super::core::Core;
use super::io::{File, Standing};
use super::lesion::Rule;
use super::message::{Blank, Founding, Incarnation, Index, LogEnd, Membership, Message, Snapshot, Term};

/// Where the log of every founding begins.
pub const INDEX: Index = 1;

/// A node that goes on from no `state/`.
#[derive(Debug)]
pub struct BlankPart {
    /// What `cluster.yaml` says, if there is one that names others.
    pub file: Option<File>,
    /// Until then this node only listens: a master with a majority may be there, and a promise to it
    /// from before the start may bind this node.
    act_from: Mono,
    /// The last founding it pledged to, and in which term; none yet. No pledge goes back.
    pledged: Option<(Term, Founding)>,
}

impl BlankPart {
    /// One that presents `file` from `now` on.
    pub fn new(file: Option<File>, core: &Core) -> BlankPart {
        let listens = file.as_ref().is_some_and(|f| f.known.told || f.known.remembers || f.others);
        let wait = core.timing.dead_after + core.timing.heartbeat * 2;
        let act_from = if listens { core.now + wait } else { core.now };
        BlankPart { file, act_from, pledged: None }
    }

    fn known(&self) -> Option<&Blank> {
        self.file.as_ref().map(|f| &f.known)
    }
}

impl Core {
    /// What this node's log goes back to.
    pub fn founding(&self) -> Founding {
        self.membership().map(|m| m.founding).unwrap_or_default()
    }

    /// Whether something from a master whose log goes back to `founding` is for this node: of its
    /// own log always; of another one when a majority follows that master, and nobody else is
    /// promised anything; before that only from the founder that it pledged to.
    pub fn takes(&self, term: Term, founding: Founding, settled: bool) -> bool {
        match &self.blank {
            Some(blank) => {
                let pledged = blank.pledged.is_some_and(|(since, to)| to == founding && term >= since);
                settled || pledged || blank.file.is_none()
            }
            None if !self.lesions.holds(Rule::FoundingsApart) => true,
            None => founding == self.founding() || (settled && self.unheld() && self.free()),
        }
    }

    /// Before the log of another founding is taken up: nothing of this node's own counts any more.
    /// On disk it stays until the other one replaces it, in case that does not come.
    pub fn begin_anew(&mut self, founding: Founding) {
        self.note("there is a master with a quorum whose cluster was started again: taking up its state");
        // Another one than before is what matters; drawn at random were both that it is made of.
        self.life = Incarnation(self.life.0.rotate_left(17) ^ founding.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.forget();
        self.blank = Some(BlankPart::new(None, self));
    }
}

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

/// What this node presents, when it has listened for long enough.
fn own_file(core: &Core) -> Option<&Blank> {
    let listens = |b: &&BlankPart| core.now >= b.act_from || !core.lesions.holds(Rule::RecoverListens);
    core.blank.as_ref().filter(listens)?.known()
}

/// What a live node presents.
fn presented(core: &Core, node: NodeId) -> Option<&Blank> {
    core.liveness.contact(node).filter(|_| core.is_live(node))?.blank.as_ref()
}

/// Whether one who presents `theirs` may follow a founder who presents `file`.
fn goes_with(theirs: &Blank, file: &Blank) -> bool {
    let same = theirs.version == file.version && theirs.digest == file.digest;
    same || (theirs.version < file.version && !theirs.remembers)
}

/// Whether this node is the one to found: nobody who is named and live is better, and all that must
/// agree may.
fn is_founder(core: &Core, known: &Blank) -> bool {
    let mine = (known.version, core.me);
    let stands_back = |m: &NodeId| match presented(core, *m) {
        // One that was not told waits for everybody, and is no founder while somebody is missing.
        Some(b) if goes_with(b, known) => !better((b.version, *m), mine) || (known.told && !b.told),
        Some(b) if goes_with(known, b) => known.told && !b.told,
        Some(_) | None => known.told,
    };
    known.members.contains(&core.me) && known.members.iter().all(|m| *m == core.me || stands_back(m))
}

impl Refound {
    /// Once each heartbeat: the founder asks. True when it has founded, alone or with all pledges.
    pub fn on_beat(&mut self, core: &mut Core) -> bool {
        let Some(known) = own_file(core).cloned().filter(|k| is_founder(core, k)) else {
            *self = Refound::default();
            return false;
        };
        let above = core.term.max(core.liveness.highest_term()) + 1;
        if self.term < above {
            *self = Refound { term: above, ..Refound::default() };
        }
        let (me, founding) = (core.me, Founding(core.life.0));
        for member in known.members.iter().filter(|m| **m != me) {
            let message = Message::Refound { term: self.term, version: known.version, founding };
            core.send(*member, message);
        }
        self.found(core, &known, true)
    }

    /// A pledge. True when it was the last one.
    pub fn on_refounded(&mut self, core: &mut Core, from: NodeId, term: Term, life: Incarnation) -> bool {
        let Some(known) = own_file(core).cloned().filter(|k| is_founder(core, k)) else { return false };
        if self.term == 0 || term != self.term || !known.members.contains(&from) {
            return false;
        }
        self.pledges.insert(from, life);
        self.found(core, &known, false)
    }

    /// Who has pledged and was told, this node included when it was.
    fn told(&self, core: &Core, known: &Blank) -> usize {
        let told = |m: &&NodeId| match **m == core.me {
            true => known.told,
            false => {
                self.pledges.contains_key(*m)
                    && presented(core, **m).is_some_and(|b| b.told && goes_with(b, known))
            }
        };
        known.members.iter().filter(told).count()
    }

    /// Founds if enough have pledged: everybody at any time, a majority only with the next
    /// heartbeat, so that all who are there have had their say.
    fn found(&mut self, core: &mut Core, known: &Blank, on_beat: bool) -> bool {
        let named = known.members.len();
        let life_of = |m: &NodeId| if *m == core.me { Some(core.life) } else { self.pledges.get(m).copied() };
        let with = known.members.iter().filter(|m| life_of(m).is_some()).count();
        let strict = core.lesions.holds(Rule::RecoverMajority);
        let majority = self.told(core, known) > named / 2 || !strict;
        if with < named && !(on_beat && known.told && majority) {
            return false;
        }
        // Nobody has life 0.
        let voters: BTreeMap<NodeId, Incarnation> =
            known.members.iter().map(|m| (*m, life_of(m).unwrap_or(Incarnation(0)))).collect();
        let voters = if strict { voters } else { voters.into_iter().filter(|(_, l)| l.0 != 0).collect() };
        let Some(data) = core.blank.as_ref().and_then(|b| b.file.as_ref()).map(|f| f.data.clone()) else {
            return false;
        };
        let version = known.version;
        core.note(match (with, named) {
            (_, 1) => format!("starting as a cluster of one, config version {version}"),
            _ if with == named => {
                format!("all {named} peers agree: starting again from config version {version}")
            }
            _ => {
                format!(
                    "told to recover: starting again from config version {version} with {with} of {named} peers"
                )
            }
        });
        core.term = self.term;
        core.vote = Some(core.me);
        core.knew_master = false;
        // The term before its own: an entry of `self.term` has yet to be made.
        let end = LogEnd { term: self.term - 1, index: INDEX };
        let founding = Founding(core.life.0);
        let membership = Membership { voters, learners: BTreeSet::new(), founding };
        core.install(Snapshot { end, membership, data });
        *self = Refound::default();
        true
    }
}

/// Another node that presents a file wants to found.
pub fn on_refound(core: &mut Core, from: NodeId, term: Term, version: u64, founding: Founding) {
    let Some(known) = own_file(core) else { return };
    let theirs = presented(core, from).filter(|b| b.version == version);
    let worthy = theirs.is_some_and(|b| goes_with(known, b))
        && better((version, from), (known.version, core.me))
        && term > core.term;
    let Some(blank) = core.blank.as_mut().filter(|_| worthy) else { return };
    // In one term one only: a founder that has overtaken another one asks in a higher term.
    if blank.pledged.is_none_or(|(since, to)| since < term || (since == term && to == founding)) {
        blank.pledged = Some((term, founding));
        let life = core.life;
        core.send(from, Message::Refounded { term, life });
    }
}

/// How it stands with the file that this node presents; `None` when it presents none.
pub fn standing(core: &Core) -> Option<Standing> {
    let known = core.blank.as_ref()?.known()?;
    let mut standing = Standing {
        version: known.version,
        told: known.told,
        remembers: known.remembers,
        with: BTreeSet::new(),
        other: Vec::new(),
        remember: BTreeSet::new(),
        silent: BTreeSet::new(),
    };
    for member in &known.members {
        match presented(core, *member) {
            _ if *member == core.me => drop(standing.with.insert(*member)),
            Some(b) if goes_with(b, known) || goes_with(known, b) => drop(standing.with.insert(*member)),
            Some(b) => standing.other.push((*member, b.version)),
            None if core.is_live(*member) => drop(standing.remember.insert(*member)),
            None => drop(standing.silent.insert(*member)),
        }
    }
    Some(standing)
}
