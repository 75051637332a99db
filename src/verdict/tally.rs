//! The master's tally: each peer's newest report for each check, stamped on arrival with the
//! master's own monotonic clock, and what follows from them.
//!
//! * A report counts for the node that the caller names, which is who the connection's key proved.
//! * A report is fresh for three intervals, 30 s at least; what is stale is dropped.
//! * Work is done for the check that a report is about, and for checks with a report that goes
//!   stale: never for all of them, but when the configuration changes.
//! * What [`Tally::poll`] has handed out is in flight until [`Tally::clear`], and is not handed
//!   out again in between.
//! * "No fresh report at all" is held against a check only once a whole window has passed since
//!   this node began as master ([`Tally::begin`]), since the check became what it is, and since
//!   this process last stood still: then it was not the nodes that were silent.
//!
//! Any node may keep one, whether it is master or not: a new master then decides from reports that
//! it has. Only a master proposes what [`Tally::poll`] returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::{CheckId, NodeId};
use crate::base::text::{harmless, shorten};
use crate::base::units::Span;
use crate::config::{Check, Checks, Cluster};

use super::evaluate::{Finding, Streak, Vote, evaluate};
use super::report::{Outcome, Report, Seen, Transition, Verdict, definition};

/// A report is fresh for this many intervals of its check,
const FRESH_INTERVALS: u64 = 3;
/// and for this long at least.
const FRESH_AT_LEAST: Span = Span::from_secs(30);
/// Nobody looks this much too late unless the process stood still (stopped, its machine paused).
const STOOD_STILL: Duration = Duration::from_secs(5);
/// A kept detail, characters.
const LONGEST_DETAIL: usize = 300;

/// How long a report of a check with this interval is fresh.
#[must_use]
pub fn freshness(interval: Span) -> Duration {
    let intervals = Span::from_millis(interval.millis().saturating_mul(FRESH_INTERVALS));
    intervals.max(FRESH_AT_LEAST).duration()
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is that node's newest now.
    New,
    /// That round, or a later one, was here already.
    Again,
    /// The sender is not a peer.
    NotAPeer,
    /// There is no such check, or it is disabled.
    NoSuchCheck,
    /// It is about the check as it was before an edit.
    OtherDefinition,
}

/// What the fresh reports about one check say, for showing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Fresh reports of success.
    pub ok: u32,
    /// Fresh reports.
    pub total: u32,
    /// The detail of the failing node with the lowest NodeID; empty when none fails.
    pub detail: String,
    /// Each fresh report, by node.
    pub nodes: Vec<NodeSays>,
}

/// One node's fresh report, for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSays {
    /// What it saw.
    pub seen: Seen,
    /// How long ago the report came in.
    pub age: Duration,
}

#[derive(Clone, Debug)]
struct Held {
    at: Mono,
    boot: u64,
    round: u64,
    took_ms: u32,
    outcome: Outcome,
    /// An evaluation has counted it.
    counted: bool,
}

#[derive(Clone, Debug)]
struct Watched {
    check: Arc<Check>,
    of: u64,
    window: Duration,
    /// Since when reports of this definition could have come in.
    born: Mono,
    /// Newest of each node, in order of node: a list, since a cluster has a few nodes and may have
    /// tens of thousands of checks.
    reports: Vec<(NodeId, Held)>,
    streak: Streak,
    in_flight: bool,
    /// Its entry in `deadlines`: not after the moment when the first report goes stale.
    deadline: Option<Mono>,
}

impl Watched {
    fn new(check: &Arc<Check>, now: Mono) -> Watched {
        Watched {
            check: Arc::clone(check),
            of: definition(check),
            window: freshness(check.interval),
            born: now,
            reports: Vec::new(),
            streak: Streak::default(),
            in_flight: false,
            deadline: None,
        }
    }

    /// Drops what is stale and takes the rest as one evaluation.
    fn evaluate(&mut self, now: Mono, peers: usize) {
        let window = self.window;
        self.reports.retain(|(_, held)| now.since(held.at) < window);
        let votes =
            self.reports.iter().map(|(_, held)| Vote { ok: held.outcome.is_ok(), new: !held.counted });
        let finding = evaluate(votes, peers);
        if self.streak.advance(finding)
            && let Finding::Candidate { verdict, .. } = finding
        {
            let agreeing = self.reports.iter_mut().map(|(_, held)| held);
            for held in agreeing.filter(|held| held.outcome.is_ok() == (verdict == Verdict::Up)) {
                held.counted = true;
            }
        }
    }

    /// Uses up what speaks against `verdict`.
    fn spend(&mut self, verdict: Verdict) {
        for (_, held) in &mut self.reports {
            held.counted |= verdict != if held.outcome.is_ok() { Verdict::Up } else { Verdict::Down };
        }
        if self.streak.steady(0) != Some(verdict) {
            self.streak = Streak::default();
        }
    }

