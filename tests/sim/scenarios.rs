//! Runs by hand: the sentences of SPEC section 5, one script each.

use std::collections::BTreeSet;

use quptime::quorum::io::{MemberChange, Refusal};

use super::checkers::Checked;
use super::clock::MS;
use super::faults::Fault;
use super::net::node_id;
use super::swarm::Options;
use super::world::World;

const BEAT: u64 = 1000 * MS;
const DEAD_AFTER: u64 = 4000 * MS;
const COOLDOWN: u64 = 20_000 * MS;
/// What a few messages and writes take in these runs.
const MOMENT: u64 = 100 * MS;

/// A world without faults that has started; the seeds differ so that each script has its own chances.
fn world(seed: u64, voters: usize, spares: usize) -> World {
    let mut world = World::new(Options { spares, ..Options::calm(seed, voters) }, true);
    good(&mut world, World::start);
    world
}

/// Does something that must break nothing; shows the story if it does.
pub fn good<T>(world: &mut World, act: impl FnOnce(&mut World) -> Checked<T>) -> T {
    match act(world) {
        Ok(value) => value,
        Err(violation) => panic!("{}\n{} is broken: {}", story(world), violation.rule, violation.what),
    }
}

pub fn story(world: &World) -> String {
    let lines = world.trace.lines();
    let shown = if std::env::var_os("QUPTIME_STORY").is_some() { lines.len() } else { 80 };
    lines[lines.len().saturating_sub(shown)..].join("\n")
}

pub fn run(world: &mut World, time: u64) {
    let until = world.now + time;
    good(world, |w| w.run_until(until));
}

pub fn inject(world: &mut World, fault: Fault) {
    good(world, |w| w.inject(fault));
}

/// The host that acts as master; its number.
pub fn master(world: &World) -> Option<usize> {
    (0..world.hosts.len()).find(|h| world.hosts[*h].acts(world.now))
}

/// Waits until `host` acts as master; how long it took.
fn until_master(world: &mut World, host: usize, limit: u64) -> u64 {
    let start = world.now;
    let reached = good(world, |w| w.run_while(start + limit, |w| w.hosts[host].acts(w.now)));
    assert!(reached, "{}\nn{} is not master in {} ms", story(world), host + 1, limit / MS);
    world.now - start
}

/// Makes a request through any of `hosts` until it is answered.
pub fn ask(
    world: &mut World,
    hosts: &[usize],
    text: &str,
    change: Option<MemberChange>,
) -> Result<(), Refusal> {
    let client = world.ask(hosts.to_vec(), text, change);
    let limit = world.now + 30 * BEAT;
    let reached = good(world, |w| w.run_while(limit, |w| w.clients[client].outcome.is_some()));
    assert!(reached, "{}\nno answer to {text}", story(world));
    world.clients[client].outcome.clone().expect("there is one").map(drop)
}

fn voters(world: &World) -> BTreeSet<usize> {
    let members = world.check.membership();
    (0..world.hosts.len()).filter(|h| members.voters.contains_key(&node_id(*h))).collect()
}

/// Waits until these hosts and no others are voters.
pub fn until_voters(world: &mut World, want: &[usize]) {
    let want: BTreeSet<usize> = want.iter().copied().collect();
    let limit = world.now + 30 * BEAT;
    let reached = good(world, |w| w.run_while(limit, |w| voters(w) == want));
    assert!(reached, "{}\nvoters are {:?}, not {want:?}", story(world), voters(world));
}

/// Waits until all these hosts have applied everything that is committed.
pub fn until_level(world: &mut World, hosts: &[usize]) {
    let limit = world.now + 30 * BEAT;
    let level = |w: &World| hosts.iter().all(|h| w.hosts[*h].applied == Some(w.check.committed()));
    assert!(good(world, |w| w.run_while(limit, level)), "{}\nnot level", story(world));
}

