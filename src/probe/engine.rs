//! The loop of the `probe` thread.
//!
//! Model: a turn takes events of sockets, what workers have computed, what ICMP brought; then lets
//! time pass (a probe whose deadline is now ends before the next one of its check is due); then
//! starts what is due; then lets echoes out; then waits for whatever comes first. Each probe in
//! flight has a slot; events carry the slot's number and generation, so one that comes too late
//! for its probe meets nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::base::clock::{Clock, Mono};
use crate::base::id::CheckId;
use crate::base::log;
use crate::base::units::Host;
use crate::config::{Check, Target};
use crate::sys::poll::{Poller, Ready, Waker, descriptor_limit};
use crate::verdict::{Outcome, Report};

use super::attempt::{Attempt, Event, Progress};
use super::dns::files::Files;
use super::icmp::Icmp;
use super::outbox::Outbox;
use super::schedule::{Due, Schedule};
use super::socket::{Ctx, Failure, OpenCount, Stirred};
use super::tls::Tls;
use super::workers::Workers;
use super::{ProbeConfig, Shared, lock};

/// The loop turns at multiples of this, and whenever a socket is ready: a probe starts so much late
/// at most, and a thousand of them a second cost a hundred turns.
const SLICE: Duration = Duration::from_millis(10);
/// How often probes without a descriptor are tried again, and unsent reports offered again.
const RETRY: Duration = Duration::from_millis(20);
/// Read at once from a connection.
const SCRATCH: usize = 32 * 1024;

// Tokens: 24 bits generation, 24 bits slot, 16 bits socket of the probe. The last slots are ours.
const SLOT_BITS: u32 = 24;
const SUB_BITS: u32 = 16;
const OWN: u64 = ((1 << SLOT_BITS) - 1) << SUB_BITS;
const WAKER: u64 = OWN;
const ICMP_V4: u64 = OWN | 1;
const ICMP_V6: u64 = OWN | 2;

#[derive(Default)]
struct Slot {
    generation: u64,
    attempt: Option<Box<Attempt>>,
    /// As it stands in `timers`.
    timer: Mono,
}

fn key_of(slot: usize, generation: u64) -> u64 {
    ((generation & ((1 << 24) - 1)) << (SLOT_BITS + SUB_BITS)) | ((slot as u64) << SUB_BITS)
}

