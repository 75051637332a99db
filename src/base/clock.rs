//! Time as a value. [`RealClock`] is the only place of the program that asks the machine for it.
//!
//! Two kinds that cannot be mixed: [`Mono`] never goes back and means nothing outside this
//! process; [`Wall`] is what people read, may jump, and decides nothing.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Monotonic time: nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Later than every time that occurs: "no deadline".
    pub const FAR: Mono = Mono(u64::MAX);

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, d: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time: milliseconds since 1970-01-01 UTC.
///
/// What is read is never later than [`Wall::LAST`]: times come from other nodes too, and one that
/// has no written form would spoil every file and picture that it gets into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(#[serde(deserialize_with = "within_years")] pub u64);

fn within_years<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    u64::deserialize(from).map(|ms| ms.min(Wall::LAST.0))
}

impl Wall {
    /// 2020-01-01T00:00:00Z: a clock before this was never set.
    pub const SANE: Wall = Wall(1_577_836_800_000);

    /// 9999-12-31T23:59:59Z: the last time that RFC 3339 can write.
    pub const LAST: Wall = Wall(253_402_300_799_000);

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Monotonic time.
    fn mono(&self) -> Mono;
    /// Wall-clock time.
    fn wall(&self) -> Wall;
}

/// The machine's clocks.
#[derive(Clone, Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// Time zero is now. (It is put an hour back, so that subtracting a timeout never saturates.)
    #[allow(clippy::new_without_default, clippy::disallowed_methods)]
    #[must_use]
    pub fn new() -> RealClock {
        RealClock { start: Instant::now() }
    }
}

impl Clock for RealClock {
    #[allow(clippy::disallowed_methods)]
    fn mono(&self) -> Mono {
        Mono(0) + self.start.elapsed() + Duration::from_secs(3600)
    }

    #[allow(clippy::disallowed_methods)]
    fn wall(&self) -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands until somebody moves it: for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    mono: AtomicU64,
    wall: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall`.
    #[must_use]
    pub fn at(wall: Wall) -> ManualClock {
        ManualClock { mono: AtomicU64::new(3_600_000_000_000), wall: AtomicU64::new(wall.0) }
    }

    /// Moves both kinds of time.
    pub fn advance(&self, by: Duration) {
        self.mono.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.wall.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn mono(&self) -> Mono {
        Mono(self.mono.load(Ordering::Relaxed))
    }
    fn wall(&self) -> Wall {
        Wall(self.wall.load(Ordering::Relaxed))
    }
}
