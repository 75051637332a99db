//! Observers: they look at every node all the time and know what no two nodes may say.
//!
//! **Two masters.** A node's picture says until when it may act as master (`acts_for_ms` after the
//! picture was made). One observer a node asks every few milliseconds. From the first answer under
//! a term that says so, to the last question that was answered so, and not beyond the time that the
//! newest picture names, the node certainly was entitled to act: a role that ends is published at
//! once. Such spans of two nodes must not overlap, by more than what the measurement is worth; and
//! under one term only one node may ever call itself master.
//!
//! When a picture was made is known by the daemon's age in it: a daemon's start is the earliest that
//! any of its answers allows, which is too late by the shortest delay among hundreds of answers.
//!
//! **Two contents.** Another observer compares what every node says under each config version.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quptime::base::id::NodeId;
use quptime::view::{Filter, View};

use crate::node::Place;

/// Spans that overlap by less are within the error of measurement (publishing, scheduling). A wrong
/// lease is wrong by hundreds of milliseconds: at a fifth of dead-after, the margin alone is 200.
const TOLERANCE: Duration = Duration::from_millis(50);
const EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_millis(250);

/// A time in which a node was entitled to act as master.
#[derive(Clone, Debug)]
pub struct Span {
    pub node: usize,
    /// For the reader of a failure.
    #[allow(dead_code)]
    pub term: u64,
    /// Since the beginning of the observation.
    pub from: Duration,
    pub to: Duration,
}

/// What was seen.
pub struct Seen {
    begun: Instant,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    spans: Vec<Span>,
    masters: BTreeMap<u64, NodeId>,
    contents: BTreeMap<u64, (usize, String)>,
    wrong: Vec<String>,
    looks: u64,
    master: Option<NodeId>,
    /// The newest term under which anybody named a master.
    term: u64,
}

impl Seen {
    pub fn new() -> Seen {
        Seen { begun: Instant::now(), found: Mutex::default() }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Found) -> T) -> T {
        with(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The master that the newest term names.
    pub fn master(&self) -> Option<NodeId> {
        self.with(|f| f.master)
    }

    /// Terms that had a master.
    pub fn terms(&self) -> usize {
        self.with(|f| f.masters.len())
    }

    pub fn looks(&self) -> u64 {
        self.with(|f| f.looks)
    }

    /// What was wrong, each as a sentence.
    pub fn wrong(&self) -> Vec<String> {
        self.with(|f| f.wrong.iter().cloned().chain(overlaps(&f.spans)).collect())
    }

    /// Looks at one node until told to stop.
    pub fn watch(&self, node: &Place, stop: &AtomicBool) {
        let mut watch = Watch::default();
        while !stop.load(Ordering::Relaxed) {
            let (life, asked) = (node.life(), Instant::now());
            if let Some(view) = node.head(PATIENCE).filter(|_| life == node.life()) {
                watch.looked(life, asked, Instant::now(), &view);
                self.note(node.index, &view);
            }
            std::thread::sleep(EVERY);
        }
        let mut spans = watch.spans(node.index, self.begun);
        self.with(|f| f.spans.append(&mut spans));
    }

    fn note(&self, node: usize, view: &View) {
        self.with(|f| {
            f.looks += 1;
            if let Some(master) = view.master.filter(|_| view.term > f.term) {
                (f.term, f.master) = (view.term, Some(master));
            }
            if view.master != Some(view.node) {
                return;
            }
            let first = *f.masters.entry(view.term).or_insert(view.node);
            if first != view.node {
                f.wrong.push(format!(
                    "term {}: {} (n{node}) calls itself master, as {first} did",
                    view.term, view.node
                ));
            }
        });
    }

    /// Compares contents of all nodes until told to stop.
    pub fn compare(&self, nodes: &[Place], stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for node in nodes {
                if let Some(view) = node.view(Filter::default(), PATIENCE * 4) {
                    self.compare_one(node.index, &view);
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// One node's content under its version.
    pub fn compare_one(&self, node: usize, view: &View) {
        let content = content(view);
        self.with(|f| match f.contents.get(&view.config_version) {
            None => drop(f.contents.insert(view.config_version, (node, content))),
            Some((_, first)) if *first == content => {}
            Some((other, first)) => f.wrong.push(format!(
                "config version {} differs: on n{other}\n  {first}\non n{node}\n  {content}",
                view.config_version
            )),
        });
    }
}

/// What the configuration says, in one line.
fn content(view: &View) -> String {
    let checks: Vec<String> = view.checks.iter().map(|c| format!("{}={}", c.name, c.interval)).collect();
    let peers: Vec<String> = view.peers.iter().map(|p| p.node_id.short()).collect();
    format!("{:?} by {:?} {} {:?}", view.settings, view.updated_by, peers.join(","), checks.join(" "))
}

/// One daemon of a node, from start to kill.
struct Life {
    start: Instant,
    claims: BTreeMap<u64, Claim>,
}

/// What it said under one term.
struct Claim {
    first_answer: Instant,
    last_question: Instant,
    /// By its own clock: the end of its right to act.
    until: Duration,
}

/// What was seen of one node, by life.
#[derive(Default)]
struct Watch {
    lives: BTreeMap<u64, Life>,
}

impl Watch {
    fn looked(&mut self, life: u64, asked: Instant, answered: Instant, view: &View) {
        let age = Duration::from_millis(view.uptime_ms);
        let Some(start) = answered.checked_sub(age) else { return };
        let life = self.lives.entry(life).or_insert(Life { start, claims: BTreeMap::new() });
        life.start = life.start.min(start);
        let Some(left) = view.acts_for_ms.filter(|_| view.master == Some(view.node)) else { return };
        // A cluster of one has no end.
        let until = age + Duration::from_millis(left.min(3_600_000));
        let fresh = Claim { first_answer: answered, last_question: asked, until };
        let claim = life.claims.entry(view.term).or_insert(fresh);
        claim.last_question = asked;
        claim.until = claim.until.max(until);
    }

    fn spans(&self, node: usize, begun: Instant) -> Vec<Span> {
        let since = |t: Instant| t.saturating_duration_since(begun);
        let mut spans = Vec::new();
        for life in self.lives.values() {
            for (term, claim) in &life.claims {
                let to = claim.last_question.min(life.start + claim.until);
                spans.push(Span { node, term: *term, from: since(claim.first_answer), to: since(to) });
            }
        }
        spans
    }
}

/// Spans of different nodes that overlap.
fn overlaps(spans: &[Span]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (i, a) in spans.iter().enumerate() {
        for b in spans.get(i + 1..).unwrap_or_default().iter().filter(|b| b.node != a.node) {
            let both = a.to.min(b.to).saturating_sub(a.from.max(b.from));
            if both > TOLERANCE {
                wrong.push(format!("two masters acted for {both:?}: {a:?} and {b:?}"));
            }
        }
    }
    wrong
}

#[test]
fn spans_of_two_nodes_that_overlap_are_told() {
    let ms = Duration::from_millis;
    let span = |node, from, to| Span { node, term: 2, from: ms(from), to: ms(to) };
    let told = |spans: &[Span]| overlaps(spans).len();
    assert_eq!(told(&[span(0, 0, 1000), span(1, 990, 2000), span(0, 2100, 2200)]), 0);
    assert_eq!(told(&[span(0, 0, 1000), span(0, 500, 2000)]), 0, "the same node");
    assert_eq!(told(&[span(0, 0, 1000), span(1, 900, 2000)]), 1);
    assert_eq!(told(&[span(2, 0, 3000), span(0, 100, 200), span(1, 900, 2000)]), 2);
}
