//! What must hold always, judged from outside: from applied entries, sent messages, the disks and
//! the answers to clients. A checker never asks a node what is true.

use std::collections::{BTreeMap, BTreeSet};

use quptime::base::id::{NodeId, RequestId};
use quptime::quorum::io::Role;
use quptime::quorum::message::{Entry, Incarnation, Index, Membership, Message, Outcome, Snapshot, Term};
use quptime::state::{Effects, State};

use super::app::App;
use super::disk::Disk;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as SPEC section 5 names it, or another property in a word.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

/// Nothing, or a broken invariant.
pub type Checked<T = ()> = Result<T, Violation>;

/// Makes a violation.
pub fn broken<T>(rule: &'static str, what: String) -> Checked<T> {
    Err(Violation { rule, what })
}

/// Turns a refusal of the model into a violation.
pub fn or_broken<T>(rule: &'static str, result: Result<T, String>) -> Checked<T> {
    result.map_err(|what| Violation { rule, what })
}

struct Seen {
    entry: Entry,
    /// No master of a later term was known when it was committed.
    committed_in: Term,
    digest: u64,
    state: Option<State>,
    membership: Membership,
}

/// The one true history, and everything that must agree with it.
pub struct Checkers {
    /// Index before the first entry of `history`.
    base: Index,
    history: Vec<Seen>,
    start: (u64, Option<State>, Membership),
    /// The machine after all of `history`.
    pub app: App,
    /// What the last entry of `history` caused.
    pub effects: Effects,
    suppress: bool,
    masters: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(usize, Incarnation, Term), NodeId>,
    versions: BTreeMap<u64, u64>,
    whole: BTreeSet<(NodeId, Incarnation)>,
    acked: Index,
}

impl Checkers {
    /// A history that starts after `base`, from this machine.
    pub fn new(app: App, base: Index, membership: Membership, suppress: bool) -> Checkers {
        let whole = membership.voters.iter().map(|(id, life)| (*id, *life)).collect();
        Checkers {
            base,
            history: Vec::new(),
            start: (app.digest(), app.state.clone(), membership),
            versions: [(app.config.version, app.config.digest())].into(),
            app,
            effects: Effects::default(),
            suppress,
            masters: BTreeMap::new(),
            votes: BTreeMap::new(),
            whole,
            acked: 0,
        }
    }

    /// A new history, among the same nodes.
    pub fn begin_anew(&mut self, app: App, base: Index, membership: Membership) {
        let mut anew = Checkers::new(app, base, membership, self.suppress);
        anew.whole.append(&mut self.whole);
        anew.masters = std::mem::take(&mut self.masters);
        anew.votes = std::mem::take(&mut self.votes);
        *self = anew;
    }

    /// The last committed index.
    pub fn committed(&self) -> Index {
        self.base + self.history.len() as u64
    }

    /// The last committed membership.
    pub fn membership(&self) -> &Membership {
        self.history.last().map_or(&self.start.2, |seen| &seen.membership)
    }

    /// Every request acknowledged so far is at or below this index.
    pub fn acked(&self) -> Index {
        self.acked
    }

    /// Who is master of a term, as anybody has it.
    pub fn role(&mut self, role: &Role, me: NodeId) -> Checked {
        if role.me != (role.master == Some(me)) {
            return broken("I1", format!("{role:?} contradicts itself"));
        }
        let Some(master) = role.master else { return Ok(()) };
        match self.masters.insert(role.shown_term / 2, master) {
            Some(other) if other != master => {
                broken("I1", format!("term {} has masters {other} and {master}", role.shown_term / 2))
            }
            _ => Ok(()),
        }
    }

