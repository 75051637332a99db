//! What goes wrong and when: drawn from a seed before the run begins, then carried out.
//!
//! A step names its victim by number, or as "the master of that moment", since faults of the master
//! are those that matter. At most [`MOST`] faults last at the same time, so that there are moments
//! with and without a quorum.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use quptime::base::rng::Rng;

use crate::net::{Cut, Net};
use crate::node::Node;

const MOST: usize = 2;

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Node(usize),
    Master,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the first reaches the second.
    OneWay(Who, usize),
    /// Nothing gets through between two.
    Link(Who, usize),
    /// Nothing gets in or out.
    CutOff(Who),
    /// Nothing gets in.
    Deaf(Who),
    /// Nothing gets out.
    Mute(Who),
    /// The two ports do not talk to each other; all others do (the bridge's own means).
    Isolated(Who, usize),
    /// Two halves.
    Split(BTreeSet<usize>),
    /// kill -9, started again at the end.
    Killed(Who),
    /// SIGSTOP, SIGCONT at the end.
    Paused(Who),
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |d: Duration| d.as_secs_f32();
        write!(f, "{:>5.1}s for {:.1}s: {:?}", secs(self.at), secs(self.lasts), self.fault)
    }
}

/// The whole schedule of a run.
pub fn draw(seed: u64, size: usize, length: Duration) -> Vec<Step> {
    let mut rng = Rng::new(seed ^ size as u64);
    let mut steps = Vec::new();
    let mut at = Duration::from_millis(300);
    while at < length {
        // About half of them outlive the lease (0.8 s) and dead-after (1 s).
        let lasts = Duration::from_millis(300 + rng.below(2_500));
        steps.push(Step { at, lasts, fault: fault(&mut rng, size) });
        at += Duration::from_millis(200 + rng.below(1_800));
    }
    steps
}

fn fault(rng: &mut Rng, size: usize) -> Fault {
    let any = |rng: &mut Rng| usize::try_from(rng.below(size as u64)).unwrap_or(0);
    let who = if rng.chance(500) { Who::Master } else { Who::Node(any(rng)) };
    let other = any(rng);
    match rng.below(18) {
        0..=2 => Fault::OneWay(who, other),
        3..=4 => Fault::Link(who, other),
        5..=6 => Fault::CutOff(who),
        7..=8 => Fault::Deaf(who),
        9..=10 => Fault::Mute(who),
        11 => Fault::Isolated(who, other),
        12 => Fault::Split((0..size).filter(|_| rng.chance(500)).collect()),
        13..=15 => Fault::Killed(who),
        _ => Fault::Paused(who),
    }
}

/// What a fault does, once it is known whom it hits.
#[derive(Clone, Debug)]
enum Done {
    Cuts(BTreeSet<Cut>),
    Isolated(usize, usize),
    Killed(usize),
    Paused(usize),
}

/// The faults that last just now.
#[derive(Default)]
pub struct Faults {
    active: Vec<(Instant, Done)>,
}

impl Faults {
    /// Begins one, unless there are enough or its victim is down already. True when it began.
    pub fn begin(&mut self, step: &Step, net: &Net, nodes: &mut [Node], master: usize) -> bool {
        if self.active.len() >= MOST {
            return false;
        }
        let Some(done) = resolve(&step.fault, nodes.len(), master) else { return false };
        match &done {
            Done::Killed(node) | Done::Paused(node) if self.is_down(*node) => return false,
            Done::Killed(node) => nodes[*node].kill(),
            Done::Paused(node) => nodes[*node].pause(true),
            Done::Cuts(_) | Done::Isolated(..) => {}
        }
        self.active.push((Instant::now() + step.lasts, done));
        self.apply(net, nodes.len());
        true
    }

    /// Ends those whose time has come.
    pub fn pass(&mut self, net: &Net, nodes: &mut [Node]) {
        let now = Instant::now();
        let (over, active): (Vec<_>, Vec<_>) = self.active.drain(..).partition(|(end, _)| *end <= now);
        self.active = active;
        if over.is_empty() {
            return;
        }
        self.apply(net, nodes.len());
        for (_, done) in over {
            match done {
                Done::Killed(node) => nodes[node].start(),
                Done::Paused(node) => nodes[node].pause(false),
                Done::Cuts(_) | Done::Isolated(..) => {}
            }
        }
    }

    /// Ends all.
    pub fn heal(&mut self, net: &Net, nodes: &mut [Node]) {
        for (end, _) in &mut self.active {
            *end = Instant::now();
        }
        self.pass(net, nodes);
    }

    fn is_down(&self, node: usize) -> bool {
        self.active.iter().any(|(_, done)| matches!(done, Done::Killed(n) | Done::Paused(n) if *n == node))
    }

    /// The network as the active faults want it.
    fn apply(&self, net: &Net, size: usize) {
        let mut cuts = BTreeSet::new();
        let mut isolated = BTreeSet::new();
        for (_, done) in &self.active {
            match done {
                Done::Cuts(set) => cuts.extend(set),
                Done::Isolated(a, b) => isolated.extend([*a, *b]),
                Done::Killed(_) | Done::Paused(_) => {}
            }
        }
        let made = net
            .cut(&cuts)
            .and_then(|()| (0..size).try_for_each(|node| net.isolate(node, isolated.contains(&node))));
        made.unwrap_or_else(|e| panic!("a fault cannot be made: {e}"));
    }
}

fn resolve(fault: &Fault, size: usize, master: usize) -> Option<Done> {
    let index = |who: Who| match who {
        Who::Node(n) => n,
        Who::Master => master,
    };
    let others = |a: usize| (0..size).filter(move |b| *b != a);
    let out = |a: usize| others(a).map(move |b| (a, b));
    let inward = |a: usize| others(a).map(move |b| (b, a));
    Some(match fault {
        Fault::OneWay(a, b) if index(*a) != *b => Done::Cuts([(index(*a), *b)].into()),
        Fault::Link(a, b) if index(*a) != *b => Done::Cuts([(index(*a), *b), (*b, index(*a))].into()),
        Fault::Isolated(a, b) if index(*a) != *b => Done::Isolated(index(*a), *b),
        Fault::OneWay(a, _) | Fault::Mute(a) => Done::Cuts(out(index(*a)).collect()),
        Fault::Deaf(a) => Done::Cuts(inward(index(*a)).collect()),
        Fault::Link(a, _) | Fault::CutOff(a) => Done::Cuts(out(index(*a)).chain(inward(index(*a))).collect()),
        Fault::Split(side) => {
            let crosses = |(a, b): &Cut| side.contains(a) != side.contains(b);
            Done::Cuts((0..size).flat_map(out).filter(crosses).collect())
        }
        Fault::Killed(a) => Done::Killed(index(*a)),
        Fault::Paused(a) => Done::Paused(index(*a)),
        // Isolated from itself: nothing.
        Fault::Isolated(..) => return None,
    })
}
