//! Why a host cannot be read, or no layout be made on it.

use crate::types::{CpuId, NodeId};
use phalanx_ipc::PinError;
use thiserror::Error;

/// Why a host cannot be read, or no layout be made on it.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// The kernel does not tell the affinity mask.
    #[error(transparent)]
    Affinity(#[from] PinError),
    /// The mask has no core in it.
    #[error("the affinity mask of this process is empty; start it under another mask")]
    NoCores,
    /// No CPU is described.
    #[error("no CPU that is online is described there; mount /sys, or name the root of a recorded one")]
    NoCpus,
    /// A file does not hold a list of numbers.
    #[error("{path} holds {text:?}, which is no list of CPUs; record it again, or report it")]
    Unreadable {
        /// The file.
        path: String,
        /// Its text.
        text: String,
    },
    /// A node's number is greater than masks of nodes can hold.
    #[error("node {node} is beyond the {} nodes that can be named", crate::topology::NODES_MAX)]
    NodeBeyondRange {
        /// The node.
        node: NodeId,
    },
    /// A CPU was asked for that cannot be used.
    #[error("CPU {cpu} {why}; allowed are {allowed}")]
    CoreUnusable {
        /// The CPU.
        cpu: CpuId,
        /// What is wrong with it.
        why: &'static str,
        /// Those that may be used.
        allowed: String,
    },
    /// A node was asked for that cannot take shards.
    #[error("node {node} {why}; `phalanx topology` shows the nodes")]
    NodeUnusable {
        /// The node.
        node: NodeId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing is left to run on.
    #[error("the options leave no CPU for shards; allowed to this process are {allowed}")]
    NothingLeft {
        /// Those that may be used.
        allowed: String,
    },
    /// More shards were asked for than the limit per node leaves places for.
    #[error("{shards} shards were asked for, but the limit per node leaves {places} places; raise it")]
    TooFewPlaces {
        /// Shards asked for.
        shards: usize,
        /// Places there are.
        places: usize,
    },
    /// More shards than can be, or none.
    #[error("{shards} shards were asked for; 1 to {} are possible", crate::MAX_SHARDS)]
    TooManyShards {
        /// Shards asked for.
        shards: usize,
    },
    /// The control group may not run so many CPUs all the time.
    #[error(
        "the CPU quota (cpu.max) allows {quota:.2} CPUs, the shards would be pinned to {cores}, and the kernel would stop all of them in every period; raise the quota or lower --shards"
    )]
    QuotaTooSmall {
        /// CPUs' worth of time that the group has.
        quota: f64,
        /// Distinct CPUs of the shards.
        cores: usize,
    },
}