    /// A node became master: its vote is on disk, and it has everything that is committed (thesis,
    /// section 3.6.3).
    pub fn elected(&self, (id, life): (NodeId, Incarnation), term: Term, disk: &Disk) -> Checked {
        match disk.vote() {
            Some(v) if v.term == term && v.vote == Some(id) => {}
            // A founder's life begins with its founding: until it is on disk another one is there,
            // or none, which the cluster does not count.
            Some(v) if v.life != life => {}
            _ if !disk.is_whole() => {}
            other => return broken("I4", format!("master of term {term} has on disk {other:?}")),
        }
        // A node that was stopped may count old votes and be master of a term that is long over.
        match self.history.iter().rev().find(|seen| seen.committed_in < term) {
            Some(seen) if !disk.will_hold(seen.entry.index, seen.entry.term) => {
                let (index, at) = (seen.entry.index, seen.entry.term);
                broken("I2", format!("the master of term {term} lacks committed entry {index} of term {at}"))
            }
            _ => Ok(()),
        }
    }

    /// One entry is applied by a host. True when it is the first to do so.
    pub fn apply(&mut self, entry: &Entry, app: &App) -> Checked<bool> {
        if entry.index <= self.base {
            return broken("I2", format!("entry {} is applied below the start {}", entry.index, self.base));
        }
        let at = usize::try_from(entry.index - self.base - 1).expect("histories are short");
        let first = at == self.history.len();
        if first {
            self.extend(entry)?;
        }
        let Some(seen) = self.history.get(at) else {
            return broken("I2", format!("entry {} leaves a gap after {}", entry.index, self.committed()));
        };
        if seen.entry != *entry {
            return broken("I3", format!("{entry:?} is applied where {:?} was", seen.entry));
        }
        if seen.digest != app.digest() || seen.state != app.state {
            return broken("I3", format!("the state after entry {} differs", entry.index));
        }
        let config = (app.config.version, app.config.digest());
        let known = *self.versions.entry(config.0).or_insert(config.1);
        if known != config.1 {
            return broken("I3", format!("config version {} has two contents", config.0));
        }
        Ok(first)
    }

    fn extend(&mut self, entry: &Entry) -> Checked {
        let before = self.membership().clone();
        let mut membership = before.clone();
        if let Some(next) = &entry.membership {
            self.change_of_members(&before, next, entry.index)?;
            membership.clone_from(next);
        }
        if let Some(last) = self.history.last().filter(|last| last.entry.term > entry.term) {
            return broken("I2", format!("term {} follows term {}", entry.term, last.entry.term));
        }
        self.effects = self.app.apply(entry, self.suppress);
        if entry.membership.is_some() {
            let members: BTreeSet<NodeId> = membership.members().collect();
            let peers: BTreeSet<NodeId> =
                self.app.config.peers.iter().map(|p| super::net::node_id(*p)).collect();
            if members != peers {
                return broken("I6", format!("members {members:?} are not the peers {peers:?}"));
            }
        }
        self.values_are_unique()?;
        let committed_in = self.masters.last_key_value().map_or(0, |(term, _)| *term);
        let (digest, state) = (self.app.digest(), self.app.state.clone());
        self.history.push(Seen { entry: entry.clone(), committed_in, digest, state, membership });
        Ok(())
    }

    fn change_of_members(&self, before: &Membership, next: &Membership, index: Index) -> Checked {
        let changed = before.voters.keys().chain(next.voters.keys()).collect::<BTreeSet<_>>();
        let changed = changed.into_iter().filter(|id| before.voters.get(id) != next.voters.get(id)).count();
        if changed > 1 {
            return broken("I6", format!("entry {index} changes {changed} voters at once"));
        }
        for (id, life) in &next.voters {
            if before.voters.get(id) != Some(life) && !self.whole.contains(&(*id, *life)) {
                return broken("I6", format!("entry {index} counts {id}, which never had the state"));
            }
        }
        match next.voters.is_empty() {
            true => broken("I6", format!("entry {index} leaves no voter")),
            false => Ok(()),
        }
    }

    /// Every client appends values of its own: one that is there twice was applied twice.
    fn values_are_unique(&self) -> Checked {
        for (key, values) in &self.app.config.registers {
            let (last, rest) = values.split_last().expect("a register is made by its first value");
            if rest.contains(last) {
                return broken("once", format!("value {last} was appended to register {key} twice"));
            }
        }
        Ok(())
    }

