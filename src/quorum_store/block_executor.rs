//! What executes ordered blocks: the door to whatever keeps the ledger.

use crate::quorum_store::{Micros, TxnBytes};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// What became of a transaction in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TxnOutcome {
    /// It did what it says.
    Success,
    /// It failed, and that had an effect: its sender paid, its sequence number is used.
    Failed,
    /// It changed nothing.
    WithoutEffect {
        /// Whether it may have an effect in a later block: its sequence number was ahead of its sender's.
        again: bool,
    },
}

/// A block as it is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockToExecute {
    /// Its height, from 1, without gaps.
    pub height: u64,
    /// Its time.
    pub timestamp: Micros,
    /// Its transactions in their order. Each has a place of its own: none is there twice. May be empty.
    pub transactions: Vec<TxnBytes>,
}

/// What a block came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutedBlock {
    /// One for each transaction of the block, in the same order.
    pub outcomes: Vec<TxnOutcome>,
}

/// A block was not executed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExecutorError {
    /// Not now. The same block is given again after a pause.
    #[error("block {height} is not executed yet: {reason}; it is tried again")]
    Again {
        /// Of the block.
        height: u64,
        /// Why.
        reason: String,
    },
    /// Never again: the validator ends.
    #[error("no more blocks can be executed after height {height}: {reason}")]
    Fatal {
        /// Of the block.
        height: u64,
        /// Why, and what the operator does about it.
        reason: String,
    },
}

/// Executes ordered blocks. Calls come in the order of heights, one at a time, from a thread that may block; only a call that
/// did not return within [`SupervisionConfig::execute_limit`](super::SupervisionConfig::execute_limit) may still be under way when
/// the same height is given again.
pub trait BlockExecutor: Send + Sync + fmt::Debug {
    /// Executes a block, and returns when its effects would survive the death of the machine. A height that was executed before,
    /// also by an earlier process, gives the same outcomes again and changes nothing.
    ///
    /// # Errors
    /// [`ExecutorError`]; nothing of the block has happened.
    fn execute(&self, block: &BlockToExecute) -> Result<ExecutedBlock, ExecutorError>;
}
