//! Workloads for phalanx, which are the same for the same seed on every host; and its benchmarks.
#![deny(unsafe_code)]

pub mod ethereum;
pub mod executor;
pub mod report;
pub mod ring;
pub mod workload;

pub use workload::{
    Accounts, MixedWorkload, WORKLOAD_CHAIN_ID, Workload, WorkloadConfig, WorkloadError, WorkloadKind,
};
