//! A validator that runs: its components as supervised tasks, and what the host may ask of it.

use crate::quorum_store::runtime::agreement::Agreement;
use crate::quorum_store::runtime::commit_desk::CommitDesk;
use crate::quorum_store::runtime::commit_feed;
use crate::quorum_store::runtime::commons::{Commons, Doorstep};
use crate::quorum_store::runtime::supervision::{self, Order};
use crate::quorum_store::runtime::tallies::Tallies;
use crate::quorum_store::{
    BatchStore, CommitFeed, CommittedBlock, Component, CursorBoard, DiskError, ExecutorError, Gate,
    MailboxCounts, Mempool, Micros, PooledTxn, Refusal, RefusalCounts, ShutdownReport, TxnBytes, TxnHash,
    TxnStatus, ValidatorConfig, ValidatorId, ValidatorSeat,
};
use crate::types::OutOfRange;
use crate::vm::ledger::Address;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// A validator did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An option is not possible.
    #[error(transparent)]
    Option(#[from] OutOfRange),
    /// Its disk does not open.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A validator ended though nobody asked it to. A node that sees this ends, too, with an exit code of its own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValidatorEnd {
    /// Components were restarted more often than the limit allows.
    #[error(
        "validator {validator} gives up: {restarts} restarts within {} s are over the limit, the last one of {component}: {cause}; read the log for the causes, then start the node again",
        window.as_secs()
    )]
    GaveUp {
        /// Which validator.
        validator: ValidatorId,
        /// The component that failed last.
        component: Component,
        /// How.
        cause: String,
        /// Restarts within the window.
        restarts: usize,
        /// The window.
        window: Duration,
    },
    /// Blocks cannot be executed any more.
    #[error("validator {validator} ends: {error}")]
    Executor {
        /// Which validator.
        validator: ValidatorId,
        /// What the executor said.
        error: ExecutorError,
    },
    /// Its supervision is gone: the runtime was shut down, or the supervision has a fault.
    #[error(
        "the supervision of validator {validator} is gone; start the node again, it goes on at the last durable block"
    )]
    SupervisionLost {
        /// Which validator.
        validator: ValidatorId,
    },
}

/// How far a validator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// The last commit.
    pub head: u64,
    /// What each component has applied of it.
    pub applied: CursorBoard,
    /// Whether new work may begin.
    pub gate: Gate,
}

impl Cursors {
    /// Whether every component has applied everything.
    #[must_use]
    pub fn are_equal(&self) -> bool {
        self.applied.iter().all(|(_, applied)| applied == self.head)
    }
}

/// What a validator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Transactions in the mempool.
    pub mempool: usize,
    /// Transactions that are in some batch, and not pulled again.
    pub excluded: usize,
    /// Batches in the store.
    pub batches: usize,
    /// Items of the proof queue, committed ones that are remembered included.
    pub queued: usize,
    /// Entries of the proof coordinator's tables.
    pub collections: usize,
    /// Entries of the commit log that are kept.
    pub commits: usize,
}

/// What a validator did, over all lives of its components.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// What was refused or dropped, by reason.
    pub refusals: RefusalCounts,
    /// What mailboxes dropped, by component.
    pub mailboxes: Vec<(Component, MailboxCounts)>,
    /// Own batches made.
    pub batches: u64,
    /// Transactions in them.
    pub batch_txns: u64,
    /// Proofs made of own batches.
    pub proofs: u64,
    /// Own batches given up without a proof.
    pub proof_timeouts: u64,
    /// Bad signatures of peers.
    pub bad_signatures: u64,
    /// Pulls refused because a component lagged.
    pub gated: u64,
    /// Blocks proposed that were ordered.
    pub proposed: u64,
    /// Blocks committed since the start.
    pub blocks: u64,
    /// Transactions in them.
    pub block_txns: u64,
    /// Batches asked for because a block needed them.
    pub fetches: u64,
    /// Batches given to peers.
    pub served: u64,
    /// Blocks that the executor did not execute at once.
    pub executor_retries: u64,
    /// Writes of the pipeline that the disk refused, and that were tried again.
    pub disk_retries: u64,
    /// Transactions of own clients that were not committed in time.
    pub expired: u64,
}

