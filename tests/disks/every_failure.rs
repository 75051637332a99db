//! A scripted run of a cluster of three, with one failure of one disk at a time, at every operation
//! that the run does: after each, a change that was acknowledged is on every node, and one that was
//! refused is on none.

use quptime::store::sim_disk::Fault;

use super::trio::{Told, Trio};

/// How long a failure lasts, operations.
const LENGTHS: [u64; 3] = [1, 6, u64::MAX];

struct Ran {
    trio: Trio,
    told: Vec<(String, Told)>,
}

/// Elections, changes, a snapshot, a hand-over: every kind of write that a node does.
fn script(fault: Option<(usize, u64, u64, Fault)>) -> Ran {
    let mut trio = Trio::new();
    if let Some((host, at, length, fault)) = fault {
        let disk = &trio.hosts[host].disk;
        let start = disk.operations() + at;
        disk.fail(start..start.saturating_add(length), fault);
    }
    let mut told = Vec::new();
    let mut ask = |trio: &mut Trio, n: usize| {
        let text = format!("change-{n}");
        let answer = trio.change(n as u128, &text);
        told.push((text, answer));
    };
    for n in 0..3 {
        ask(&mut trio, n);
    }
    trio.compact();
    ask(&mut trio, 3);
    trio.hand_over();
    for n in 4..7 {
        ask(&mut trio, n);
    }
    Ran { trio, told }
}

/// What every node says must be what the clients were told.
fn is_as_told(ran: &Ran, story: &str) {
    let first = &ran.trio.hosts[0].applied;
    for host in &ran.trio.hosts {
        assert_eq!(&host.applied, first, "{story}: I3");
    }
    for (text, told) in &ran.told {
        let times = first.iter().filter(|t| *t == text).count();
        match told {
            Told::Done => assert_eq!(times, 1, "{story}: {text} was acknowledged: {first:?}"),
            Told::Refused => assert_eq!(times, 0, "{story}: {text} was refused: {first:?}"),
            Told::Unsure => assert!(times <= 1, "{story}: {text}: {first:?}"),
        }
    }
}

/// Operations of each disk in a run without a failure.
fn operations() -> Vec<u64> {
    let begun: Vec<u64> = Trio::new().hosts.iter().map(|h| h.disk.operations()).collect();
    let mut ran = script(None);
    assert!(ran.told.iter().all(|(_, told)| *told == Told::Done), "{:?}", ran.told);
    ran.trio.settle("no fault");
    is_as_told(&ran, "no fault");
    ran.trio.hosts.iter().zip(begun).map(|(h, from)| h.disk.operations() - from).collect()
}

fn every_failure_of(host: usize) {
    let count = operations()[host];
    assert!(count > 30, "only {count} operations");
    let (mut failed, mut done) = (0, 0);
    for (at, length, fault) in (0..count).flat_map(|at| {
        let broken = LENGTHS.map(|length| (at, length, Fault::Broken));
        let others = [Fault::Full, Fault::ReadOnly].map(|fault| (at, 6, fault));
        broken.into_iter().chain(others)
    }) {
        let story = format!("host {host}, {fault:?} at {at} for {length}");
        let mut ran = script(Some((host, at, length, fault)));
        failed += ran.trio.hosts[host].failures;
        done += ran.told.iter().filter(|(_, told)| *told == Told::Done).count();
        // Acknowledged is durable: nothing but what was synced comes back.
        if at % 3 == 0 {
            ran.trio.power_cut();
        }
        ran.trio.settle(&story);
        is_as_told(&ran, &story);
    }
    assert!(u64::from(failed) > count, "the disk failed {failed} times only");
    assert!(done > 0, "nothing was ever done");
}

#[test]
fn after_every_single_failure_of_the_first_masters_disk_a_change_is_everywhere_or_nowhere() {
    every_failure_of(0);
}

#[test]
fn after_every_single_failure_of_the_second_masters_disk_a_change_is_everywhere_or_nowhere() {
    every_failure_of(1);
}

#[test]
fn after_every_single_failure_of_a_followers_disk_a_change_is_everywhere_or_nowhere() {
    every_failure_of(2);
}
