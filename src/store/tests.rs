//! The store against crashes, damage, failing disks and foreign bytes.

mod crash;
mod damage;
mod faults;
mod fuzz;
mod real;
mod threads;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sim_disk::SimDisk;
use super::*;
use crate::base::id::{NodeId, RequestId};
use crate::quorum::message::{Command, Incarnation, LogEnd, Membership, Term};

pub(super) fn node(n: u128) -> NodeId {
    NodeId::from_random(n << 100)
}

pub(super) fn vote(term: Term, who: Option<u128>) -> Write {
    Write::Vote(VoteRecord { term, vote: who.map(node), life: Incarnation(7) })
}

pub(super) fn entry(index: Index, term: Term, text: &str) -> Entry {
    let command = Command { request: RequestId::from_random(u128::from(index)), text: Arc::from(text) };
    let command = (!text.is_empty()).then_some(command);
    Entry { index, term, command, membership: None }
}

/// Entries of one term after an index.
pub(super) fn append(after: Index, term: Term, texts: &[&str]) -> Write {
    let entries = (after + 1..).zip(texts).map(|(index, text)| entry(index, term, text)).collect();
    Write::Append { after, entries }
}

pub(super) fn snapshot(index: Index, term: Term, keep_log: bool) -> Write {
    let voters = BTreeMap::from([(node(1), Incarnation(7)), (node(2), Incarnation(8))]);
    let membership = Membership { voters, ..Membership::default() };
    let data = Arc::from(format!("{{\"state\":\"at {index}\u{2603}\"}}"));
    Write::Snapshot { snapshot: Snapshot { end: LogEnd { term, index }, membership, data }, keep_log }
}

/// A life: founding, entries, votes, overwritten entries, compaction with and without a rest.
pub(super) fn script() -> Vec<Write> {
    vec![
        vote(1, None),
        snapshot(0, 0, false),
        append(0, 1, &["", "a"]),
        append(2, 1, &["{\"add\":\"b\"}"]),
        Write::Commit(2),
        vote(2, Some(1)),
        append(2, 2, &["c", "d", ""]),
        append(3, 2, &["e"]),
        Write::Commit(4),
        snapshot(3, 2, true),
        append(4, 3, &["f"]),
        vote(4, None),
        vote(4, Some(2)),
        append(4, 4, &[]),
        append(4, 4, &["g", "h"]),
        snapshot(9, 4, false),
        append(9, 4, &["i"]),
        Write::Commit(10),
        snapshot(2, 5, false),
        append(2, 5, &["j"]),
    ]
}

/// What the writes come to, told independently of the store.
pub(super) fn model(writes: &[Write]) -> Opened {
    let (mut vote, mut state) = (None, None::<Remembered>);
    for write in writes {
        match (write, &mut state) {
            (Write::Vote(v), None) => vote = Some(*v),
            (Write::Vote(v), Some(state)) => state.vote = *v,
            (Write::Commit(index), Some(state)) => state.commit = state.commit.max(*index),
            (Write::Append { after, entries }, Some(state)) => {
                state.entries.retain(|e| e.index <= *after);
                state.entries.extend(entries.iter().cloned());
            }
            (Write::Snapshot { snapshot, keep_log }, old) => {
                let mut entries = old.as_ref().map_or(Vec::new(), |s| s.entries.clone());
                entries.retain(|e| *keep_log && e.index > snapshot.end.index);
                let commit = match old {
                    Some(old) if *keep_log => old.commit.max(snapshot.end.index),
                    _ => snapshot.end.index,
                };
                let vote = old.as_ref().map_or(vote, |s| Some(s.vote)).expect("a vote comes first");
                state = Some(Remembered { vote, snapshot: snapshot.clone(), entries, commit });
            }
            (other, None) => panic!("{other:?} before the first snapshot"),
        }
    }
    state.map_or(Opened::Empty, Opened::Remembered)
}

/// Equal but for the commit hint, which may be behind but not ahead.
pub(super) fn agrees(got: &Opened, want: &Opened) -> bool {
    match (got, want) {
        (Opened::Remembered(got), Opened::Remembered(want)) => {
            let commit = got.commit;
            let hinted = commit >= got.snapshot.end.index && commit <= want.commit;
            hinted && *got == Remembered { commit, ..want.clone() }
        }
        (got, want) => got == want,
    }
}

