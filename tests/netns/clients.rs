//! Clients that change things through every node, and the book of what they were told.
//!
//! Each client has names of its own, so it knows what each of its checks must look like after every
//! answer. What was answered with an open fate (no answer, a lost connection, "its fate is open")
//! is asked again under the same request id, through any node, as a retried command is; if it never
//! becomes certain, both outcomes are allowed for that name, and it is left alone from then on. An
//! answer that says that nothing was changed is held to that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quptime::base::id::RequestId;
use quptime::base::rng::Rng;
use quptime::base::units::Span;
use quptime::config::Target;
use quptime::control::client::ClientError;
use quptime::control::edit::CheckFields;
use quptime::control::{Ask, Reply};
use quptime::state::command::Setting;
use quptime::view::View;

use crate::node::Place;

/// Intervals are longer than the test, and each is unlike every other: it tells edits apart.
const HOUR_MS: u64 = 3_600_000;
/// Checks that one client keeps at most.
const MOST: usize = 30;
/// Shorter than the daemon's own, so that fates stay open now and then.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What a check may look like in the end: its interval in milliseconds, or not there.
pub type Allowed = Vec<Option<u64>>;

/// What all clients were told.
#[derive(Default)]
pub struct Book {
    told: Mutex<Told>,
    /// The highest version acknowledged so far.
    newest: AtomicU64,
    requests: AtomicU64,
}

#[derive(Default)]
struct Told {
    /// What each version was acknowledged as.
    versions: BTreeMap<u64, String>,
    checks: BTreeMap<String, Allowed>,
    /// Acknowledged and possible values of the one setting that all of them change.
    hysteresis: Vec<(Option<u64>, u32)>,
    wrong: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Book {
    fn with<T>(&self, with: impl FnOnce(&mut Told) -> T) -> T {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.with(|t| t.versions.len())
    }

    /// Answers by kind, for the reader.
    pub fn counts(&self) -> String {
        self.with(|t| t.counts.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", "))
    }

    fn request(&self) -> RequestId {
        let n = self.requests.fetch_add(1, Ordering::Relaxed);
        // All of its bits: those that an id has for its version take some of any number's away.
        RequestId::from_random(Rng::new(n).next_u128())
    }

    /// An acknowledgment: its version is new, and later than every one that was given before the
    /// question was asked.
    fn acknowledged_as(&self, version: u64, floor: u64, text: String) {
        self.newest.fetch_max(version, Ordering::SeqCst);
        self.with(|t| {
            if version <= floor {
                t.wrong.push(format!("{text} got version {version}, asked after {floor} was acknowledged"));
            }
            if let Some(other) = t.versions.insert(version, text.clone()) {
                t.wrong.push(format!("version {version} was acknowledged twice: {other}; {text}"));
            }
        });
    }

    /// Compares a node's picture with the book.
    pub fn audit(&self, view: &View) -> Vec<String> {
        let there: BTreeMap<&str, u64> =
            view.checks.iter().map(|c| (c.name.as_str(), c.interval.millis())).collect();
        self.with(|t| {
            let mut wrong = t.wrong.clone();
            for (name, allowed) in &t.checks {
                let found = there.get(name.as_str()).copied();
                if !allowed.contains(&found) {
                    wrong.push(format!("{name}: allowed {allowed:?}, found {found:?}"));
                }
            }
            for name in there.keys().filter(|n| !t.checks.contains_key(**n)) {
                wrong.push(format!("{name}: nobody added it"));
            }
            let last = t.hysteresis.iter().max_by_key(|(version, _)| *version).map(|(_, value)| *value);
            let open = t.hysteresis.iter().filter(|(version, _)| version.is_none());
            let allowed: Vec<u32> = open.map(|(_, value)| *value).chain(last).collect();
            if !allowed.is_empty() && !allowed.contains(&view.settings.hysteresis) {
                wrong.push(format!("hysteresis {}, allowed {allowed:?}", view.settings.hysteresis));
            }
            wrong
        })
    }
}

/// What came of a change.
enum Fate {
    /// Under this version.
    Done(Option<u64>),
    Nothing,
    Open,
}

/// One client.
pub struct Client {
    pub index: usize,
    pub nodes: Vec<Place>,
    pub book: Arc<Book>,
    pub rng: Rng,
    serial: u64,
    /// Own checks of which everything is certain, with their interval.
    certain: BTreeMap<String, u64>,
}

impl Client {
    pub fn new(index: usize, nodes: Vec<Place>, book: Arc<Book>, seed: u64) -> Client {
        Client { index, nodes, book, rng: Rng::new(seed), serial: 0, certain: BTreeMap::new() }
    }

