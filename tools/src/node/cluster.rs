//! The validators of the node, as the rest of it sees them.

use crate::node::book::Book;
use crate::node::error::NodeError;
use crate::node::home::Home;
use crate::node::options::NodeOptions;
use crate::node::phalanx_executor::PhalanxExecutor;
use crate::node::plain::Plain;
use crate::node::report::{Holds, Standing};
use parking_lot::Mutex;
use phalanx::quorum_store::{
    BlockExecutor, CommitFeed, CommittedBlock, Committee, CommitteeConfig, Component, NetworkFaults,
    PooledTxn, Refusal, RefusalCounts, ShutdownReport, SupervisionConfig, Validator, ValidatorConfig,
    ValidatorEnd,
};
use phalanx::vm::ledger::Address;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Address space for the store of one validator; the file takes what it holds.
const DISK_BYTES: u64 = 16 << 30;
/// Restarts are counted within this time.
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Batches live so long, and are kept so long afterwards. The peers are in this process: nobody is away for longer, and what is
/// kept of the last seconds is most of the node's memory.
const BATCH_EXPIRY: Duration = Duration::from_secs(20);
const BATCH_BUFFER: Duration = Duration::from_secs(5);
/// All validators share the cores of this host, and a batch costs each of them a signature or the check of a proof, however large it
/// is: batches are larger and rarer here than where every validator has a host of its own.
const PULL_INTERVAL: Duration = Duration::from_millis(200);
const BATCH_TXNS: u64 = 400;
/// What a peer takes in one batch, half as much again as it sends.
const BATCH_TXNS_TAKEN: u64 = 600;
/// Keeps the random numbers of kills apart from others under the same seed.
const STREAM: u64 = 103;

/// The validators.
#[derive(Debug)]
pub struct Cluster {
    way: Way,
    end: Arc<Mutex<Option<ValidatorEnd>>>,
    random: Mutex<ChaCha8Rng>,
}

/// How transactions come to blocks.
#[derive(Debug)]
enum Way {
    /// Over the validators' quorum stores.
    Committee(Committee),
    /// Straight.
    Plain(Plain),
}

impl Cluster {
    /// Starts all of them on the tasks of `runtime`. Blocks while their disks are read.
    ///
    /// # Errors
    /// `Committee`.
    pub fn start(
        options: &NodeOptions,
        home: &Home,
        executor: Arc<dyn BlockExecutor>,
        sequences: &HashMap<Address, u64>,
        runtime: &Handle,
    ) -> Result<Cluster, NodeError> {
        let mut validator = ValidatorConfig {
            supervision: SupervisionConfig {
                restart_limit: usize::try_from(options.restart_limit()).unwrap_or(usize::MAX),
                restart_window: RESTART_WINDOW,
                ..SupervisionConfig::default()
            },
            // The book knows how transactions ended.
            ends_remembered: 0,
            ..ValidatorConfig::default()
        };
        validator.quorum_store.batch_expiry = BATCH_EXPIRY;
        validator.quorum_store.expiration_buffer = BATCH_BUFFER;
        validator.quorum_store.min_pull_interval = PULL_INTERVAL;
        validator.quorum_store.sender.batch_txns = BATCH_TXNS;
        validator.quorum_store.receiver.batch_txns = BATCH_TXNS_TAKEN;
        let config = CommitteeConfig {
            validators: u16::try_from(options.validators).unwrap_or(u16::MAX),
            directory: home.path().to_owned(),
            disk_bytes: DISK_BYTES,
            seed: options.seed,
            faults: NetworkFaults::default(),
            validator,
        };
        let committee = Committee::start(config, executor, sequences, runtime)?;
        let end = Arc::new(Mutex::new(None));
        for validator in committee.validators() {
            let (validator, noted) = (validator.clone(), Arc::clone(&end));
            runtime.spawn(async move {
                if let Some(end) = validator.ended().await {
                    noted.lock().get_or_insert(end);
                }
            });
        }
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        random.set_stream(STREAM);
        Ok(Cluster { way: Way::Committee(committee), end, random: Mutex::new(random) })
    }

    /// No validators: blocks come straight from one queue.
    ///
    /// # Errors
    /// `Resource`.
    pub fn plain(executor: Arc<PhalanxExecutor>, book: Arc<Mutex<Book>>) -> Result<Cluster, NodeError> {
        let way = Way::Plain(Plain::start(executor, book)?);
        Ok(Cluster { way, end: Arc::default(), random: Mutex::new(ChaCha8Rng::seed_from_u64(0)) })
    }

