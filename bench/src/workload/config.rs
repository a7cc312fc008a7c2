//! What a workload is made of.

use std::path::PathBuf;

/// Who pays whom.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadKind {
    /// Sender and recipient are any two different accounts, all equally likely.
    Uniform,
    /// Sender and recipient are different accounts, drawn by rank from a Zipf distribution.
    Zipf {
        /// Exponent of the distribution; 0 is uniform, 1 is like much of the world.
        skew: f64,
    },
    /// Any account pays one and the same recipient.
    Hot,
    /// Any account pays so many different accounts with one transaction; at least 1 of them, and at most
    /// [`phalanx::vm::ledger::MAX_RECIPIENTS`], for more than that fails.
    Batch {
        /// Recipients of a transaction.
        recipients: usize,
    },
    /// Transfers from a CSV file with the header `block,index,from,to,value_wei`, in file order.
    Trace(PathBuf),
    /// The same, from the start of the file again at its end, with amounts capped so that every account can pay all
    /// transfers of all blocks.
    LoopedTrace(PathBuf),
}

/// Set-up of a [`crate::Workload`].
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadConfig {
    /// Who pays whom.
    pub kind: WorkloadKind,
    /// Number of accounts, at least 2 (a batch: more than it has recipients). A trace brings its own accounts; for it this is ignored.
    pub accounts: usize,
    /// Transactions per block, at least 1. The last block of a trace may have fewer.
    pub block_size: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Whether transactions are signed and the ledger verifies them.
    pub signed: bool,
    /// Most blocks; a trace may end earlier.
    pub blocks: u64,
}