/// Everybody is up and n1 is master for a while.
pub fn settled(seed: u64, voters: usize, spares: usize) -> World {
    let mut world = world(seed, voters, spares);
    let members = self::voters(&world);
    while !members.iter().all(|h| world.hosts[*h].role.master.is_some()) {
        run(&mut world, BEAT / 10);
        assert!(world.now < 30 * BEAT, "{}\nno master at the start", story(&world));
    }
    world
}

#[test]
fn at_bootstrap_the_lowest_id_becomes_master_at_once() {
    for voters in 1..=7 {
        for seed in 0..20 {
            let mut world = world(seed, voters, 0);
            let took = until_master(&mut world, 0, 2 * BEAT + MOMENT);
            assert!(voters == 1 || took > 0, "a master without a majority");
        }
    }
}

#[test]
fn a_whole_cluster_that_restarts_has_its_lowest_master_again_at_once() {
    let mut world = settled(1, 5, 0);
    run(&mut world, 10 * BEAT);
    for _ in 0..3 {
        inject(&mut world, Fault::Blackout(0));
        run(&mut world, MS);
        until_master(&mut world, 0, 2 * BEAT + MOMENT);
        run(&mut world, 3 * BEAT);
    }
}

#[test]
fn when_the_master_dies_the_next_in_rank_follows_in_time() {
    let mut world = settled(2, 5, 0);
    run(&mut world, 10 * BEAT);
    inject(&mut world, Fault::Crash(0, 1000 * BEAT));
    let took = until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    assert!(took >= DEAD_AFTER * 3 / 4, "{took}: nobody may be master while the old one may act");
    inject(&mut world, Fault::Crash(1, 1000 * BEAT));
    until_master(&mut world, 2, DEAD_AFTER + 2 * BEAT);
    // The fourth death leaves two of five: no master, ever.
    inject(&mut world, Fault::Crash(2, 1000 * BEAT));
    run(&mut world, 20 * BEAT);
    assert_eq!(master(&world), None);
}

#[test]
fn a_returning_lower_id_waits_the_whole_cooldown() {
    let mut world = settled(3, 3, 0);
    run(&mut world, 10 * BEAT);
    inject(&mut world, Fault::Crash(0, 10 * BEAT));
    until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    let back = world.now + 10 * BEAT;
    run(&mut world, 10 * BEAT);
    let took = until_master(&mut world, 0, COOLDOWN + 2 * BEAT);
    assert!(world.now + 5 * BEAT >= back + COOLDOWN, "{}\nafter {} ms already", story(&world), took / MS);
}

#[test]
fn a_flap_starts_the_cooldown_afresh() {
    let mut world = settled(4, 3, 0);
    inject(&mut world, Fault::Crash(0, 8 * BEAT));
    until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    run(&mut world, 15 * BEAT);
    // Live for about ten seconds; then a gap of more than dead-after.
    inject(&mut world, Fault::Groups(vec![0, 1, 1]));
    run(&mut world, DEAD_AFTER + 2 * BEAT);
    inject(&mut world, Fault::Heal);
    let start = world.now;
    run(&mut world, COOLDOWN - 2 * BEAT);
    assert_eq!(master(&world), Some(1), "{}\nthe gap was forgotten", story(&world));
    until_master(&mut world, 0, 5 * BEAT);
    assert!(world.now - start >= COOLDOWN);
}

#[test]
fn when_the_incumbent_is_gone_nobody_waits_for_the_cooldown() {
    let mut world = settled(5, 3, 0);
    inject(&mut world, Fault::Crash(0, 8 * BEAT));
    until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    run(&mut world, 6 * BEAT);
    assert!(world.hosts[0].core.is_some() && master(&world) == Some(1));
    inject(&mut world, Fault::Crash(1, 1000 * BEAT));
    until_master(&mut world, 0, DEAD_AFTER + 2 * BEAT);
}

