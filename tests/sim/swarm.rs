//! What a run is made of, drawn from its seed: every run has its own size, timing and fault rates.

use quptime::base::rng::Rng;
use quptime::quorum::lesion::Rule;

use super::clock::MS;
use super::duty::DutyOptions;
use super::net::NetOptions;

/// Kinds of faults and of other disturbances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process dies and comes back.
    Crash,
    /// A process dies between two outputs of a step.
    CrashDuring,
    /// A process is stopped for a while; its clock is not.
    Pause,
    /// Two halves do not hear each other.
    Split,
    /// One host is alone.
    Isolate,
    /// One direction of one link is cut.
    OneWay,
    /// One link is cut.
    CutLink,
    /// A host hears nobody, or nobody hears it.
    Deaf,
    /// All links are whole again.
    Heal,
    /// A disk is slow for a while.
    SlowDisk,
    /// A disk fails for a while.
    FailDisk,
    /// A host loses `state/`.
    Wipe,
    /// All hosts lose `state/`.
    WipeAll,
    /// The cluster is lost, and started again from files.
    Recover,
    /// The master is asked to hand over.
    HandOver,
    /// A log is compacted.
    Compact,
    /// All processes die.
    Blackout,
    /// A clock jumps forward.
    Jump,
}

const USUAL: [(Kind, u64); 15] = [
    (Kind::Crash, 10),
    (Kind::CrashDuring, 6),
    (Kind::Pause, 8),
    (Kind::Split, 8),
    (Kind::Isolate, 8),
    (Kind::OneWay, 8),
    (Kind::CutLink, 8),
    (Kind::Deaf, 4),
    (Kind::Heal, 16),
    (Kind::SlowDisk, 4),
    (Kind::FailDisk, 4),
    (Kind::Wipe, 5),
    (Kind::HandOver, 5),
    (Kind::Compact, 8),
    (Kind::Blackout, 2),
];

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed it was drawn from; the run draws everything else from it as well.
    pub seed: u64,
    /// Hosts that are voters at the start.
    pub voters: usize,
    /// Hosts that run and may be added.
    pub spares: usize,
    /// Heartbeat, dead-after and cooldown at the start, ms.
    pub timing: (u64, u64, u64),
    /// Whether clocks differ in rate.
    pub skew: bool,
    /// Whether clocks may jump: at most one acting master cannot be promised then.
    pub jumps: bool,
    /// How long faults last, ns.
    pub chaos: u64,
    /// Mean time between faults, ns.
    pub gap: u64,
    /// The network while faults last.
    pub net: NetOptions,
    /// Shortest and longest time of one batch of writes, ns.
    pub disk: (u64, u64),
    /// How late a driver may wake, ns.
    pub late: u64,
    /// Weight of each kind of fault.
    pub faults: Vec<(Kind, u64)>,
    /// How long hosts are down or disturbed at most, ns.
    pub down: u64,
    /// Clients.
    pub clients: usize,
    /// Longest pause between two requests of a client, ns.
    pub think: u64,
    /// Per mille of requests that add or remove a peer.
    pub member_changes: u64,
    /// Per mille of requests that change the timing.
    pub timing_changes: u64,
    /// How many `state/` may be lost at the same time.
    pub wiped_at_once: usize,
    /// Length of meaningless text in snapshots, bytes.
    pub padding: usize,
    /// Safety rules of the core that are off.
    pub lesions: Vec<Rule>,
    /// The state machine suppresses duplicates.
    pub suppress: bool,
    /// Whether promises are compared with disks; off to see what follows from a broken one.
    pub check_promises: bool,
    /// After the faults a part of the hosts must come to rest.
    pub settle: bool,
    /// The product's own state is part of the machine: there are targets, probes and alerts.
    pub duty: Option<DutyOptions>,
}

