//! The simulator proves its worth: each safety rule of the core is switched off in turn, and the
//! checkers must notice. Each search draws runs that bring the rule into play; one that found
//! nothing would mean that the simulator cannot see what the rule is for.

use quptime::quorum::lesion::Rule;

use super::checkers::Checked;
use super::clock::MS;
use super::faults::Fault;
use super::runner::many;
use super::swarm::{Kind, Options};
use super::world::World;

/// Runs that are tried before a search gives up.
const TRIES: u64 = 2_000;

/// Searches with one rule off; what is broken must be one of `expected`.
pub fn finds(rule: Rule, expected: &[&str], bias: impl Fn(Options) -> Options + Sync) {
    let with = |seed| {
        let mut options = bias(Options::from_seed(seed));
        options.lesions = vec![rule];
        options
    };
    let report = many(1..TRIES, false, with);
    let Some(outcome) = &report.failed else { panic!("{rule:?} is off and nobody notices: {report}") };
    let violation = outcome.result.as_ref().expect_err("it failed");
    println!("{rule:?} off: seed {}, {}: {}", outcome.seed, violation.rule, violation.what);
    assert!(
        expected.contains(&violation.rule),
        "{rule:?} off breaks {} and not one of {expected:?}: {}",
        violation.rule,
        violation.what
    );
    // It is the rule that was missing, not the search that breaks things by itself.
    let sound = super::runner::run(bias(Options::from_seed(outcome.seed)), false);
    assert!(sound.result.is_ok(), "seed {} fails with all rules on: {:?}", outcome.seed, sound.result);
}

const SECOND: u64 = 1000 * MS;

/// A world without chance, for a script; with rules off.
fn script(lesions: Vec<Rule>, voters: usize) -> World {
    World::new(Options { lesions, ..Options::calm(1, voters) }, false)
}

/// A host dies, and nothing survives of what its disk had not confirmed; it starts again.
fn dies_with_its_queue(world: &mut World, host: usize) -> Checked {
    world.hosts[host].disk.failing = true;
    world.inject(Fault::Crash(host, SECOND))?;
    world.inject(Fault::DiskWell(host))
}

/// Short runs that end with the faults: what counts is safety.
fn short(mut options: Options) -> Options {
    options.settle = false;
    options.voters = 3 + (options.seed % 3) as usize;
    options.jumps = false;
    options.member_changes = 0;
    options.timing_changes = 0;
    options.padding = 0;
    options
}

/// Many deaths, all at once and one by one; slow disks, so that much is lost.
fn deadly(options: Options) -> Options {
    let mut options = short(options);
    options.disk = (options.timing.0 * MS / 20, options.timing.0 * MS / 3);
    options.down = options.timing.1 * MS / 4;
    options.gap = options.timing.0 * MS;
    options.only(&[
        (Kind::Crash, 10),
        (Kind::CrashDuring, 10),
        (Kind::Blackout, 3),
        (Kind::Heal, 5),
        (Kind::Isolate, 5),
    ])
}

/// Partitions of every kind, one after another.
pub fn torn(options: Options) -> Options {
    let mut options = short(options);
    options.gap = options.timing.1 * MS / 2;
    options.only(&[
        (Kind::Split, 10),
        (Kind::Isolate, 10),
        (Kind::OneWay, 10),
        (Kind::Deaf, 10),
        (Kind::Heal, 10),
        (Kind::Pause, 6),
        (Kind::Crash, 4),
    ])
}

#[test]
fn a_vote_that_is_given_before_it_is_on_disk_is_noticed() {
    finds(Rule::VotePersisted, &["I4"], deadly);
}

