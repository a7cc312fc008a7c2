//! The clock by which processes compare times.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since boot by the monotonic clock: the same for all processes of the host. Zero if the kernel has no such clock.
#[must_use]
pub fn monotonic_now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
