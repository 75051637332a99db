//! What every test here stands on: directories, ports, waiting.

mod cluster;
mod node;
mod target;
#[allow(dead_code)] // not by every target that shares this file
pub mod terminal;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use cluster::{Cluster, SECRET};
pub use node::{Node, Ran};
pub use target::{Manner, Target};

/// Longest time that anything is waited for which should take a second or two.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// Waits until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, &mut look)
}

/// Waits until there is an answer, for so long.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(GLANCE);
    }
}

/// Sees that something stays as it is for so long.
#[track_caller]
pub fn stays(length: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < length {
        assert!(holds(), "not for {length:?}: {what}");
        thread::sleep(GLANCE);
    }
}

/// A port of 127.0.0.1 that nobody uses. Below those that the system gives to connections: one of
/// these could otherwise take the port of a node that is down, or connect to itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 300 * 40;
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::SeqCst));
        let port = u16::try_from(20_000 + (start + step) % 12_000).expect("below 32768");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A directory that goes away with the test, but for one that failed.
pub struct Home(PathBuf);

impl Home {
    pub fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("qu-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).expect("a directory");
        Home(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what the nodes wrote is in {}", self.0.display());
        } else {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}
