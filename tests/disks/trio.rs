//! Three real cores on three real stores, over disks in memory that fail on command. No threads and
//! no clock: a step is a tenth of a second, messages arrive in the next one, a disk carries out what
//! waits once a step. The same script is the same run, operation by operation, until a disk fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quptime::base::clock::Mono;
use quptime::base::id::{NodeId, RequestId};
use quptime::quorum::Node;
use quptime::quorum::io::{Boot, Input, Output, Proposal, Timing, VoteRecord, Write};
use quptime::quorum::message::{Command, Incarnation, LogEnd, Membership, Message, Snapshot};
use quptime::store::sim_disk::{Crash, SimDisk};
use quptime::store::{Opened, Store};

const STEP: Duration = Duration::from_millis(100);
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(500),
    dead_after: Duration::from_millis(1500),
    cooldown: Duration::from_secs(20),
};

/// One host.
pub struct Host {
    pub id: NodeId,
    pub disk: SimDisk,
    node: Node,
    store: Store<SimDisk>,
    writes: VecDeque<(u64, Write)>,
    failing: bool,
    /// How often its disk began to fail.
    pub failures: u32,
    /// The state machine: every command that was applied, in order.
    pub applied: Vec<String>,
    index: u64,
}

/// What a client was told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// Nothing of it is in any log.
    Refused,
    /// It was taken, and then the role was lost or the time was up.
    Unsure,
}

pub struct Trio {
    pub hosts: Vec<Host>,
    now: Mono,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    /// What a step brought for the clients.
    refused: BTreeMap<RequestId, bool>,
}

impl Host {
    fn boot(id: NodeId, disk: SimDisk, now: Mono) -> Host {
        let (store, opened) = Store::open(disk.clone()).expect("a whole disk");
        let Opened::Remembered(remembered) = opened else { panic!("an empty disk") };
        let node = Node::new(id, TIMING, Boot::Remembered(remembered), now);
        Host {
            id,
            disk,
            node,
            store,
            writes: VecDeque::new(),
            failing: false,
            failures: 0,
            applied: Vec::new(),
            index: 0,
        }
    }
}

impl Trio {
    /// Three founded stores; no disk has failed yet.
    pub fn new() -> Trio {
        let ids = [1, 2, 3].map(NodeId::from_random);
        let voters: BTreeMap<NodeId, Incarnation> =
            ids.iter().zip(1..).map(|(id, life)| (*id, Incarnation(life))).collect();
        let membership = Membership { voters: voters.clone(), ..Membership::default() };
        let snapshot = Snapshot { end: LogEnd { term: 0, index: 1 }, membership, data: "".into() };
        let hosts = ids.map(|id| {
            let disk = SimDisk::new();
            let vote = VoteRecord { term: 0, vote: None, life: voters[&id] };
            drop(Store::create(disk.clone(), vote, snapshot.clone()).expect("founded"));
            Host::boot(id, disk, Mono(0))
        });
        Trio { hosts: hosts.into(), now: Mono(0), mail: VecDeque::new(), refused: BTreeMap::new() }
    }

