//! How fast transactions are pulled: more by addition while nobody complains, less by multiplication when somebody does.

use crate::quorum_store::Micros;
use crate::quorum_store::config::BackPressureConfig;

/// What the proof manager says of its backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackPressure {
    /// Too many transactions.
    pub txns: bool,
    /// Too many proofs.
    pub proofs: bool,
}

/// The rate of pulls.
#[derive(Clone, Debug)]
pub struct PullRate {
    config: BackPressureConfig,
    per_s: u64,
    decreased: Option<Micros>,
    increased: Option<Micros>,
}

impl PullRate {
    /// Begins in the middle.
    #[must_use]
    pub fn new(config: BackPressureConfig) -> PullRate {
        let per_s = config.min_txns_per_s.midpoint(config.max_txns_per_s);
        PullRate { config, per_s, decreased: None, increased: None }
    }

    /// Transactions per second.
    #[must_use]
    pub fn per_s(&self) -> u64 {
        self.per_s
    }

    /// One tick.
    pub fn tick(&mut self, now: Micros, pressure: BackPressure) {
        let BackPressureConfig { decrease_every, increase_every, .. } = self.config;
        let due = |last: Option<Micros>, every| last.is_none_or(|last| now.since(last) >= every);
        if pressure.txns {
            if due(self.decreased, decrease_every) {
                let lower = self.per_s.saturating_mul(self.config.decrease_to_percent) / 100;
                self.per_s = lower.max(self.config.min_txns_per_s);
                self.decreased = Some(now);
            }
        } else if due(self.increased, increase_every) {
            let higher = self.per_s.saturating_add(self.config.increase_by);
            self.per_s = higher.min(self.config.max_txns_per_s);
            self.increased = Some(now);
        }
    }
}
