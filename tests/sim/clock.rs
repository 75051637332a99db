//! Simulated clocks: every host has its own rate and offset, none runs backward.
//!
//! True time is nanoseconds since the start of the run. A host never sees it; it sees
//! `offset + true * rate`. Rates are within 4.5 % of the truth, so that any two differ by less
//! than the 10 % that the guarantees allow for.

use quptime::base::clock::Mono;

/// One millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;

const MILLION: u128 = 1_000_000;

/// The largest deviation of a rate from the truth, parts per million.
pub const SKEW_PPM: u64 = 45_000;

/// The monotonic clock of one host.
#[derive(Clone, Debug)]
pub struct HostClock {
    offset: u64,
    rate_ppm: u64,
    jumped: u64,
}

impl HostClock {
    /// A clock that shows `offset` at the start and runs at `rate_ppm` millionths of the truth.
    pub fn new(offset: u64, rate_ppm: u64) -> HostClock {
        HostClock { offset, rate_ppm, jumped: 0 }
    }

    /// What it shows at a true time.
    pub fn shows(&self, truth: u64) -> Mono {
        let run = u128::from(truth) * u128::from(self.rate_ppm) / MILLION;
        Mono(self.offset + self.jumped + u64::try_from(run).expect("runs are short"))
    }

    /// The first true time at which it shows `local` or more.
    pub fn truth_of(&self, local: Mono) -> u64 {
        let run = u128::from(local.0.saturating_sub(self.offset + self.jumped));
        let truth = (run * MILLION).div_ceil(u128::from(self.rate_ppm));
        u64::try_from(truth).unwrap_or(u64::MAX)
    }

    /// Jumps forward: breaks the guarantee about rates, so only safety of the log is checked then.
    pub fn jump(&mut self, by: u64) {
        self.jumped += by;
    }
}

#[test]
fn a_deadline_is_reached_exactly_when_the_clock_shows_it() {
    for rate in [955_000, 999_999, 1_000_000, 1_044_999] {
        let clock = HostClock::new(77, rate);
        for local in [77, 78, 1_000_003, 987_654_321] {
            let truth = clock.truth_of(Mono(local));
            assert!(clock.shows(truth) >= Mono(local), "rate {rate}");
            assert!(truth == 0 || clock.shows(truth - 1) < Mono(local), "rate {rate}");
        }
    }
}