#[test]
fn a_vote_that_is_not_on_disk_elects_two_masters_in_one_term() {
    // What follows when nobody compares promises with disks: chance is too slow for it.
    let story = |lesions: Vec<Rule>| -> Checked<bool> {
        let mut world = script(lesions, 3);
        world.options.check_promises = false;
        world.inject(Fault::SlowDisk(2, 1_000_000, 1000 * SECOND))?;
        // n1 is elected by n3, which dies before its vote is on disk.
        world.inject(Fault::Groups(vec![0, 1, 2]))?;
        world.start()?;
        world.run_until(5 * SECOND)?;
        world.inject(Fault::Groups(vec![0, 1, 0]))?;
        let elected = world.run_while(20 * SECOND, |w| w.hosts[0].role.me)?;
        world.inject(Fault::Groups(vec![0, 1, 1]))?;
        dies_with_its_queue(&mut world, 2)?;
        // n3 votes once more.
        let until = world.now + 20 * SECOND;
        world.run_until(until)?;
        Ok(elected)
    };
    assert_eq!(story(vec![]), Ok(false), "n3 must not vote");
    assert_eq!(story(vec![Rule::VotePersisted]).expect_err("two masters").rule, "I1");
}

#[test]
fn a_vote_for_a_log_that_is_behind_is_noticed() {
    finds(Rule::UpToDateCheck, &["I2", "I3"], torn);
}

#[test]
fn an_entry_of_an_earlier_term_that_is_committed_by_counting_is_lost() {
    // Figure 3.7 of the thesis with three nodes; chance is too slow for it.
    let story = |lesions: Vec<Rule>| -> Checked {
        let mut world = script(lesions, 3);
        let settle = |world: &mut World, seconds| world.run_until(world.now + seconds * SECOND);
        world.start()?;
        settle(&mut world, 10)?;
        assert!(world.hosts[0].acts(world.now));
        // An entry of term 1 is on n1 alone; so long that what follows it needs a message of its own.
        world.inject(Fault::Groups(vec![0, 1, 1]))?;
        let lost = world.check.committed() + 1;
        world.ask(vec![0], &format!("append 1 {}7", "0".repeat(300_000)), None);
        settle(&mut world, 1)?;
        assert_eq!(world.hosts[0].disk.end().index, lost);
        // n2 is master of term 2 and keeps its first entry for itself.
        assert!(world.run_while(world.now + 20 * SECOND, |w| w.hosts[1].role.me)?);
        world.inject(Fault::Groups(vec![0, 1, 2]))?;
        settle(&mut world, 1)?;
        world.inject(Fault::Crash(1, 40 * SECOND))?;
        // n1 is master of term 3, and gives the old entry to n3, but not yet its own.
        world.inject(Fault::Groups(vec![0, 1, 0]))?;
        assert!(world.run_while(world.now + 30 * SECOND, |w| w.hosts[0].applied >= Some(lost))?);
        world.inject(Fault::Groups(vec![0, 1, 1]))?;
        dies_with_its_queue(&mut world, 2)?;
        // n2 comes back. Its log ends in term 2.
        settle(&mut world, 60)
    };
    assert_eq!(story(vec![]), Ok(()));
    assert_eq!(story(vec![Rule::CommitOwnTermOnly]).expect_err("an entry is lost").rule, "I2");
}

#[test]
fn a_master_that_acts_without_its_lease_is_noticed() {
    finds(Rule::LeaseCheck, &["I1"], torn);
}

#[test]
fn a_voter_that_forgets_the_master_it_heard_is_noticed() {
    finds(Rule::VoterHold, &["I1"], torn);
}

#[test]
fn a_change_of_members_before_the_last_one_is_committed_is_noticed() {
    finds(Rule::ChangeWithoutCommit, &["I1", "I2", "I3", "I6"], |options| {
        let mut options = torn(options);
        options.spares = 2;
        options.member_changes = 500;
        options.clients = 3;
        options.think = options.timing.0 * MS / 4;
        options
    });
}

#[test]
fn an_append_that_is_acknowledged_before_it_is_on_disk_is_noticed() {
    finds(Rule::AckBeforeFsync, &["I2", "I4"], deadly);
}

