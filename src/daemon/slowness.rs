//! A disk that does not fail and does not answer: how long the oldest write has been waiting.
//!
//! Model: writes are given in the order of their numbers and confirmed up to a number. A write that
//! waits for [`SLOW`] is worth a word to the operator. One that waits for as long as a silent peer is
//! given (dead-after, and [`STALLED`] at least, since every disk pauses at times) is as good as a
//! failure: whoever needs this disk to keep a promise cannot count on it, so the quorum core is told
//! that it fails, until it confirms something again.
//!
//! Pure. Must not decide what a failing disk means: that is the quorum core's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::clock::Mono;

/// Worth a word: no disk in order takes this long to sync.
pub const SLOW: Duration = Duration::from_secs(1);
/// As good as failing, where dead-after is shorter.
pub const STALLED: Duration = Duration::from_secs(4);

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has become slow.
    Slow,
    /// It is as good as failing.
    Stalled,
    /// It was slow or stalled, and has confirmed everything that waited so long; the longest wait.
    Well {
        /// It had counted as failing.
        was_stalled: bool,
        /// How long a write had waited.
        waited: Duration,
    },
}

/// Writes that are not confirmed.
#[derive(Debug, Default)]
pub struct Slowness {
    given: VecDeque<(u64, Mono)>,
    told: Option<Turn>,
    longest: Duration,
}

impl Slowness {
    /// A write goes to the disk.
    pub fn given(&mut self, seq: u64, now: Mono) {
        // Only the oldest matters; those of the same moment need no place of their own.
        if self.given.back().is_none_or(|(_, at)| *at < now) {
            self.given.push_back((seq, now));
        } else if let Some(last) = self.given.back_mut() {
            last.0 = seq;
        }
    }

    /// Everything up to this write is durable.
    pub fn confirmed(&mut self, upto: u64) {
        while self.given.front().is_some_and(|(seq, _)| *seq <= upto) {
            self.given.pop_front();
        }
    }

    /// When it is worth looking again.
    #[must_use]
    pub fn look_at(&self, dead_after: Duration) -> Mono {
        match (self.given.front(), self.told) {
            (Some((_, since)), None) => *since + SLOW,
            (Some((_, since)), Some(Turn::Slow)) => *since + dead_after.max(STALLED),
            _ => Mono::FAR,
        }
    }

    /// What is new.
    pub fn look(&mut self, now: Mono, dead_after: Duration) -> Option<Turn> {
        let waits = self.given.front().map_or(Duration::ZERO, |(_, since)| now.since(*since));
        self.longest = self.longest.max(waits);
        let turn = match self.told {
            None if waits >= SLOW => Turn::Slow,
            Some(Turn::Slow) if waits >= dead_after.max(STALLED) => Turn::Stalled,
            Some(told) if waits < SLOW => {
                let waited = std::mem::take(&mut self.longest);
                self.told = None;
                return Some(Turn::Well { was_stalled: told == Turn::Stalled, waited });
            }
            _ => return None,
        };
        self.told = Some(turn);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD_AFTER: Duration = Duration::from_secs(6);

    fn at(ms: u64) -> Mono {
        Mono(0) + Duration::from_millis(ms)
    }

    #[test]
    fn a_disk_that_confirms_in_time_is_never_spoken_of() {
        let mut slowness = Slowness::default();
        for n in 0..100 {
            slowness.given(n, at(n * 500));
            assert_eq!(slowness.look(at(n * 500 + 400), DEAD_AFTER), None);
            slowness.confirmed(n);
        }
        assert_eq!(slowness.look_at(DEAD_AFTER), Mono::FAR);
    }

    #[test]
    fn a_slow_sync_is_told_once_and_a_longer_one_counts_as_a_failure_until_it_is_done() {
        let mut slowness = Slowness::default();
        slowness.given(1, at(0));
        slowness.given(2, at(0));
        slowness.given(3, at(900));
        assert_eq!(slowness.look_at(DEAD_AFTER), at(1000));
        assert_eq!(slowness.look(at(1000), DEAD_AFTER), Some(Turn::Slow));
        assert_eq!(slowness.look(at(2000), DEAD_AFTER), None);
        assert_eq!(slowness.look_at(DEAD_AFTER), at(6000));
        assert_eq!(slowness.look(at(5999), DEAD_AFTER), None);
        assert_eq!(slowness.look(at(6000), DEAD_AFTER), Some(Turn::Stalled));
        assert_eq!(slowness.look(at(7000), DEAD_AFTER), None);
        slowness.confirmed(2);
        assert_eq!(slowness.look(at(7000), DEAD_AFTER), None, "the next one waits as long by now");
        slowness.confirmed(3);
        let well = Turn::Well { was_stalled: true, waited: Duration::from_secs(7) };
        assert_eq!(slowness.look(at(7000), DEAD_AFTER), Some(well));
        assert_eq!(slowness.look(at(9000), DEAD_AFTER), None);
    }

    #[test]
    fn a_disk_that_was_only_slow_did_not_count_as_failing() {
        let mut slowness = Slowness::default();
        slowness.given(1, at(0));
        assert_eq!(slowness.look(at(1500), DEAD_AFTER), Some(Turn::Slow));
        slowness.confirmed(1);
        let well = Turn::Well { was_stalled: false, waited: Duration::from_millis(1500) };
        assert_eq!(slowness.look(at(1600), DEAD_AFTER), Some(well));
    }
}
