//! Runs seeds: one, or many on two threads; says what failed and how to see it again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checkers::{Checked, Violation, broken};
use super::settle::Settled;
use super::swarm::Options;
use super::world::World;

/// How one run went.
#[derive(Debug)]
pub struct Outcome {
    /// Of which seed.
    pub seed: u64,
    /// The end, or what was broken.
    pub result: Checked<Settled>,
    /// Over everything that happened.
    pub digest: u64,
    /// Every event, when it was to be readable.
    pub lines: Vec<String>,
    /// Requests that were acknowledged, and entries that were committed.
    pub work: (u64, u64),
    /// Messages that arrived, summaries among them, and copies.
    pub told: (u64, u64, u64),
}

impl Outcome {
    /// Fails the test when something was broken.
    pub fn expect_good(&self) {
        if let Err(violation) = &self.result {
            panic!("{}", self.story(violation));
        }
    }

    fn story(&self, violation: &Violation) -> String {
        let tail = &self.lines[self.lines.len().saturating_sub(60)..];
        format!(
            "seed {}: {} is broken: {}\n{}\nsee it again: QUPTIME_SEED={} cargo test --test sim random -- --nocapture",
            self.seed,
            violation.rule,
            violation.what,
            tail.join("\n"),
            self.seed
        )
    }
}

/// One run.
pub fn run(options: Options, readable: bool) -> Outcome {
    let seed = options.seed;
    let mut world = World::new(options, readable);
    let result = catch_unwind(AssertUnwindSafe(|| play(&mut world))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        broken("assert", said.unwrap_or_default())
    });
    if let Err(violation) = &result {
        world.trace.line(world.now, || format!("!!! {}: {}", violation.rule, violation.what));
    }
    let work = (world.clients.iter().map(|c| c.acknowledged).sum(), world.check.committed());
    let (arrived, summaries) = world.sinks.arrived;
    let told = (arrived, summaries, world.sinks.again);
    Outcome { seed, result, digest: world.trace.digest(), lines: world.trace.lines().to_vec(), work, told }
}

fn play(world: &mut World) -> Checked<Settled> {
    world.start()?;
    world.run_until(world.options.chaos)?;
    if world.options.settle { world.settle() } else { Ok(Settled::NoMajority) }
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Report {
    runs: u64,
    agreed: u64,
    acknowledged: u64,
    committed: u64,
    told: (u64, u64, u64),
    /// The lowest seed that failed.
    pub failed: Option<Outcome>,
    /// How often each invariant was broken, and the lowest seed.
    pub broken: BTreeMap<&'static str, (u64, u64)>,
}

impl Report {
    /// Fails the test when a seed failed, or when the runs did too little to mean anything.
    pub fn expect_good(&self) {
        if let Some(outcome) = &self.failed {
            outcome.expect_good();
        }
        assert!(self.agreed * 10 >= self.runs * 8, "too few runs come to rest: {self}");
        assert!(self.acknowledged >= self.runs * 5, "too little is acknowledged: {self}");
    }

    /// Fails the test when too few messages arrived, were summed up, or were in doubt, to mean
    /// anything.
    pub fn expect_told(&self) {
        let (arrived, summaries, again) = self.told;
        let enough = arrived >= self.runs * 5 && summaries > 0 && again > 0;
        assert!(enough || self.runs < 100, "too little is told: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { runs, agreed, acknowledged, committed, .. } = self;
        write!(f, "{runs} runs, {agreed} at rest, {acknowledged} acknowledged, {committed} committed")?;
        if let (arrived @ 1.., summaries, again) = self.told {
            write!(f, ", {arrived} messages arrived, {summaries} of them summaries, {again} again")?;
        }
        for (rule, (times, seed)) in &self.broken {
            write!(f, "\n{rule} is broken {times} times, first by seed {seed}")?;
        }
        Ok(())
    }
}

/// Runs seeds on two threads until all are done or, unless told to `go_on`, one fails; the lowest
/// that failed runs again with its trace, which is also kept in a file under `target/tmp/`.
pub fn many(seeds: Range<u64>, go_on: bool, options: impl Fn(u64) -> Options + Sync) -> Report {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(options(seed), false);
                    let mut report = report.lock().expect("no poison");
                    if let Err(violation) = &outcome.result {
                        let (times, lowest) = report.broken.entry(violation.rule).or_insert((0, seed));
                        (*times, *lowest) = (*times + 1, seed.min(*lowest));
                        if !go_on {
                            end.fetch_min(seed, Ordering::Relaxed);
                        }
                    }
                    report.runs += 1;
                    report.agreed += u64::from(outcome.result == Ok(Settled::Agreed));
                    report.acknowledged += outcome.work.0;
                    report.committed += outcome.work.1;
                    let (told, more) = (&mut report.told, outcome.told);
                    *told = (told.0 + more.0, told.1 + more.1, told.2 + more.2);
                }
            });
        }
    });
    let mut report = report.into_inner().expect("no poison");
    if let Some(lowest) = report.broken.values().map(|(_, seed)| *seed).min() {
        let outcome = run(options(lowest), true);
        keep(&outcome);
        report.failed = Some(outcome);
    }
    report
}

/// Keeps the trace of a failed run where a person can read it whole.
fn keep(outcome: &Outcome) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("sim-{}.txt", outcome.seed));
    if let Err(error) = std::fs::write(&file, outcome.lines.join("\n")) {
        eprintln!("the trace was not kept in {}: {error}", file.display());
    }
}
