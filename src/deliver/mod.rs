//! Layer 3: owed alerts out of the door.
//!
//! Model: one lane per destination (alert), each with a queue of at most [`QUEUE`] messages and,
//! while there is something to do, one worker thread. A lane delivers strictly in order: a message
//! that fails holds up the ones behind it, so that DOWN comes before its RECOVERED; other lanes
//! do not notice. Failed attempts are repeated after growing pauses with jitter, or when the
//! destination asked to be asked again, until [`Timing::patience`] since the message became owed;
//! then, or when the destination refuses for good, it is given up. A backlog about one check that
//! got old is told in one message (`alerts::fold`).
//!
//! What is owed is kept in the replicated state, not here: the desk may forget everything at any
//! moment, and is simply offered the same messages again. It reports each end once
//! ([`DeliveryOutcome`]) and remembers recent ends, so that a message that is offered again while
//! its outcome is still on its way to the log is reported again and not sent again.
//!
//! Who may send is asked ([`MaySend`]) immediately before each attempt, and for mail once more
//! before the message itself; after [`Desk::stop_all`] and [`Desk::stop`] the answer is no.
//!
//! It decides no verdict, reads no configuration file, and never blocks who calls it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::alerts::Facts;
use crate::base::clock::{Clock, Wall};
use crate::base::id::AlertId;
use crate::config::{Alert, Mailbox};
use crate::log;
use crate::state::command::DeliveryId;

mod attempt;
mod base64;
mod discord;
mod lane;
mod mail;
mod redact;
pub mod sink;
mod smtp;
mod wire;
mod worker;

use lane::{Lane, Offered};

/// Messages that wait in one lane. Those beyond stay in the outbox and are offered again: a
/// destination that was dead for a day may be owed thousands, and memory is not theirs.
pub const QUEUE: usize = 64;
/// Tests that may run at the same time.
const TESTS: usize = 4;
/// How long [`Desk::stop`] waits for the workers.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// Whether this node may send now: asked immediately before each attempt.
pub type MaySend = Arc<dyn Fn() -> bool + Send + Sync>;

/// A message that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub id: DeliveryId,
    /// Since when, by the clock of the master that committed it.
    pub owed_at: Wall,
    /// What it says.
    pub facts: Facts,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The destination accepted it.
    Delivered,
    /// It will not be tried again.
    GaveUp {
        /// One line without secrets.
        why: String,
    },
}

/// The end of one message, to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// To which destination.
    pub alert: AlertId,
    /// Which message.
    pub id: DeliveryId,
    /// How it ended.
    pub fate: Fate,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It waits in the lane.
    Queued,
    /// It was there already, or ended before (then its outcome is reported again).
    Known,
    /// The lane is full, or no thread could be started: offer it again later.
    Full,
    /// The desk has stopped.
    Stopped,
}

/// What a test came to: what the destination noted while accepting, or why it did not.
pub type TestOutcome = Result<Option<String>, String>;

/// How a destination is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Which.
    pub alert: AlertId,
    /// Messages that wait here.
    pub queued: usize,
    /// When it last accepted one.
    pub last_success: Option<Wall>,
    /// When it last did not, and why (one line without secrets).
    pub last_error: Option<(Wall, String)>,
    /// When the next attempt is due, while one is waited for.
    pub next_try: Option<Wall>,
}

/// The pauses and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The first pause after a failure; also the one after a refusal.
    pub first_pause: Duration,
    /// Pauses double up to this.
    pub longest_pause: Duration,
    /// A message is tried for this long since it became owed.
    pub patience: Duration,
    /// When some recipients accepted a message and others put it off, the others are tried alone
    /// for this long; then it counts as delivered. Longer would hold up everybody's later messages.
    pub recipient_patience: Duration,
    /// A backlog about one check is told in one message once its oldest is this old.
    pub fold_after: Duration,
    /// A destination may take this long for each answer.
    pub answer: Duration,
    /// A worker without work ends after this.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(600),
            patience: Duration::from_secs(24 * 3600),
            recipient_patience: Duration::from_secs(60),
            fold_after: Duration::from_secs(120),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tried {
    /// Accepted, but for the recipients in `left`, who may be tried again.
    Sent { left: Vec<Mailbox>, note: Option<String>, pause: Option<Duration> },
    /// Refused for good.
    Refused { why: String },
    /// It may be better next time.
    Failed { why: String, retry_after: Option<Duration> },
    /// Nothing was sent, for this node may not.
    Held,
}

