//! Time that two processes agree on, and what it costs to read it.

use crate::report::percentile;
use crate::ring::{PeerError, Sample};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Nanoseconds since some moment that is the same for all processes; 0 if the kernel has no such clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()));
    u64::try_from(time).unwrap_or(0)
}

/// What one reading of the clock adds to a measured time, in ns: the median of many.
fn reading_cost() -> u64 {
    let mut costs: Vec<u64> = (0..1001)
        .map(|_| {
            let begun = Instant::now();
            nanos_between(begun, Instant::now())
        })
        .collect();
    costs.sort_unstable();
    costs.get(costs.len() / 2).copied().unwrap_or(0)
}

/// From one moment to another, in ns.
pub fn nanos_between(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// Most laps that are kept.
const LAPS_MAX: usize = 1 << 20;

/// Times one lap after the other, with one reading of the clock for each. The first tenth of the time warms up.
#[derive(Debug)]
pub struct Laps {
    nanos: Vec<u64>,
    begun: Instant,
    duration: Duration,
    last: Instant,
}

impl Laps {
    /// Begins the first lap.
    pub fn begin(duration: Duration) -> Laps {
        let nanos = Vec::with_capacity(LAPS_MAX);
        let begun = Instant::now();
        Laps { nanos, begun, duration, last: begun }
    }

    /// Ends a lap and begins the next. False when it is time to stop; not before something was timed.
    #[inline]
    pub fn lap(&mut self) -> bool {
        let now = Instant::now();
        let passed = self.last.saturating_duration_since(self.begun);
        if passed >= self.duration / 10 {
            self.nanos.push(nanos_between(self.last, now));
        }
        self.last = now;
        self.nanos.is_empty() || (passed < self.duration && self.nanos.len() < LAPS_MAX)
    }

    /// What the laps come to.
    ///
    /// # Errors
    /// When there was none.
    pub fn summary(self) -> Result<Sample, PeerError> {
        summary(self.nanos)
    }
}

/// Median and 99th percentile, less what reading the clock adds to each.
///
/// # Errors
/// When nothing was timed.
pub fn summary(mut nanos: Vec<u64>) -> Result<Sample, PeerError> {
    let reading_cost = reading_cost();
    nanos.sort_unstable();
    let at = |share| percentile(&nanos, share).map(|time| time.saturating_sub(reading_cost));
    match (at(0.5), at(0.99)) {
        (Some(p50), Some(p99)) => Ok(Sample::Latency { samples: nanos.len() as u64, p50, p99 }),
        (None, _) | (_, None) => Err(PeerError::Unsupported("nothing was timed; raise --millis")),
    }
}
