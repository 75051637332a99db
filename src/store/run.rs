//! The store's thread: writes come in, what became durable goes out.
//!
//! Everything that waits is written together and confirmed once (group commit). When the disk
//! fails, this is told once; what was not confirmed is kept and tried again, after pauses that
//! grow, until it works, which is told before the confirmation. Meanwhile writes are taken in up
//! to a bound ([`HELD`] writes or [`HELD_BYTES`]); beyond it they stay in the channel, and when
//! that is full, its sender waits or must keep them itself: nothing is dropped here.
//!
//! The thread ends when the sender is gone and everything is written; with a disk that fails,
//! after one more try. (While the bound is reached the channel is not looked at, so then the end
//! is not noticed before the disk works: who waits for this thread, waits with a deadline.)

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, after, select};

use crate::base::backoff::Backoff;
use crate::base::rng::Rng;
use crate::base::text;
use crate::quorum::io::Write;

use super::disk::Disk;
use super::error::StoreError;
use super::{Store, weight};

/// Writes that are held in memory at most.
pub const HELD: usize = 1024;
/// Bytes that are held in memory at most, one write more or less.
pub const HELD_BYTES: usize = 16 << 20;

/// What the thread tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything up to this write is durable.
    Persisted {
        /// Its number.
        upto: u64,
    },
    /// The disk fails, for this reason; it is tried again.
    Failed {
        /// One line.
        why: String,
    },
    /// The disk works again.
    Works,
}

/// How long the thread waits, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The pause after the first failure; it doubles with each.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Quiet for this long, the mark is synced.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(2),
            settle: Duration::from_secs(1),
        }
    }
}

/// Carries out writes in the order in which they come until the sender is gone.
///
/// # Errors
/// [`StoreError::Order`]: the core has contradicted itself, and the process should end.
pub fn run<D: Disk>(
    store: Store<D>,
    rx: &Receiver<(u64, Write)>,
    tell: impl FnMut(Event),
) -> Result<(), StoreError> {
    run_at(Pace::default(), store, rx, tell)
}

/// As [`run`], with other pauses.
///
/// # Errors
/// As [`run`].
pub fn run_at<D: Disk>(
    pace: Pace,
    store: Store<D>,
    rx: &Receiver<(u64, Write)>,
    tell: impl FnMut(Event),
) -> Result<(), StoreError> {
    let mut thread = Thread {
        store,
        rx,
        tell,
        settle_after: pace.settle,
        backoff: Backoff::new(pace.first, pace.longest),
        // Only spreads the pauses; nodes need not differ, they do not share a disk.
        rng: Rng::new(0),
        waiting: VecDeque::new(),
        bytes: 0,
        failing: false,
        ending: false,
        settle_failed: false,
    };
    while thread.fill() {
        thread.write()?;
    }
    thread.settle();
    Ok(())
}

struct Thread<'a, D, T> {
    store: Store<D>,
    rx: &'a Receiver<(u64, Write)>,
    tell: T,
    settle_after: Duration,
    backoff: Backoff,
    rng: Rng,
    waiting: VecDeque<(u64, Write)>,
    bytes: usize,
    failing: bool,
    ending: bool,
    /// Told already, and not tried again before the next write.
    settle_failed: bool,
}

impl<D: Disk, T: FnMut(Event)> Thread<'_, D, T> {
    /// Waits for a write and takes all that wait with it; false at the end.
    fn fill(&mut self) -> bool {
        while self.waiting.is_empty() && !self.ending {
            if self.store.unsettled() && !self.settle_failed {
                match self.rx.recv_timeout(self.settle_after) {
                    Ok(write) => self.take(write),
                    Err(RecvTimeoutError::Timeout) => self.settle(),
                    Err(RecvTimeoutError::Disconnected) => self.ending = true,
                }
            } else {
                match self.rx.recv() {
                    Ok(write) => self.take(write),
                    Err(_) => self.ending = true,
                }
            }
        }
        self.take_all();
        !self.waiting.is_empty()
    }

    fn take(&mut self, write: (u64, Write)) {
        self.bytes += weight(&write.1);
        self.waiting.push_back(write);
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < HELD && self.bytes < HELD_BYTES
    }

    fn take_all(&mut self) {
        while self.has_room() {
            match self.rx.try_recv() {
                Ok(write) => self.take(write),
                Err(_) => return,
            }
        }
    }

    /// Writes what waits, however often it takes.
    fn write(&mut self) -> Result<(), StoreError> {
        while !self.waiting.is_empty() {
            match self.store.step(self.waiting.iter().map(|(_, write)| write)) {
                Ok(count) => self.confirm(count),
                Err(e) if !e.may_pass() => return Err(e),
                Err(e) => {
                    if !self.failing {
                        self.failing = true;
                        (self.tell)(Event::Failed { why: text::chain(&e) });
                    }
                    if self.ending {
                        let left = self.waiting.len();
                        crate::log!(Warn, "store", "ends with writes that the disk refused", writes = left);
                        self.waiting.clear();
                        return Ok(());
                    }
                    self.pause();
                }
            }
        }
        Ok(())
    }

    fn confirm(&mut self, count: usize) {
        if self.failing {
            self.failing = false;
            self.backoff.reset();
            (self.tell)(Event::Works);
        }
        self.settle_failed = false;
        let mut last = None;
        for (seq, write) in self.waiting.drain(..count.min(self.waiting.len())) {
            self.bytes = self.bytes.saturating_sub(weight(&write));
            last = Some(seq);
        }
        if let Some(upto) = last {
            (self.tell)(Event::Persisted { upto });
        }
    }

    /// Lets some time pass and takes in what comes meanwhile.
    fn pause(&mut self) {
        let timer = after(self.backoff.next_pause(&mut self.rng));
        while self.has_room() {
            select! {
                recv(self.rx) -> write => match write {
                    Ok(write) => self.take(write),
                    Err(_) => {
                        self.ending = true;
                        return;
                    }
                },
                recv(timer) -> _ => return,
            }
        }
        // Without room the channel is not looked at.
        select! { recv(timer) -> _ => {} }
    }

    fn settle(&mut self) {
        if let Err(e) = self.store.settle() {
            self.settle_failed = true;
            crate::log!(Warn, "store", "the mark of what is confirmed stays old", why = text::chain(&e));
        }
    }
}
