//! Time that two processes agree on, and what it costs to read it.

use nix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Nanoseconds since some moment that is the same for all processes; 0 if the kernel has no such clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
    });
    u64::try_from(time).unwrap_or(0)
}

/// What one reading of the clock adds to a measured time, in ns: the median of many.
pub fn reading_cost() -> u64 {
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
