//! What a service manager is told while a command runs: that it is ready, what it does, that it is alive, that it stops.
//! Nothing without `NOTIFY_SOCKET`.

use sd_notify::NotifyState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A watchdog is fed at this part of its time.
const FEEDINGS_PER_PERIOD: u32 = 3;

/// A running service.
#[derive(Debug)]
pub struct Service {
    /// Time between feedings; `None` if nobody watches.
    feeding: Option<Duration>,
    begun: Instant,
    /// Milliseconds after `begun` of the last feeding.
    fed_ms: AtomicU64,
}

impl Service {
    /// For this process, as its environment says.
    pub fn of_environment() -> Service {
        let feeding = sd_notify::watchdog_enabled().map(|period| period / FEEDINGS_PER_PERIOD);
        Service { feeding, begun: Instant::now(), fed_ms: AtomicU64::new(0) }
    }

    /// All processes are up: whoever waits for this service goes on.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A step forward was made: a block was executed while all is well. Feeds the watchdog when it is time to, and says how
    /// far it is as often.
    pub fn alive(&self, status: impl FnOnce() -> String) {
        let Some(feeding) = self.feeding else { return };
        let now = self.begun.elapsed();
        let fed = Duration::from_millis(self.fed_ms.load(Ordering::Relaxed));
        if now.saturating_sub(fed) >= feeding || fed.is_zero() {
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
            self.fed_ms.store(now_ms, Ordering::Relaxed);
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status())]);
        }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager it does nothing.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager is not told; see NOTIFY_SOCKET");
    }
}
