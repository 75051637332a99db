//! Growing pauses with jitter and a limit.

use std::time::Duration;

use super::rng::Rng;

/// A pause that doubles with each failure up to a limit, spread by a quarter either way so that
/// many that failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `first` to `limit`.
    #[must_use]
    pub fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { first, limit, failures: 0 }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self, rng: &mut Rng) -> Duration {
        let pause = Backoff::after(self.first, self.limit, self.failures, rng);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// It worked: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after `failures` earlier ones, for who keeps the count elsewhere.
    #[must_use]
    pub fn after(first: Duration, limit: Duration, failures: u32, rng: &mut Rng) -> Duration {
        let grown = first.saturating_mul(1_u32.checked_shl(failures.min(30)).unwrap_or(u32::MAX));
        let ms = u64::try_from(grown.min(limit).as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(ms - ms / 4 + rng.below(ms / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_a_quarter_and_stop_at_the_limit() {
        let mut rng = Rng::new(1);
        let mut b = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for want in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let got = b.next_pause(&mut rng).as_secs_f64();
            assert!((want * 0.74..=want * 1.26).contains(&got), "{want} {got}");
        }
        b.reset();
        assert!(b.next_pause(&mut rng) < Duration::from_secs(2));
    }
}
