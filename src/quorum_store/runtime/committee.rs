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

/// A validator's disk, and its keys.
pub type Belongings = (Arc<dyn Disk>, Arc<dyn Keys>);

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

impl Committee {
    /// Starts all validators on the tasks of `runtime`, which needs its timer. Blocks that any of them had before are brought to their
    /// end first. `next` says the next sequence numbers of accounts as they are after the executor's last block; accounts that
    /// are not named begin with 0. Blocks while disks are read.
    ///
    /// # Errors
    /// [`CommitteeError`]; nothing runs.
    pub fn start(
        config: CommitteeConfig,
        executor: Arc<dyn BlockExecutor>,
        next: &HashMap<Address, u64>,
        runtime: &Handle,
    ) -> Result<Committee, CommitteeError> {
        OutOfRange::check("committee.validators", u64::from(config.validators), 1..=MAX_VALIDATORS as u64)?;
        let keys = keys_of(config.seed, config.validators)?;
        let mut belongings: Vec<Belongings> = Vec::new();
        for (id, keys) in (0..config.validators).map(ValidatorId).zip(keys) {
            let disk = LmdbDisk::open(&config.directory.join(format!("validator-{id}")), config.disk_bytes)?;
            belongings.push((Arc::new(disk), keys));
        }
        Committee::start_with(&config, belongings, executor, next, runtime)
    }

    /// As [`start`](Self::start), with these disks and keys, one of each for each validator.
    pub(in crate::quorum_store) fn start_with(
        config: &CommitteeConfig,
        belongings: Vec<Belongings>,
        executor: Arc<dyn BlockExecutor>,
        next: &HashMap<Address, u64>,
        runtime: &Handle,
    ) -> Result<Committee, CommitteeError> {
        let (count, validator) = (config.validators, &config.validator);
        validator.check()?;
        let orderer = Arc::new(RoundRobin::new(count));
        let agreement = Arc::new(Agreement::new(orderer, count, validator.blocks.ahead));
        for (id, (disk, _)) in (0..count).map(ValidatorId).zip(&belongings) {
            join(&agreement, id, &**disk)?;
        }
        agreement.begin();
        let network = Arc::new(LocalNetwork::new(runtime, config.seed, config.faults));
        let clock = Clock::start();
        let started = (0..count).map(ValidatorId).zip(belongings).map(|(id, (disk, keys))| {
            let role = if id.0 == 0 { Role::Executes(Arc::clone(&executor)) } else { Role::Follows };
            let (network, agreement) = (Arc::clone(&network) as Arc<dyn Network>, Arc::clone(&agreement));
            let seat = ValidatorSeat { validator: id, keys, disk, network, agreement, role, clock };
            Validator::start(seat, validator.clone(), next.clone(), runtime)
        });
        Ok(Committee { validators: started.collect::<Result<_, _>>()?, network })
    }

    /// The validators, by their ids.
    #[must_use]
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// The network between them.
    #[must_use]
    pub fn network(&self) -> &LocalNetwork {
        &self.network
    }

    /// Returns when a validator ended though nobody asked it to; never if all are shut down first.
    pub async fn ended(&self) -> ValidatorEnd {
        let (tell, mut told) = mpsc::channel(1);
        let watches: Vec<_> =
            self.validators.iter().map(|validator| watch(validator.clone(), tell.clone())).collect();
        drop(tell);
        let mut tasks = tokio::task::JoinSet::new();
        watches.into_iter().for_each(|watch| _ = tasks.spawn(watch));
        match told.recv().await {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// Shuts all validators down at the same time, each within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<ShutdownReport> {
        let begun = Instant::now();
        let stop = |validator: Validator| async move {
            validator.shutdown(deadline.saturating_sub(begun.elapsed())).await
        };
        let tasks: Vec<_> =
            self.validators.iter().map(|validator| tokio::spawn(stop(validator.clone()))).collect();
        let mut reports = Vec::new();
        for task in tasks {
            reports.push(task.await.unwrap_or(ShutdownReport { steps: Vec::new(), closed: false }));
        }
        reports
    }
}

async fn watch(validator: Validator, tell: mpsc::Sender<ValidatorEnd>) {
    if let Some(end) = validator.ended().await {
        // Somebody else's end may have been told before.
        let _ = tell.send(end).await;
    }
}

/// Tells the agreement what a validator's disk holds.
fn join(agreement: &Agreement, id: ValidatorId, disk: &dyn Disk) -> Result<(), CommitteeError> {
    let (kept, staged) = (disk.commits()?, disk.staged()?);
    let head = kept.entries.last().map_or(kept.collapsed.0, |last| last.sequence);
    let time = kept.entries.iter().map(|entry| entry.timestamp).fold(kept.collapsed.1, Ord::max);
    let committed = kept.entries.into_iter().filter_map(|entry| match entry.content {
        Committed::Block { height, batches, exceptions } => {
            let block = OrderedBlock { height, timestamp: entry.timestamp, batches };
            let exceptions: Arc<[TxnException]> = exceptions.into();
            Some((block, Some(exceptions)))
        }
        Committed::Synced { .. } => None,
    });
    let staged = staged.into_iter().map(|block| (block, None));
    Ok(agreement.join(id, (head, time), committed.chain(staged))?)
}

/// The keys of a network whose validators are one process.
fn keys_of(seed: u64, count: u16) -> Result<Vec<Arc<dyn Keys>>, KeysError> {
    let secret = |id: u16| {
        let mut hasher = blake3::Hasher::new_derive_key("phalanx committee keys 1");
        hasher.update(&seed.to_le_bytes()).update(&id.to_le_bytes());
        BlsSecret::from_seed(ValidatorId(id), hasher.finalize().as_bytes())
    };
    let registered: Vec<RegisteredKey> =
        (0..count).map(|id| Ok(secret(id)?.register())).collect::<Result<_, KeysError>>()?;
    let keys = |id: u16| Ok(Arc::new(BlsKeys::new(secret(id)?, &registered)?) as Arc<dyn Keys>);
    (0..count).map(keys).collect()
}