fn slot_of(key: u64) -> usize {
    usize::try_from((key >> SUB_BITS) & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// A probe that is due and has not started.
struct Waiting {
    due: Due,
    since: Mono,
}

/// Everything the `probe` thread owns.
///
/// * A slot with an attempt has exactly one entry in `timers` and one in `running`.
/// * A check is in `running`, in `waiting` or in neither, never in both.
pub struct Engine {
    of: fn(&Check) -> u64,
    boot: u64,
    clock: Arc<dyn Clock>,
    now: Mono,
    poller: Poller,
    waker: Waker,
    shared: Arc<Mutex<Shared>>,
    schedule: Schedule,
    slots: Vec<Slot>,
    free: Vec<usize>,
    timers: BTreeSet<(Mono, usize)>,
    running: BTreeMap<CheckId, usize>,
    waiting: VecDeque<Waiting>,
    /// No probe that needs a descriptor is started before.
    hold: Mono,
    give_up_at: Mono,
    /// So many sockets may be open.
    budget: usize,
    open: OpenCount,
    files: Files,
    icmp: Icmp,
    workers: Workers,
    reports: Outbox,
    scratch: Vec<u8>,
    done: u64,
    starved: u64,
    /// Start delays of this turn.
    late: Vec<Duration>,
}

impl Engine {
    pub(crate) fn new(
        config: ProbeConfig,
        clock: Arc<dyn Clock>,
        reports: Sender<Report>,
        shared: Arc<Mutex<Shared>>,
        waker: Waker,
    ) -> io::Result<Engine> {
        let poller = Poller::new()?;
        poller.watch_input(waker.as_fd(), WAKER)?;
        let now = clock.mono();
        let tls = Arc::new(Tls::new(config.roots));
        Ok(Engine {
            of: config.of,
            boot: config.boot,
            icmp: Icmp::new(now, [ICMP_V4, ICMP_V6]).map_err(|f| io::Error::other(f.detail))?,
            clock,
            now,
            poller,
            workers: Workers::new(tls, waker.clone()),
            waker,
            shared,
            schedule: Schedule::new(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            hold: now,
            give_up_at: now,
            budget: 0,
            open: OpenCount::default(),
            files: Files::new(config.resolv_conf, config.hosts, config.dns_port),
            reports: Outbox::new(reports),
            scratch: vec![0; SCRATCH],
            done: 0,
            starved: 0,
            late: Vec::new(),
        })
    }

    /// Probes until it is told to stop.
    pub fn run(mut self) {
        let mut ready = Vec::new();
        loop {
            self.now = self.clock.mono();
            if !self.take_orders() {
                break;
            }
            self.sockets(&ready);
            self.computed();
            self.time();
            self.start_due();
            self.send_echoes();
            self.reports.flush(self.now);
            self.publish();
            let wait = self.wake().since(self.clock.mono());
            if let Err(e) = self.poller.wait(&mut ready, Some(wait)) {
                log::write(
                    log::Level::Error,
                    "probe",
                    "cannot wait for sockets",
                    &[("error", e.to_string())],
                );
                break;
            }
        }
        // Sockets are closed before the last word about how many there are.
        self.slots.clear();
        self.running.clear();
        self.waiting.clear();
        self.publish();
        self.workers.stop();
    }

    /// When the next turn is wanted at the latest.
    fn wake(&self) -> Mono {
        let due = self.schedule.next_due().unwrap_or(Mono::FAR);
        let timer = self.timers.first().map_or(Mono::FAR, |(at, _)| *at);
        let retry = if self.waiting.is_empty() { Mono::FAR } else { self.now + RETRY };
        // An hour at the most, so that no arithmetic on "never" is left to the kernel.
        let soft = due.min(timer).min(self.reports.wake()).min(self.now + Duration::from_secs(3600));
        together(soft).min(retry).min(self.icmp.wake())
    }

    /// Takes new checks; false when it is time to end.
    fn take_orders(&mut self) -> bool {
        let (wanted, spared, stop) = {
            let mut shared = lock(&self.shared);
            (shared.wanted.take(), shared.spared, shared.stop)
        };
        if let Some(checks) = wanted {
            let limit = descriptor_limit();
            let left = limit.saturating_sub(spared.min(limit / 2));
            self.budget = usize::try_from(left).unwrap_or(usize::MAX);
            for id in self.schedule.reconcile(self.now, checks, self.of) {
                if let Some(slot) = self.running.get(&id).copied() {
                    self.release(slot);
                }
                self.waiting.retain(|w| w.due.check.id != id);
                self.reports.forget(id);
            }
        }
        !stop
    }

    fn sockets(&mut self, ready: &[Ready]) {
        for ready in ready {
            match ready.token {
                WAKER => self.waker.clear(),
                ICMP_V4 => self.hear(false),
                ICMP_V6 => self.hear(true),
                token => {
                    let sub = u16::try_from(token & ((1 << SUB_BITS) - 1)).unwrap_or(0);
                    let on = Stirred { sub, readable: ready.readable, writable: ready.writable };
                    self.step(token & !((1 << SUB_BITS) - 1), |a, ctx| a.advance(ctx, Event::Ready(on)));
                }
            }
        }
    }

    fn hear(&mut self, v6: bool) {
        let mut buffer = [0; 1024];
        // Each queue by itself: both in turn would be twice the calls.
        for receive in [Icmp::receive_error, Icmp::receive] {
            // Bounded, so that a flood of packets does not stop time; the rest is told again.
            for _ in 0..1024 {
                match receive(&self.icmp, v6, &mut buffer) {
                    None => break,
                    Some(None) => {}
                    Some(Some((key, heard))) => {
                        self.step(key, |a, ctx| a.advance(ctx, Event::Heard(heard)));
                    }
                }
            }
        }
    }

    fn computed(&mut self) {
        while let Some((key, computed)) = self.workers.take() {
            self.step(key, |a, ctx| a.advance(ctx, Event::Computed(computed)));
        }
    }

    fn time(&mut self) {
        while let Some((at, slot)) = self.timers.first().copied() {
            if at > self.now {
                return;
            }
            let Some(key) = self.slots.get(slot).map(|s| key_of(slot, s.generation)) else { return };
            self.step(key, |a, ctx| a.advance(ctx, Event::Time));
        }
    }

    fn start_due(&mut self) {
        while let Some(due) = self.schedule.pop(self.now) {
            if needs_no_descriptor(&due.check) {
                self.start(due, self.now);
            } else {
                self.waiting.push_back(Waiting { due, since: self.now });
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        while let Some(waiting) = self.waiting.pop_front() {
            if self.now < self.hold || self.open.get() >= self.budget {
                self.starved += u64::from(waiting.since == self.now);
                self.waiting.push_front(waiting);
                return self.give_up_waiting();
            }
            self.start(waiting.due, waiting.since);
        }
    }

    /// Who has waited for a descriptor for its whole timeout has failed.
    fn give_up_waiting(&mut self) {
        if self.now < self.give_up_at {
            return;
        }
        // Looking at all of them costs time, so not at every turn.
        self.give_up_at = self.now + RETRY;
        for waiting in std::mem::take(&mut self.waiting) {
            if self.now < waiting.since + waiting.due.check.timeout.duration() {
                self.waiting.push_back(waiting);
            } else {
                self.finish(&waiting.due, waiting.since, Failure::starved().outcome());
            }
        }
    }

    fn start(&mut self, due: Due, wanted: Mono) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let attempt = Box::new(Attempt::new(due, wanted, self.now));
        let Some(place) = self.slots.get_mut(slot) else { return };
        self.late.push(self.now.since(attempt.due.at));
        place.generation += 1;
        place.timer = attempt.wake();
        self.timers.insert((place.timer, slot));
        self.running.insert(attempt.due.check.id, slot);
        let key = key_of(slot, place.generation);
        place.attempt = Some(attempt);
        self.step(key, Attempt::start);
    }

    /// Lets a probe do something, and does what follows from it.
    fn step(&mut self, key: u64, act: impl FnOnce(&mut Attempt, &mut Ctx<'_>) -> Result<Progress, Failure>) {
        let slot = slot_of(key);
        let Some(place) = self.slots.get_mut(slot).filter(|p| key_of(slot, p.generation) == key) else {
            return;
        };
        let Some(mut attempt) = place.attempt.take() else { return };
        let mut last_sub = attempt.last_sub;
        let mut ctx = Ctx {
            now: self.now,
            deadline: attempt.deadline,
            key,
            last_sub: &mut last_sub,
            poller: &self.poller,
            open: &self.open,
            scratch: &mut self.scratch,
            workers: &mut self.workers,
            files: &mut self.files,
        };
        let progress = act(&mut attempt, &mut ctx);
        attempt.last_sub = last_sub;
        let wake = attempt.wake();
        let ended = match progress {
            Ok(Progress::Waiting) => None,
            Ok(Progress::WantsToSend) => {
                self.icmp.enqueue(key);
                None
            }
            Ok(Progress::Up) => Some(Outcome::Ok),
            Err(failure) if failure.starved => {
                let (due, wanted) = (attempt.due.clone(), attempt.wanted);
                place.attempt = Some(attempt);
                return self.starve(slot, due, wanted, failure);
            }
            Err(failure) => Some(failure.outcome()),
        };
        let (due, started) = (attempt.due.clone(), attempt.started);
        if place.timer != wake {
            self.timers.remove(&(place.timer, slot));
            self.timers.insert((wake, slot));
            place.timer = wake;
        }
        place.attempt = Some(attempt);
        if let Some(outcome) = ended {
            self.release(slot);
            self.finish(&due, started, outcome);
        }
    }

    /// A probe met the end of the descriptors: it starts over later, while its time lasts.
    fn starve(&mut self, slot: usize, due: Due, wanted: Mono, failure: Failure) {
        self.release(slot);
        self.starved += 1;
        self.hold = self.now + RETRY;
        if self.now >= wanted + due.check.timeout.duration() || needs_no_descriptor(&due.check) {
            self.finish(&due, wanted, failure.outcome());
        } else {
            self.waiting.push_front(Waiting { due, since: wanted });
        }
    }

    /// Ends a probe without a report: its sockets are closed, its slot is free.
    fn release(&mut self, slot: usize) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        let Some(attempt) = place.attempt.take() else { return };
        self.icmp.forget(key_of(slot, place.generation), attempt.seqs());
        self.timers.remove(&(place.timer, slot));
        self.running.remove(&attempt.due.check.id);
        self.free.push(slot);
    }

    fn finish(&mut self, due: &Due, started: Mono, outcome: Outcome) {
        self.done += 1;
        self.schedule.finished(due.check.id, due.round);
        let took = self.clock.mono().since(started).as_millis();
        let report = Report {
            check: due.check.id,
            boot: self.boot,
            round: due.round,
            of: due.of,
            took_ms: u32::try_from(took).unwrap_or(u32::MAX),
            outcome,
        };
        self.reports.put(report, self.now);
    }

    fn send_echoes(&mut self) {
        while let Some(key) = self.icmp.next_sender(self.now) {
            let slot = slot_of(key);
            let Some(place) = self.slots.get_mut(slot).filter(|p| key_of(slot, p.generation) == key) else {
                continue;
            };
            let Some(attempt) = place.attempt.as_mut() else { continue };
            match attempt.send_echoes(&self.poller, key, &mut self.icmp) {
                Ok(true) => {}
                Ok(false) => return self.icmp.hold(key),
                Err(failure) => self.step(key, |_, _| Err(failure)),
            }
        }
    }

    fn publish(&mut self) {
        let mut shared = lock(&self.shared);
        for late in self.late.drain(..) {
            shared.lateness.record(self.now, late);
        }
        shared.stats.in_flight = self.running.len();
        shared.stats.workers = self.workers.alive();
        shared.stats.late_now = self.waiting.len();
        shared.stats.done = self.done;
        let lost = self.schedule.skipped() - shared.stats.skipped;
        if lost > 0 {
            shared.lateness.lose(self.now, lost);
        }
        shared.stats.skipped = self.schedule.skipped();
        shared.stats.sockets = self.open.get();
        shared.stats.starved = self.starved;
        shared.stats.budget = self.budget;
        shared.stats.threadless = self.workers.refused();
    }
}

/// The end of the slice of time that this lies in: what is due within one is done together.
fn together(at: Mono) -> Mono {
    let slice = u64::try_from(SLICE.as_nanos()).unwrap_or(u64::MAX);
    Mono(at.0.div_ceil(slice).saturating_mul(slice))
}

/// Whether a probe opens no socket of its own, so that it need not wait for a descriptor.
fn needs_no_descriptor(check: &Check) -> bool {
    matches!(&check.target, Target::Icmp { host: Host::Ip(_) })
}