    /// Changes things until told to stop.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.one(stop);
            std::thread::sleep(Duration::from_millis(self.rng.below(25)));
        }
    }

    fn one(&mut self, stop: &AtomicBool) {
        let names: Vec<String> = self.certain.keys().cloned().collect();
        match (self.rng.below(20), self.rng.pick(&names).cloned()) {
            (0, _) => self.set(stop),
            (1..=6, Some(name)) => self.edit(&name, stop),
            (7..=9, Some(name)) => self.remove(&name, stop),
            (_, Some(name)) if names.len() >= MOST => self.remove(&name, stop),
            _ => self.add(stop),
        }
    }

    /// One more check, when nothing is wrong any more: it must be taken.
    pub fn last(&mut self, stop: &AtomicBool) {
        self.add_as(format!("last-{}", self.index), stop);
        if self.certain.is_empty() {
            let why = format!("whole again, the cluster does not take a change through node {}", self.index);
            self.book.with(|t| t.wrong.push(why));
        }
    }

    /// A check that was not there.
    fn add(&mut self, stop: &AtomicBool) {
        self.add_as(format!("c{}-{}", self.index, self.serial), stop);
    }

    fn add_as(&mut self, name: String, stop: &AtomicBool) {
        let interval = self.unlike_any();
        let ask = Ask::AddCheck {
            name: name.parse().expect("a name"),
            target: Target::Tcp { to: "127.0.0.1:9".parse().expect("a target") },
            interval: Some(Span::from_millis(interval)),
            timeout: None,
            alerts: Vec::new(),
            suppress: Vec::new(),
        };
        let fate = self.change(ask, stop);
        self.settle(&name, None, Some(interval), &fate);
    }

    fn edit(&mut self, name: &str, stop: &AtomicBool) {
        let (before, interval) = (self.certain.get(name).copied(), self.unlike_any());
        let fields = CheckFields { interval: Some(Span::from_millis(interval)), ..CheckFields::default() };
        let fate = self.change(Ask::EditCheck { who: name.to_owned(), fields }, stop);
        self.settle(name, before, Some(interval), &fate);
    }

    fn remove(&mut self, name: &str, stop: &AtomicBool) {
        let before = self.certain.get(name).copied();
        let fate = self.change(Ask::RemoveCheck { who: name.to_owned() }, stop);
        self.settle(name, before, None, &fate);
    }

    fn set(&mut self, stop: &AtomicBool) {
        self.serial += 1;
        let value = 1 + u32::try_from((self.serial * 7 + self.index as u64) % 90).unwrap_or(0);
        match self.change(Ask::ClusterSet(Setting::Hysteresis(value)), stop) {
            // Without a version it was so already.
            Fate::Done(None) => {}
            Fate::Done(version) => self.book.with(|t| t.hysteresis.push((version, value))),
            Fate::Open => self.book.with(|t| t.hysteresis.push((None, value))),
            Fate::Nothing => {}
        }
    }

    fn unlike_any(&mut self) -> u64 {
        self.serial += 1;
        HOUR_MS + self.serial * 16 + self.index as u64
    }

    fn settle(&mut self, name: &str, before: Option<u64>, after: Option<u64>, fate: &Fate) {
        let allowed = match fate {
            Fate::Done(_) => vec![after],
            Fate::Nothing => vec![before],
            Fate::Open => vec![before, after],
        };
        match allowed.as_slice() {
            [Some(interval)] => drop(self.certain.insert(name.to_owned(), *interval)),
            _ => drop(self.certain.remove(name)),
        }
        self.book.with(|t| t.checks.insert(name.to_owned(), allowed));
    }

    /// One change, asked until its fate is known or nobody waits any more.
    fn change(&mut self, ask: Ask, stop: &AtomicBool) -> Fate {
        let (id, floor) = (self.book.request(), self.book.newest.load(Ordering::SeqCst));
        let (mut open, mut node) = (false, self.index);
        for _ in 0..6 {
            let place = &self.nodes[node % self.nodes.len()];
            let told = place.ask(id, ask.clone(), PATIENCE);
            self.book.with(|t| *t.counts.entry(kind(&told)).or_default() += 1);
            match told {
                Ok(Reply::Done(done)) => {
                    if let Some(version) = done.version {
                        self.book.acknowledged_as(version, floor, format!("{} (n{node})", done.text));
                    }
                    return Fate::Done(done.version);
                }
                // Not done by this try: nothing, unless an earlier one may have been.
                Ok(Reply::NoQuorum { .. } | Reply::NoMaster { .. } | Reply::TryAgain { .. }) if !open => {
                    std::thread::sleep(Duration::from_millis(50));
                    return Fate::Nothing;
                }
                // A node that was away and has not caught up yet may not know the check.
                Ok(Reply::Refused { text }) if !open && text.starts_with("no check") => {
                    self.book.with(|t| *t.counts.entry("of those, behind").or_default() += 1);
                    std::thread::sleep(Duration::from_millis(50));
                    return Fate::Nothing;
                }
                Ok(Reply::Refused { text }) if !open => {
                    self.book.with(|t| t.wrong.push(format!("{}: refused: {text}", ask.summary())));
                    return Fate::Nothing;
                }
                Err(ClientError::Absent { .. }) if !open => {
                    std::thread::sleep(Duration::from_millis(100));
                    return Fate::Nothing;
                }
                Ok(_) | Err(_) => open = true,
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
            std::thread::sleep(Duration::from_millis(100));
        }
        if open { Fate::Open } else { Fate::Nothing }
    }
}

fn kind(told: &Result<Reply, ClientError>) -> &'static str {
    match told {
        Ok(Reply::Done(_)) => "done",
        Ok(Reply::Refused { .. }) => "refused",
        Ok(Reply::NoQuorum { .. }) => "no quorum",
        Ok(Reply::NoMaster { .. }) => "no master",
        Ok(Reply::TryAgain { .. }) => "try again",
        Ok(Reply::Unsure { .. }) => "unsure",
        Ok(_) => "other",
        Err(ClientError::Absent { .. }) => "absent",
        Err(ClientError::Late { .. }) => "late",
        Err(_) => "lost",
    }
}
