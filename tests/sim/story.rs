//! Runs in which the product's own state, with verdicts and messages owed, is the machine: what is
//! promised about alerts holds whatever happens to hosts, network, disks and destinations; and each
//! rule that it rests on is missed when it is off.

use quptime::verdict::Verdict;

use super::checkers::Checked;
use super::clock::MS;
use super::duty::{DutyOptions, Lesion, check_id};
use super::faults::Fault;
use super::number;
use super::runner::{many, run};
use super::swarm::{Kind, Options};
use super::world::World;

const SEEDS: u64 = 250;
/// Runs that are tried before a search gives up.
const TRIES: u64 = 1_000;

fn with_duty(seed: u64) -> Options {
    let mut options = Options::from_seed(seed);
    // A cluster that is founded anew from its files starts with other verdicts: another story.
    options.faults.retain(|(kind, _)| !matches!(kind, Kind::WipeAll | Kind::Recover));
    options.duty = Some(DutyOptions::from_seed(seed, options.timing.0 * MS));
    options
}

#[test]
fn random_runs_tell_everything_once_and_in_order() {
    if let Some(seed) = number("QUPTIME_SEED") {
        let outcome = run(with_duty(seed), true);
        println!("{}", outcome.lines.join("\n"));
        return outcome.expect_good();
    }
    let seeds = number("QUPTIME_SEEDS").unwrap_or(SEEDS);
    let first = number("QUPTIME_FIRST").unwrap_or(0);
    let report = many(first..first + seeds, number("QUPTIME_GO_ON").is_some(), with_duty);
    println!("{report}");
    report.expect_good();
    report.expect_told();
}

#[test]
fn a_run_with_verdicts_is_one_run_to_the_byte() {
    for seed in [5, 35, 89] {
        let (a, b) = (run(with_duty(seed), true), run(with_duty(seed), true));
        assert_eq!(a.lines, b.lines, "seed {seed}");
        assert_eq!(a.digest, run(with_duty(seed), false).digest, "reading a run changes it, seed {seed}");
    }
}

/// Searches with one rule off; what is broken must be one of `expected`.
fn misses(lesion: Lesion, expected: &[&str]) {
    let options = |lesion| {
        move |seed| {
            let mut options = with_duty(seed);
            options.jumps = false;
            options.faults.retain(|(kind, _)| *kind != Kind::Jump);
            if let Some(duty) = &mut options.duty {
                // Where acceptance and commit lie apart, and much has to be tried again.
                (duty.lesion, duty.failures, duty.slow, duty.kills) = (lesion, 500, 100, 0);
            }
            options
        }
    };
    let report = many(1..TRIES, false, options(Some(lesion)));
    let Some(outcome) = &report.failed else { panic!("{lesion:?} is off and nobody notices: {report}") };
    let violation = outcome.result.as_ref().expect_err("it failed");
    println!("{lesion:?}: seed {}, {}: {}", outcome.seed, violation.rule, violation.what);
    assert!(expected.contains(&violation.rule), "{lesion:?} breaks {violation:?}");
    // It is the rule that was missing, not the search that breaks things by itself.
    run(options(None)(outcome.seed), false).expect_good();
}

#[test]
fn a_message_that_is_sent_before_its_transition_is_committed_is_noticed() {
    misses(Lesion::SentBeforeCommit, &["commit"]);
}

#[test]
fn an_outbox_that_a_new_master_forgets_is_noticed() {
    misses(Lesion::OutboxForgotten, &["owed"]);
}

#[test]
fn messages_of_one_check_that_leave_side_by_side_are_noticed() {
    misses(Lesion::NoLanes, &["order", "commit", "once"]);
}

#[test]
fn a_host_that_sends_when_it_may_not_act_is_noticed() {
    misses(Lesion::SendsUnasked, &["acts", "once"]);
}

#[test]
fn a_message_that_is_sent_again_until_its_acceptance_is_committed_is_noticed() {
    misses(Lesion::AcceptanceForgotten, &["once"]);
}

#[test]
fn a_message_that_is_settled_elsewhere_and_stays_in_the_queue_is_noticed() {
    misses(Lesion::NotWithdrawn, &["once"]);
}

#[test]
fn a_master_that_takes_the_past_for_the_present_is_noticed() {
    // Chance is too slow for it. n2 is cut off in an outage; the others see it end, n2 comes back,
    // learns that it has ended, and has to lead with the reports from before in its hands.
    let story = |seed: u64, lesion: Option<Lesion>| -> Checked {
        let calm = Options::calm(seed, 3);
        let mut duty = DutyOptions::from_seed(seed, 20 * calm.timing.0 * MS);
        duty.calm();
        (duty.checks, duty.alerts, duty.interval, duty.lesion) = (1, 1, 20_000 * MS, lesion);
        let mut world = World::new(Options { duty: Some(duty), ..calm }, false);
        let said =
            |w: &World, host: usize| w.hosts[host].app.state.as_ref().and_then(|s| s.verdict(check_id(0)));
        let until = |w: &mut World, what: &str, done: &dyn Fn(&World) -> bool| -> Checked {
            let limit = w.now + 150_000 * MS;
            assert!(w.run_while(limit, done)?, "seed {seed}: not in time: {what}");
            Ok(())
        };
        world.start()?;
        until(&mut world, "up", &|w| said(w, 1) == Some(Verdict::Up))?;
        world.sinks.flip(0);
        until(&mut world, "down", &|w| said(w, 1) == Some(Verdict::Down))?;
        world.inject(Fault::Groups(vec![0, 1, 0]))?;
        world.sinks.flip(0);
        until(&mut world, "up again", &|w| said(w, 0) == Some(Verdict::Up))?;
        world.inject(Fault::Heal)?;
        until(&mut world, "n2 knows", &|w| said(w, 1) == Some(Verdict::Up))?;
        world.inject(Fault::Crash(0, 1_000_000 * MS))?;
        let end = world.now + 100_000 * MS;
        world.run_until(end)
    };
    for seed in 1..10 {
        assert_eq!(story(seed, None), Ok(()), "seed {seed}");
    }
    let found: Vec<_> = (1..10).filter_map(|seed| story(seed, Some(Lesion::OldEvidence)).err()).collect();
    assert!(!found.is_empty(), "OldEvidence is off and nobody notices");
    assert!(found.iter().all(|violation| violation.rule == "verdict"), "{found:?}");
}
