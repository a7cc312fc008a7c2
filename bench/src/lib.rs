//! Workloads for phalanx, which are the same for the same seed on every host; and its benchmarks.
#![deny(unsafe_code)]

pub mod ethereum;
pub mod executor;
pub mod report;
pub mod ring;
mod supervisor;
pub mod workload;

pub use supervisor::supervisor_entry;
pub use workload::{
    Accounts, MixedWorkload, WORKLOAD_CHAIN_ID, Workload, WorkloadConfig, WorkloadError, WorkloadKind,
};
