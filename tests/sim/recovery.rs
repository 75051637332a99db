//! An operator starts a lost cluster again from its files (`refound.rs`): majorities that were told,
//! survivors that are named alone, files of different versions, partitions and deaths meanwhile.

use std::collections::BTreeSet;

use quptime::quorum::lesion::Rule;

use super::app::App;
use super::checkers::Checked;
use super::clock::MS;
use super::faults::Fault;
use super::host::Host;
use super::lesions::{finds, torn};
use super::net::node_id;
use super::scenarios::{ask, good, inject, master, run, settled, story, until_level, until_voters};
use super::swarm::{Kind, Options};
use super::world::{Event, World};

const BEAT: u64 = 1000 * MS;
const DEAD_AFTER: u64 = 4000 * MS;

/// How a cluster is lost, and started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disaster {
    /// Hosts that lose `state/`, one after another, as long as a majority remembers.
    pub wiped: Vec<usize>,
    /// What the operator does then.
    pub remedy: Remedy,
    /// Whether the nodes are told that a majority is enough.
    pub told: bool,
    /// Those who come back are back within so long; some come much later.
    pub down: u64,
}

/// What the operator does about the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: those who lost `state/` present what they have.
    AsTheyAre,
    /// The newest one, of a raised version, on all members.
    Raise,
    /// One of a raised version that names only these, on all of them; the others are gone for good.
    Shrink(BTreeSet<usize>),
}

impl World {
    /// Draws one.
    pub fn draw_disaster(&mut self, down: u64) -> Fault {
        let mut wiped: Vec<usize> = (0..self.hosts.len()).collect();
        for at in (1..wiped.len()).rev() {
            wiped.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        let members: Vec<usize> = self.check.app.config.peers.iter().copied().collect();
        let remedy = match self.rng.below(3) {
            0 => Remedy::AsTheyAre,
            1 => Remedy::Raise,
            _ => {
                let mut some: BTreeSet<usize> =
                    members.iter().copied().filter(|_| self.rng.chance(500)).collect();
                some.extend(self.rng.pick(&members));
                Remedy::Shrink(some)
            }
        };
        let told = remedy == Remedy::AsTheyAre || self.rng.chance(500);
        Fault::Disaster(Disaster { wiped, remedy, told, down })
    }

    /// Makes it happen.
    pub fn disaster(&mut self, disaster: Disaster) -> Checked {
        for host in 0..self.hosts.len() {
            if self.hosts[host].core.is_some() {
                self.kill(host)?;
            }
        }
        let Some(newest) = self.newest_file() else { return Ok(()) };
        let named = newest.config.peers.clone();
        self.lose_a_majority(&disaster.wiped, &named);
        match &disaster.remedy {
            Remedy::AsTheyAre => self.present_what_there_is(&named, &newest),
            Remedy::Raise => self.give_all(&named, newest),
            Remedy::Shrink(survivors) => {
                let mut newest = newest;
                newest.config.peers.clone_from(survivors);
                self.give_all(survivors, newest);
            }
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].told = disaster.told;
            let late = if self.rng.chance(250) { 6 * self.options.down } else { 0 };
            let down = 1 + self.rng.below(disaster.down) + late;
            self.crash(host, down)?;
        }
        let files: Vec<App> = self.hosts.iter().filter_map(|h| h.file.clone()).collect();
        self.forget_history(files);
        Ok(())
    }

    /// The newest file of the cluster as it was; one that it left behind earlier may say anything.
    pub fn newest_file(&self) -> Option<App> {
        let of_now = self.hosts.iter().filter(|h| h.file_of == self.founding);
        let newest = of_now.filter_map(|h| h.file.as_ref()).max_by_key(|app| app.config.version);
        let mut newest = newest.or_else(|| self.hosts.iter().find_map(|h| h.file.as_ref())).cloned()?;
        newest.done.clear();
        Some(newest)
    }

