//! What is due when. Pure: time comes in, nothing is waited for.
//!
//! Model: one ordered set of due times for all checks. A check's first probe is spread over its
//! interval by its id; from there on due times are the first one plus whole intervals, whatever
//! happens, so that nothing drifts. A check whose probe still runs when it is due again loses that
//! round; a stall of several intervals loses the rounds in between. Lost rounds are counted.
//!
//! Must not: start anything, decide how long a probe may take, or know what a probe is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::id::CheckId;
use crate::base::rng::Rng;
use crate::config::{Check, Checks};

/// One probe to be started now.
#[derive(Clone, Debug)]
pub struct Due {
    /// Of what.
    pub check: Arc<Check>,
    /// The definition's fingerprint, as [`Schedule::reconcile`] was told.
    pub of: u64,
    /// Counts the probes of this check from 1.
    pub round: u64,
    /// When it should have started.
    pub at: Mono,
}

/// * Every enabled check has exactly one due time in `queue`, the one in its entry.
/// * A due time differs from the check's first one by whole intervals.
/// * At most one probe of a check runs.
#[derive(Debug, Default)]
pub struct Schedule {
    /// As [`Schedule::reconcile`] was told last.
    checks: Checks,
    entries: BTreeMap<CheckId, Entry>,
    queue: BTreeSet<(Mono, CheckId)>,
    skipped: u64,
}

#[derive(Debug)]
struct Entry {
    check: Arc<Check>,
    of: u64,
    due: Mono,
    round: u64,
    running: bool,
}

/// FNV-1a: spreads ids that somebody numbered by hand, and is the same on every start.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Where in its interval a check's probes lie: a function of its id.
fn phase(id: CheckId, interval: Duration) -> Duration {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    id.hash(&mut hash);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(Rng::new(hash.finish()).below(nanos))
}

impl Schedule {
    /// Nothing to do.
    #[must_use]
    pub fn new() -> Schedule {
        Schedule::default()
    }

    /// Makes these the checks; `of` gives the fingerprint of a definition. A check whose definition
    /// is as before keeps its due time and its running probe; one with another interval is spread
    /// afresh; a disabled one is not due. Returns the checks whose running probe is void, since
    /// they are gone, disabled or defined differently: its result must not be reported.
    pub fn reconcile(&mut self, now: Mono, checks: Checks, of: impl Fn(&Check) -> u64) -> Vec<CheckId> {
        let mut void = Vec::new();
        let last = std::mem::take(&mut self.checks);
        for (id, _, new) in last.against(&checks) {
            let voided = match new {
                Some(check) => self.follow(now, check, of(check)),
                None => self.forget(*id),
            };
            void.extend(voided.then_some(*id));
        }
        self.checks = checks;
        void
    }

    /// This check as it is now. True when its running probe is void.
    fn follow(&mut self, now: Mono, check: &Arc<Check>, of: u64) -> bool {
        let id = check.id;
        let fresh = || now + phase(id, check.interval.duration());
        let mut void = false;
        let mut entry = match self.entries.remove(&id) {
            Some(before) if before.of == of && before.check.enabled == check.enabled => before,
            Some(before) => {
                self.queue.remove(&(before.due, id));
                void = before.running;
                let keeps = before.check.interval == check.interval && before.check.enabled;
                let due = if keeps { before.due } else { fresh() };
                Entry { of, due, running: false, ..before }
            }
            None => Entry { check: Arc::clone(check), of, due: fresh(), round: 0, running: false },
        };
        entry.check = Arc::clone(check);
        if check.enabled {
            self.queue.insert((entry.due, id));
        }
        self.entries.insert(id, entry);
        void
    }

    /// This check is gone. True when its running probe is void.
    fn forget(&mut self, id: CheckId) -> bool {
        let Some(gone) = self.entries.remove(&id) else { return false };
        self.queue.remove(&(gone.due, id));
        gone.running
    }

    /// When something is due next.
    #[must_use]
    pub fn next_due(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next probe that is due at `now`; it counts as running until [`Schedule::finished`].
    pub fn pop(&mut self, now: Mono) -> Option<Due> {
        while let Some(&(at, id)) = self.queue.first() {
            if at > now {
                return None;
            }
            self.queue.pop_first();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let interval = entry.check.interval.duration();
            let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
            let lost = (now.0 - at.0) / interval_ns;
            entry.due = Mono(at.0.saturating_add(interval_ns.saturating_mul(lost + 1)));
            self.queue.insert((entry.due, id));
            self.skipped += lost;
            if entry.running {
                self.skipped += 1;
                continue;
            }
            entry.running = true;
            entry.round += 1;
            return Some(Due { check: Arc::clone(&entry.check), of: entry.of, round: entry.round, at });
        }
        None
    }

    /// The probe of that round has ended. A round that is not the running one changes nothing.
    pub fn finished(&mut self, id: CheckId, round: u64) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.round == round
        {
            entry.running = false;
        }
    }

    /// Rounds that were not probed because the one before still ran or the program stalled.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many checks there are, disabled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no checks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;
    use crate::config::Target;

    fn check(n: u128, interval_ms: u64) -> Arc<Check> {
        Arc::new(Check {
            id: CheckId::from_random(n << 80 | n),
            name: format!("c{n}").parse().unwrap(),
            target: Target::Tcp { to: "127.0.0.1:1".parse().unwrap() },
            interval: Span::from_millis(interval_ms),
            timeout: Span::from_millis(interval_ms),
            alert_ids: BTreeSet::new(),
            suppress_alert_ids: BTreeSet::new(),
            enabled: true,
        })
    }

    fn with(checks: &[Arc<Check>]) -> Checks {
        checks.iter().map(|c| (c.id, Arc::clone(c))).collect()
    }

