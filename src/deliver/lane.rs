//! What one destination is owed here, and what happens next: pure, driven by the worker.
//!
//! * Messages leave from the front only; one attempt at a time.
//! * `busy` are the ids of the attempt that runs; they may have left the queue meanwhile.
//! * An id is in the queue once at most, and never while it is among the recent ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{DeliveryOutcome, Fate, Job, LaneStatus, QUEUE, Timing, Tried};
use crate::alerts::{self, Facts, Kind};
use crate::base::backoff::Backoff;
use crate::base::clock::{Mono, Wall};
use crate::base::id::AlertId;
use crate::base::rng::Rng;
use crate::base::text::about;
use crate::config::{Alert, Mailbox};
use crate::state::command::DeliveryId;

/// Ends that are remembered. The log has them within seconds; this is for hours of a busy lane.
const REMEMBERED: usize = 1024;
/// A message is not given up for its age before this many attempts here: a wall clock that jumped
/// ages everything at once.
const FEWEST_ATTEMPTS: u32 = 3;
/// After an attempt that was not permitted.
const HELD_PAUSE: Duration = Duration::from_millis(200);

/// A message that waits, or several that became one.
struct Waiting {
    ids: Vec<DeliveryId>,
    owed_at: Wall,
    since: Mono,
    facts: Facts,
    attempts: u32,
    /// The recipients that still have to get it, when others have; and since when.
    left: Option<(Vec<Mailbox>, Mono)>,
}

/// What an attempt is about.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub ids: Vec<DeliveryId>,
    pub alert: Arc<Alert>,
    pub facts: Facts,
    /// These recipients only.
    pub only: Option<Vec<Mailbox>>,
}

/// What there is to do.
pub(super) enum Next {
    /// Nothing.
    Idle,
    /// Something, this much later.
    In(Duration),
    /// This, now.
    Try(Box<Batch>),
}

/// What became of an offer.
pub(super) enum Offered {
    Queued,
    Waiting,
    Full,
    Ended(Fate),
}

/// One destination.
pub(super) struct Lane {
    alert: Arc<Alert>,
    queue: VecDeque<Waiting>,
    busy: Vec<DeliveryId>,
    failures: u32,
    next_try: Mono,
    ended: VecDeque<(DeliveryId, Fate)>,
    last_success: Option<Wall>,
    last_error: Option<(Wall, String)>,
    /// Its alert is gone.
    pub closed: bool,
    /// A thread works for it.
    pub worker: bool,
}

