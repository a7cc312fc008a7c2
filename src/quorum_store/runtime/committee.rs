//! All validators of a network in one process: their keys, disks, order and network.

use crate::quorum_store::runtime::agreement::{Agreement, Disagreement};
use crate::quorum_store::runtime::clock::Clock;
use crate::quorum_store::runtime::commons::{Role, ValidatorSeat};
use crate::quorum_store::runtime::local_network::{LocalNetwork, NetworkFaults};
use crate::quorum_store::runtime::shutdown_report::ShutdownReport;
use crate::quorum_store::{
    BlockExecutor, BlsKeys, BlsSecret, Committed, Disk, DiskError, Keys, KeysError, LmdbDisk, MAX_VALIDATORS,
    Network, OrderedBlock, RegisteredKey, RoundRobin, StartError, TxnException, Validator, ValidatorConfig,
    ValidatorEnd, ValidatorId,
};
use crate::types::OutOfRange;
use crate::vm::ledger::Address;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Options of a committee.
#[derive(Clone, Debug)]
pub struct CommitteeConfig {
    /// Validators, 1 to [`MAX_VALIDATORS`]. The first one executes the blocks, the others take over what it came to.
    pub validators: u16,
    /// Each validator has a directory `validator-<n>` in this one.
    pub directory: PathBuf,
    /// Most bytes of one validator's disk.
    pub disk_bytes: u64,
    /// Decides the faults of the network, and the validators' keys: good enough where all of them are one process.
    pub seed: u64,
    /// What goes wrong in the network.
    pub faults: NetworkFaults,
    /// Options of each validator.
    pub validator: ValidatorConfig,
}

/// A committee did not start.
#[derive(Debug, Error)]
pub enum CommitteeError {
    /// An option is not possible.
    #[error(transparent)]
    Option(#[from] OutOfRange),
    /// A validator's disk does not open.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The directories are not of one network.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// A validator did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The validators of one process.
#[derive(Debug)]
pub struct Committee {
    validators: Vec<Validator>,
    network: Arc<LocalNetwork>,
}
