//! The quorum core under a simulator that owns time, network and disk.
//!
//! One seed is one run, to the byte. Each run draws its own size, timing and faults ([`swarm`]);
//! while the faults last, checkers outside of the core look at everything that it does
//! ([`checkers`]: I1 to I6 of SPEC section 5, and that clients were told the truth); then the faults
//! end and progress must follow in time ([`settle`]: I7). [`scenarios`] are runs by hand;
//! [`lesions`] switches safety rules off and shows that it is noticed. In [`story`] the machine
//! that is replicated is the product's own, with verdicts and messages owed ([`duty`], [`sinks`]):
//! what SPEC section 9 promises about alerts is judged in the same way.
//!
//! `QUPTIME_SEEDS=N` runs N seeds, `QUPTIME_SEED=X` one, with a readable trace:
//! `QUPTIME_SEED=17 cargo test --test sim random -- --nocapture`.
//!
//! `QUPTIME_FIRST=X` starts with another seed; `QUPTIME_GO_ON=1` counts all failures of a long search
//! in place of stopping at the first. The trace of a failure is kept under `target/tmp/`.
//!
//! The network is harsher than the one that nodes have: TCP neither reorders nor doubles.

mod app;
mod checkers;
mod clients;
mod clock;
mod disk;
mod duty;
mod faults;
mod host;
mod lesions;
mod net;
mod outputs;
mod recovery;
mod runner;
mod scenarios;
mod settle;
mod sinks;
mod story;
mod swarm;
mod trace;
mod world;

use runner::{Outcome, run};
use swarm::Options;

const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn random_runs_keep_every_promise() {
    if let Some(seed) = number("QUPTIME_SEED") {
        let outcome = run(Options::from_seed(seed), true);
        println!("{}", outcome.lines.join("\n"));
        println!("seed {seed}: {:?}, digest {:016x}", outcome.result, outcome.digest);
        return outcome.expect_good();
    }
    let seeds = number("QUPTIME_SEEDS").unwrap_or(SEEDS);
    let first = number("QUPTIME_FIRST").unwrap_or(0);
    let go_on = number("QUPTIME_GO_ON").is_some();
    let report = runner::many(first..first + seeds, go_on, Options::from_seed);
    println!("{report}");
    report.expect_good();
}

#[test]
fn one_seed_is_one_run_to_the_byte() {
    for seed in [3, 14, 15, 92, 653] {
        let (a, b) = (run(Options::from_seed(seed), true), run(Options::from_seed(seed), true));
        assert!(!a.lines.is_empty());
        assert_eq!(a.lines, b.lines, "seed {seed}");
        assert_eq!(a.digest, b.digest, "seed {seed}");
        let unread: Outcome = run(Options::from_seed(seed), false);
        assert_eq!(a.digest, unread.digest, "reading a run changes it, seed {seed}");
    }
    let other = run(Options::from_seed(4), false).digest;
    assert_ne!(run(Options::from_seed(3), false).digest, other, "the digest does not see the run");
}
