//! Where blocks come from: transfers in which everything succeeds, for measuring, and mixed blocks in which much
//! fails, for comparing executors.

mod accounts;
mod config;
mod error;
mod generator;
mod mixed;
mod mixed_kind;
mod model;
mod pairs;
mod parallel;
mod trace;

#[cfg(test)]
mod tests;

pub use accounts::Accounts;
pub use config::{WorkloadConfig, WorkloadKind};
pub use error::WorkloadError;
pub use generator::{WORKLOAD_CHAIN_ID, Workload};
pub use mixed::MixedWorkload;