/// Why components of a validator were restarted, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    by_component: [u64; Component::ALL.len()],
    /// Killed by [`Validator::kill`].
    pub killed: u64,
    /// Panicked.
    pub panicked: u64,
    /// Hung, or left its control news lying.
    pub hung: u64,
    /// Returned though nobody asked it to.
    pub returned: u64,
}

impl Restarts {
    pub(super) fn count(&mut self, component: Component) {
        self.by_component[component as usize] += 1;
    }

    /// Of one component.
    #[must_use]
    pub fn of(&self, component: Component) -> u64 {
        self.by_component[component as usize]
    }

    /// Of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_component.iter().sum()
    }
}

/// What supervision tells, and the handle reads.
#[derive(Debug)]
pub(super) struct Told {
    pub restarts: watch::Receiver<Restarts>,
    pub alive: watch::Receiver<[bool; Component::ALL.len()]>,
    /// Set when the validator ended by itself; closed when supervision has returned.
    pub end: watch::Receiver<Option<ValidatorEnd>>,
}

/// A running validator. Cheap to clone; all clones are the same one.
#[derive(Clone, Debug)]
pub struct Validator {
    commons: Arc<Commons>,
    orders: mpsc::Sender<Order>,
    told: Arc<Told>,
}

impl Validator {
    /// Starts a validator on the tasks of `runtime`, which needs its timer. `next` says the next sequence numbers of accounts as they
    /// are after the executor's last block; accounts that are not named begin with 0. Blocks while the disk is read.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        seat: ValidatorSeat,
        config: ValidatorConfig,
        next: HashMap<Address, u64>,
        runtime: &Handle,
    ) -> Result<Validator, StartError> {
        config.check()?;
        let commits = CommitDesk::open(Arc::clone(&seat.disk), config.quorum_store.log_window())?;
        let store =
            Arc::new(BatchStore::open(Arc::clone(&seat.disk), config.quorum_store.clone(), commits.time())?);
        let mempool = Mempool::new(config.quorum_store.mempool, next);
        let commons = Arc::new(Commons::new(seat, config, store, commits, mempool));
        let doorstep = Arc::new(Doorstep(Arc::downgrade(&commons)));
        commons.seat.network.attach(commons.seat.validator, doorstep);
        let (orders, told) = supervision::start(&commons, runtime);
        Ok(Validator { commons, orders, told: Arc::new(told) })
    }

    /// Which validator it is.
    #[must_use]
    pub fn id(&self) -> ValidatorId {
        self.commons.seat.validator
    }

    /// The order of blocks that it follows.
    #[must_use]
    pub fn agreement(&self) -> &Arc<Agreement> {
        &self.commons.seat.agreement
    }

    /// Takes a client's transaction into the mempool. Its signature is not looked at. Never blocks for long.
    ///
    /// # Errors
    /// `BadTransaction` for bytes that are none; `MailboxClosed` if the validator has ended; what [`Mempool::submit`] refuses with.
    pub fn submit(&self, bytes: TxnBytes) -> Result<TxnHash, Refusal> {
        if self.commons.ending.load(Ordering::Relaxed) {
            return Err(Refusal::MailboxClosed);
        }
        let txn = PooledTxn::read(bytes).map_err(|_| Refusal::BadTransaction)?;
        let hash = txn.summary.hash;
        let mut mempool = self.commons.mempool.lock();
        let taken = mempool.submit(self.commons.now(), txn);
        // The one that it replaces.
        self.commons.note_ends(&mut mempool);
        taken.map(|()| hash)
    }

    /// Where a transaction that was submitted here stands; `None` if it never was, or its end is forgotten.
    #[must_use]
    pub fn status(&self, hash: &TxnHash) -> Option<TxnStatus> {
        let mempool = self.commons.mempool.lock();
        if mempool.contains(hash) {
            return Some(TxnStatus::Waiting);
        }
        self.commons.ends.lock().of(hash)
    }

    /// Tells every block that is committed from now on, in order, with its transactions.
    #[must_use]
    pub fn commits(&self) -> CommitFeed {
        CommitFeed::after(Arc::clone(&self.commons), self.commons.commits.head())
    }

    /// As [`commits`](Self::commits), from the block after `height` on; blocks that are no longer kept are left out.
    #[must_use]
    pub fn commits_after(&self, height: u64) -> CommitFeed {
        CommitFeed::after(Arc::clone(&self.commons), height)
    }

    /// Committed blocks that are still kept, in order, from lives of the process before this one, too. Transactions of batches that
    /// are no longer kept are missing. Blocks for the disk.
    #[must_use]
    pub fn kept_commits(&self) -> Vec<CommittedBlock> {
        commit_feed::kept(&self.commons)
    }

    /// How far each component is.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        // The head first: nobody is ahead of it.
        let applied = self.commons.board();
        Cursors { head: self.commons.commits.head(), applied, gate: self.commons.gate() }
    }

    /// Transactions that are in some batch, and not pulled again until it ends.
    #[must_use]
    pub fn exclusion_size(&self) -> usize {
        self.commons.tallies.exclusion.load(Ordering::Relaxed)
    }

    /// What it holds.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let tallies = &self.commons.tallies;
        Holdings {
            mempool: self.commons.mempool.lock().len(),
            excluded: self.exclusion_size(),
            batches: self.commons.store.len(),
            queued: tallies.queue.load(Ordering::Relaxed),
            collections: tallies.collections.load(Ordering::Relaxed),
            commits: self.commons.commits.len(),
        }
    }

    /// What it did.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let tallies: &Tallies = &self.commons.tallies;
        let (sum, read) =
            (tallies.sum(), |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed));
        let mut refusals = sum.refusals;
        refusals.add(self.commons.mempool.lock().refusals());
        let of = |component| self.commons.mailboxes.counts(component).map(|(counts, _)| (component, counts));
        Counters {
            refusals,
            mailboxes: Component::ALL.into_iter().filter_map(of).collect(),
            batches: sum.generator.batches,
            batch_txns: sum.generator.txns,
            proofs: sum.proofs,
            proof_timeouts: sum.proof_timeouts,
            bad_signatures: sum.bad_signatures,
            gated: sum.gated + sum.generator.gated,
            proposed: read(&tallies.proposed),
            blocks: read(&tallies.blocks),
            block_txns: read(&tallies.block_txns),
            fetches: read(&tallies.fetches),
            served: sum.served,
            executor_retries: read(&tallies.executor_retries),
            disk_retries: read(&tallies.disk_retries),
            expired: self.commons.ends.lock().expired(),
        }
    }

    /// How often components were restarted.
    #[must_use]
    pub fn restarts(&self) -> Restarts {
        self.told.restarts.borrow().clone()
    }

    /// Whether a component's task is there right now.
    #[must_use]
    pub fn is_alive(&self, component: Component) -> bool {
        self.told.alive.borrow()[component as usize]
    }

    /// Kills a component's task wherever it is, for tests of the supervision. What it holds in memory is lost; what it is waiting
    /// for on a blocking thread comes to its end there. False if the validator has ended.
    pub async fn kill(&self, component: Component) -> bool {
        self.orders.send(Order::Kill(component)).await.is_ok()
    }

    /// Returns when the validator ended: by itself, or after [`shutdown`](Self::shutdown), which gives `None`.
    pub async fn ended(&self) -> Option<ValidatorEnd> {
        let mut end = self.told.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            Err(_) => self.told.end.borrow().clone(),
        }
    }

    /// Stops every component in the order of the data's flow, each within its share of `deadline`, then closes the disk. Works with
    /// any of them dead. When this returns with [`ShutdownReport::is_closed`], nothing is written any more.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let (answer, report) = oneshot::channel();
        let asked = self.orders.send(Order::Stop { deadline, answer }).await.is_ok();
        match report.await {
            Ok(report) if asked => report,
            // Supervision is gone, and with it all tasks.
            Ok(_) | Err(_) => supervision::close_disk(&self.commons, deadline).await,
        }
    }

    /// The latest time of a commit.
    #[must_use]
    pub fn commit_time(&self) -> Micros {
        self.commons.commits.time()
    }
}
