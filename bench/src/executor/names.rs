//! Names of what can be measured.

use serde::{Serialize, Serializer};
use std::fmt;

/// Who executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExecutorName {
    /// One transaction after the other: what all others are measured against.
    Sequential,
    /// Shards as threads of this process.
    Threads,
    /// Optimistic execution over threads of this process.
    BlockStm,
    /// Shards as processes, one block after the other.
    Processes,
    /// Shards as processes, blocks submitted so that the next is planned while one executes.
    ProcessesAhead,
}

impl ExecutorName {
    /// All.
    pub const ALL: [ExecutorName; 5] = [
        ExecutorName::Sequential,
        ExecutorName::Threads,
        ExecutorName::BlockStm,
        ExecutorName::Processes,
        ExecutorName::ProcessesAhead,
    ];

    /// As on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            ExecutorName::Sequential => "sequential",
            ExecutorName::Threads => "threads",
            ExecutorName::BlockStm => "block-stm",
            ExecutorName::Processes => "processes",
            ExecutorName::ProcessesAhead => "processes-ahead",
        }
    }
}

/// What is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadName {
    /// Any two accounts.
    Uniform,
    /// Accounts by rank, exponent 0.8.
    Zipf08,
    /// Accounts by rank, exponent 1.2.
    Zipf12,
    /// Everybody pays one account.
    Hot,
    /// The same, with balances and fees read and written: nothing commutes.
    HotPlain,
    /// Every transaction pays eight accounts.
    Batch,
    /// Transfers of a CSV file.
    Trace,
}

impl WorkloadName {
    /// All.
    pub const ALL: [WorkloadName; 7] = [
        WorkloadName::Uniform,
        WorkloadName::Zipf08,
        WorkloadName::Zipf12,
        WorkloadName::Hot,
        WorkloadName::HotPlain,
        WorkloadName::Batch,
        WorkloadName::Trace,
    ];

    /// As on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadName::Uniform => "uniform",
            WorkloadName::Zipf08 => "zipf-0.8",
            WorkloadName::Zipf12 => "zipf-1.2",
            WorkloadName::Hot => "hot",
            WorkloadName::HotPlain => "hot-plain",
            WorkloadName::Batch => "batch",
            WorkloadName::Trace => "trace",
        }
    }

    /// Whether balances and fees are commutative writes.
    pub fn is_commutative(self) -> bool {
        self != WorkloadName::HotPlain
    }
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for ExecutorName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for WorkloadName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
