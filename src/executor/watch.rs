//! What long work of the coordinator looks at between its pieces.

use crate::executor::call::Call;
use crate::executor::error::ExecuteError;
use std::time::Instant;

/// Transactions looked at between two looks at the clock: well under 100 us of work.
pub(super) const LOOK_EVERY: usize = 1 << 7;

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
            Stop::Deadline => ExecuteError::DeadlineExceeded { accepted, transactions, last_death: None },
            Stop::Cancelled => ExecuteError::Cancelled { accepted, transactions },
        }
    }
}

/// The caller's patience, and the shards that may die meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    deadline: Instant,
    cancelled: &'a dyn Fn() -> bool,
    /// Has dead shards replaced; see [`Fleet::patrol`](crate::executor::Fleet::patrol).
    patrol: &'a dyn Fn(Instant),
}

impl<'a> Watch<'a> {
    /// For one call, over shards that `patrol` looks after.
    pub(super) fn new(call: &Call<'a>, patrol: &'a dyn Fn(Instant)) -> Watch<'a> {
        Watch { deadline: call.deadline, cancelled: call.cancelled, patrol }
    }

    /// Whether to go on. Costs a look at the clock.
    pub(super) fn look(&self) -> Result<(), Stop> {
        let now = Instant::now();
        (self.patrol)(now);
        if (self.cancelled)() {
            Err(Stop::Cancelled)
        } else if now >= self.deadline {
            Err(Stop::Deadline)
        } else {
            Ok(())
        }
    }

    /// Looks after the shards only.
    pub(super) fn patrol(&self, now: Instant) {
        (self.patrol)(now);
    }

    /// Looks after the shards only, for every [`LOOK_EVERY`]-th `place` of a walk that must come to its end.
    pub(super) fn patrol_at(&self, place: usize) {
        if place.is_multiple_of(LOOK_EVERY) {
            (self.patrol)(Instant::now());
        }
    }

    /// As [`look`](Self::look), for every [`LOOK_EVERY`]-th `place` of a walk.
    pub(super) fn look_at(&self, place: usize) -> Result<(), Stop> {
        if place.is_multiple_of(LOOK_EVERY) { self.look() } else { Ok(()) }
    }
}
