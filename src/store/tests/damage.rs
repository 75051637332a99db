//! Files that do not hold what was written to them.

use super::super::sim_disk::Crash;
use super::*;

fn damaged(disk: &SimDisk, story: &str) -> String {
    let before: Vec<_> = disk.names().iter().map(|n| disk.bytes(n)).collect();
    match Store::open(disk.clone()) {
        Err(e @ StoreError::Damaged { .. }) => {
            let after: Vec<_> = disk.names().iter().map(|n| disk.bytes(n)).collect();
            assert_eq!(before, after, "{story}: a refusal changes nothing");
            e.to_string()
        }
        Err(e) => panic!("{story}: {e}"),
        Ok((_, opened)) => panic!("{story}: not noticed: {opened:?}"),
    }
}

/// A copy of the disk with one file changed.
fn with(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
    let copy = disk.copy();
    let mut bytes = copy.bytes(name).unwrap();
    change(&mut bytes);
    copy.set(name, bytes);
    copy
}

const LOG: &str = "log-4";

/// A disk whose log has several records.
fn disk() -> SimDisk {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    store.apply(&[append(3, 5, &["k", "l"])]).unwrap();
    store.apply(&[append(4, 6, &["m"])]).unwrap();
    store.settle().unwrap();
    assert_eq!(disk.names(), [LOG, "mark", "snapshot", "vote"]);
    disk
}

#[test]
fn every_flipped_byte_is_refused_or_changes_nothing() {
    let disk = disk();
    let whole = reopen(&disk.copy()).1;
    for name in disk.names() {
        for at in 0..disk.bytes(&name).unwrap().len() {
            for mask in [0x01, 0x80, 0xff] {
                let bad = with(&disk, &name, |b| b[at] ^= mask);
                let story = format!("{name}, byte {at} ^ {mask:#x}");
                if name == mark::NAME {
                    assert!(agrees(&reopen(&bad).1, &whole), "{story}");
                } else {
                    damaged(&bad, &story);
                }
            }
        }
    }
}

#[test]
fn every_cut_is_refused_or_changes_nothing() {
    let disk = disk();
    let whole = reopen(&disk.copy()).1;
    for name in disk.names() {
        for length in 0..disk.bytes(&name).unwrap().len() {
            let bad = with(&disk, &name, |b| b.truncate(length));
            if name == mark::NAME && length >= 44 {
                assert!(agrees(&reopen(&bad).1, &whole), "mark of {length}");
            } else {
                damaged(&bad, &format!("{name} cut to {length}"));
            }
        }
        let bad = disk.copy();
        bad.erase(&name);
        damaged(&bad, &format!("{name} is gone"));
    }
}

#[test]
fn an_empty_sector_and_foreign_bytes_in_the_middle_are_refused() {
    let disk = disk();
    for name in [LOG, vote::NAME, snapshot::NAME] {
        let length = disk.bytes(name).unwrap().len();
        for from in (0..length).step_by(16) {
            let to = length.min(from + 16);
            damaged(&with(&disk, name, |b| b[from..to].fill(0)), &format!("{name} zero from {from}"));
        }
        let bad = with(&disk, name, |b| drop(b.splice(40..40, *b"foreign")));
        damaged(&bad, &format!("{name} with bytes in between"));
    }
    damaged(&with(&disk, mark::NAME, |b| b.fill(0)), "both marks zero");
}

#[test]
fn a_bad_last_record_that_no_durable_mark_knows_is_an_interrupted_write_and_no_other_is() {
    let disk = disk();
    let marked = disk.bytes(LOG).unwrap().len();
    let (mut store, _) = reopen(&disk);
    store.apply(&[append(5, 6, &["n"])]).unwrap();
    let last = disk.bytes(LOG).unwrap().len();
    store.apply(&[append(6, 6, &["o"])]).unwrap();
    drop(store);
    disk.power_cut(Crash::Lost);
    let all = disk.bytes(LOG).unwrap().len();
    assert!(marked < last && last < all);
    for at in 0..all {
        let bad = with(&disk, LOG, |b| b[at] ^= 0x40);
        if at < last {
            let told = damaged(&bad, &format!("byte {at}"));
            assert!(at < marked || told.contains("a later one follows"), "{told}");
        } else {
            let Opened::Remembered(got) = reopen(&bad).1 else { panic!("nothing there") };
            assert_eq!(got.entries.last().map(|e| e.index), Some(6), "byte {at}");
            assert_eq!(bad.bytes(LOG).unwrap().len(), last, "cut off at {at}");
        }
    }
}

