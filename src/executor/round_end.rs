//! How a round ends, and how its lack of motion is noticed.

use std::time::{Duration, Instant};

/// How a round ended.
pub(super) enum RoundEnd {
    Finished,
    CutShort(Cut),
}

/// Why a round was cut short.
pub(super) enum Cut {
    /// Some member is gone.
    Death,
    /// Nobody made progress.
    Stall,
    /// A shard left with work undone.
    Partial,
    Deadline,
    Cancelled,
}

/// When the members of a round last moved.
pub(super) struct Motion {
    seen: u64,
    since: Instant,
}

impl Motion {
    pub(super) fn new(now: Instant) -> Motion {
        Motion { seen: 0, since: now }
    }

    /// When something moved last, as far as it was looked at.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Takes in what is seen now; whether it has been the same for longer than `limit`.
    pub(super) fn is_older_than(&mut self, seen: u64, limit: Option<Duration>) -> bool {
        let now = Instant::now();
        if std::mem::replace(&mut self.seen, seen) != seen {
            self.since = now;
        }
        limit.is_some_and(|limit| now.duration_since(self.since) > limit)
    }
}
