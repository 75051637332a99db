//! How late probes started, over the last one to two minutes, and which rounds were lost.
//!
//! Pure. A histogram with eight steps to each doubling, so a percentile is right within an eighth;
//! two windows of a minute, the older one forgotten as a whole.

use std::time::Duration;

use crate::base::clock::Mono;

const WINDOW: Duration = Duration::from_secs(60);
/// Up to 8 exact, then 8 steps for each doubling up to 2^32 ms.
const STEPS: usize = 8 + 8 * 29;

/// A start that is later than this counts as late: more than a busy host's hiccup.
const LATE: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
struct Window {
    counts: [u32; STEPS],
    worst: u64,
    late: u64,
    lost: u64,
}

impl Window {
    const EMPTY: Window = Window { counts: [0; STEPS], worst: 0, late: 0, lost: 0 };
}

/// The start delays of the last one to two minutes in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The worst delay, milliseconds.
    pub worst_ms: u64,
    /// 99 of 100 probes started within this, milliseconds.
    pub p99_ms: u64,
    /// Probes that started more than a quarter of a second late.
    pub late: u64,
    /// Rounds that were not probed at all.
    pub lost: u64,
}

/// The start delays of recent probes.
#[derive(Clone, Debug)]
pub struct Lateness {
    begun: Mono,
    current: Window,
    before: Window,
}

fn step_of(ms: u64) -> usize {
    if ms < 8 {
        return usize::try_from(ms).unwrap_or(0);
    }
    let doubling = ms.ilog2(); // 3 at least
    let eighth = (ms >> (doubling - 3)) & 7;
    let step = 8 + (doubling as usize - 3) * 8 + usize::try_from(eighth).unwrap_or(0);
    step.min(STEPS - 1)
}

/// The largest delay that falls into a step.
fn upper_end(step: usize) -> u64 {
    if step < 8 {
        return step as u64;
    }
    let (doubling, eighth) = ((step - 8) / 8, (step as u64 - 8) % 8);
    ((8 + eighth + 1) << doubling) - 1
}

impl Lateness {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(now: Mono) -> Lateness {
        Lateness { begun: now, current: Window::EMPTY, before: Window::EMPTY }
    }

    /// A probe started this much after its due time.
    pub fn record(&mut self, now: Mono, late: Duration) {
        self.turn(now);
        let ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        if let Some(count) = self.current.counts.get_mut(step_of(ms)) {
            *count = count.saturating_add(1);
        }
        self.current.worst = self.current.worst.max(ms);
        self.current.late += u64::from(late > LATE);
    }

    /// So many rounds were lost just now.
    pub fn lose(&mut self, now: Mono, rounds: u64) {
        self.turn(now);
        self.current.lost += rounds;
    }

    /// All of it in a few numbers.
    pub fn summary(&mut self, now: Mono) -> Summary {
        let (worst_ms, p99_ms) = self.worst_and_p99(now);
        let both = |of: fn(&Window) -> u64| of(&self.current) + of(&self.before);
        Summary { worst_ms, p99_ms, late: both(|w| w.late), lost: both(|w| w.lost) }
    }

    /// The worst delay and the one that 99 of 100 probes stayed within, milliseconds.
    fn worst_and_p99(&mut self, now: Mono) -> (u64, u64) {
        self.turn(now);
        let worst = self.current.worst.max(self.before.worst);
        let both = || self.current.counts.iter().zip(&self.before.counts).map(|(a, b)| u64::from(a + b));
        let total: u64 = both().sum();
        let mut beyond = total / 100;
        for (step, count) in both().enumerate().collect::<Vec<_>>().into_iter().rev() {
            if count > beyond {
                return (worst, upper_end(step).min(worst));
            }
            beyond -= count;
        }
        (worst, 0)
    }

    fn turn(&mut self, now: Mono) {
        let age = now.since(self.begun);
        if age < WINDOW {
            return;
        }
        let current = std::mem::replace(&mut self.current, Window::EMPTY);
        self.before = if age < 2 * WINDOW { current } else { Window::EMPTY };
        self.begun = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Mono = Mono(1_000_000_000_000);

    #[test]
    fn every_delay_lies_within_an_eighth_below_the_end_of_its_step() {
        let mut last = 0;
        for ms in (0..5000).chain((5000..100_000_000).step_by(99_991)) {
            let step = step_of(ms);
            assert!(step >= last && upper_end(step) >= ms, "{ms}");
            assert!(upper_end(step) <= ms + ms / 8, "{ms} {}", upper_end(step));
            last = step;
        }
        assert_eq!(step_of(u64::MAX), STEPS - 1);
    }

    #[test]
    fn one_in_a_hundred_does_not_show_in_the_percentile_but_in_the_worst() {
        let mut l = Lateness::new(T0);
        assert_eq!(l.worst_and_p99(T0), (0, 0));
        for _ in 0..99 {
            l.record(T0, Duration::from_millis(3));
        }
        l.record(T0, Duration::from_millis(700));
        assert_eq!(l.worst_and_p99(T0), (700, 3));
        l.record(T0, Duration::from_millis(700));
        assert_eq!(l.worst_and_p99(T0), (700, 700));
    }

    #[test]
    fn a_bad_minute_is_forgotten_after_two() {
        let mut l = Lateness::new(T0);
        l.record(T0, Duration::from_secs(5));
        l.lose(T0, 2);
        let minute = |at| l.clone().summary(T0 + Duration::from_secs(at));
        assert_eq!(minute(70), Summary { worst_ms: 5000, p99_ms: 5000, late: 1, lost: 2 });
        assert_eq!(minute(140), Summary::default());
        l.record(T0 + Duration::from_secs(75), Duration::from_millis(1));
        assert_eq!(l.worst_and_p99(T0 + Duration::from_secs(135)), (1, 1));
        assert_eq!(l.worst_and_p99(T0 + Duration::from_secs(600)), (0, 0));
    }
}
