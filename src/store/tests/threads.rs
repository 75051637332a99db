//! The store's thread.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::super::sim_disk::{Crash, Fault};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

const FAST: Pace = Pace {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    settle: Duration::from_millis(20),
};

pub(super) struct Running {
    pub writes: Sender<(u64, Write)>,
    events: Receiver<Event>,
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

pub(super) fn start<D: Disk + Send + 'static>(
    store: Store<D>,
    rx: Receiver<(u64, Write)>,
    writes: Sender<(u64, Write)>,
) -> Running {
    let (tell, events) = unbounded();
    let thread =
        thread::spawn(move || run_at(FAST, store, &rx, |event| tell.send(event).expect("the test listens")));
    Running { writes, events, thread }
}

impl Running {
    pub fn next(&self) -> Event {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    pub fn until(&self, seq: u64) {
        while self.next() != (Event::Persisted { upto: seq }) {}
    }

    pub fn end(self) -> Result<(), StoreError> {
        drop(self.writes);
        // A thread that does not end keeps its sender of events: the limit finds it.
        while let Ok(event) = self.events.recv_timeout(LIMIT) {
            assert_ne!(event, Event::Works, "nothing more was to come");
        }
        assert!(self.thread.is_finished() || self.events.recv_timeout(LIMIT).is_err());
        self.thread.join().expect("no panic")
    }
}

/// Waits for a state, with a limit.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if reached() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("not reached: {what}");
}

#[test]
fn a_failing_disk_is_told_once_and_what_waited_is_persisted_when_it_works_again() {
    let disk = written();
    let (store, _) = reopen(&disk);
    let (writes, rx) = bounded(8);
    let running = start(store, rx, writes);
    disk.fail_from_now(Fault::Full);
    running.writes.send((1, append(3, 5, &["k"]))).unwrap();
    let Event::Failed { why } = running.next() else { panic!("the failure is told") };
    assert!(why.starts_with("write /sim/state/log-4: "), "{why}");
    // More than the channel holds: it is taken in while the disk fails.
    for i in 1..40 {
        running.writes.send_timeout((1 + i, append(3 + i, 5, &["k"])), LIMIT).expect("taken in");
    }
    assert!(running.events.try_recv().is_err(), "nothing is confirmed");
    let copy = disk.copy();
    copy.power_cut(Crash::Lost);
    assert!(agrees(&reopen(&copy).1, &model(&script())), "nothing is there");
    disk.heal();
    assert_eq!(running.next(), Event::Works);
    running.until(40);
    running.end().unwrap();
    disk.power_cut(Crash::Lost);
    let Opened::Remembered(got) = reopen(&disk).1 else { panic!("nothing there") };
    assert_eq!(got.entries.len(), 41);
}

#[test]
fn the_thread_takes_in_no_more_than_its_bound_while_the_disk_fails() {
    let disk = written();
    let (store, _) = reopen(&disk);
    let (writes, rx) = unbounded();
    let running = start(store, rx.clone(), writes);
    disk.fail_from_now(Fault::Broken);
    let count = HELD as u64 + 100;
    for i in 0..count {
        running.writes.send((i, append(3 + i, 5, &["k"]))).unwrap();
    }
    assert!(matches!(running.next(), Event::Failed { .. }));
    let before = disk.operations();
    while disk.operations() < before + 30 {
        assert!(rx.len() >= 100, "only {} are left outside", rx.len());
        thread::yield_now();
    }
    disk.heal();
    running.until(count - 1);
    running.end().unwrap();
}

#[test]
fn the_thread_ends_when_the_sender_is_gone_even_while_the_disk_fails() {
    let disk = written();
    let (store, _) = reopen(&disk);
    let (writes, rx) = bounded(8);
    let running = start(store, rx, writes);
    disk.fail_from_now(Fault::Broken);
    running.writes.send((1, append(3, 5, &["k"]))).unwrap();
    assert!(matches!(running.next(), Event::Failed { .. }));
    running.end().unwrap();
}

#[test]
fn an_idle_thread_makes_the_mark_durable_and_an_ending_one_too() {
    let disk = written();
    let (store, _) = reopen(&disk);
    let (writes, rx) = bounded(8);
    let running = start(store, rx, writes);
    let hint = |disk: &SimDisk| {
        let copy = disk.copy();
        copy.power_cut(Crash::Lost);
        let Opened::Remembered(got) = reopen(&copy).1 else { panic!("nothing there") };
        got.commit
    };
    running.writes.send((1, append(3, 5, &["k"]))).unwrap();
    running.writes.send((2, Write::Commit(3))).unwrap();
    running.until(2);
    until("the mark is synced", || hint(&disk) == 3);
    let before = disk.operations();
    // A sync that failed is tried again after the next write.
    disk.fail_from_now(Fault::Broken);
    running.writes.send((3, Write::Commit(4))).unwrap();
    running.until(3);
    until("the sync of the mark fails", || disk.operations() > before + 1);
    disk.heal();
    running.writes.send((4, Write::Commit(4))).unwrap();
    running.until(4);
    until("the mark is synced after all", || hint(&disk) == 4);
    running.writes.send((5, append(4, 5, &["l"]))).unwrap();
    running.writes.send((6, Write::Commit(5))).unwrap();
    running.until(6);
    running.end().unwrap();
    assert_eq!(hint(&disk), 5);
}

#[test]
fn a_core_that_contradicts_itself_ends_the_thread() {
    let (store, _) = reopen(&written());
    let (writes, rx) = bounded(8);
    let running = start(store, rx, writes);
    running.writes.send((1, append(30, 5, &["k"]))).unwrap();
    assert!(matches!(running.end(), Err(StoreError::Order(_))));
}