#[test]
fn a_record_that_was_written_whole_but_makes_no_sense_is_refused() {
    let disk = disk();
    let good = disk.bytes(LOG).unwrap();
    let sequence = wal::decode(&good, 0).unwrap().sequence;
    let falling = br#"{"after":5,"entries":[{"index":6,"term":1}]}"#;
    let gap = br#"{"after":5,"entries":[{"index":7,"term":6}]}"#;
    let beyond = br#"{"after":6,"entries":[]}"#;
    let field = br#"{"after":5,"entries":[],"new":1}"#;
    let fine = br#"{"after":5,"entries":[{"index":6,"term":6}]}"#;
    let cases: [(u64, &[u8], &str); 6] = [
        (sequence, falling, "term falls"),
        (sequence, gap, "has index 7"),
        (sequence, beyond, "follow index 6"),
        (sequence, field, "unknown field"),
        (sequence + 1, fine, "stands where"),
        (sequence - 1, fine, "stands where"),
    ];
    for (sequence, body, why) in cases {
        let bad = with(&disk, LOG, |b| b.extend(record::encode(sequence, body).unwrap()));
        let told = damaged(&bad, why);
        assert!(told.contains(why), "{told}");
    }
    let good = with(&disk, LOG, |b| b.extend(record::encode(sequence, fine).unwrap()));
    let Opened::Remembered(got) = reopen(&good).1 else { panic!("nothing there") };
    assert_eq!(got.entries.last(), Some(&entry(6, 6, "")));
}

#[test]
fn files_of_different_times_do_not_make_a_state() {
    let disk = SimDisk::new();
    let (mut store, _) = reopen(&disk);
    store.apply(&script()[..4]).unwrap();
    store.settle().unwrap();
    let old = disk.copy();
    store.apply(&script()[4..]).unwrap();
    store.settle().unwrap();
    for names in [&["snapshot"][..], &["snapshot", "log-1"]] {
        let mixed = disk.copy();
        for name in names {
            mixed.set(name, old.bytes(name).unwrap());
        }
        damaged(&mixed, &format!("{names:?} of an earlier time"));
    }
    let renamed = with(&disk, LOG, |b| *b = old.bytes("log-1").unwrap());
    damaged(&renamed, "another log under this name");

    // Two logs of the same number, and of different lives.
    let other = SimDisk::new();
    let (mut store, _) = reopen(&other);
    store.apply(&[vote(1, None), snapshot(8, 3, false), append(8, 3, &["x"])]).unwrap();
    for (name, from) in [("snapshot", &other), ("log-1", &other)] {
        let mixed = old.copy();
        mixed.set(name, from.bytes(name).unwrap());
        damaged(&mixed, &format!("{name} of another life"));
    }
}

#[test]
fn the_refusal_names_file_byte_cause_and_remedy_in_one_line() {
    let disk = disk();
    let told = damaged(&with(&disk, LOG, |b| b[40] ^= 1), "flip");
    assert_eq!(
        told,
        "/sim/state/log-4 is damaged at byte 8: a record's checksum is wrong; move /sim/state away and \
         start: the node then learns its state again from the others (with fewer than a majority intact \
         see quptime-troubleshooting(7))"
    );
    let gone = disk.copy();
    gone.erase("vote");
    let told = damaged(&gone, "no vote");
    assert!(told.starts_with("/sim/state/vote is damaged at byte 0: it is missing"), "{told}");
}