    /// From when on silence means something, given since when this node listens.
    fn patience(&self, listening: Mono) -> Mono {
        self.born.max(listening) + self.window
    }

    /// The verdict that the reports call for, if they call for any.
    fn calls_for(&self, now: Mono, hysteresis: u32, listening: Mono) -> Option<Verdict> {
        if self.reports.is_empty() {
            return (now >= self.patience(listening)).then_some(Verdict::Unknown);
        }
        self.streak.steady(hysteresis)
    }

    /// When time alone changes something next.
    fn next_deadline(&self, now: Mono, listening: Mono) -> Option<Mono> {
        let first = self.reports.iter().map(|(_, held)| held.at + self.window).min();
        first.or_else(|| Some(self.patience(listening)).filter(|at| *at > now))
    }

    fn transition(&self, from: Verdict, to: Verdict, peers: usize) -> Transition {
        let seen = self.reports.iter().map(|(node, held)| held.seen(*node)).collect();
        let peers = u32::try_from(peers).unwrap_or(u32::MAX);
        Transition { check: self.check.id, from, to, of: self.of, seen, peers }
    }
}

/// A peer's sentence ends up in everybody's state, terminal and mail: what is too long or not
/// meant for eyes goes here.
fn presentable(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Ok => Outcome::Ok,
        Outcome::Failed { stage, detail } => {
            let detail = shorten(&harmless(&shorten(detail, LONGEST_DETAIL)), LONGEST_DETAIL);
            Outcome::Failed { stage: *stage, detail }
        }
    }
}

impl Held {
    fn seen(&self, node: NodeId) -> Seen {
        Seen { node, outcome: self.outcome.clone(), took_ms: self.took_ms }
    }
}

/// The newest reports of all peers about all enabled checks.
#[derive(Clone, Debug)]
pub struct Tally {
    peers: BTreeSet<NodeId>,
    hysteresis: u32,
    /// Since when the silence of others can be told from not having listened.
    listening: Mono,
    /// As [`Tally::configure`] was told last.
    configured: Checks,
    checks: BTreeMap<CheckId, Watched>,
    /// When which check must be looked at although nothing came in.
    deadlines: BTreeSet<(Mono, CheckId)>,
    /// Checks whose verdict may have to change.
    touched: BTreeSet<CheckId>,
}

impl Tally {
    /// An empty tally of a node that begins to listen now.
    #[must_use]
    pub fn new(now: Mono, cluster: &Cluster) -> Tally {
        let mut tally = Tally {
            peers: BTreeSet::new(),
            hysteresis: 0,
            listening: now,
            configured: Checks::new(),
            checks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        tally.configure(now, cluster);
        tally
    }

    /// This node becomes master now: reports that have not reached it yet get a whole window to.
    pub fn begin(&mut self, now: Mono) {
        self.listening = now;
        let silent = self.checks.iter().filter(|(_, watched)| watched.deadline.is_none());
        let silent: Vec<CheckId> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            self.set_deadline(now, id);
        }
    }

    /// Follows a change of the configuration: forgets nodes that are no peers, checks that are
    /// gone or disabled, and reports of checks that are something else now.
    pub fn configure(&mut self, now: Mono, cluster: &Cluster) {
        let same_peers =
            self.peers.len() == cluster.peers.len() && self.peers.iter().eq(cluster.peers.keys());
        let same_rule = same_peers && self.hysteresis == cluster.settings.hysteresis;
        self.peers = cluster.peers.keys().copied().collect();
        self.hysteresis = cluster.settings.hysteresis;
        let last = std::mem::replace(&mut self.configured, cluster.checks.clone());
        for (id, _, new) in last.against(&cluster.checks) {
            match new.filter(|check| check.enabled) {
                Some(check) => self.follow(now, *id, check),
                None => self.forget(*id),
            }
        }
        if same_rule {
            return;
        }
        let peers = &self.peers;
        for watched in self.checks.values_mut() {
            watched.reports.retain(|(node, _)| peers.contains(node));
        }
        let all: Vec<CheckId> = self.checks.keys().copied().collect();
        all.into_iter().for_each(|id| self.judge(now, id));
    }

    fn forget(&mut self, id: CheckId) {
        let gone = self.checks.remove(&id);
        if let Some(at) = gone.and_then(|watched| watched.deadline) {
            self.deadlines.remove(&(at, id));
        }
        self.touched.remove(&id);
    }

    /// Takes in one check as it is now.
    fn follow(&mut self, now: Mono, id: CheckId, check: &Arc<Check>) {
        if let Some(known) = self.checks.get_mut(&id) {
            if Arc::ptr_eq(&known.check, check) {
                return;
            }
            if known.of == definition(check) {
                known.check = Arc::clone(check);
                return;
            }
            if let Some(at) = known.deadline {
                self.deadlines.remove(&(at, id));
            }
        }
        self.checks.insert(id, Watched::new(check, now));
        self.touched.remove(&id);
        self.set_deadline(now, id);
    }

