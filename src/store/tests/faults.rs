//! A disk that refuses: each operation once, and for a while.

use super::super::sim_disk::{Crash, Fault};
use super::*;
use crate::base::rng::Rng;

/// Gives the script write by write, each until it is taken, looking after every refusal at what a
/// power cut would leave. Says how often the disk refused.
fn insist(disk: &SimDisk, story: &str) -> u32 {
    let script = script();
    let mut refusals = 0;
    let mut store = loop {
        match Store::open(disk.clone()) {
            Ok((store, _)) => break store,
            Err(StoreError::Io(_)) => refusals += 1,
            Err(e) => panic!("{story}: {e}"),
        }
        assert!(refusals < 100, "{story}: never opened");
    };
    for (done, write) in script.iter().enumerate() {
        while let Err(e) = store.apply(std::slice::from_ref(write)) {
            refusals += 1;
            assert!(e.may_pass() && refusals < 200, "{story}: {e}");
            for crash in [Crash::Lost, Crash::Kept, Crash::Scattered(&mut Rng::new(done as u64))] {
                let copy = disk.copy();
                copy.power_cut(crash);
                let got = reopen(&copy).1;
                let fits = [done, done + 1].iter().any(|n| agrees(&got, &model(&script[..*n])));
                assert!(fits, "{story}: write {done} was refused, after a power cut {got:?}");
            }
        }
        let copy = disk.copy();
        copy.power_cut(Crash::Lost);
        assert!(agrees(&reopen(&copy).1, &model(&script[..=done])), "{story}: write {done} was confirmed");
    }
    refusals
}

#[test]
fn after_any_one_failed_operation_a_write_is_nowhere_or_durable_and_goes_through_in_the_end() {
    let clean = SimDisk::new();
    assert_eq!(insist(&clean, "no fault"), 0);
    let mut refusals = 0;
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Broken] {
        for length in [1, 6] {
            for at in 0..clean.operations() {
                let disk = SimDisk::new();
                disk.fail(at..at + length, fault);
                refusals += insist(&disk, &format!("{fault:?} at {at} for {length}"));
            }
        }
    }
    assert!(refusals > 500, "only {refusals} refusals: nothing was tried");
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing() {
    for seed in 0..80 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        for _ in 0..15 {
            let at = rng.below(300);
            let fault = *rng.pick(&[Fault::Full, Fault::ReadOnly, Fault::Broken]).unwrap();
            disk.fail(at..at + 1 + rng.below(3), fault);
        }
        insist(&disk, &format!("seed {seed}"));
    }
}

#[test]
fn a_new_snapshot_that_fails_twice_and_meets_a_power_cut_leaves_the_old_state_or_the_new_one() {
    let disk = written();
    let mut writes = script();
    let old = model(&writes);
    writes.push(snapshot(3, 5, true));
    let new = model(&writes);
    for first in 0..14 {
        for second in first + 1..30 {
            let copy = disk.copy();
            let (mut store, _) = reopen(&copy);
            let now = copy.operations();
            for at in [first, second] {
                copy.fail(now + at..now + at + 1, Fault::Broken);
            }
            while store.apply(&writes[writes.len() - 1..]).is_err() {
                let tosses = &mut Rng::new(first * 30 + second);
                for crash in [Crash::Lost, Crash::Kept, Crash::Scattered(tosses)] {
                    let after = copy.copy();
                    after.power_cut(crash);
                    let got = reopen(&after).1;
                    assert!(agrees(&got, &old) || agrees(&got, &new), "{first}, {second}: {got:?}");
                }
            }
            copy.power_cut(Crash::Lost);
            assert!(agrees(&reopen(&copy).1, &new), "{first}, {second}");
        }
    }
}

#[test]
fn a_full_disk_does_not_fill_up_with_tries() {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    for extra in 0..40 {
        let now = disk.operations();
        disk.fail(now + extra % 10..u64::MAX, Fault::Full);
        assert!(store.apply(&[snapshot(3, 5, true)]).is_err());
        disk.heal();
    }
    assert!(disk.names().len() <= 20, "{:?}", disk.names());
    let other = store.apply(&[append(3, 5, &["beside"])]);
    assert!(matches!(other, Err(StoreError::Order(_))), "what failed comes first: {other:?}");
    store.apply(&[snapshot(3, 5, true), append(3, 5, &["after"])]).unwrap();
    assert_eq!(disk.names().len(), 4, "{:?}", disk.names());
}

#[test]
fn a_mark_that_cannot_be_written_fails_no_write() {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    // The log: write, sync. Then the mark.
    let mark = disk.operations() + 2;
    disk.fail(mark..mark + 1, Fault::Broken);
    store.apply(&[append(3, 5, &["k"])]).unwrap();
    assert!(store.unsettled());
    store.settle().unwrap();
    assert!(!store.unsettled());
}

#[test]
fn a_mark_whose_sync_failed_is_written_again() {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    store.apply(&[append(3, 5, &["k"]), Write::Commit(4)]).unwrap();
    let sync = disk.operations();
    disk.fail(sync..sync + 1, Fault::Broken);
    assert!(store.settle().is_err());
    assert!(store.unsettled());
    store.settle().unwrap();
    disk.power_cut(Crash::Lost);
    let Opened::Remembered(got) = reopen(&disk).1 else { panic!("nothing there") };
    assert_eq!(got.commit, 4, "what the kernel had dropped was written once more");
}
