//! Layer 3: probes. What is due is probed, and what was found is reported.
//!
//! Model: **one thread**, called `probe`, owns everything: the schedule, one epoll set, the names
//! being resolved, the connections being made, the answers being read, the two ICMP sockets. No
//! probe ever has a thread, so one that hangs costs a descriptor and a few kilobytes, and a
//! thousand of them leave the others on time. Only the arithmetic of TLS handshakes is done
//! elsewhere, by a few threads that exist while there is some (`workers.rs`).
//!
//! ```text
//! schedule    what is due when (pure)                lateness  how late probes started (pure)
//! engine      the loop: events, time, what is due    outbox    reports out, newest per check
//! attempt     one probe, phase after phase           socket    sockets, failures, what a step may use
//! dns/        names to addresses (wire: pure)        connect   TCP, several addresses
//! tls         roots, verification, names of errors   vouched  signatures, once   handshake, workers
//! http/       request, head, body, redirects (pure) and the exchange over a connection
//! icmp/       echoes for all targets through two sockets (packet: pure)
//! ```
//!
//! Back-pressure shows: a probe that finds no descriptor waits up to its timeout and then fails
//! as `local`; [`ProbeStats`] tells how many wait and how late probes start. A full report channel
//! makes nobody wait; the newest report of each check is kept until there is room.
//!
//! Must not: decide what a report means, know the cluster, or log each failure (a report tells).
#![forbid(unsafe_code)]

pub mod attempt;
pub mod connect;
pub mod dns;
pub mod engine;
pub mod handshake;
pub mod http;
pub mod icmp;
pub mod lateness;
pub mod outbox;
pub mod schedule;
pub mod socket;
pub mod tls;
pub mod vouched;
pub mod workers;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;

use crate::base::clock::{Clock, Mono};
use crate::config::{Check, Checks};
use crate::sys::poll::Waker;
use crate::verdict::Report;

pub use tls::Roots;

use lateness::Lateness;

/// Descriptors that probes leave alone unless told otherwise.
const SPARED: u64 = 64;

/// What probes depend on.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// The fingerprint of a check's definition, put into its reports.
    pub of: fn(&Check) -> u64,
    /// Drawn at random for this start: rounds begin again with it.
    pub boot: u64,
    /// Where the resolvers are named.
    pub resolv_conf: PathBuf,
    /// Names that need no resolver.
    pub hosts: PathBuf,
    /// The resolvers' port: 53 but in tests.
    pub dns_port: u16,
    /// Whom certificates may come from.
    pub roots: Roots,
}

impl ProbeConfig {
    /// This system's files and roots.
    #[must_use]
    pub fn system(of: fn(&Check) -> u64, boot: u64) -> ProbeConfig {
        ProbeConfig {
            of,
            boot,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            dns_port: 53,
            roots: Roots::System,
        }
    }
}

/// How probing goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeStats {
    /// Probes under way.
    pub in_flight: usize,
    /// Threads computing TLS handshakes.
    pub workers: usize,
    /// Probes that are due and not started, for want of descriptors.
    pub late_now: usize,
    /// The latest start of the last one to two minutes, milliseconds after its due time.
    pub late_worst_ms: u64,
    /// 99 of 100 probes of that time started within this, milliseconds.
    pub late_p99_ms: u64,
    /// Probes ended since the start.
    pub done: u64,
    /// Probes of that time that started more than a quarter of a second late.
    pub late: u64,
    /// Rounds lost in that time, because the probe before still ran or the program stalled.
    pub lost: u64,
    /// Rounds lost since the start.
    pub skipped: u64,
    /// Sockets that probes have open.
    pub sockets: usize,
    /// How often a probe found no descriptor since the start.
    pub starved: u64,
    /// So many sockets probes may have open: what is left of the limit of descriptors.
    pub budget: usize,
    /// How often no thread was to be had since the start, so that probes waited for arithmetic.
    pub threadless: u64,
}

/// What the engine and its owner tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    /// New checks that the engine has not taken yet.
    pub wanted: Option<Checks>,
    /// Descriptors that probes leave to the rest of the program.
    pub spared: u64,
    /// The engine is to end.
    pub stop: bool,
    /// Counters, lateness left out.
    pub stats: ProbeStats,
    /// Start delays.
    pub lateness: Lateness,
}

pub(crate) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing is left half-done under this lock, so a panic elsewhere does not spoil it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The probes of this node. Dropped, it stops them.
pub struct Prober {
    shared: Arc<Mutex<Shared>>,
    waker: Waker,
    clock: Arc<dyn Clock>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts the `probe` thread, without checks. Reports go to `reports`.
    ///
    /// # Errors
    /// No thread, no descriptor, no random bytes.
    pub fn start(config: ProbeConfig, clock: Arc<dyn Clock>, reports: Sender<Report>) -> io::Result<Prober> {
        let (mut prober, engine) = Prober::prepare(config, clock, reports)?;
        prober.thread = Some(thread::Builder::new().name("probe".to_owned()).spawn(move || engine.run())?);
        Ok(prober)
    }

    /// Like [`Prober::start`], for who owns the threads himself: run [`engine::Engine::run`] in
    /// one. It returns after [`Prober::stop`].
    ///
    /// # Errors
    /// No descriptor, no random bytes.
    pub fn prepare(
        config: ProbeConfig,
        clock: Arc<dyn Clock>,
        reports: Sender<Report>,
    ) -> io::Result<(Prober, engine::Engine)> {
        let waker = Waker::new()?;
        let shared = Arc::new(Mutex::new(Shared {
            wanted: None,
            spared: SPARED,
            stop: false,
            stats: ProbeStats::default(),
            lateness: Lateness::new(clock.mono()),
        }));
        let engine =
            engine::Engine::new(config, Arc::clone(&clock), reports, Arc::clone(&shared), waker.clone())?;
        Ok((Prober { shared, waker, clock, thread: None }, engine))
    }

    /// Probes leave so many descriptors to the rest of the program, or half of what there are; from
    /// the next [`Prober::set_checks`] on.
    pub fn spare(&self, descriptors: u64) {
        lock(&self.shared).spared = descriptors;
    }

    /// Makes these the checks. Unchanged ones keep their phase and their running probe.
    pub fn set_checks(&self, checks: Checks) {
        lock(&self.shared).wanted = Some(checks);
        self.waker.wake();
    }

    /// How probing goes.
    #[must_use]
    pub fn stats(&self) -> ProbeStats {
        let now: Mono = self.clock.mono();
        let mut shared = lock(&self.shared);
        let late = shared.lateness.summary(now);
        ProbeStats {
            late_worst_ms: late.worst_ms,
            late_p99_ms: late.p99_ms,
            late: late.late,
            lost: late.lost,
            ..shared.stats
        }
    }

    /// Drops all probes, closes everything and waits for the threads (milliseconds).
    pub fn stop(&mut self) {
        lock(&self.shared).stop = true;
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told by the hook; the owner stops anyway.
            drop(thread.join());
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
