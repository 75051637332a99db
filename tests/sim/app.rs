//! The replicated machine of the simulator: a few registers that commands append to, the list of
//! peers, the timing, a config version, and the results of requests that were applied; and, in runs
//! that have one, the state of the product with verdicts and messages owed (`duty.rs`), whose
//! commands are written as the product writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quptime::base::id::RequestId;
use quptime::quorum::io::Timing;
use quptime::quorum::message::{Entry, Index};
use quptime::state::command::{Body, Change, Command};
use quptime::state::{Effects, State, snapshot};

use super::duty;
use super::net::node_id;

/// The state of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct App {
    /// The configuration; what `cluster.yaml` would hold.
    pub config: Config,
    /// Index and result of every request that was applied.
    pub done: BTreeMap<RequestId, (Index, u64)>,
    /// Bytes without meaning in the written form, so that a snapshot takes several pieces.
    pub padding: usize,
    /// The product's own state, whose peers are those of `config`.
    pub state: Option<State>,
}

/// The part of it that has a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Grows by one with every change.
    pub version: u64,
    /// Numbers of the hosts that are peers.
    pub peers: BTreeSet<usize>,
    /// Values in the order in which they were appended.
    pub registers: BTreeMap<u64, Vec<u64>>,
    /// Heartbeat, dead-after, cooldown, ms.
    pub timing: (u64, u64, u64),
}

impl Config {
    /// A digest of all of it.
    pub fn digest(&self) -> u64 {
        let mut hash = Digest::new();
        hash.add(self.version);
        self.peers.iter().for_each(|p| hash.add(*p as u64));
        for (key, values) in &self.registers {
            hash.add(u64::MAX - key);
            values.iter().for_each(|v| hash.add(*v));
        }
        [self.timing.0, self.timing.1, self.timing.2].into_iter().for_each(|t| hash.add(t));
        hash.0
    }

    /// The timing as the core takes it.
    pub fn timing(&self) -> Timing {
        let (heartbeat, dead_after, cooldown) = self.timing;
        Timing {
            heartbeat: Duration::from_millis(heartbeat),
            dead_after: Duration::from_millis(dead_after),
            cooldown: Duration::from_millis(cooldown),
        }
    }

    fn change(&mut self, text: &str) -> u64 {
        let mut words = text.split(' ');
        let verb = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map(|w| w.parse().expect("a number")).collect();
        self.version += 1;
        match (verb, numbers.as_slice()) {
            ("append", [key, value]) => {
                let list = self.registers.entry(*key).or_default();
                list.push(*value);
                list.iter().fold(0, |sum: u64, v| sum.wrapping_mul(31).wrapping_add(*v))
            }
            ("add", [host]) => u64::from(self.peers.insert(*host as usize)),
            ("remove", [host]) => u64::from(self.peers.remove(&(*host as usize))),
            ("timing", [heartbeat, dead_after, cooldown]) => {
                self.timing = (*heartbeat, *dead_after, *cooldown);
                self.version
            }
            _ => panic!("no such command: {text}"),
        }
    }
}

impl App {
    /// Applies an entry. With `suppress`, a request that was applied before changes nothing.
    pub fn apply(&mut self, entry: &Entry, suppress: bool) -> Effects {
        let Some(command) = &entry.command else { return self.tell_state(entry, None) };
        if command.text.starts_with('{') {
            let read = serde_json::from_str(&command.text).expect("a command of the product");
            return self.tell_state(entry, Some(&read));
        }
        if suppress && self.done.contains_key(&command.request) {
            return self.tell_state(entry, None);
        }
        let result = self.config.change(&command.text);
        self.done.insert(command.request, (entry.index, result));
        self.tell_state(entry, peer_change(&command.text).as_ref())
    }

    fn tell_state(&mut self, entry: &Entry, command: Option<&Command>) -> Effects {
        let Some(state) = &mut self.state else { return Effects::default() };
        state.apply(entry.index, entry.command.as_ref().map(|c| c.request), command).effects
    }