    fn validators(&self) -> &[Validator] {
        match &self.way {
            Way::Committee(committee) => committee.validators(),
            Way::Plain(_) => &[],
        }
    }

    /// Brings a transaction to the mempool of one validator, always the same for one sender: only there its transactions wait for
    /// each other.
    ///
    /// # Errors
    /// What the mempool refuses.
    pub fn submit(&self, txn: &PooledTxn) -> Result<(), Refusal> {
        if let Way::Plain(plain) = &self.way {
            return plain.submit(txn);
        }
        let place =
            u64::from_le_bytes(first_eight(&txn.summary.sender)) % self.validators().len().max(1) as u64;
        let validator = usize::try_from(place).ok().and_then(|place| self.validators().get(place));
        let validator = validator.ok_or(Refusal::MailboxClosed)?;
        validator.submit(txn.bytes.clone()).map(|_| ())
    }

    /// Height of the last block that the executing validator committed.
    pub fn head(&self) -> u64 {
        match &self.way {
            Way::Committee(_) => self.validators().first().map_or(0, |validator| validator.cursors().head),
            Way::Plain(plain) => plain.head(),
        }
    }

    /// Every block that the executing validator commits from now on.
    pub fn commits(&self) -> Option<CommitFeed> {
        self.validators().first().map(Validator::commits)
    }

    /// Blocks that were committed before now, as far as they are kept. Blocks for the disk.
    pub fn kept_commits(&self) -> Vec<CommittedBlock> {
        self.validators().first().map(Validator::kept_commits).unwrap_or_default()
    }

    /// Where each validator stands.
    pub fn standings(&self) -> Vec<Standing> {
        self.validators().iter().map(standing).collect()
    }

    /// Why a validator ended, if one did.
    pub fn gave_up(&self) -> Option<String> {
        match &self.way {
            Way::Committee(_) => self.end.lock().as_ref().map(ToString::to_string),
            Way::Plain(plain) => plain.failure(),
        }
    }

    /// Kills one component of one validator, both drawn at random; false if its task was not there.
    pub async fn kill_one(&self) -> bool {
        let count = self.validators().len();
        if count == 0 {
            return false;
        }
        let (validator, component) = {
            let mut random = self.random.lock();
            let component = Component::ALL[random.random_range(0..Component::ALL.len())];
            (random.random_range(0..count), component)
        };
        let Some(validator) = self.validators().get(validator) else { return false };
        let there = validator.is_alive(component);
        tracing::info!(validator = %validator.id(), %component, "a component is killed");
        there && validator.kill(component).await
    }

    /// What was refused or dropped between the validators, by reason.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut all = RefusalCounts::default();
        let mut by_name = BTreeMap::new();
        for counters in self.validators().iter().map(Validator::counters) {
            all.add(&counters.refusals);
            for (component, counts) in counters.mailboxes {
                let dropped = [
                    ("control_closed", counts.control_closed),
                    ("control_full", counts.control_full),
                    ("bulk_closed", counts.bulk_closed),
                    ("bulk_full", counts.bulk_full),
                ];
                for (why, count) in dropped.into_iter().filter(|&(_, count)| count > 0) {
                    *by_name.entry(format!("{component}_{why}")).or_insert(0) += count;
                }
            }
        }
        by_name.extend(all.iter().map(|(refusal, count)| (refusal.name().to_owned(), count)));
        by_name
    }

    /// Stops all components in order. When it returns true nothing is written any more.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        match &self.way {
            Way::Committee(committee) => {
                committee.shutdown(deadline).await.iter().all(ShutdownReport::is_closed)
            }
            Way::Plain(plain) => {
                plain.stop();
                true
            }
        }
    }
}

fn first_eight(address: &Address) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&address.0[..8]);
    first
}

fn standing(validator: &Validator) -> Standing {
    let (cursors, held) = (validator.cursors(), validator.holdings());
    Standing {
        head: cursors.head,
        cursors: cursors.applied.iter().map(|(component, applied)| (component.name(), applied)).collect(),
        exclusion_size: held.excluded as u64,
        holds: Holds {
            mempool: held.mempool,
            batches: held.batches,
            queued: held.queued,
            collections: held.collections,
            commits: held.commits,
        },
        restarts: validator.restarts().total(),
    }
}
