//! Why executors cannot be compared.

use crate::WorkloadError;
use crate::executor::{ExecutorName, SettingKey};
use phalanx::executor::ExecuteError;
use phalanx::state::{StateDigest, StateError};
use phalanx::supervisor::LaunchError;
use phalanx::types::PrepareError;
use phalanx::vm::ledger::GenesisError;
use std::fmt;
use thiserror::Error;

/// Why executors cannot be compared: without the sequential executor, or with a wrong result, there is no report.
#[derive(Debug, Error)]
pub enum BenchError {
    /// There are no blocks.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The first state cannot be made.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The first state has no room.
    #[error("cannot make the first state: {0}; lower --accounts")]
    State(#[from] StateError),
    /// A block is too large for any executor.
    #[error("cannot prepare a block: {0}; lower --block-sizes")]
    Prepare(#[from] PrepareError),
    /// The sequential executor failed.
    #[error("{setting}: the sequential executor failed: {cause}; report it")]
    Sequential {
        /// What was executed.
        setting: SettingKey,
        /// Why.
        cause: ExecuteError,
    },
    /// An executor's result is not that of sequential execution.
    #[error(
        "{setting}: after block {height} the state digest of {executor} with {shards} shards is {digest}, not {expected} as after sequential execution; run it again with the same options, and report it"
    )]
    Mismatch {
        /// What was executed.
        setting: SettingKey,
        /// By whom.
        executor: ExecutorName,
        /// With so many shards.
        shards: usize,
        /// After which block.
        height: u64,
        /// What it should be.
        expected: StateDigest,
        /// What it is.
        digest: StateDigest,
    },
}

/// Why one contender is out of the race; the others go on. Becomes the text of its row.
#[derive(Debug, Error)]
pub(super) enum ContenderError {
    /// Its processes cannot be had.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It cannot be made, or did not execute a block.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Its state has no room.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its virtual machine cannot be described to its processes.
    #[error("the virtual machine cannot be described: {0}")]
    Vm(#[from] bcs::Error),
    /// A block of its own cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The accounts of its own blocks clash.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Its own blocks cannot be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = if self.signed { "signed" } else { "unsigned" };
        write!(f, "{}, {signed}, blocks of {}", self.workload, self.block_size)
    }
}
