//! Named threads whose end is the process's end.
//!
//! A component that dies leaves a half-alive monitor, which is worse than none: the first thread
//! that returns, whatever the reason, ends everything in order, and a panic anywhere ends the
//! process at once with a status that makes systemd start it again.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::log;

/// Exit status after a panic: EX_SOFTWARE of sysexits(3).
pub const PANICKED: i32 = 70;
/// A thread needs little: no recursion anywhere, TLS included.
const STACK: usize = 512 * 1024;

/// The threads of one daemon.
pub struct Threads {
    ended: Sender<String>,
    endings: Receiver<String>,
    running: Vec<(String, JoinHandle<()>)>,
    wake: fn(),
}

impl Threads {
    /// None yet. `wake` is called after each ending was noted, for whoever waits for other things
    /// too.
    #[must_use]
    pub fn new(wake: fn()) -> Threads {
        // One note for each thread, and there are fewer than this: sending never waits.
        let (ended, endings) = bounded(64);
        Threads { ended, endings, running: Vec::new(), wake }
    }

    /// Starts one.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (ended, told, wake) = (self.ended.clone(), name.to_owned(), self.wake);
        let run = move || {
            body();
            // Full only when everything is ending already.
            drop(ended.try_send(told));
            wake();
        };
        let handle = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run)?;
        self.running.push((name.to_owned(), handle));
        Ok(())
    }

    /// Hears the name of each thread that ends.
    #[must_use]
    pub fn endings(&self) -> Receiver<String> {
        self.endings.clone()
    }

    /// Waits for all, up to `limit` altogether; names those that did not end.
    #[must_use]
    pub fn join(self, limit: Duration) -> Vec<String> {
        let mut left: Vec<(String, JoinHandle<()>)> = self.running;
        let deadline = crossbeam_channel::after(limit);
        loop {
            left.retain(|(_, handle)| !handle.is_finished());
            if left.is_empty() {
                return Vec::new();
            }
            crossbeam_channel::select! {
                recv(self.endings) -> _ => {}
                recv(deadline) -> _ => break,
                // A thread is finished a moment after its note.
                default(Duration::from_millis(2)) => {}
            }
        }
        left.into_iter().map(|(name, _)| name).collect()
    }
}

/// From now on a panic in any thread is one line in the log and the end of the process.
pub fn panic_ends_process() {
    std::panic::set_hook(Box::new(|info| {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let said = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        log!(Error, "daemon", "thread panicked: ending the process", thread = name, at = place, why = said);
        std::process::exit(PANICKED);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thread_is_heard_by_name_and_stragglers_are_named() {
        let mut threads = Threads::new(|| {});
        let (stop, stopped) = bounded::<()>(0);
        threads.spawn("short", || {}).unwrap();
        threads.spawn("long", move || assert!(stopped.recv().is_err())).unwrap();
        assert_eq!(threads.endings().recv_timeout(Duration::from_secs(5)).unwrap(), "short");
        assert_eq!(threads.join(Duration::from_millis(20)), ["long"]);
        drop(stop);
    }

    /// Runs itself once more, as a process that has a thread that panics.
    #[test]
    fn a_panic_in_any_thread_is_one_line_and_ends_the_process() {
        const VARIABLE: &str = "QU_TEST_THREADS_PANIC";
        if std::env::var_os(VARIABLE).is_some() {
            panic_ends_process();
            let mut threads = Threads::new(|| {});
            threads.spawn("frail", || panic!("out of luck")).unwrap();
            // The end comes from outside this thread, or the other process gives up waiting.
            loop {
                thread::park();
            }
        }
        let this = "daemon::threads::tests::a_panic_in_any_thread_is_one_line_and_ends_the_process";
        let ran = std::process::Command::new(std::env::current_exe().unwrap())
            .args([this, "--exact", "--nocapture"])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(PANICKED), "{said}");
        let line = said.lines().find(|l| l.contains("thread panicked")).unwrap_or_default();
        for part in ["error daemon: ", "thread=frail", "why=\"out of luck\"", "threads.rs"] {
            assert!(line.contains(part), "{part} in {said}");
        }
    }
}