    /// A host starts over from a snapshot: it must be a state of the history.
    pub fn restore(&self, snapshot: &Snapshot, app: &App) -> Checked {
        let index = snapshot.end.index;
        let (digest, state, membership) = if index == self.base {
            (self.start.0, &self.start.1, &self.start.2)
        } else {
            let at = index.checked_sub(self.base + 1).and_then(|at| self.history.get(at as usize));
            let Some(seen) = at else {
                return broken("I3", format!("a snapshot at {index}, which was never committed"));
            };
            if seen.entry.term != snapshot.end.term {
                return broken(
                    "I3",
                    format!("snapshot {:?} where term is {}", snapshot.end, seen.entry.term),
                );
            }
            (seen.digest, &seen.state, &seen.membership)
        };
        if digest != app.digest() || *state != app.state {
            return broken("I3", format!("the snapshot at {index} is another state"));
        }
        if *membership != snapshot.membership {
            let m = &snapshot.membership;
            return broken("I6", format!("snapshot {index} says {m:?}, committed was {membership:?}"));
        }
        Ok(())
    }

    /// A life of `state/` is whole on a disk.
    pub fn is_whole(&mut self, id: NodeId, life: Incarnation) {
        self.whole.insert((id, life));
    }

    /// Whether it ever was.
    pub fn was_whole(&self, id: NodeId, life: Incarnation) -> bool {
        self.whole.contains(&(id, life))
    }

    /// A promise leaves a host: what it promises must be on its disk (I4), and must not contradict
    /// what this life of the disk promised before.
    pub fn promise(&mut self, host: usize, to: NodeId, message: &Message, disk: &Disk) -> Checked {
        match message {
            Message::Voted { term, granted: true, life, .. } => {
                match disk.vote() {
                    Some(v) if v.term == *term && v.vote == Some(to) && v.life == *life => {}
                    // Too late to matter, and kept for as long as it could.
                    Some(v) if v.term > *term => {}
                    // Without a state a node's life ends with its process: it has nothing to keep.
                    _ if !disk.is_whole() => {}
                    other => return broken("I4", format!("vote for {to} in {term}, on disk {other:?}")),
                }
                match self.votes.insert((host, *life, *term), to) {
                    Some(other) if other != to => {
                        broken("I4", format!("votes for {other} and {to} in term {term}"))
                    }
                    _ => Ok(()),
                }
            }
            Message::Appended { outcome: Outcome::Matched { matched }, .. }
                if *matched > disk.end().index =>
            {
                broken("I4", format!("matched {matched}, on disk {}", disk.end().index))
            }
            Message::Beat { end, .. } if *end > disk.end() => {
                broken("I4", format!("tells of {end:?}, on disk {:?}", disk.end()))
            }
            _ => Ok(()),
        }
    }

    /// The first apply of an entry: a majority of one of the memberships that may be in force has it
    /// on disk. `has` says who does (a node that lost its disk since may have had it).
    pub fn is_on_majority(&self, entry: &Entry, own: &Membership, has: impl Fn(NodeId) -> bool) -> Checked {
        let enough = |m: &Membership| m.voters.keys().filter(|id| has(**id)).count() >= m.need();
        if enough(own) || enough(self.membership()) || entry.membership.as_ref().is_some_and(&enough) {
            return Ok(());
        }
        broken("I2", format!("entry {} is applied and not on the disks of a majority", entry.index))
    }

    /// A client is told of success: the result is the one of the history, and what was acknowledged
    /// before this request began comes before it.
    pub fn acknowledged(&mut self, request: RequestId, floor: Index, told: (Index, u64)) -> Checked {
        let Some(true_result) = self.app.done.get(&request) else {
            return broken("I2", format!("{request} is acknowledged and nowhere applied"));
        };
        if self.suppress && *true_result != told {
            return broken("linear", format!("{request} was told {told:?}, applied {true_result:?}"));
        }
        if told.0 <= floor {
            return broken("linear", format!("{request} at {} began after {floor} was known", told.0));
        }
        self.acked = self.acked.max(told.0);
        Ok(())
    }

    /// At most one node acts (I1).
    pub fn acting(&self, acting: &[NodeId]) -> Checked {
        match acting {
            [] | [_] => Ok(()),
            many => broken("I1", format!("{many:?} act at the same moment")),
        }
    }
}