    /// Takes a report in; `from` is who the connection's key proved.
    pub fn take(&mut self, now: Mono, from: NodeId, report: &Report) -> Taken {
        if !self.peers.contains(&from) {
            return Taken::NotAPeer;
        }
        let Some(watched) = self.checks.get_mut(&report.check) else {
            return Taken::NoSuchCheck;
        };
        if watched.of != report.of {
            return Taken::OtherDefinition;
        }
        let place = watched.reports.binary_search_by_key(&from, |(node, _)| *node);
        let known = place.ok().and_then(|at| watched.reports.get_mut(at)).map(|(_, held)| held);
        if known.as_ref().is_some_and(|held| held.boot == report.boot && held.round >= report.round) {
            return Taken::Again;
        }
        let held = Held {
            at: now,
            boot: report.boot,
            round: report.round,
            took_ms: report.took_ms,
            outcome: presentable(&report.outcome),
            counted: false,
        };
        match (known, place) {
            (Some(known), _) => *known = held,
            (None, at) => {
                watched.reports.reserve_exact(1);
                watched.reports.insert(at.unwrap_or_else(|at| at), (from, held));
            }
        }
        self.judge(now, report.check);
        Taken::New
    }

    /// Evaluates one check and notes whether its verdict may have to change.
    fn judge(&mut self, now: Mono, id: CheckId) {
        let peers = self.peers.len();
        let Some(watched) = self.checks.get_mut(&id) else {
            return;
        };
        watched.evaluate(now, peers);
        if watched.calls_for(now, self.hysteresis, self.listening).is_some() {
            self.touched.insert(id);
        }
        if watched.deadline.is_none() {
            self.set_deadline(now, id);
        }
    }

    fn set_deadline(&mut self, now: Mono, id: CheckId) {
        if let Some(watched) = self.checks.get_mut(&id) {
            watched.deadline = watched.next_deadline(now, self.listening);
            self.deadlines.extend(watched.deadline.map(|at| (at, id)));
        }
    }

    /// The changes of verdict to propose now, in order of check id, `limit` at most. `current`
    /// gives the committed verdict of a check. What is returned is in flight: it is not returned
    /// again until [`Tally::clear`] says that its fate is known.
    pub fn poll(
        &mut self,
        now: Mono,
        limit: usize,
        current: impl Fn(CheckId) -> Option<Verdict>,
    ) -> Vec<Transition> {
        if self.deadlines.first().is_some_and(|(at, _)| now.since(*at) > STOOD_STILL) {
            self.begin(now);
        }
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            if let Some(watched) = self.checks.get_mut(&id) {
                watched.deadline = None;
            }
            self.judge(now, id);
        }
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some(id) = self.touched.pop_first()
        {
            let Some(watched) = self.checks.get_mut(&id).filter(|watched| !watched.in_flight) else {
                continue;
            };
            let (Some(from), Some(to)) =
                (current(id), watched.calls_for(now, self.hysteresis, self.listening))
            else {
                continue;
            };
            if from != to {
                watched.in_flight = true;
                changes.push(watched.transition(from, to, self.peers.len()));
            }
        }
        changes
    }

    /// The fate of a proposed change is known: applied, refused, or lost. The check is judged
    /// again at the next [`Tally::poll`].
    pub fn clear(&mut self, check: CheckId) {
        if let Some(watched) = self.checks.get_mut(&check) {
            watched.in_flight = false;
            self.touched.insert(check);
        }
    }

    /// The verdict of a check is this one now: what this node had heard against it is spent, and
    /// only what comes in from here on may change it again. So a node that was cut off while the
    /// others watched an outage end does not, as their next master, see another one in the old
    /// reports that it still holds.
    pub fn decided(&mut self, check: CheckId, verdict: Verdict) {
        if let Some(watched) = self.checks.get_mut(&check) {
            watched.spend(verdict);
        }
        self.clear(check);
    }

    /// When [`Tally::poll`] has something to look at: at once while changes may be waiting, else
    /// when the next report goes stale, else [`Mono::FAR`].
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        if !self.touched.is_empty() {
            return Mono(0);
        }
        self.deadlines.first().map_or(Mono::FAR, |(at, _)| *at)
    }

    /// What the fresh reports about a check say; `None` when the check is not watched.
    #[must_use]
    pub fn said(&self, now: Mono, check: CheckId) -> Option<Said> {
        let watched = self.checks.get(&check)?;
        let mut said = Said::default();
        for (node, held) in &watched.reports {
            let age = now.since(held.at);
            if age >= watched.window {
                continue;
            }
            said.total += 1;
            if held.outcome.is_ok() {
                said.ok += 1;
            } else if said.detail.is_empty() {
                held.outcome.detail().clone_into(&mut said.detail);
            }
            said.nodes.push(NodeSays { seen: held.seen(*node), age });
        }
        Some(said)
    }
}

#[cfg(test)]
#[path = "tally/tests.rs"]
mod tests;
