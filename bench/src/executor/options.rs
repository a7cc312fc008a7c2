//! What is to be compared.

use crate::executor::{ExecutorName, WorkloadName};
use std::path::PathBuf;
use std::time::Duration;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// Workloads, each at most once.
    pub workloads: Vec<WorkloadName>,
    /// Executors, each at most once. The sequential one takes part in any case: the others are compared with it.
    pub executors: Vec<ExecutorName>,
    /// Numbers of shards or threads, ascending.
    pub shards: Vec<usize>,
    /// Transactions per block, ascending.
    pub block_sizes: Vec<usize>,
    /// Whether transactions are signed: one of the values or both.
    pub signatures: Vec<bool>,
    /// Rounds: every contender of a setting has its turn in each. At least 1.
    pub rounds: u32,
    /// Most time on the clock for one contender of one setting, on average over the contenders. What is left of the rounds
    /// is then left out, but not the first two.
    pub budget: Duration,
    /// Accounts of all workloads but the trace.
    pub accounts: usize,
    /// CSV file of the trace; without it that workload is skipped.
    pub trace: Option<PathBuf>,
    /// As little as can be: two blocks per turn, few pairs, few wake-ups.
    pub quick: bool,
}

impl ExecutorOptions {
    /// Transactions that a contender executes on the clock in each turn, or one block if that is more.
    fn transactions_per_turn(signed: bool) -> usize {
        if signed { 10_000 } else { 40_000 }
    }

    /// Blocks on the clock in each turn.
    pub(super) fn blocks_per_turn(&self, signed: bool, block_size: usize) -> usize {
        if self.quick {
            return 2;
        }
        (Self::transactions_per_turn(signed) / block_size.max(1)).clamp(1, 32)
    }

    /// The block size that the budget and the scaling model speak of: 10,000, or else the greatest.
    pub fn reference_block_size(&self) -> Option<usize> {
        let usual = self.block_sizes.iter().find(|&&size| size == 10_000);
        usual.or(self.block_sizes.last()).copied()
    }
}

/// Something is about to begin.
#[derive(Clone, Debug)]
pub struct Step {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// What begins.
    pub what: String,
}
