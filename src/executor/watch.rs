//! What long work of the coordinator looks at between its pieces.

use crate::executor::error::ExecuteError;
use std::time::Instant;

/// Transactions looked at between two looks at the clock: some 100 us of work.
pub(super) const LOOK_EVERY: usize = 1 << 10;

/// Why work on a block stops half-way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The time is up.
    Deadline,
    /// The caller has given the block up.
    Cancelled,
}

impl Stop {
    /// The error that the caller gets, with how far the block had come.
    pub(super) fn after(self, accepted: usize, transactions: usize) -> ExecuteError {
        match self {
            Stop::Deadline => ExecuteError::DeadlineExceeded { accepted, transactions },
            Stop::Cancelled => ExecuteError::Cancelled { accepted, transactions },
        }
    }
}

/// The caller's patience.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    pub(super) deadline: Instant,
    pub(super) cancelled: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    /// Whether to go on. Costs a look at the clock.
    pub(super) fn look(&self) -> Result<(), Stop> {
        if (self.cancelled)() {
            Err(Stop::Cancelled)
        } else if Instant::now() >= self.deadline {
            Err(Stop::Deadline)
        } else {
            Ok(())
        }
    }

    /// As [`look`](Self::look), for every [`LOOK_EVERY`]-th `place` of a walk.
    pub(super) fn look_at(&self, place: usize) -> Result<(), Stop> {
        if place.is_multiple_of(LOOK_EVERY) { self.look() } else { Ok(()) }
    }
}
