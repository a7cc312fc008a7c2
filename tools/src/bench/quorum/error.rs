//! Why the steps could not be measured.

use crate::exit::Exit;
use phalanx::quorum_store::{AppendError, DiskError, KeysError, Refusal};
use phalanx::vm::ledger::TransactionError;
use thiserror::Error;

/// Why the steps could not be measured.
#[derive(Debug, Error)]
pub enum QuorumError {
    /// A disk does not open, or refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A commit is refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A directory cannot be made.
    #[error("cannot make a directory: {0}; choose another --directory")]
    Directory(#[from] std::io::Error),
    /// A transfer made here is none.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A component refused what it must take.
    #[error("a component refused its part: {0}; report it")]
    Refused(Refusal),
    /// Something was not committed.
    #[error(
        "{committed} of {transactions} transactions were committed, {excluded} are still excluded; report it"
    )]
    Lost {
        /// Transactions in all.
        transactions: u64,
        /// Those that a block had.
        committed: u64,
        /// Those in batches without an end.
        excluded: usize,
    },
}

impl From<Refusal> for QuorumError {
    fn from(refusal: Refusal) -> QuorumError {
        QuorumError::Refused(refusal)
    }
}

impl QuorumError {
    /// How the command ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            QuorumError::Disk(_) | QuorumError::Directory(_) | QuorumError::Keys(_) => Exit::Start,
            QuorumError::Append(_)
            | QuorumError::Transaction(_)
            | QuorumError::Refused(_)
            | QuorumError::Lost { .. } => Exit::Failed,
        }
    }
}
