//! The one clock of the validators of a process.

use crate::quorum_store::Micros;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The host's time at the start, and what has passed since: it never goes back, whatever is done to the host's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begun: Instant,
    at_begin: Micros,
}

impl Clock {
    /// A clock that goes by the host's time now.
    #[must_use]
    pub fn start() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { begun: Instant::now(), at_begin: Micros(0).plus(since_1970) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.at_begin.plus(self.begun.elapsed())
    }
}
