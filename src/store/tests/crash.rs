//! The power fails before every operation, and leaves of what was not synced every beginning, or
//! anything at all.

use super::super::sim_disk::{Crash, Fault};
use super::*;
use crate::base::rng::Rng;

/// Gives the script in groups until the power fails; says how much was confirmed and how much given.
fn run_until_cut(disk: &SimDisk, group: usize) -> (usize, usize) {
    let script = script();
    let Ok((mut store, _)) = Store::open(disk.clone()) else { return (0, 0) };
    let mut confirmed = 0;
    for writes in script.chunks(group) {
        if store.apply(writes).is_err() {
            return (confirmed, confirmed + writes.len());
        }
        confirmed += writes.len();
    }
    (confirmed, confirmed)
}

/// Everything confirmed must be there, then a beginning of what was given. Says how far it goes.
fn check(got: &Opened, confirmed: usize, given: usize, story: &str) -> usize {
    let script = script();
    let fits = (confirmed..=given).rev().find(|n| agrees(got, &model(&script[..*n])));
    fits.unwrap_or_else(|| panic!("{story}: {confirmed} confirmed of {given} given, found {got:?}"))
}

/// Starts after the power cut, and goes on to the end of the script.
fn check_and_go_on(disk: &SimDisk, confirmed: usize, given: usize, story: &str) {
    let (mut store, got) = reopen(disk);
    let mut from = check(&got, confirmed, given, story);
    if got == Opened::Empty {
        from = 0;
    }
    store.apply(&script()[from..]).unwrap_or_else(|e| panic!("{story}: {e}"));
    disk.power_cut(Crash::Lost);
    check(&reopen(disk).1, script().len(), script().len(), story);
}

/// How many operations the script takes.
fn operations(group: usize) -> u64 {
    let disk = SimDisk::new();
    run_until_cut(&disk, group);
    disk.operations()
}

#[test]
fn every_beginning_of_what_was_not_synced_is_a_state_after_a_power_cut_at_every_operation() {
    let mut cases = 0_u64;
    for (group, step) in [(1, 1), (4, 7)] {
        for at in 0..=operations(group) {
            let disk = SimDisk::new();
            disk.fail(at..u64::MAX, Fault::Gone);
            let (confirmed, given) = run_until_cut(&disk, group);
            for budget in (0..=disk.unsynced()).step_by(step) {
                let copy = disk.copy();
                copy.power_cut(Crash::Prefix(budget));
                let story = format!("groups of {group}, cut at {at}, {budget} bytes came through");
                cases += 1;
                if cases.is_multiple_of(31) {
                    check_and_go_on(&copy, confirmed, given, &story);
                } else {
                    check(&reopen(&copy).1, confirmed, given, &story);
                }
            }
        }
    }
    assert!(cases > 5_000, "only {cases} cases: the disk does not tear");
}

#[test]
fn sectors_and_names_that_come_through_in_any_order_leave_a_state_after_a_power_cut() {
    for seed in 0..3 {
        let group = 1 + seed * 3;
        for at in 0..=operations(group) {
            let disk = SimDisk::new();
            disk.fail(at..u64::MAX, Fault::Gone);
            let (confirmed, given) = run_until_cut(&disk, group);
            for toss in 0..8 {
                let copy = disk.copy();
                copy.power_cut(Crash::Scattered(&mut Rng::new(toss * 1000 + at)));
                let story = format!("groups of {group}, cut at {at}, toss {toss}");
                check_and_go_on(&copy, confirmed, given, &story);
            }
        }
    }
}

#[test]
fn a_power_cut_during_the_start_after_a_power_cut_costs_nothing() {
    for at in 0..=operations(1) {
        let disk = SimDisk::new();
        disk.fail(at..u64::MAX, Fault::Gone);
        let (confirmed, given) = run_until_cut(&disk, 1);
        let mut rng = Rng::new(at);
        disk.power_cut(Crash::Prefix(rng.below(disk.unsynced() + 1)));
        let start = disk.operations();
        for again in 0.. {
            let copy = disk.copy();
            copy.fail(start + again..u64::MAX, Fault::Gone);
            let came_up = Store::open(copy.clone()).is_ok();
            copy.power_cut(Crash::Scattered(&mut rng));
            let story = format!("cut at {at} and again {again} operations into the start");
            check_and_go_on(&copy, confirmed, given, &story);
            if came_up {
                break;
            }
        }
    }
}

#[test]
fn a_process_that_ends_without_a_power_cut_leaves_nothing_doubtful() {
    // Something was written and never synced; the next process remembers it, so it must survive.
    for at in 0..=operations(1) {
        let disk = SimDisk::new();
        disk.fail(at..u64::MAX, Fault::Broken);
        let (confirmed, given) = run_until_cut(&disk, 1);
        disk.heal();
        let (store, seen) = reopen(&disk);
        check(&seen, confirmed, given, &format!("ended at {at}"));
        drop(store);
        disk.power_cut(Crash::Lost);
        let after = reopen(&disk).1;
        assert!(agrees(&after, &seen), "ended at {at}: saw {seen:?}, then {after:?}");
    }
}

#[test]
fn another_life_and_its_lower_snapshot_take_the_place_of_a_state_or_leave_it_as_it_was() {
    let new = [
        Write::Vote(VoteRecord { term: 3, vote: Some(node(1)), life: Incarnation(9) }),
        snapshot(1, 2, false),
        append(1, 3, &["", "k"]),
    ];
    let wanted = |n: usize| model(&[&script()[..], &new[..n]].concat());
    for at in 0.. {
        let disk = written();
        let (mut store, before) = reopen(&disk);
        assert!(agrees(&before, &wanted(0)));
        let start = disk.operations();
        disk.fail(start + at..u64::MAX, Fault::Gone);
        let confirmed = new.iter().take_while(|w| store.apply(std::slice::from_ref(*w)).is_ok()).count();
        for budget in 0..=disk.unsynced() {
            let copy = disk.copy();
            copy.power_cut(Crash::Prefix(budget));
            let (mut store, got) = reopen(&copy);
            let most = (confirmed + 1).min(new.len());
            let fits = (confirmed..=most).rev().find(|n| agrees(&got, &wanted(*n)));
            let from = fits.unwrap_or_else(|| panic!("cut at {at}, {confirmed} confirmed, found {got:?}"));
            store.apply(&new[from..]).unwrap();
            copy.power_cut(Crash::Lost);
            assert!(agrees(&reopen(&copy).1, &wanted(new.len())), "cut at {at}");
        }
        if confirmed == new.len() {
            break;
        }
    }
}