    fn input(&mut self, at: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let outputs = self.hosts[at].node.step(self.now, input);
            for output in outputs {
                self.carry_out(at, output);
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let host = &mut self.hosts[at];
        match output {
            Output::Persist { seq, write } => host.writes.push_back((seq, write)),
            Output::Send { to, message } => self.mail.push_back((host.id, to, message)),
            Output::Apply(entry) => {
                assert_eq!(entry.index, host.index + 1);
                host.index = entry.index;
                host.applied.extend(entry.command.map(|c| c.text.to_string()));
            }
            Output::Restore(snapshot) => {
                host.index = snapshot.end.index;
                host.applied = snapshot.data.split_terminator(' ').map(str::to_owned).collect();
            }
            Output::Refused { request, why } => {
                use quptime::quorum::io::Refusal::{Busy, NotMaster, NotReady};
                let nowhere = matches!(why, Busy | NotReady | NotMaster(_));
                self.refused.insert(request, nowhere);
            }
            Output::Misbehaved { from, what } => panic!("{from} {what}"),
            Output::Role(_) | Output::Note(_) => {}
        }
    }

    /// One tenth of a second.
    pub fn step(&mut self) {
        self.now = self.now + STEP;
        for (from, to, message) in std::mem::take(&mut self.mail) {
            if let Some(at) = self.hosts.iter().position(|h| h.id == to) {
                self.input(at, Input::Received { from, message });
            }
        }
        for at in 0..self.hosts.len() {
            self.input(at, Input::Tick);
            self.run_disk(at);
        }
        let acting = self.hosts.iter().filter(|h| h.node.may_act(self.now)).count();
        assert!(acting <= 1, "I1: {acting} nodes act at once");
    }

    /// As the store's thread does it, with one try a step while the disk fails.
    fn run_disk(&mut self, at: usize) {
        loop {
            let host = &mut self.hosts[at];
            if host.writes.is_empty() {
                if host.store.unsettled() {
                    // No promise depends on it.
                    drop(host.store.settle());
                }
                return;
            }
            match host.store.step(host.writes.iter().map(|(_, write)| write)) {
                Ok(count) => {
                    let seq = host.writes.drain(..count).next_back().map(|(seq, _)| seq);
                    if std::mem::take(&mut host.failing) {
                        self.input(at, Input::DiskWorks);
                    }
                    if let Some(seq) = seq {
                        self.input(at, Input::Persisted { seq });
                    }
                }
                Err(e) => {
                    assert!(e.may_pass(), "{e}");
                    if !std::mem::replace(&mut host.failing, true) {
                        host.failures += 1;
                        self.input(at, Input::DiskFailed);
                    }
                    return;
                }
            }
        }
    }

    /// Who may act, if anybody does within so many steps.
    pub fn master(&mut self, steps: u32) -> Option<usize> {
        for _ in 0..steps {
            if let Some(at) = self.hosts.iter().position(|h| h.node.may_act(self.now)) {
                return Some(at);
            }
            self.step();
        }
        None
    }

    /// A client's change, asked for once at each master that there is, for ten seconds.
    pub fn change(&mut self, number: u128, text: &str) -> Told {
        let request = RequestId::from_random(number);
        let mut taken = false;
        for _ in 0..100 {
            let acting = self.hosts.iter().position(|h| h.node.may_act(self.now));
            let Some(at) = acting.filter(|_| !taken) else {
                if self.hosts.iter().any(|h| h.applied.iter().any(|t| t == text)) {
                    return Told::Done;
                }
                self.step();
                continue;
            };
            let command = Command { request, text: Arc::from(text) };
            self.refused.remove(&request);
            self.input(at, Input::Propose(Proposal { command, change: None }));
            taken = self.refused.get(&request) != Some(&true);
            for _ in 0..20 {
                self.step();
                if self.hosts[at].applied.iter().any(|t| t == text) {
                    return Told::Done;
                }
                match self.refused.remove(&request) {
                    Some(true) => {}
                    Some(false) => break,
                    None => continue,
                }
                break;
            }
        }
        if taken { Told::Unsure } else { Told::Refused }
    }

    /// Every host makes a snapshot of what it has applied.
    pub fn compact(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            let data: String = host.applied.iter().map(|t| format!("{t} ")).collect();
            let index = host.index;
            self.input(at, Input::Compact { index, data: data.into() });
            self.run_disk(at);
        }
    }

    /// The master gives its role away.
    pub fn hand_over(&mut self) {
        if let Some(at) = self.master(100) {
            self.input(at, Input::HandOver { to: None });
        }
    }

    /// The power fails everywhere; what was not synced is gone. Then all start again.
    pub fn power_cut(&mut self) {
        self.mail.clear();
        for host in &mut self.hosts {
            host.disk.power_cut(Crash::Lost);
            *host = Host::boot(host.id, host.disk.clone(), self.now);
        }
    }

    /// Faults are gone: steps until everybody has applied the same and nothing is under way.
    pub fn settle(&mut self, story: &str) {
        for host in &self.hosts {
            host.disk.heal();
        }
        for _ in 0..400 {
            self.step();
            let level = self.hosts.windows(2).all(|h| h[0].index == h[1].index);
            let calm = self.hosts.iter().all(|h| h.writes.is_empty() && !h.failing);
            if level && calm && self.master(1).is_some() {
                return;
            }
        }
        let all: Vec<_> =
            self.hosts.iter().map(|h| (h.index, h.writes.len(), h.failing, h.node.status())).collect();
        panic!("{story}: not level within forty seconds: {all:#?}");
    }
}
