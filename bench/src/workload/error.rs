//! Why a workload cannot be made.

use phalanx::vm::ledger::GenesisError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a workload cannot be made.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// Sender and recipient must differ.
    #[error("a workload over {accounts} accounts has no two different ones; give at least 2")]
    TooFewAccounts {
        /// How many were asked for.
        accounts: usize,
    },
    /// Accounts are numbered with 32 bits.
    #[error("a workload over {accounts} accounts is too large; give at most {limit}", limit = u32::MAX)]
    TooManyAccounts {
        /// How many were asked for.
        accounts: usize,
    },
    /// A block must have transactions.
    #[error("blocks of 0 transactions were asked for; give a block size of at least 1")]
    EmptyBlocks,
    /// The skew is no exponent of a Zipf distribution.
    #[error("skew {skew} is no exponent of a zipf distribution; give a finite number from 0 up")]
    BadSkew {
        /// What was given.
        skew: f64,
    },
    /// The trace file cannot be read.
    #[error("trace {path} cannot be read: {source}; check the path", path = path.display())]
    TraceUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The trace file has a row that is no transfer.
    #[error("trace {path}, line {line}: {problem}; correct the row or remove it", path = path.display())]
    TraceRow {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The trace file has no transfers.
    #[error("trace {path} has no transfers; give a file with rows below its header", path = path.display())]
    TraceEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The first state of the ledger cannot be made.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}