    fn of(check: &Check) -> u64 {
        check.interval.millis()
    }

    const T0: Mono = Mono(3_600_000_000_000);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn first_probes_are_spread_evenly_and_the_same_way_on_every_start() {
        let checks: Vec<_> = (1..=10_000).map(|n| check(n, 10_000)).collect();
        let starts = |s: &mut Schedule| {
            let mut at = BTreeMap::new();
            while let Some(due) = s.pop(T0 + ms(9_999)) {
                at.insert(due.check.id, due.at);
            }
            at
        };
        let (mut one, mut two) = (Schedule::new(), Schedule::new());
        one.reconcile(T0, with(&checks), of);
        two.reconcile(T0, with(&checks), of);
        let at = starts(&mut one);
        assert_eq!(at, starts(&mut two));
        let mut tenths = [0_u32; 10];
        for t in at.values() {
            tenths[usize::try_from(t.since(T0).as_secs()).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
    }

    #[test]
    fn any_mix_of_slow_probes_and_late_calls_neither_drifts_nor_overlaps_nor_loses_count() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let checks: Vec<_> = (1..=8).map(|n| check(n, 1000 + rng.below(4000))).collect();
            let mut s = Schedule::new();
            s.reconcile(T0, with(&checks), of);
            let first: BTreeMap<_, _> = s.entries.iter().map(|(id, e)| (*id, e.due)).collect();
            let mut running: BTreeMap<CheckId, (u64, Mono)> = BTreeMap::new();
            let (mut now, mut started) = (T0, 0_u64);
            while now < T0 + ms(60_000) {
                let most = if rng.chance(20) { 9000 } else { 300 };
                now = now + ms(rng.below(most));
                running.retain(|id, (round, until)| {
                    let over = *until <= now;
                    if over {
                        s.finished(*id, *round);
                    }
                    !over
                });
                while let Some(due) = s.pop(now) {
                    let id = due.check.id;
                    let interval = due.check.interval.millis() * 1_000_000;
                    assert!(due.at <= now && (due.at.0 - first[&id].0) % interval == 0, "drift, seed {seed}");
                    let ends = now + ms(rng.below(interval / 500_000));
                    assert!(running.insert(id, (due.round, ends)).is_none(), "overlap, seed {seed}");
                    started += 1;
                }
            }
            let due: u64 = checks
                .iter()
                .filter(|c| first[&c.id] <= now)
                .map(|c| (now.0 - first[&c.id].0) / (c.interval.millis() * 1_000_000) + 1)
                .sum();
            assert_eq!(started + s.skipped(), due, "every round is started or counted, seed {seed}");
        }
    }

    #[test]
    fn an_unchanged_check_keeps_its_phase_and_a_changed_one_voids_its_running_probe() {
        let (a, b) = (check(1, 5000), check(2, 5000));
        let mut s = Schedule::new();
        s.reconcile(T0, with(&[Arc::clone(&a), Arc::clone(&b)]), of);
        let due_a = s.entries[&a.id].due;
        let mut probes = Vec::new();
        while let Some(due) = s.pop(T0 + ms(5000)) {
            probes.push(due);
        }
        assert_eq!(probes.len(), 2);

        let renamed = Arc::new(Check { name: "other".parse().unwrap(), ..(*a).clone() });
        assert!(s.reconcile(T0 + ms(5100), with(&[Arc::clone(&renamed), Arc::clone(&b)]), of).is_empty());
        assert_eq!(s.entries[&a.id].due, due_a + ms(5000));
        assert!(s.entries[&a.id].running);

        let faster = Arc::new(Check { interval: Span::from_secs(2), ..(*a).clone() });
        assert_eq!(s.reconcile(T0 + ms(5200), with(&[Arc::clone(&faster)]), of), [a.id, b.id]);
        assert!(s.entries[&a.id].due < T0 + ms(7200), "spread over the new interval");
        assert_eq!((s.len(), s.queue.len()), (1, 1));
        s.finished(a.id, 1);
        let next = s.pop(T0 + ms(7200)).unwrap();
        assert_eq!(next.round, 2, "rounds go on counting");
    }

    #[test]
    fn a_disabled_check_is_not_due_and_goes_on_counting_when_it_is_enabled_again() {
        let on = check(1, 1000);
        let off = Arc::new(Check { enabled: false, ..(*on).clone() });
        let mut s = Schedule::new();
        s.reconcile(T0, with(&[Arc::clone(&on)]), of);
        assert_eq!(s.pop(T0 + ms(1000)).unwrap().round, 1);
        assert_eq!(s.reconcile(T0 + ms(1000), with(&[off]), of), [on.id]);
        assert!(s.next_due().is_none() && s.pop(T0 + ms(90_000)).is_none());
        s.reconcile(T0 + ms(90_000), with(&[Arc::clone(&on)]), of);
        let again = s.pop(T0 + ms(91_000)).unwrap();
        assert_eq!(again.round, 2);
        assert!(again.at >= T0 + ms(90_000));
        assert!(!s.is_empty());
    }

    #[test]
    fn the_end_of_an_older_round_does_not_free_the_running_one() {
        let a = check(1, 1000);
        let mut s = Schedule::new();
        s.reconcile(T0, with(&[a]), of);
        let one = s.pop(T0 + ms(1000)).unwrap();
        s.finished(one.check.id, one.round);
        let two = s.pop(T0 + ms(2000)).unwrap();
        s.finished(one.check.id, one.round);
        assert!(s.pop(T0 + ms(3000)).is_none());
        assert_eq!(s.skipped(), 1);
        s.finished(two.check.id, two.round);
        assert_eq!(s.pop(T0 + ms(4000)).unwrap().round, 3);
    }
}
