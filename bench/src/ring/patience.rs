//! How an end waits for the other: it spins on a core of its own and yields on a shared one, but never for ever.

use crate::ring::PeerError;
use std::time::{Duration, Instant};

/// No wait for the other end lasts longer than this: far more than a loaded host needs to run it.
pub const STALL_LIMIT: Duration = Duration::from_secs(20);
/// Turns between looks at the clock.
const TURNS: u32 = 4096;

/// One wait after the other.
#[derive(Debug)]
pub struct Patience {
    what: &'static str,
    yields: bool,
    turns: u32,
    since: Option<Instant>,
}

impl Patience {
    /// For waits for `what`.
    pub fn new(what: &'static str, yields: bool) -> Patience {
        Patience { what, yields, turns: 0, since: None }
    }

    /// One turn of waiting.
    ///
    /// # Errors
    /// When the wait has lasted longer than [`STALL_LIMIT`].
    #[inline]
    pub fn pause(&mut self) -> Result<(), PeerError> {
        if self.yields {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
        self.turns += 1;
        if self.turns.is_multiple_of(TURNS) { self.look() } else { Ok(()) }
    }

    /// The wait is over.
    #[inline]
    pub fn rest(&mut self) {
        if self.turns >= TURNS {
            self.since = None;
        }
        self.turns = 0;
    }

    #[cold]
    fn look(&mut self) -> Result<(), PeerError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < STALL_LIMIT {
            // Stays above the first look, so that rest() knows that there was one.
            self.turns = TURNS;
            return Ok(());
        }
        Err(PeerError::Stalled { what: self.what, limit_ms: STALL_LIMIT.as_millis() })
    }
}
