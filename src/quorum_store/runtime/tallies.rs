//! What the components of a validator counted, over all their lives.

use crate::quorum_store::{Component, GeneratorCounts, RefusalCounts};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What one life of a component counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub refusals: RefusalCounts,
    pub generator: GeneratorCounts,
    pub proofs: u64,
    pub proof_timeouts: u64,
    pub bad_signatures: u64,
    pub served: u64,
    pub gated: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.refusals.add(&other.refusals);
        self.generator.add(&other.generator);
        self.proofs += other.proofs;
        self.proof_timeouts += other.proof_timeouts;
        self.bad_signatures += other.bad_signatures;
        self.served += other.served;
        self.gated += other.gated;
    }
}

#[derive(Debug, Default)]
struct Lives {
    before: Tally,
    now: Tally,
}

/// The tallies of all components, and how much each holds.
#[derive(Debug, Default)]
pub struct Tallies {
    lives: Mutex<[Lives; Component::ALL.len()]>,
    pub exclusion: AtomicUsize,
    pub queue: AtomicUsize,
    pub collections: AtomicUsize,
    pub blocks: AtomicU64,
    pub block_txns: AtomicU64,
    pub executor_retries: AtomicU64,
    pub disk_retries: AtomicU64,
    pub fetches: AtomicU64,
    pub proposed: AtomicU64,
    pub encode_failures: AtomicU64,
}

impl Tallies {
    /// What this life of a component counted so far.
    pub fn set(&self, component: Component, tally: Tally) {
        self.lives.lock()[component as usize].now = tally;
    }

    /// A new life begins to count.
    pub fn begin(&self, component: Component) {
        let lives = &mut self.lives.lock()[component as usize];
        let last = std::mem::take(&mut lives.now);
        lives.before.add(&last);
    }

    /// All that was counted.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for lives in self.lives.lock().iter() {
            sum.add(&lives.before);
            sum.add(&lives.now);
        }
        sum
    }

    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