impl Tried {
    fn failed(why: String) -> Tried {
        Tried::Failed { why, retry_after: None }
    }
}

/// What desk and workers share.
struct Shared {
    clock: Arc<dyn Clock>,
    may_send: MaySend,
    outcome: Sender<DeliveryOutcome>,
    timing: Timing,
    roots: Vec<ureq::tls::Certificate<'static>>,
    /// Nothing is sent any more.
    stopped: AtomicBool,
    /// Grows with each `stop_all`: an attempt of an older count sends nothing.
    term: AtomicU64,
    tests: AtomicUsize,
    workers: Mutex<usize>,
    /// How often no thread was to be had.
    threadless: AtomicU64,
    fewer_workers: Condvar,
}

/// A lane and who waits for something to happen in it.
struct Slot {
    id: AlertId,
    lane: Mutex<Lane>,
    wake: Condvar,
}

/// A poisoned lock means that another thread panicked, which ends the process; until then the
/// data are plain values and stay usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All lanes.
pub struct Desk {
    shared: Arc<Shared>,
    slots: Mutex<BTreeMap<AlertId, Arc<Slot>>>,
}

impl Desk {
    /// An empty desk. No thread runs before there is something to send.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>, may_send: MaySend, outcome: Sender<DeliveryOutcome>) -> Desk {
        Desk::with(clock, may_send, outcome, Timing::default(), None)
    }

    /// The same with other pauses, and with authorities (PEM) that webhooks' certificates may be
    /// from beside the system's: for a sandbox and for tests.
    #[must_use]
    pub fn with(
        clock: Arc<dyn Clock>,
        may_send: MaySend,
        outcome: Sender<DeliveryOutcome>,
        timing: Timing,
        roots_pem: Option<&str>,
    ) -> Desk {
        let roots = ureq::tls::parse_pem(roots_pem.unwrap_or("").as_bytes())
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(c)) => Some(c),
                _ => None,
            })
            .collect();
        let shared = Shared {
            clock,
            may_send,
            outcome,
            timing,
            roots,
            stopped: AtomicBool::new(false),
            term: AtomicU64::new(0),
            tests: AtomicUsize::new(0),
            workers: Mutex::new(0),
            threadless: AtomicU64::new(0),
            fewer_workers: Condvar::new(),
        };
        Desk { shared: Arc::new(shared), slots: Mutex::new(BTreeMap::new()) }
    }

    /// Puts an owed message into its destination's lane, unless it is there. Never blocks.
    pub fn offer(&self, alert: &Arc<Alert>, job: Job) -> Offer {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return Offer::Stopped;
        }
        let slot = self.slot(alert);
        let mut lane = locked(&slot.lane);
        let id = job.id;
        match lane.offer(alert, job, self.shared.clock.mono()) {
            Offered::Queued => {
                if worker::ensure(&self.shared, &slot, &mut lane) {
                    slot.wake.notify_all();
                    return Offer::Queued;
                }
                lane.withdraw(id);
                Offer::Full
            }
            Offered::Waiting => Offer::Known,
            Offered::Full => Offer::Full,
            Offered::Ended(fate) => {
                // The caller may be the one who empties this channel: when it is full, the next
                // offer tells it.
                drop(self.shared.outcome.try_send(DeliveryOutcome { alert: slot.id, id, fate }));
                Offer::Known
            }
        }
    }

    /// Takes a message back that has not been begun; true when it certainly will not be sent.
    pub fn withdraw(&self, alert: AlertId, id: DeliveryId) -> bool {
        let slot = locked(&self.slots).get(&alert).cloned();
        slot.is_none_or(|slot| locked(&slot.lane).withdraw(id))
    }

    /// Mastership ended: every queue is emptied, nothing new is begun. A message that is being
    /// handed over may get there, and its outcome is reported.
    pub fn stop_all(&self) {
        self.shared.term.fetch_add(1, Ordering::SeqCst);
        for slot in locked(&self.slots).values() {
            locked(&slot.lane).clear();
            slot.wake.notify_all();
        }
    }

    /// The alerts as they are now: a removed one loses its lane, a changed one is used from the
    /// next attempt on, which is made at once when it was the channel that changed.
    pub fn set_alerts(&self, alerts: &BTreeMap<AlertId, Arc<Alert>>) {
        let now = self.shared.clock.mono();
        locked(&self.slots).retain(|id, slot| {
            let mut lane = locked(&slot.lane);
            match alerts.get(id) {
                Some(alert) => lane.set_alert(alert, now),
                None => lane.close(),
            }
            slot.wake.notify_all();
            alerts.contains_key(id)
        });
    }

    /// Whether an attempt is under way anywhere.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        locked(&self.slots).values().any(|slot| locked(&slot.lane).is_busy())
    }

    /// How often no thread was to be had since the start: the messages wait in the outbox then.
    #[must_use]
    pub fn threadless(&self) -> u64 {
        self.shared.threadless.load(Ordering::Relaxed)
    }

    /// Every destination that was offered something since the start, by id.
    #[must_use]
    pub fn status(&self) -> Vec<LaneStatus> {
        let (now, wall) = (self.shared.clock.mono(), self.shared.clock.wall());
        locked(&self.slots).values().map(|slot| locked(&slot.lane).status(slot.id, now, wall)).collect()
    }

    /// One attempt at a message that is not owed, beside the queue, and what it came to. It asks
    /// nobody's permission: a test is sent by the node that was asked for it.
    pub fn test(&self, alert: &Arc<Alert>, facts: Facts, reply: Sender<TestOutcome>) {
        // Who asked may have gone; then nobody is left to be told.
        let tell = move |outcome: TestOutcome| drop(reply.send(outcome));
        let tell_early = tell.clone();
        if self.shared.stopped.load(Ordering::SeqCst) {
            return tell(Err("this node is stopping".to_owned()));
        }
        if self.shared.tests.fetch_add(1, Ordering::SeqCst) >= TESTS {
            self.shared.tests.fetch_sub(1, Ordering::SeqCst);
            return tell(Err(format!("{TESTS} tests are running already, try again when they have ended")));
        }
        let (slot, alert) = (self.slot(alert), Arc::clone(alert));
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("deliver-test".to_owned()).spawn(move || {
            let outcome = worker::test(&shared, &slot, &alert, &facts);
            shared.tests.fetch_sub(1, Ordering::SeqCst);
            tell(outcome);
        });
        if let Err(e) = spawned {
            self.shared.tests.fetch_sub(1, Ordering::SeqCst);
            tell_early(Err(format!("cannot start a thread: {e}")));
        }
    }

    /// Ends all workers; waits for them a second at most. One that hangs in a destination is left
    /// behind: it asks for permission before it sends anything and no longer gets it; what it was
    /// in the middle of handing over may still get there.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.stop_all();
        let workers = locked(&self.shared.workers);
        let waited = self.shared.fewer_workers.wait_timeout_while(workers, STOP_WAIT, |n| *n > 0);
        let left = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if left > 0 {
            log!(Info, "deliver", "left workers behind that wait for their destinations", workers = left);
        }
    }

    fn slot(&self, alert: &Arc<Alert>) -> Arc<Slot> {
        let mut slots = locked(&self.slots);
        let fresh =
            || Slot { id: alert.id, lane: Mutex::new(Lane::new(Arc::clone(alert))), wake: Condvar::new() };
        Arc::clone(slots.entry(alert.id).or_insert_with(|| Arc::new(fresh())))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