    /// `state/` is lost until no majority of any membership in any log remembers it, and until those
    /// who lost it are a majority themselves.
    fn lose_a_majority(&mut self, wiped: &[usize], named: &BTreeSet<usize>) {
        for host in wiped {
            let stranger = !named.contains(host);
            let whole = named.iter().filter(|h| self.hosts[**h].disk.is_whole()).count();
            let few = 2 * (named.len() - whole) <= named.len();
            if stranger || few || self.some_majority_remembers() {
                self.hosts[*host].disk.wipe();
            }
        }
    }

    fn present_what_there_is(&mut self, named: &BTreeSet<usize>, newest: &App) {
        for (number, host) in self.hosts.iter_mut().enumerate() {
            match named.contains(&number) {
                true if host.file.is_none() || host.file_of != self.founding => {
                    host.file = Some(newest.clone());
                }
                true => host.file.iter_mut().for_each(|file| file.done.clear()),
                false => host.file = None,
            }
        }
    }

    /// SPEC section 11, procedures 4 and 6: the same file, of a raised version, on all whom it names.
    fn give_all(&mut self, named: &BTreeSet<usize>, mut file: App) {
        file.config.version += 10;
        for (number, host) in self.hosts.iter_mut().enumerate() {
            if !named.contains(&number) {
                // What comes back of the dead is a new host under the old name.
                host.disk.wipe();
            }
            host.file = named.contains(&number).then(|| file.clone());
            host.edited = host.file.is_some();
        }
    }

    /// Whether a majority of any membership that is in any log remembers it.
    fn some_majority_remembers(&self) -> bool {
        let mut memberships = vec![self.check.membership().clone()];
        for remembered in self.hosts.iter().filter_map(|h| h.disk.remembered()) {
            memberships.push(remembered.snapshot.membership);
            memberships.extend(remembered.entries.into_iter().filter_map(|e| e.membership));
        }
        memberships.iter().any(|m| {
            let counts = |h: &&Host| {
                h.disk.founding() == Some(m.founding) && h.disk.vote().is_some_and(|v| m.counts(h.id, v.life))
            };
            self.hosts.iter().filter(counts).count() >= m.need()
        })
    }
}

/// All of these hosts stop; what happens to them is said next, and [`starts`] starts them.
fn all_stop(world: &mut World) {
    for host in 0..world.hosts.len() {
        if world.hosts[host].core.is_some() {
            good(world, |w| w.kill(host));
        }
    }
}

fn starts(world: &mut World, host: usize) {
    let run = world.hosts[host].run;
    world.after(0, Event::Start { host: (host, run) });
}

/// The history ends here; it may go on from the files that the hosts have now.
fn lost(world: &mut World) {
    let files = world.hosts.iter().filter_map(|h| h.file.clone()).collect();
    world.forget_history(files);
}