/// What a start finds on this disk; it must find something that is whole.
pub(super) fn reopen(disk: &SimDisk) -> (Store<SimDisk>, Opened) {
    Store::open(disk.clone()).unwrap_or_else(|e| panic!("refused: {e}; files {:?}", disk.names()))
}

/// A disk with the whole script on it, the mark durable.
pub(super) fn written() -> SimDisk {
    let disk = SimDisk::new();
    let (mut store, _) = reopen(&disk);
    store.apply(&script()).unwrap();
    store.settle().unwrap();
    disk
}

#[test]
fn what_was_written_is_remembered_however_it_was_grouped() {
    for size in 1..=script().len() {
        let disk = SimDisk::new();
        let (mut store, opened) = reopen(&disk);
        assert_eq!(opened, Opened::Empty);
        for (at, writes) in script().chunks(size).enumerate() {
            store.apply(writes).unwrap();
            let so_far = (at * size + writes.len()).min(script().len());
            let (_, got) = reopen(&disk.copy());
            assert_eq!(got, model(&script()[..so_far]), "groups of {size}, after {so_far}");
        }
    }
}

#[test]
fn a_group_of_appends_and_commits_costs_one_sync_and_commits_alone_none() {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    let before = disk.syncs();
    let writes: Vec<Write> = (3..100).flat_map(|i| [append(i, 5, &["k"]), Write::Commit(i)]).collect();
    assert_eq!(store.step(&writes).unwrap(), writes.len());
    assert_eq!(disk.syncs(), before + 1);
    store.apply(&[Write::Commit(100)]).unwrap();
    assert_eq!(disk.syncs(), before + 1);
    store.settle().unwrap();
    assert!(!store.unsettled());
    disk.power_cut(sim_disk::Crash::Lost);
    let Opened::Remembered(got) = reopen(&disk).1 else { panic!("nothing there") };
    assert_eq!((got.commit, got.entries.len()), (100, 98));
}

#[test]
fn one_more_entry_costs_a_few_hundred_bytes_however_long_the_log_is() {
    let disk = written();
    let (mut store, _) = reopen(&disk);
    for i in 3..2000 {
        store
            .apply(&[append(i, 5, &["{\"add_check\":{\"name\":\"web\",\"url\":\"https://example.com/\"}}"])])
            .unwrap();
    }
    let size = |disk: &SimDisk| disk.bytes("log-4").unwrap().len();
    let before = size(&disk);
    store.apply(&[append(2000, 5, &["{\"add_check\":{\"name\":\"last\"}}"])]).unwrap();
    assert!(size(&disk) - before < 300, "{}", size(&disk) - before);
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let (mut empty, _) = reopen(&SimDisk::new());
    assert!(matches!(empty.apply(&[append(0, 1, &["a"])]), Err(StoreError::Order(_))));
    assert!(matches!(empty.apply(&[snapshot(0, 0, false)]), Err(StoreError::Order(_))));
    let disk = written();
    let (mut store, before) = reopen(&disk);
    for write in [append(4, 5, &["x"]), append(1, 5, &["x"]), append(3, 4, &["x"]), snapshot(1, 5, true)] {
        let refused = store.apply(std::slice::from_ref(&write));
        assert!(matches!(&refused, Err(e @ StoreError::Order(_)) if !e.may_pass()), "{write:?}");
        assert_eq!(reopen(&disk.copy()).1, before);
    }
    store.apply(&[append(3, 5, &["y"])]).unwrap();
}

#[test]
fn a_directory_that_holds_a_state_is_not_founded_again() {
    let Write::Snapshot { snapshot, .. } = snapshot(0, 0, false) else { unreachable!() };
    let vote = VoteRecord { term: 1, vote: None, life: Incarnation(9) };
    let disk = SimDisk::new();
    drop(Store::create(disk.clone(), vote, snapshot.clone()).unwrap());
    disk.power_cut(sim_disk::Crash::Lost);
    let want = Remembered { vote, snapshot: snapshot.clone(), entries: Vec::new(), commit: 0 };
    assert_eq!(reopen(&disk).1, Opened::Remembered(want));
    assert!(matches!(Store::create(disk, vote, snapshot), Err(StoreError::NotEmpty { .. })));
}