impl Options {
    /// Draws them.
    pub fn from_seed(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x5eed_0001);
        let voters = [1, 2, 3, 3, 3, 4, 5, 5, 6, 7][rng.below(10) as usize];
        let spares = rng.below(3) as usize;
        let timing = *rng.pick(&[(1000, 4000), (1000, 3000), (100, 500), (300, 1000)]).expect("not empty");
        let cooldown = timing.1 * (1 + rng.below(5));
        let (heartbeat, dead_after) = (timing.0 * MS, timing.1 * MS);
        let jumps = rng.chance(60);
        let faults = Self::faults(&mut rng, jumps);
        Options {
            seed,
            voters,
            spares,
            timing: (timing.0, timing.1, cooldown),
            skew: rng.chance(800),
            jumps,
            chaos: dead_after * (6 + rng.below(10)),
            gap: dead_after / 8 * (1 + rng.below(12)),
            net: Self::net(&mut rng, heartbeat, dead_after),
            disk: (heartbeat / 1000, heartbeat / *rng.pick(&[500, 50, 10, 3]).expect("not empty")),
            late: if rng.chance(500) { heartbeat / 50 } else { 0 },
            faults,
            down: dead_after * (1 + rng.below(3)),
            clients: 1 + rng.below(3) as usize,
            think: heartbeat * (1 + rng.below(6)),
            member_changes: if rng.chance(600) { 100 + rng.below(300) } else { 0 },
            timing_changes: if rng.chance(100) { 50 } else { 0 },
            wiped_at_once: if rng.chance(850) { 1 } else { 3 },
            padding: if rng.chance(100) { 600_000 } else { 0 },
            lesions: Vec::new(),
            suppress: true,
            check_promises: true,
            settle: true,
            duty: None,
        }
    }

    fn faults(rng: &mut Rng, jumps: bool) -> Vec<(Kind, u64)> {
        // Each run leaves some kinds out altogether, so that rare ones are not drowned.
        let mut faults = USUAL.to_vec();
        faults.retain(|_| rng.chance(700));
        faults.iter_mut().for_each(|(_, weight)| *weight *= 1 + rng.below(3));
        faults.push((Kind::Heal, 6));
        if rng.chance(80) {
            faults.push((Kind::WipeAll, 4));
        }
        if Rng::new(rng.clone().next_u64()).chance(80) {
            faults.push((Kind::Recover, 6));
        }
        if jumps {
            faults.push((Kind::Jump, 10));
        }
        faults
    }

    fn net(rng: &mut Rng, heartbeat: u64, dead_after: u64) -> NetOptions {
        let slowest = heartbeat / *rng.pick(&[200, 50, 10, 3]).expect("not empty");
        NetOptions {
            loss: *rng.pick(&[0, 0, 5, 50, 150]).expect("not empty"),
            dup: *rng.pick(&[0, 0, 10, 100]).expect("not empty"),
            delay: (slowest / 4, slowest),
            tail: (*rng.pick(&[0, 0, 5, 50]).expect("not empty"), dead_after * 2),
            fifo: rng.chance(500),
            hold: *rng.pick(&[0, 300, 1000]).expect("not empty"),
        }
    }

    /// Only these faults, with these weights.
    pub fn only(mut self, faults: &[(Kind, u64)]) -> Options {
        self.faults = faults.to_vec();
        self
    }

    /// No faults at all, a prompt network and disk, clocks that are right: for scripts.
    pub fn calm(seed: u64, voters: usize) -> Options {
        let quick = NetOptions { loss: 0, dup: 0, delay: (MS, 2 * MS), tail: (0, 0), fifo: true, hold: 0 };
        Options {
            voters,
            spares: 0,
            timing: (1000, 4000, 20_000),
            skew: false,
            jumps: false,
            net: quick,
            disk: (MS, 2 * MS),
            late: 0,
            faults: Vec::new(),
            clients: 0,
            member_changes: 0,
            timing_changes: 0,
            padding: 0,
            ..Options::from_seed(seed)
        }
    }
}
