//! The store's thread, and a directory of this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::super::disk::{Done, RealDisk};
use super::super::sim_disk::{Crash, Fault};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Dir(std::env::temp_dir().join(format!("qu-store-{}-{count}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A disk that counts the syncs of logs.
struct Counting(RealDisk, Arc<AtomicUsize>);

impl Disk for Counting {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
    fn list(&mut self) -> Done<Vec<String>> {
        self.0.list()
    }
    fn read(&mut self, name: &str) -> Done<Vec<u8>> {
        self.0.read(name)
    }
    fn create(&mut self, name: &str) -> Done<()> {
        self.0.create(name)
    }
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Done<()> {
        self.0.write(name, offset, bytes)
    }
    fn truncate(&mut self, name: &str, length: u64) -> Done<()> {
        self.0.truncate(name, length)
    }
    fn sync(&mut self, name: &str) -> Done<()> {
        if name.starts_with("log-") {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        self.0.sync(name)
    }
    fn rename(&mut self, from: &str, to: &str) -> Done<()> {
        self.0.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> Done<()> {
        self.0.remove(name)
    }
    fn sync_dir(&mut self) -> Done<()> {
        self.0.sync_dir()
    }
}

const FAST: Pace = Pace {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    settle: Duration::from_millis(20),
};

struct Running {
    writes: Sender<(u64, Write)>,
    events: Receiver<Event>,
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

fn start<D: Disk + Send + 'static>(
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
    fn next(&self) -> Event {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    fn until(&self, seq: u64) {
        while self.next() != (Event::Persisted { upto: seq }) {}
    }

    fn end(self) -> Result<(), StoreError> {
        drop(self.writes);
        // A thread that does not end keeps its sender of events: the limit finds it.
        while let Ok(event) = self.events.recv_timeout(LIMIT) {
            assert_ne!(event, Event::Works, "nothing more was to come");
        }
        assert!(self.thread.is_finished() || self.events.recv_timeout(LIMIT).is_err());
        self.thread.join().expect("no panic")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn writes_that_wait_share_one_sync_and_one_confirmation_on_a_real_disk() {
    let dir = Dir::new();
    let syncs = Arc::new(AtomicUsize::new(0));
    let (mut store, opened) =
        Store::open(Counting(RealDisk::open(&dir.0).unwrap(), Arc::clone(&syncs))).unwrap();
    assert_eq!(opened, Opened::Empty);
    store.apply(&script()).unwrap();
    let (writes, rx) = bounded(64);
    for i in 0..64 {
        writes.send((100 + i, append(3 + i, 5, &["k"]))).unwrap();
    }
    let before = syncs.load(Ordering::SeqCst);
    let running = start(store, rx, writes);
    assert_eq!(running.next(), Event::Persisted { upto: 163 });
    assert_eq!(syncs.load(Ordering::SeqCst), before + 1);
    running.writes.send((164, vote(9, Some(3)))).unwrap();
    running.until(164);
    running.end().unwrap();

    let (_, got) = Store::open(RealDisk::open(&dir.0).unwrap()).unwrap();
    let mut all = script();
    all.extend((0..64).map(|i| append(3 + i, 5, &["k"])));
    all.push(vote(9, Some(3)));
    assert_eq!(got, model(&all));
    assert_eq!(mode(&dir.0), 0o700);
    for file in fs::read_dir(&dir.0).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 4);
}

#[test]
fn a_real_directory_keeps_everything_over_many_starts() {
    let dir = Dir::new();
    let script = script();
    let mut from = 0;
    for done in 2..=script.len() {
        let (mut store, _) = Store::open(RealDisk::open(&dir.0).unwrap()).unwrap();
        store.apply(&script[from..done]).unwrap();
        store.settle().unwrap();
        let (_, got) = Store::open(RealDisk::open(&dir.0).unwrap()).unwrap();
        assert_eq!(got, model(&script[..done]));
        from = done;
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_a_file_is_not_followed() {
    let dir = Dir::new();
    let (mut store, _) = Store::open(RealDisk::open(&dir.0).unwrap()).unwrap();
    store.apply(&script()).unwrap();
    drop(store);
    let elsewhere = Dir::new();
    fs::create_dir_all(&elsewhere.0).unwrap();
    fs::rename(dir.0.join("vote"), elsewhere.0.join("vote")).unwrap();
    symlink(elsewhere.0.join("vote"), dir.0.join("vote")).unwrap();
    assert!(matches!(Store::open(RealDisk::open(&dir.0).unwrap()), Err(StoreError::Io(_))));
}

#[test]
fn rights_of_others_are_taken_from_the_directory() {
    let dir = Dir::new();
    fs::create_dir_all(&dir.0).unwrap();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).unwrap();
    drop(RealDisk::open(&dir.0).unwrap());
    assert_eq!(mode(&dir.0), 0o700);
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
    let mut tries = 0;
    while hint(&disk) != 3 {
        tries += 1;
        assert!(tries < 1000, "the mark is never synced");
        thread::sleep(Duration::from_millis(5));
    }
    running.writes.send((3, Write::Commit(4))).unwrap();
    running.until(3);
    running.end().unwrap();
    assert_eq!(hint(&disk), 4);
}

#[test]
fn a_core_that_contradicts_itself_ends_the_thread() {
    let (store, _) = reopen(&written());
    let (writes, rx) = bounded(8);
    let running = start(store, rx, writes);
    running.writes.send((1, append(30, 5, &["k"]))).unwrap();
    assert!(matches!(running.end(), Err(StoreError::Order(_))));
}