    /// A digest of everything.
    pub fn digest(&self) -> u64 {
        let mut hash = Digest::new();
        hash.add(self.config.digest());
        hash.add(self.done.len() as u64);
        self.done.values().for_each(|(index, result)| hash.add(index.wrapping_mul(31) ^ result));
        // Enough to tell runs apart; whether two states are equal, the checkers ask the states.
        if let Some(state) = &self.state {
            hash.add(state.index());
            hash.add(state.outbox().len() as u64);
            state.verdicts().values().for_each(|v| hash.add(v.index.wrapping_mul(31) ^ v.verdict as u64));
        }
        hash.0
    }

    /// The written form.
    pub fn write(&self) -> Arc<str> {
        let mut text = format!("version {}\n", self.config.version);
        let (heartbeat, dead_after, cooldown) = self.config.timing;
        let _ = writeln!(text, "timing {heartbeat} {dead_after} {cooldown}");
        for peer in &self.config.peers {
            let _ = writeln!(text, "peer {peer}");
        }
        for (key, values) in &self.config.registers {
            let _ = write!(text, "register {key}");
            values.iter().for_each(|v| text += &format!(" {v}"));
            text.push('\n');
        }
        for (request, (index, result)) in &self.done {
            let _ = writeln!(text, "done {request} {index} {result}");
        }
        if let Some(state) = &self.state {
            let written = snapshot::to_text(state).expect("a state that can be written");
            let _ = writeln!(text, "state {}", serde_json::to_string(&written).expect("text"));
        }
        let _ = writeln!(text, "padding {}", "é".repeat(self.padding / 2));
        text.into()
    }

    /// Reads the written form back.
    pub fn read(text: &str) -> Option<App> {
        let mut app = App::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ')?;
            let numbers = || rest.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().ok();
            match word {
                "version" => app.config.version = rest.parse().ok()?,
                "timing" => {
                    let [heartbeat, dead_after, cooldown] = numbers()?.try_into().ok()?;
                    app.config.timing = (heartbeat, dead_after, cooldown);
                }
                "peer" => drop(app.config.peers.insert(rest.parse().ok()?)),
                "register" => {
                    let all = numbers()?;
                    app.config.registers.insert(*all.first()?, all[1..].to_vec());
                }
                "done" => {
                    let mut words = rest.split(' ');
                    let request = words.next()?.parse().ok()?;
                    let index = words.next()?.parse().ok()?;
                    app.done.insert(request, (index, words.next()?.parse().ok()?));
                }
                "state" => {
                    let written: String = serde_json::from_str(rest).ok()?;
                    app.state = Some(snapshot::from_text(&written).ok()?);
                }
                "padding" => app.padding = rest.len(),
                _ => return None,
            }
        }
        Some(app)
    }
}

/// What a change of the members means for the product's state.
fn peer_change(text: &str) -> Option<Command> {
    let (verb, host) = text.split_once(' ')?;
    let change = match verb {
        "add" => Change::AddPeer(duty::peer(host.parse().ok()?)),
        "remove" => Change::RemovePeer(node_id(host.parse().ok()?)),
        _ => return None,
    };
    Some(Command { by: node_id(0), at: duty::WALL, body: Body::Change(change) })
}

struct Digest(u64);

impl Digest {
    fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(31);
    }
}

#[test]
fn the_written_form_reads_back_to_the_same_machine() {
    let mut app = App { padding: 40, state: Some(duty::found(&[0, 3], 2, 2, 1000)), ..App::default() };
    app.config.peers = [0, 3].into();
    app.config.timing = (100, 500, 2000);
    for (index, text) in (1..).zip(["append 3 17", "append 3 18", "add 4", "remove 0", "timing 1 2 3"]) {
        let request = RequestId::from_random(u128::from(index) << 96);
        let command = quptime::quorum::message::Command { request, text: text.into() };
        app.apply(&Entry { index, term: 1, command: Some(command), membership: None }, true);
    }
    assert_eq!(app.config.version, 5);
    let peers = app.state.as_ref().map(|s| s.cluster().peers.len());
    assert_eq!(peers, Some(app.config.peers.len()), "the two lists of peers go together");
    assert_eq!(App::read(&app.write()), Some(app));
}
