//! The thread of a lane: takes the front message, tries it, reports its end, waits.
//!
//! It lives while there is work and a little longer; the next offer starts another.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::attempt::{Means, attempt};
use super::lane::{Batch, Lane, Next};
use super::{DeliveryOutcome, Fate, Shared, Slot, TestOutcome, Tried, locked};
use crate::alerts::Facts;
use crate::base::rng::Rng;
use crate::config::Alert;
use crate::log;

/// No wait is longer: a clock that was moved is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a report that finds its channel full looks whether the desk has stopped.
const REPORT_WAIT: Duration = Duration::from_millis(200);

/// Starts a worker for the lane unless it has one; false when no thread can be had.
pub(super) fn ensure(shared: &Arc<Shared>, slot: &Arc<Slot>, lane: &mut Lane) -> bool {
    if lane.worker {
        return true;
    }
    *locked(&shared.workers) += 1;
    let counted = Counted(Arc::clone(shared));
    let slot = Arc::clone(slot);
    let name = format!("deliver-{}", lane.name());
    match std::thread::Builder::new().name(name).spawn(move || run(&counted.0, &slot)) {
        Ok(_) => {
            lane.worker = true;
            true
        }
        Err(e) => {
            shared.threadless.fetch_add(1, Ordering::Relaxed);
            log!(Error, "deliver", "cannot start a thread", alert = lane.name(), why = e);
            false
        }
    }
}

/// One worker, counted until it ends, however it ends.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        *locked(&self.0.workers) -= 1;
        self.0.fewer_workers.notify_all();
    }
}

fn run(shared: &Shared, slot: &Slot) {
    let mut rng = Rng::new(shared.clock.wall().0 ^ shared.clock.mono().0.rotate_left(32));
    while let Some((batch, term)) = wait_for_work(shared, slot) {
        let tried = {
            let go = || {
                !shared.stopped.load(Ordering::SeqCst)
                    && shared.term.load(Ordering::SeqCst) == term
                    && !locked(&slot.lane).closed
                    && (shared.may_send)()
            };
            let means = means(shared, &go);
            attempt(&batch.alert, &batch.facts, batch.only.as_deref(), &means)
        };
        tell_log(&batch, &tried);
        let now = (shared.clock.mono(), shared.clock.wall());
        let ended = locked(&slot.lane).settle(slot.id, &batch, tried, &shared.timing, now, &mut rng);
        for outcome in ended {
            if let Fate::GaveUp { why } = &outcome.fate {
                log!(
                    Error,
                    "deliver",
                    "gave up a message",
                    alert = batch.alert.name,
                    id = outcome.id,
                    why = why
                );
            }
            report(shared, outcome);
        }
    }
}

fn means<'a>(shared: &'a Shared, go: &'a dyn Fn() -> bool) -> Means<'a> {
    Means { wall: shared.clock.wall(), answer: shared.timing.answer, roots: &shared.roots, go }
}

/// The next batch and the term it belongs to; `None` ends the worker.
fn wait_for_work(shared: &Shared, slot: &Slot) -> Option<(Box<Batch>, u64)> {
    let mut lane = locked(&slot.lane);
    let mut idled = false;
    loop {
        // Read under the lock: `stop_all` counts up first and then empties the queue under it.
        let term = shared.term.load(Ordering::SeqCst);
        if shared.stopped.load(Ordering::SeqCst) || lane.closed {
            lane.worker = false;
            return None;
        }
        let wait = match lane.next(&shared.timing, shared.clock.mono(), shared.clock.wall()) {
            Next::Try(batch) => return Some((batch, term)),
            Next::In(wait) => wait.min(LONGEST_WAIT),
            Next::Idle if idled => {
                lane.worker = false;
                return None;
            }
            Next::Idle => shared.timing.idle,
        };
        let (woken, timeout) = slot.wake.wait_timeout(lane, wait).unwrap_or_else(PoisonError::into_inner);
        lane = woken;
        idled = timeout.timed_out();
    }
}

fn tell_log(batch: &Batch, tried: &Tried) {
    let (alert, id) = (&batch.alert.name, &batch.facts.id);
    match tried {
        Tried::Sent { note: None, .. } => {
            log!(Info, "deliver", "delivered", alert = alert, id = id, messages = batch.ids.len());
        }
        Tried::Sent { note: Some(note), .. } => {
            log!(Warn, "deliver", "delivered, but not to everybody", alert = alert, id = id, why = note);
        }
        Tried::Failed { why, .. } => {
            log!(Warn, "deliver", "could not deliver, will try again", alert = alert, id = id, why = why);
        }
        // A refusal is logged as the end of the message; a held one is no event.
        Tried::Refused { .. } | Tried::Held => {}
    }
}

/// Waits for room in the channel, but not for a core that has ended.
fn report(shared: &Shared, mut outcome: DeliveryOutcome) {
    loop {
        match shared.outcome.send_timeout(outcome, REPORT_WAIT) {
            Err(crossbeam_channel::SendTimeoutError::Timeout(back))
                if !shared.stopped.load(Ordering::SeqCst) =>
            {
                outcome = back;
            }
            // Told, or nobody is left to be told: the message stays owed and is offered again.
            _ => return,
        }
    }
}

/// One attempt at a message that nobody is owed.
pub(super) fn test(shared: &Shared, slot: &Slot, alert: &Alert, facts: &Facts) -> TestOutcome {
    let go = || !shared.stopped.load(Ordering::SeqCst);
    let outcome = match attempt(alert, facts, None, &means(shared, &go)) {
        Tried::Sent { note, .. } => Ok(note),
        Tried::Refused { why } | Tried::Failed { why, .. } => Err(why),
        Tried::Held => Err("this node is stopping".to_owned()),
    };
    locked(&slot.lane).tested(&outcome, shared.clock.mono(), shared.clock.wall());
    slot.wake.notify_all();
    outcome
}