impl Lane {
    pub(super) fn new(alert: Arc<Alert>) -> Lane {
        Lane {
            alert,
            queue: VecDeque::new(),
            busy: Vec::new(),
            failures: 0,
            next_try: Mono(0),
            ended: VecDeque::new(),
            last_success: None,
            last_error: None,
            closed: false,
            worker: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.alert.name.as_str()
    }

    pub(super) fn offer(&mut self, alert: &Arc<Alert>, job: Job, now: Mono) -> Offered {
        self.set_alert(alert, now);
        if let Some((_, fate)) = self.ended.iter().find(|(id, _)| *id == job.id) {
            return Offered::Ended(fate.clone());
        }
        if self.queue.iter().any(|w| w.ids.contains(&job.id)) {
            return Offered::Waiting;
        }
        if self.waiting() >= QUEUE {
            return Offered::Full;
        }
        let Job { id, owed_at, facts } = job;
        self.queue.push_back(Waiting { ids: vec![id], owed_at, since: now, facts, attempts: 0, left: None });
        Offered::Queued
    }

    fn waiting(&self) -> usize {
        self.queue.iter().map(|w| w.ids.len()).sum()
    }

    /// Whether an attempt runs.
    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// True when the message is certainly not sent any more.
    pub(super) fn withdraw(&mut self, id: DeliveryId) -> bool {
        if self.busy.contains(&id) {
            return false;
        }
        // A message that was folded into another cannot be taken out of it.
        let folded = self.queue.iter().any(|w| w.ids.len() > 1 && w.ids.contains(&id));
        self.queue.retain(|w| w.ids != [id]);
        !folded
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.failures = 0;
        self.next_try = Mono(0);
    }

    pub(super) fn close(&mut self) {
        self.clear();
        self.closed = true;
    }

    /// Another channel may be the repair of what failed: no pause is left from before.
    pub(super) fn set_alert(&mut self, alert: &Arc<Alert>, now: Mono) {
        if self.alert.channel != alert.channel {
            self.failures = 0;
            self.next_try = now;
        }
        if self.alert != *alert {
            self.alert = Arc::clone(alert);
        }
    }

    /// What to do now; a batch that is handed out must come back through [`Lane::settle`].
    pub(super) fn next(&mut self, timing: &Timing, now: Mono, wall: Wall) -> Next {
        if self.queue.is_empty() {
            return Next::Idle;
        }
        if now < self.next_try {
            return Next::In(self.next_try.since(now));
        }
        self.fold(timing, wall);
        let Some(front) = self.queue.front() else { return Next::Idle };
        let batch = Batch {
            ids: front.ids.clone(),
            alert: Arc::clone(&self.alert),
            facts: front.facts.clone(),
            only: front.left.as_ref().map(|(left, _)| left.clone()),
        };
        self.busy.clone_from(&batch.ids);
        Next::Try(Box::new(batch))
    }

    /// An old backlog about the front's check becomes one message. DOWN and its RECOVERED stay
    /// two: they thread.
    fn fold(&mut self, timing: &Timing, wall: Wall) {
        let Some(front) = self.queue.front() else { return };
        if front.left.is_some() || wall.since(front.owed_at) < timing.fold_after {
            return;
        }
        let check = front.facts.check_id.clone();
        let same = |w: &&Waiting| w.left.is_none() && w.facts.check_id == check;
        let facts: Vec<&Facts> = self.queue.iter().filter(same).map(|w| &w.facts).collect();
        let Some(folded) = alerts::fold(&facts) else { return };
        let worthwhile = folded.kind != Kind::Summary || folded.folded.len() > 2;
        if facts.len() < 2 || !worthwhile {
            return;
        }
        let (taken, rest): (Vec<Waiting>, Vec<Waiting>) =
            self.queue.drain(..).partition(|w| w.left.is_none() && w.facts.check_id == check);
        self.queue = rest.into();
        let mut taken = taken.into_iter();
        if let Some(mut first) = taken.next() {
            first.facts = folded;
            first.ids.extend(taken.flat_map(|w| w.ids));
            self.queue.push_front(first);
        }
    }

    /// What the attempt came to; the ends are to be reported.
    pub(super) fn settle(
        &mut self,
        alert: AlertId,
        batch: &Batch,
        tried: Tried,
        timing: &Timing,
        (now, wall): (Mono, Wall),
        rng: &mut Rng,
    ) -> Vec<DeliveryOutcome> {
        self.busy.clear();
        let partly = batch.only.is_some();
        // Dropped by `clear` meanwhile: who has not got it yet is for the next master to serve.
        let here = self.queue.iter().any(|w| w.ids == batch.ids);
        let ended = match tried {
            Tried::Held => {
                self.next_try = now + HELD_PAUSE;
                return Vec::new();
            }
            Tried::Sent { left, note, pause } => {
                self.last_success = Some(wall);
                if let Some(note) = note {
                    self.last_error = Some((wall, note));
                }
                self.next_try = now + pause.unwrap_or_default().min(timing.patience);
                if !left.is_empty() && !here {
                    return Vec::new();
                }
                if self.put_off(batch, left, timing, now) {
                    self.pause(timing, now, None, rng);
                    return Vec::new();
                }
                self.failures = 0;
                self.end(&batch.ids, &Fate::Delivered)
            }
            Tried::Refused { why } => {
                self.last_error = Some((wall, why.clone()));
                self.failures = 0;
                self.next_try = now + timing.first_pause;
                // Others got it; those who were put off will not.
                let fate = if partly { Fate::Delivered } else { Fate::GaveUp { why } };
                self.end(&batch.ids, &fate)
            }
            Tried::Failed { why, retry_after } => {
                self.last_error = Some((wall, why.clone()));
                self.pause(timing, now, retry_after, rng);
                let left = batch.only.clone().unwrap_or_default();
                if here && partly && !self.put_off(batch, left, timing, now) {
                    self.end(&batch.ids, &Fate::Delivered)
                } else {
                    self.age(&batch.ids, &why, timing, now, wall)
                }
            }
        };
        ended.into_iter().map(|(id, fate)| DeliveryOutcome { alert, id, fate }).collect()
    }

    fn pause(&mut self, timing: &Timing, now: Mono, asked: Option<Duration>, rng: &mut Rng) {
        let (first, limit) = (timing.first_pause, timing.longest_pause);
        let pause = match asked {
            Some(asked) => {
                let spread = u64::try_from(first.as_millis()).unwrap_or(u64::MAX) / 4;
                asked.clamp(first, timing.patience) + Duration::from_millis(rng.below(spread + 1))
            }
            None => Backoff::after(first, limit, self.failures, rng),
        };
        self.failures = self.failures.saturating_add(1);
        self.next_try = self.next_try.max(now + pause);
    }

    /// Keeps a message for the recipients that put it off; false when there are none, or when
    /// they had their time.
    fn put_off(&mut self, batch: &Batch, left: Vec<Mailbox>, timing: &Timing, now: Mono) -> bool {
        let Some(waiting) = self.queue.iter_mut().find(|w| w.ids == batch.ids) else { return false };
        let since = waiting.left.as_ref().map_or(now, |(_, since)| *since);
        if left.is_empty() || now.since(since) >= timing.recipient_patience {
            return false;
        }
        waiting.left = Some((left, since));
        true
    }

    /// After a failure: what has been owed for too long is given up, the messages behind the one
    /// that was tried too, since the destination is the same.
    fn age(
        &mut self,
        tried: &[DeliveryId],
        why: &str,
        timing: &Timing,
        now: Mono,
        wall: Wall,
    ) -> Vec<(DeliveryId, Fate)> {
        let Some(front) = self.queue.iter_mut().find(|w| w.ids == tried) else { return Vec::new() };
        front.attempts = front.attempts.saturating_add(1);
        if front.attempts < FEWEST_ATTEMPTS {
            return Vec::new();
        }
        let old = |w: &Waiting| {
            let owed_for = if w.owed_at < Wall::SANE { Duration::ZERO } else { wall.since(w.owed_at) };
            owed_for.max(now.since(w.since)) >= timing.patience
        };
        let ids: Vec<DeliveryId> = self.queue.iter().filter(|w| old(w)).flat_map(|w| w.ids.clone()).collect();
        let why = format!("not accepted within {}: {why}", about(timing.patience));
        self.end(&ids, &Fate::GaveUp { why })
    }

    fn end(&mut self, ids: &[DeliveryId], fate: &Fate) -> Vec<(DeliveryId, Fate)> {
        self.queue.retain(|w| !w.ids.iter().all(|id| ids.contains(id)));
        let ended: Vec<(DeliveryId, Fate)> = ids.iter().map(|id| (*id, fate.clone())).collect();
        self.ended.extend(ended.iter().cloned());
        while self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
        ended
    }

    /// A test went through, or did not.
    pub(super) fn tested(&mut self, outcome: &Result<Option<String>, String>, now: Mono, wall: Wall) {
        match outcome {
            Ok(_) => {
                self.last_success = Some(wall);
                self.failures = 0;
                self.next_try = self.next_try.min(now);
            }
            Err(why) => self.last_error = Some((wall, why.clone())),
        }
    }

    pub(super) fn status(&self, alert: AlertId, now: Mono, wall: Wall) -> LaneStatus {
        let due = !self.queue.is_empty() && self.next_try > now;
        let pause = u64::try_from(self.next_try.since(now).as_millis()).unwrap_or(u64::MAX);
        LaneStatus {
            alert,
            queued: self.waiting(),
            last_success: self.last_success,
            last_error: self.last_error.clone(),
            next_try: due.then(|| Wall(wall.0.saturating_add(pause))),
        }
    }
}

#[cfg(test)]
#[path = "lane/tests.rs"]
mod tests;