#[test]
fn an_append_that_is_not_on_disk_commits_without_a_majority_of_disks() {
    finds(Rule::AckBeforeFsync, &["I2", "I3"], |options| {
        let mut options = deadly(options);
        options.check_promises = false;
        options
    });
}

#[test]
fn a_node_that_lost_its_state_and_votes_all_the_same_is_noticed() {
    finds(Rule::AmnesiacCounts, &["I1", "I2", "I3", "I4", "I6"], |options| {
        let mut options = torn(options);
        options.faults.push((Kind::Wipe, 20));
        options.down = options.timing.0 * MS;
        options
    });
}

#[test]
fn a_request_that_is_applied_twice_is_noticed() {
    let doubled = |suppress| {
        move |seed| {
            let mut options = torn(Options::from_seed(seed));
            options.suppress = suppress;
            options
        }
    };
    let report = many(1..TRIES, false, doubled(false));
    let outcome = report.failed.expect("duplicates are applied and nobody notices");
    assert_eq!(outcome.result.expect_err("it failed").rule, "once");
    super::runner::run(doubled(true)(outcome.seed), false).expect_good();
}

#[test]
fn a_snapshot_older_than_what_is_committed_is_noticed() {
    finds(Rule::OldSnapshotAccepted, &["I2", "I4"], |options| {
        let mut options = torn(options);
        options.faults.extend([(Kind::Compact, 20), (Kind::Crash, 20), (Kind::Wipe, 10)]);
        options.net.dup = 200;
        options.net.fifo = false;
        options.net.tail = (100, options.timing.1 * MS);
        options
    });
}

#[test]
fn a_master_that_keeps_the_role_without_a_majority_is_noticed() {
    // The lease keeps it from acting all the same. The rule serves that nobody takes it for the
    // master any more: not its operator, not the requests that wait there.
    let keeps = |lesions: Vec<Rule>| {
        let mut world = script(lesions, 3);
        let run = |world: &mut World, seconds: u64| {
            let until = world.now + seconds * SECOND;
            world.run_until(until).expect("nothing is broken");
        };
        world.start().expect("nothing is broken");
        run(&mut world, 10);
        assert!(world.hosts[0].acts(world.now));
        world.inject(Fault::Groups(vec![0, 1, 1])).expect("nothing is broken");
        run(&mut world, 30);
        assert!(!world.hosts[0].acts(world.now), "the lease is another rule");
        world.hosts[0].role.me
    };
    assert!(!keeps(Vec::new()));
    assert!(keeps(vec![Rule::CheckQuorum]));
}

#[test]
fn a_master_that_goes_on_after_handing_over_is_noticed() {
    finds(Rule::TransferStops, &["I1"], |options| {
        let mut options = torn(options);
        options.faults.push((Kind::HandOver, 40));
        options
    });
}

#[test]
fn without_pre_vote_a_node_that_returns_deposes_a_master_that_everybody_else_follows() {
    // The rule serves stability, not safety.
    let terms = |lesions: Vec<Rule>| {
        let mut world = script(lesions, 5);
        let run = |world: &mut World, seconds: u64| {
            let until = world.now + seconds * SECOND;
            world.run_until(until).expect("nothing is broken");
        };
        world.start().expect("nothing is broken");
        run(&mut world, 10);
        let before = world.hosts[0].role;
        assert!(before.me);
        // n5 is not heard, and does not hear the master.
        world.inject(Fault::Mute(4)).expect("nothing is broken");
        world.inject(Fault::OneWay(0, 4)).expect("nothing is broken");
        run(&mut world, 60);
        world.inject(Fault::Heal).expect("nothing is broken");
        run(&mut world, 10);
        (before.shown_term, world.hosts[0].role.shown_term)
    };
    let (before, after) = terms(Vec::new());
    assert_eq!(before, after, "with pre-vote nothing changes");
    let (before, after) = terms(vec![Rule::PreVote]);
    assert!(after > before, "without pre-vote the term goes on");
}