#[test]
fn a_hand_over_has_no_gap_that_a_client_would_notice() {
    let mut world = settled(6, 3, 0);
    inject(&mut world, Fault::Crash(0, 8 * BEAT));
    until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    run(&mut world, 10 * BEAT);
    let reached = good(&mut world, |w| w.run_while(w.now + 2 * COOLDOWN, |w| !w.hosts[1].acts(w.now)));
    assert!(reached);
    let took = until_master(&mut world, 0, BEAT);
    assert!(took <= MOMENT, "{} ms without a master", took / MS);
}

#[test]
fn a_master_that_hears_nobody_and_one_that_nobody_hears_end_without_a_second_one() {
    for (seed, fault) in [(7, Fault::Deaf(0)), (8, Fault::Mute(0))] {
        let mut world = settled(seed, 5, 0);
        run(&mut world, 5 * BEAT);
        inject(&mut world, fault);
        // That never two act is checked at every event.
        until_master(&mut world, 1, 2 * DEAD_AFTER + 2 * BEAT);
        run(&mut world, 10 * BEAT);
        assert_eq!(master(&world), Some(1));
        assert!(ask(&mut world, &[1, 2, 3], "append 1 1", None).is_ok());
    }
}

#[test]
fn one_link_of_three_cut_leaves_one_master_that_stays() {
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let mut world = settled(9, 3, 0);
        run(&mut world, 5 * BEAT);
        inject(&mut world, Fault::CutLink(a, b));
        run(&mut world, 3 * DEAD_AFTER);
        let roles = |w: &World| w.hosts.iter().map(|h| h.role).collect::<Vec<_>>();
        let before = roles(&world);
        run(&mut world, 3 * COOLDOWN);
        let story = story(&world);
        assert_eq!(roles(&world), before, "{story}\nmasters come and go, link {a}-{b}");
        let master = master(&world).expect("a master");
        assert!(before.iter().all(|role| role.master.is_none_or(|m| m == node_id(master))));
        let linked: Vec<usize> = (0..3).filter(|h| !world.net.is_cut(*h, master)).collect();
        for host in linked {
            assert_eq!(ask(&mut world, &[host], &format!("append 1 {host}"), None), Ok(()));
        }
    }
}

#[test]
fn a_node_that_was_cut_off_does_not_disturb_when_it_returns() {
    let mut world = settled(10, 5, 0);
    run(&mut world, 5 * BEAT);
    let before = world.hosts[1].role;
    inject(&mut world, Fault::Groups(vec![0, 0, 0, 0, 1]));
    run(&mut world, 10 * DEAD_AFTER);
    inject(&mut world, Fault::Heal);
    run(&mut world, 5 * BEAT);
    for host in 0..5 {
        assert_eq!(world.hosts[host].role.shown_term, before.shown_term, "{}", story(&world));
    }
}

