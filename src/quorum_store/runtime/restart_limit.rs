//! How many restarts are too many.

use crate::quorum_store::SupervisionConfig;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The restarts of the last time.
#[derive(Clone, Debug)]
pub struct RestartLimit {
    limit: usize,
    window: Duration,
    recent: VecDeque<Instant>,
}

impl RestartLimit {
    pub fn new(config: &SupervisionConfig) -> RestartLimit {
        RestartLimit { limit: config.restart_limit, window: config.restart_window, recent: VecDeque::new() }
    }

    /// One more at `now`; how many there were within the window if that is over the limit.
    pub fn note(&mut self, now: Instant) -> Result<(), usize> {
        while self.recent.front().is_some_and(|&first| now.saturating_duration_since(first) >= self.window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > self.limit { Err(self.recent.len()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What would break: a limit that counts restarts for ever ends a node that had one a day.
    #[test]
    fn only_restarts_within_the_window_count() {
        let config = SupervisionConfig {
            restart_limit: 2,
            restart_window: Duration::from_secs(10),
            ..SupervisionConfig::default()
        };
        let (mut limit, begun) = (RestartLimit::new(&config), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!([limit.note(at(0)), limit.note(at(5)), limit.note(at(10))], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(limit.note(at(11)), Err(3));
        assert_eq!(limit.note(at(40)), Ok(()));
    }
}