/// Three nodes that have committed something.
fn three(seed: u64) -> World {
    let mut world = settled(seed, 3, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    until_level(&mut world, &[0, 1, 2]);
    world.hosts.iter_mut().for_each(|h| h.file.iter_mut().for_each(|f| f.done.clear()));
    world
}

/// The file of a host, changed by hand: another version, and only these peers.
fn edit(world: &mut World, host: usize, version: u64, peers: &[usize]) {
    let file = world.hosts[host].file.as_mut().expect("a file");
    file.config.version = version;
    file.config.peers = peers.iter().copied().collect();
    world.hosts[host].edited = true;
}

/// All hosts are voters, in the lives that they have now.
fn all_count(world: &World) -> bool {
    let members = world.check.membership();
    world.hosts.iter().all(|h| members.counts(h.id, h.life))
}

fn until_all_count(world: &mut World, within: u64) {
    let limit = world.now + within;
    assert!(good(world, |w| w.run_while(limit, all_count)), "{}", story(world));
}

fn goes_on(world: &World) -> bool {
    !world.refounding && master(world).is_some()
}

#[test]
fn a_majority_that_was_told_starts_again_and_counts_the_others_in_later() {
    let mut world = three(101);
    all_stop(&mut world);
    for host in 0..3 {
        world.hosts[host].disk.wipe();
        world.hosts[host].told = host != 0;
    }
    lost(&mut world);
    starts(&mut world, 1);
    run(&mut world, 5 * DEAD_AFTER);
    assert!(!goes_on(&world), "{}\none of three is no majority", story(&world));
    starts(&mut world, 2);
    run(&mut world, 3 * DEAD_AFTER);
    assert!(goes_on(&world), "{}", story(&world));
    assert_eq!(world.check.app.config.registers[&1], [1]);
    starts(&mut world, 0);
    until_all_count(&mut world, 30 * BEAT);
    until_level(&mut world, &[0, 1, 2]);
}

#[test]
fn a_majority_that_was_not_told_waits() {
    let mut world = three(102);
    all_stop(&mut world);
    (0..3).for_each(|host| world.hosts[host].disk.wipe());
    lost(&mut world);
    starts(&mut world, 1);
    starts(&mut world, 2);
    run(&mut world, 20 * DEAD_AFTER);
    assert!(!goes_on(&world));
    starts(&mut world, 0);
    run(&mut world, 5 * BEAT);
    assert!(goes_on(&world), "{}", story(&world));
}

#[test]
fn survivors_that_present_the_same_shrunk_file_go_on_without_the_dead() {
    let mut world = settled(103, 5, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    until_level(&mut world, &[0, 1, 2, 3, 4]);
    all_stop(&mut world);
    for host in [2, 4] {
        let version = world.hosts[host].file.as_ref().expect("a file").config.version + 1;
        world.hosts[host].file.iter_mut().for_each(|f| f.done.clear());
        edit(&mut world, host, version, &[2, 4]);
    }
    starts(&mut world, 2);
    run(&mut world, 5 * DEAD_AFTER);
    assert_eq!(master(&world), None, "{}\none of the two is missing", story(&world));
    lost(&mut world);
    starts(&mut world, 4);
    run(&mut world, 3 * DEAD_AFTER);
    assert!(goes_on(&world), "{}", story(&world));
    assert_eq!(world.check.app.config.registers[&1], [1]);
    until_voters(&mut world, &[2, 4]);
    assert!(ask(&mut world, &[2, 4], "append 1 2", None).is_ok());
}

#[test]
fn a_newer_file_gives_way_to_a_master_with_a_quorum() {
    let mut world = three(104);
    for told in [false, true] {
        inject(&mut world, Fault::Crash(2, BEAT));
        let version = world.check.app.config.version + 10;
        edit(&mut world, 2, version, &[2]);
        world.hosts[2].told = told;
        run(&mut world, 5 * DEAD_AFTER);
        assert!(world.hosts[2].core.as_ref().is_some_and(|c| c.status().standing.is_none()));
        until_level(&mut world, &[0, 1, 2]);
        assert_eq!(world.check.app.config.registers[&1], [1]);
    }
}

#[test]
fn a_node_with_a_newer_file_is_mute_until_the_file_is_taken_back() {
    let mut world = three(109);
    inject(&mut world, Fault::Crash(0, 1000 * BEAT));
    inject(&mut world, Fault::Crash(2, BEAT));
    let version = world.check.app.config.version;
    edit(&mut world, 2, version + 10, &[1, 2]);
    run(&mut world, 10 * DEAD_AFTER);
    assert_eq!(master(&world), None, "{}\nn2 has another file", story(&world));
    let standing = world.hosts[2].core.as_ref().and_then(|c| c.status().standing).expect("it waits");
    assert!(standing.remembers && standing.remember.contains(&node_id(1)), "{standing:?}");
    inject(&mut world, Fault::Crash(2, BEAT));
    edit(&mut world, 2, version, &[0, 1, 2]);
    run(&mut world, 3 * DEAD_AFTER);
    assert_eq!(master(&world), Some(1), "{}", story(&world));
    assert_eq!(world.check.app.config.registers[&1], [1]);
}

#[test]
fn two_files_of_one_version_are_not_mixed() {
    let mut world = three(105);
    all_stop(&mut world);
    for host in 0..3 {
        world.hosts[host].disk.wipe();
        let file = world.hosts[host].file.as_mut().expect("a file");
        file.config.registers.insert(2, vec![host as u64 / 2]);
        starts(&mut world, host);
    }
    run(&mut world, 20 * DEAD_AFTER);
    assert_eq!(master(&world), None);
    let standing = world.hosts[0].core.as_ref().and_then(|c| c.status().standing).expect("it waits");
    assert_eq!(standing.other.len(), 1, "{standing:?}");
    // The two that have the same file are a majority, and are told so.
    all_stop(&mut world);
    for host in 0..2 {
        world.hosts[host].told = true;
        starts(&mut world, host);
    }
    lost(&mut world);
    run(&mut world, 5 * DEAD_AFTER);
    assert!(goes_on(&world), "{}", story(&world));
    assert_eq!(world.check.app.config.registers[&2], [0]);
}

#[test]
fn one_of_two_that_lost_its_state_is_helped_by_a_newer_file_on_both() {
    let mut world = settled(106, 2, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    until_level(&mut world, &[0, 1]);
    inject(&mut world, Fault::Wipe(1, 2 * DEAD_AFTER));
    run(&mut world, 10 * DEAD_AFTER);
    assert_eq!(master(&world), None, "{}", story(&world));
    all_stop(&mut world);
    raise(&mut world, &[0, 1]);
    lost(&mut world);
    run(&mut world, 4 * DEAD_AFTER);
    assert!(goes_on(&world), "{}", story(&world));
    assert_eq!(world.check.app.config.registers[&1], [1]);
}

#[test]
fn a_founder_that_stays_alone_begins_anew_with_the_others_from_a_newer_file() {
    // Those who pledged die between their pledge and the founder's snapshot.
    let mut world = three(107);
    inject(&mut world, Fault::WipeAll(MS));
    let limit = world.now + 10 * BEAT;
    assert!(good(&mut world, |w| w.run_while(limit, founded)), "{}", story(&world));
    for host in [1, 2] {
        assert!(world.hosts[host].applied.is_none(), "{}", story(&world));
        inject(&mut world, Fault::Crash(host, BEAT));
    }
    run(&mut world, 20 * DEAD_AFTER);
    assert!(!goes_on(&world), "{}\nnobody may guess here", story(&world));
    all_stop(&mut world);
    raise(&mut world, &[0, 1, 2]);
    lost(&mut world);
    run(&mut world, 4 * DEAD_AFTER);
    assert!(goes_on(&world), "{}", story(&world));
    until_voters(&mut world, &[0, 1, 2]);
    until_level(&mut world, &[0, 1, 2]);
}

#[test]
fn an_edit_that_is_taken_back_while_a_founder_begins_leaves_the_cluster_as_it_was() {
    let mut world = three(111);
    let before = world.hosts[1].file.clone();
    all_stop(&mut world);
    raise(&mut world, &[0, 1, 2]);
    world.files = world.hosts.iter().filter_map(|h| h.file.clone()).collect();
    let begins = |w: &World| w.hosts[0].applied.is_some() && w.hosts[0].history() != w.founding;
    let limit = world.now + 10 * DEAD_AFTER;
    assert!(good(&mut world, |w| w.run_while(limit, begins)), "{}", story(&world));
    for host in [1, 2] {
        assert!(world.hosts[host].applied.is_none(), "{}", story(&world));
        inject(&mut world, Fault::Crash(host, BEAT));
        world.hosts[host].file = before.clone();
        world.hosts[host].edited = false;
    }
    assert!(ask(&mut world, &[1, 2], "append 1 2", None).is_ok());
    until_all_count(&mut world, 60 * BEAT);
    until_level(&mut world, &[0, 1, 2]);
    assert_eq!(world.check.app.config.registers[&1], [1, 2]);
}

/// Somebody has founded, and is not the cluster yet.
fn founded(world: &World) -> bool {
    world.refounding
        && world.hosts.iter().any(|h| h.applied.is_some() && !world.lost.contains_key(&h.history()))
}

/// The newest file, of a raised version, on all of these, which start.
fn raise(world: &mut World, hosts: &[usize]) {
    let newest = world.hosts.iter().filter_map(|h| h.file.as_ref()).max_by_key(|f| f.config.version);
    let mut file = newest.cloned().expect("a file");
    file.config.version += 10;
    file.done.clear();
    for host in hosts {
        world.hosts[*host].file = Some(file.clone());
        world.hosts[*host].edited = true;
        starts(world, *host);
    }
}

/// Recoveries under fire: the told come, go, and hear each other in parts.
fn recovering(options: Options) -> Options {
    let mut options = torn(options);
    options.faults.push((Kind::Recover, 30));
    options.down = options.timing.1 * MS;
    options.chaos = options.timing.1 * MS * 20;
    options
}

#[test]
fn a_recovery_without_a_majority_is_noticed() {
    finds(Rule::RecoverMajority, &["I1", "I2", "I3", "I5", "I6"], recovering);
}

/// n1 founds with the pledge of n2, and is cut off before n2 has its snapshot; n2 founds with n3.
/// Later n1 and n2 meet. Chance is too slow for it.
fn overlap(lesions: Vec<Rule>) -> Checked {
    let mut world = World::new(Options { lesions, ..Options::calm(108, 3) }, false);
    world.start()?;
    world.run_until(10 * BEAT)?;
    for host in 0..3 {
        world.kill(host)?;
        world.hosts[host].disk.wipe();
        world.hosts[host].told = true;
        world.hosts[host].file.iter_mut().for_each(|f| f.done.clear());
        starts(&mut world, host);
    }
    lost(&mut world);
    let pass = |world: &mut World, groups: Vec<u64>| -> Checked {
        world.inject(Fault::Groups(groups))?;
        world.run_until(world.now + 5 * DEAD_AFTER)
    };
    world.inject(Fault::Groups(vec![0, 0, 1]))?;
    assert!(world.run_while(world.now + 5 * DEAD_AFTER, founded)?);
    pass(&mut world, vec![0, 1, 1])?;
    assert!(goes_on(&world), "n2 and n3 are a majority");
    pass(&mut world, vec![0, 0, 1])?;
    pass(&mut world, vec![0, 0, 0])?;
    assert!(all_count(&world), "all three go on together");
    Ok(())
}

#[test]
fn of_two_foundings_that_overlap_one_goes_on_and_takes_the_other_in() {
    assert_eq!(overlap(vec![]), Ok(()));
}

#[test]
fn logs_of_two_foundings_that_are_mixed_are_noticed() {
    finds(Rule::FoundingsApart, &["I1", "I2", "I3", "I4", "I6", "contract", "assert"], recovering);
}

#[test]
fn a_recovery_that_does_not_listen_first_is_noticed() {
    // n3 is cut off with its lease; n1 and n2 are started again at once with a newer file.
    let listens = |lesions: Vec<Rule>| -> Checked {
        let mut world = World::new(Options { lesions, ..Options::calm(110, 3) }, true);
        world.start()?;
        world.run_until(10 * BEAT)?;
        world.inject(Fault::HandOver(0, Some(2)))?;
        let leads = |w: &World| w.hosts[2].acts(w.now);
        assert!(world.run_while(world.now + 10 * BEAT, leads)?, "{}", story(&world));
        world.run_until(world.now + BEAT)?;
        assert!(leads(&world), "{}", story(&world));
        world.inject(Fault::Groups(vec![0, 0, 1]))?;
        for host in [0, 1] {
            world.kill(host)?;
            world.hosts[host].told = true;
        }
        raise(&mut world, &[0, 1]);
        lost(&mut world);
        assert!(leads(&world), "the lease of n3 runs");
        world.run_until(world.now + 5 * DEAD_AFTER)?;
        assert!(goes_on(&world), "{}", story(&world));
        Ok(())
    };
    assert_eq!(listens(vec![]), Ok(()));
    assert_eq!(listens(vec![Rule::RecoverListens]).expect_err("two act").rule, "I1");
}

#[test]
fn recoveries_under_partitions_and_deaths_keep_every_promise() {
    let seeds = super::number("QUPTIME_SEEDS").unwrap_or(150);
    let first = super::number("QUPTIME_FIRST").unwrap_or(0);
    let go_on = super::number("QUPTIME_GO_ON").is_some();
    let report = super::runner::many(first..first + seeds, go_on, |seed| {
        let settle = Options::from_seed(seed).settle;
        Options { settle, ..recovering(Options::from_seed(seed)) }
    });
    println!("{report}");
    if let Some(outcome) = &report.failed {
        outcome.expect_good();
    }
}
