//! Workloads for phalanx: blocks of ledger transactions, the same for the same seed on every host.
#![deny(unsafe_code)]

pub mod workload;

pub use workload::{
    Accounts, MixedWorkload, WORKLOAD_CHAIN_ID, Workload, WorkloadConfig, WorkloadError, WorkloadKind,
};
