//! A directory of this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crossbeam_channel::bounded;

use super::super::disk::{Done, RealDisk};
use super::threads::start;
use super::*;

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

/// A file system of a few pages, which only root can make.
struct SmallDisk(Dir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let dir = Dir::new();
        fs::create_dir_all(&dir.0).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=32k", "qu-test"], &dir.0).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Process::new("umount").arg("-l").arg(&self.0.0).status());
    }
}

fn mount(args: &[&str], at: &Path) -> bool {
    let done = Process::new("mount").args(args).arg(at).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn a_full_and_then_read_only_file_system_is_survived() {
    let Some(small) = SmallDisk::mount() else {
        eprintln!("skipped: a small file system can be mounted by root only");
        return;
    };
    let dir = small.0.0.join("state");
    let (mut store, _) = Store::open(RealDisk::open(&dir).unwrap()).unwrap();
    store.apply(&script()).unwrap();
    let (writes, rx) = bounded(4);
    let running = start(store, rx, writes);
    let long = "x".repeat(3000);
    let (mut sent, mut persisted) = (0, 0);
    let why = loop {
        running.writes.send((sent + 1, append(3 + sent, 5, &[&long]))).unwrap();
        sent += 1;
        match running.next() {
            Event::Persisted { upto } => persisted = upto,
            Event::Failed { why } => break why,
            Event::Works => panic!("it never failed"),
        }
    };
    assert!(why.contains("No space left on device"), "{why}");
    assert!(persisted > 0 && persisted < sent);
    let entries = |dir: &Path| {
        let copy = Dir::new();
        fs::create_dir_all(&copy.0).unwrap();
        for file in fs::read_dir(dir).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.0.join(file.file_name())).unwrap();
        }
        let (_, opened) = Store::open(RealDisk::open(&copy.0).unwrap()).unwrap();
        let Opened::Remembered(got) = opened else { panic!("nothing there") };
        got.entries.len() as u64
    };
    assert_eq!(entries(&dir), 1 + persisted, "what was refused is nowhere");
    // The store has closed its files, or the file system would be busy.
    assert!(mount(&["-o", "remount,ro,size=1m"], &small.0.0));
    running.writes.send((sent + 1, append(3 + sent, 5, &["y"]))).unwrap();
    assert!(mount(&["-o", "remount,rw"], &small.0.0));
    assert_eq!(running.next(), Event::Works);
    running.until(sent + 1);
    running.end().unwrap();
    assert_eq!(entries(&dir), 2 + sent);
}