#[test]
fn a_node_that_lost_its_state_does_not_vote_until_it_counts_again() {
    let mut world = settled(11, 3, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    inject(&mut world, Fault::Crash(0, 1000 * BEAT));
    inject(&mut world, Fault::Wipe(2, BEAT));
    run(&mut world, 20 * BEAT);
    assert_eq!(master(&world), None, "one voter and one amnesiac are no majority of three");
    let run_of_0 = world.hosts[0].run;
    world.after(0, super::world::Event::Start { host: (0, run_of_0) });
    let limit = world.now + 30 * BEAT;
    let counts = |w: &World| w.check.membership().counts(node_id(2), w.hosts[2].life);
    assert!(good(&mut world, |w| w.run_while(limit, counts)), "{}", story(&world));
    until_voters(&mut world, &[0, 1, 2]);
    until_level(&mut world, &[0, 1, 2]);
    inject(&mut world, Fault::Crash(0, 1000 * BEAT));
    until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
}

#[test]
fn a_cluster_that_lost_everything_starts_again_from_the_highest_version() {
    let mut world = settled(12, 3, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    until_level(&mut world, &[0, 1, 2]);
    inject(&mut world, Fault::Groups(vec![0, 1, 0]));
    assert!(ask(&mut world, &[0], "append 1 2", None).is_ok());
    let version = world.check.app.config.version;
    assert!(world.hosts[1].app.config.version < version, "n2 must have an older file");
    inject(&mut world, Fault::Heal);
    inject(&mut world, Fault::WipeAll(3 * BEAT));
    run(&mut world, 10 * BEAT);
    assert!(!world.refounding && master(&world).is_some(), "{}", story(&world));
    until_level(&mut world, &[0, 1, 2]);
    assert_eq!(world.check.app.config.version, version);
    assert_eq!(world.check.app.config.registers[&1], [1, 2]);
}

#[test]
fn one_member_that_remembers_is_enough_to_stop_a_new_founding() {
    let mut world = settled(13, 3, 0);
    assert!(ask(&mut world, &[0], "append 1 1", None).is_ok());
    inject(&mut world, Fault::Wipe(0, BEAT));
    inject(&mut world, Fault::Wipe(1, BEAT));
    run(&mut world, 10 * DEAD_AFTER);
    assert_eq!(master(&world), None);
    assert!(world.hosts[0].applied.is_none() && world.hosts[1].applied.is_none());
}

#[test]
fn peers_are_added_one_after_another_and_count_when_they_have_caught_up() {
    let mut world = settled(14, 1, 2);
    let founder = *voters(&world).iter().next().expect("one");
    let others: Vec<usize> = (0..3).filter(|h| *h != founder).collect();
    for n in 0..20 {
        assert!(ask(&mut world, &[founder], &format!("append 1 {n}"), None).is_ok());
    }
    for host in &others {
        let add = Some(MemberChange::Add(node_id(*host)));
        assert_eq!(ask(&mut world, &[founder], &format!("add {host}"), add), Ok(()));
        assert_eq!(ask(&mut world, &[founder], &format!("add {host}"), add), Err(Refusal::AlreadyMember));
    }
    until_voters(&mut world, &[0, 1, 2]);
    until_level(&mut world, &[0, 1, 2]);
    inject(&mut world, Fault::Crash(founder, 1000 * BEAT));
    until_master(&mut world, others[0], DEAD_AFTER + 3 * BEAT);
}

#[test]
fn a_peer_that_never_comes_up_does_not_count() {
    let mut world = settled(15, 1, 1);
    let founder = *voters(&world).iter().next().expect("one");
    let other = 1 - founder;
    inject(&mut world, Fault::Crash(other, 1000 * BEAT));
    let add = Some(MemberChange::Add(node_id(other)));
    assert_eq!(ask(&mut world, &[founder], &format!("add {other}"), add), Ok(()));
    run(&mut world, 10 * BEAT);
    assert_eq!(voters(&world), [founder].into());
    assert!(ask(&mut world, &[founder], "append 1 1", None).is_ok());
}

#[test]
fn a_master_that_is_removed_hands_over_first() {
    let mut world = settled(16, 3, 0);
    run(&mut world, 5 * BEAT);
    assert_eq!(master(&world), Some(0));
    let removal = Some(MemberChange::Remove(node_id(0)));
    assert_eq!(ask(&mut world, &[0, 1, 2], "remove 0", removal), Ok(()));
    until_voters(&mut world, &[1, 2]);
    assert!(matches!(master(&world), Some(1 | 2)));
}

#[test]
fn a_removal_that_would_cost_the_quorum_is_refused() {
    let mut world = settled(17, 3, 0);
    inject(&mut world, Fault::Crash(2, 1000 * BEAT));
    run(&mut world, 2 * DEAD_AFTER);
    let remove_live = Some(MemberChange::Remove(node_id(1)));
    let refused = ask(&mut world, &[0], "remove 1", remove_live);
    assert_eq!(refused, Err(Refusal::WouldLoseQuorum { live: 1, need: 2 }));
    let remove_dead = Some(MemberChange::Remove(node_id(2)));
    assert_eq!(ask(&mut world, &[0], "remove 2", remove_dead), Ok(()));
}

#[test]
fn a_slow_disk_of_one_follower_delays_nobody_and_it_catches_up() {
    let mut world = settled(18, 3, 0);
    inject(&mut world, Fault::SlowDisk(2, 3000, 30 * BEAT));
    let start = world.now;
    for n in 0..50 {
        assert!(ask(&mut world, &[0], &format!("append 1 {n}"), None).is_ok());
    }
    assert!(world.now - start < 5 * BEAT, "{} ms", (world.now - start) / MS);
    run(&mut world, 30 * BEAT);
    until_level(&mut world, &[0, 1, 2]);
}

#[test]
fn a_master_whose_disk_fails_gives_the_role_away() {
    let mut world = settled(19, 3, 0);
    run(&mut world, 5 * BEAT);
    inject(&mut world, Fault::FailDisk(0, 1000 * BEAT));
    assert_ne!(master(&world), Some(0));
    let took = until_master(&mut world, 1, DEAD_AFTER + 2 * BEAT);
    assert!(took <= 2 * BEAT, "{} ms although it could have said so", took / MS);
    assert!(ask(&mut world, &[1, 2], "append 1 1", None).is_ok());
    run(&mut world, 3 * COOLDOWN);
    assert_eq!(master(&world), Some(1), "{}\na node that cannot write is master", story(&world));
}

#[test]
fn a_follower_far_behind_gets_the_snapshot_in_pieces() {
    let mut options = Options::calm(20, 3);
    options.padding = 700_000;
    let mut world = World::new(options, true);
    good(&mut world, World::start);
    until_master(&mut world, 0, 3 * BEAT);
    inject(&mut world, Fault::Wipe(2, 10 * BEAT));
    for n in 0..10 {
        assert!(ask(&mut world, &[0], &format!("append 1 {n}"), None).is_ok());
    }
    for host in [0, 1] {
        inject(&mut world, Fault::Compact(host));
    }
    run(&mut world, 10 * BEAT);
    until_voters(&mut world, &[0, 1, 2]);
    until_level(&mut world, &[0, 1, 2]);
    let pieces = world.trace.lines().iter().filter(|l| l.contains("n1 > n3  piece")).count();
    assert!(pieces >= 5, "{pieces} pieces for 700 kB");
}

#[test]
fn an_orderly_stop_of_the_master_costs_no_dead_after() {
    let mut world = settled(21, 3, 0);
    run(&mut world, 5 * BEAT);
    inject(&mut world, Fault::HandOver(0, None));
    run(&mut world, MOMENT);
    inject(&mut world, Fault::Crash(0, 1000 * BEAT));
    assert!(master(&world).is_some(), "{}", story(&world));
}

#[test]
fn a_stopped_process_wakes_up_as_nobody() {
    let mut world = settled(22, 3, 0);
    run(&mut world, 5 * BEAT);
    inject(&mut world, Fault::Pause(0, 2 * DEAD_AFTER));
    until_master(&mut world, 1, DEAD_AFTER + 3 * BEAT);
    run(&mut world, 2 * DEAD_AFTER);
    assert_eq!(master(&world), Some(1));
    assert!(!world.hosts[0].role.me);
}

#[test]
fn below_quorum_there_is_no_master_and_when_it_comes_back_there_is_one_at_once() {
    let mut world = settled(23, 5, 0);
    inject(&mut world, Fault::Groups(vec![0, 0, 1, 2, 3]));
    run(&mut world, 3 * DEAD_AFTER);
    assert_eq!(master(&world), None);
    inject(&mut world, Fault::Heal);
    until_master(&mut world, 0, 3 * BEAT);
}
