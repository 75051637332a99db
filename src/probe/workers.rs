//! Threads that compute TLS handshakes, so that the arithmetic of one never makes another probe
//! late.
//!
//! Model: a job is a TLS connection that has something to compute (its first key, or what has
//! arrived); it comes back to the engine when that is done. Threads start when jobs wait and none
//! is idle, up to a few, and end after a short idle time: a node without HTTPS checks has none.
//! They own no socket and wait for nothing but jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::sys::poll::Waker;

use super::socket::Failure;
use super::tls::{self, Tls};

/// An idle thread ends after this.
const IDLE: Duration = Duration::from_secs(5);
/// Measured: handshakes with checking of a certificate run in 64 KiB, unoptimised.
const STACK: usize = 256 * 1024;
/// Handshakes are arithmetic only: more threads than processors would gain nothing, and the rest
/// of the node needs processors too.
const MOST: usize = 4;

/// Something to compute.
pub enum Work {
    /// A new connection to this name, up to its first message.
    Begin(ServerName<'static>),
    /// What has arrived.
    Advance(Box<ClientConnection>),
}

/// What came of it. A failed connection still has an alert to send, where it exists.
pub type Computed = Result<Box<ClientConnection>, (Failure, Option<Box<ClientConnection>>)>;

/// A channel, both its ends.
type Both<T> = (Sender<T>, Receiver<T>);

/// The threads, as the engine sees them.
pub struct Workers {
    tls: Arc<Tls>,
    // Neither channel is bounded by itself: each probe has at most one job, so the number of
    // probes in flight bounds both.
    jobs: Both<(u64, Work)>,
    results: Both<(u64, Computed)>,
    idle: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
    most: usize,
    /// Of each thread, bytes.
    stack: usize,
    refused: u64,
    waker: Waker,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// No threads yet.
    #[must_use]
    pub fn new(tls: Arc<Tls>, waker: Waker) -> Workers {
        let most = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        Workers {
            tls,
            jobs: unbounded(),
            results: unbounded(),
            idle: Arc::default(),
            alive: Arc::default(),
            most,
            stack: STACK,
            refused: 0,
            waker,
            threads: Vec::new(),
        }
    }

    /// How many threads there are now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// How often no thread was to be had.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Has something computed for the probe of that key.
    pub fn submit(&mut self, key: u64, work: Work) {
        // It cannot fail: this struct holds the other end too.
        drop(self.jobs.0.send((key, work)));
        if self.jobs.1.len() <= self.idle.load(Ordering::SeqCst) || self.alive() >= self.most {
            return;
        }
        self.threads.retain(|t| !t.is_finished());
        if !self.spawn() && self.alive() == 0 {
            // No thread to be had: better a slow engine than a probe that is never finished.
            while let Ok((key, work)) = self.jobs.1.try_recv() {
                drop(self.results.0.send((key, compute(&self.tls, work))));
            }
            self.waker.wake();
        }
    }

    /// Something that has been computed, with the key of its probe.
    pub fn take(&self) -> Option<(u64, Computed)> {
        self.results.1.try_recv().ok()
    }

    fn spawn(&mut self) -> bool {
        let (tls, jobs, results) = (Arc::clone(&self.tls), self.jobs.1.clone(), self.results.0.clone());
        let (idle, alive, waker) = (Arc::clone(&self.idle), Arc::clone(&self.alive), self.waker.clone());
        self.alive.fetch_add(1, Ordering::SeqCst);
        let run = move || {
            let mut taken = None;
            loop {
                let job = taken.take().or_else(|| {
                    idle.fetch_add(1, Ordering::SeqCst);
                    let job = jobs.recv_timeout(IDLE).ok();
                    idle.fetch_sub(1, Ordering::SeqCst);
                    job
                });
                if let Some((key, work)) = job {
                    drop(results.send((key, compute(&tls, work))));
                    waker.wake();
                    continue;
                }
                alive.fetch_sub(1, Ordering::SeqCst);
                // A job may have been left to us just before we stopped counting as idle.
                taken = jobs.try_recv().ok();
                if taken.is_none() {
                    return;
                }
                alive.fetch_add(1, Ordering::SeqCst);
            }
        };
        match thread::Builder::new().name("probe-tls".to_owned()).stack_size(self.stack).spawn(run) {
            Ok(handle) => {
                self.threads.push(handle);
                true
            }
            Err(_) => {
                self.alive.fetch_sub(1, Ordering::SeqCst);
                self.refused += 1;
                false
            }
        }
    }

    /// Ends all threads and waits for them: each at most for the job it is computing.
    pub fn stop(self) {
        let Workers { jobs: (sender, receiver), threads, .. } = self;
        while receiver.try_recv().is_ok() {}
        drop((sender, receiver));
        for thread in threads {
            // A panic in it has been told by the hook; there is nothing left to lose here.
            drop(thread.join());
        }
    }
}

fn compute(tls: &Tls, work: Work) -> Computed {
    match work {
        Work::Begin(name) => {
            let config = tls.config().map_err(|f| (f, None))?;
            let made = ClientConnection::new(config, name);
            made.map(Box::new).map_err(|e| (tls::failure(&e), None))
        }
        Work::Advance(mut connection) => match connection.process_new_packets() {
            Ok(_) => Ok(connection),
            Err(e) => Err((tls::failure(&e), Some(connection))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Roots;

    #[test]
    fn without_threads_the_work_is_done_all_the_same_and_that_is_counted() {
        let tls = Arc::new(Tls::new(Roots::Given(Arc::new(rustls::RootCertStore::empty()))));
        let mut workers = Workers::new(tls, Waker::new().unwrap());
        // No system has this much memory for a stack.
        workers.stack = 1 << 60;
        for key in 0..3 {
            workers.submit(key, Work::Begin(ServerName::try_from("a.example").unwrap()));
        }
        assert_eq!((0..3).map(|_| workers.take().unwrap().0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((workers.refused(), workers.alive()), (3, 0));
        workers.stack = STACK;
        workers.submit(3, Work::Begin(ServerName::try_from("a.example").unwrap()));
        assert_eq!(workers.refused(), 3);
        workers.stop();
    }
}
