//! Ordered blocks, executed over shards, durable before they are told: the door between quorum store and Phalanx.

use crate::node::ledger::NodeLedger;
use crate::node::oracle::OracleInbox;
use crate::run::Family;
use parking_lot::Mutex;
use phalanx::durable::DurableError;
use phalanx::executor::{BlockOutput, ExecuteError};
use phalanx::quorum_store::{
    BlockExecutor, BlockToExecute, ExecutedBlock, ExecutorError, PooledTxn, TxnBytes, TxnOutcome, TxnSummary,
};
use phalanx::types::{BlockHeader, PrepareError, PreparedBlock};
use phalanx::vm::Vm;
use phalanx::vm::ledger::{LedgerConfig, LedgerStatus, LedgerVm};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A block that takes longer is given up and tried again.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the transactions of a block came to.
pub type Settled = Vec<(TxnSummary, LedgerStatus)>;

/// Executes ordered blocks over the shard processes of a family.
///
/// A block's header follows from its height and time alone, so that the same block has the same hash in every life of the process:
/// the state directory recalls by it what the block came to, and an answer that is given twice is the same.
#[derive(Debug)]
pub struct PhalanxExecutor {
    family: Arc<Family>,
    vm: LedgerVm,
    durable: bool,
    /// One block at a time, whoever gives up waiting for one.
    turn: Mutex<()>,
    oracle: Option<OracleInbox>,
    /// What the transactions of the last blocks came to, until somebody takes it.
    settled: Mutex<BTreeMap<u64, Settled>>,
    costs: Costs,
}

/// Where the time of blocks went, in nanoseconds, over all of them.
#[derive(Debug, Default)]
struct Costs {
    blocks: AtomicU64,
    transactions: AtomicU64,
    prepare: AtomicU64,
    execute: AtomicU64,
    durable: AtomicU64,
}

/// Where the time of blocks went, over all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecutionCosts {
    /// Blocks with transactions.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Decoding and hashing keys.
    pub prepare: Duration,
    /// Plan, rounds, validation, commit.
    pub execute: Duration,
    /// From there until the disk had the block.
    pub durable: Duration,
}

/// Blocks whose results are kept for who asks what became of a transaction.
const SETTLED_KEPT: usize = 64;

impl PhalanxExecutor {
    /// Over a family that runs, with a state directory if blocks are to be `durable` before they are told; `oracle` executes every
    /// block again.
    pub fn new(
        family: Arc<Family>,
        config: LedgerConfig,
        durable: bool,
        oracle: Option<OracleInbox>,
    ) -> PhalanxExecutor {
        PhalanxExecutor {
            family,
            vm: LedgerVm::new(config),
            durable,
            turn: Mutex::default(),
            oracle,
            settled: Mutex::default(),
            costs: Costs::default(),
        }
    }

    /// What the transactions of the block at `height` came to, once. Nothing if the block is not one of the last, or was taken
    /// before.
    pub fn take_settled(&self, height: u64) -> Settled {
        self.settled.lock().remove(&height).unwrap_or_default()
    }

    /// Where the time went.
    pub fn costs(&self) -> ExecutionCosts {
        let time = |of: &AtomicU64| Duration::from_nanos(of.load(Ordering::Relaxed));
        let Costs { blocks, transactions, prepare, execute, durable } = &self.costs;
        ExecutionCosts {
            blocks: blocks.load(Ordering::Relaxed),
            transactions: transactions.load(Ordering::Relaxed),
            prepare: time(prepare),
            execute: time(execute),
            durable: time(durable),
        }
    }

    /// No more blocks come: the oracle may end when it has caught up.
    pub fn close(&self) {
        if let Some(oracle) = &self.oracle {
            oracle.close();
        }
    }

    fn prepare(&self, block: &BlockToExecute) -> Result<PreparedBlock, PrepareError> {
        let header = header_of(block);
        let mut prepared = PreparedBlock::new(header.clone());
        for TxnBytes(bytes) in &block.transactions {
            prepared.push(bytes, |hint| self.vm.declare(&header, bytes, hint))?;
        }
        Ok(prepared)
    }

    fn settle(&self, block: &BlockToExecute, statuses: &[LedgerStatus]) {
        // What does not decode was refused long before; nobody asks for it.
        let summary = |bytes: &TxnBytes| PooledTxn::read(bytes.clone()).ok().map(|txn| txn.summary);
        let each = block.transactions.iter().zip(statuses);
        let settled = each.filter_map(|(bytes, &status)| Some((summary(bytes)?, status))).collect();
        let mut all = self.settled.lock();
        all.insert(block.height, settled);
        while all.len() > SETTLED_KEPT {
            all.pop_first();
        }
    }
}

impl BlockExecutor for PhalanxExecutor {
    fn execute(&self, block: &BlockToExecute) -> Result<ExecutedBlock, ExecutorError> {
        let _turn = self.turn.lock();
        let height = block.height;
        let begun = Instant::now();
        let prepared =
            self.prepare(block).map_err(|cause| fatal(height, &cause, "lower the limits of blocks"))?;
        let prepared = Arc::new(prepared);
        let ready = Instant::now();
        let output = self.family.execute(&prepared, ready + DEADLINE);
        let output = output.map_err(|cause| refused(height, &cause))?;
        let executed = Instant::now();
        if self.durable {
            let durable = self.family.wait_durable(height, executed + DEADLINE);
            durable.map_err(|cause| not_durable(height, &cause))?;
        }
        let statuses = statuses_of(height, &output)?;
        self.costs.count(&output, [ready - begun, executed - ready, executed.elapsed()]);
        self.settle(block, &statuses);
        if let Some(oracle) = &self.oracle {
            oracle.give(prepared, output);
        }
        Ok(ExecutedBlock { outcomes: statuses.into_iter().map(outcome_of).collect() })
    }
}

impl Costs {
    fn count(&self, output: &BlockOutput, [prepare, execute, durable]: [Duration; 3]) {
        if output.is_recalled() || output.is_empty() {
            return;
        }
        self.blocks.fetch_add(1, Ordering::Relaxed);
        let add = |sum: &AtomicU64, time: Duration| {
            sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        self.transactions.fetch_add(output.len() as u64, Ordering::Relaxed);
        add(&self.prepare, prepare);
        add(&self.execute, execute);
        add(&self.durable, durable);
    }
}

fn header_of(block: &BlockToExecute) -> BlockHeader {
    BlockHeader {
        height: block.height,
        timestamp_s: block.timestamp.0 / 1_000_000,
        beneficiary: NodeLedger::beneficiary().0,
        extra: Vec::new(),
    }
}

fn statuses_of(height: u64, output: &BlockOutput) -> Result<Vec<LedgerStatus>, ExecutorError> {
    let statuses = output.transactions().map(|output| LedgerStatus::from_code(output.status()));
    let statuses: Option<Vec<LedgerStatus>> = statuses.collect();
    // Only a fault of the ledger makes an output that has no status.
    statuses.filter(|statuses| statuses.len() == output.len()).ok_or_else(|| ExecutorError::Fatal {
        height,
        reason: "an output has no status of the ledger; report it".to_owned(),
    })
}

/// What the quorum store is to know of a status.
pub fn outcome_of(status: LedgerStatus) -> TxnOutcome {
    match (status, status.pays()) {
        (LedgerStatus::Success, _) => TxnOutcome::Success,
        (_, true) => TxnOutcome::Failed,
        (LedgerStatus::SequenceTooNew, false) => TxnOutcome::WithoutEffect { again: true },
        (_, false) => TxnOutcome::WithoutEffect { again: false },
    }
}

fn fatal(height: u64, cause: &dyn std::fmt::Display, next_move: &str) -> ExecutorError {
    ExecutorError::Fatal { height, reason: format!("{cause}; {next_move}") }
}

fn again(height: u64, cause: &dyn std::fmt::Display) -> ExecutorError {
    ExecutorError::Again { height, reason: cause.to_string() }
}

/// What passes by itself is tried again; what would be the same the next time ends the node.
fn refused(height: u64, cause: &ExecuteError) -> ExecutorError {
    match cause {
        ExecuteError::Busy { .. }
        | ExecuteError::Cancelled { .. }
        | ExecuteError::DeadlineExceeded { .. }
        | ExecuteError::ShardDied(_)
        | ExecuteError::NoProgress { .. }
        | ExecuteError::NoShards(_)
        | ExecuteError::System(_) => again(height, cause),
        ExecuteError::Durable(cause) => not_durable(height, cause),
        ExecuteError::PoisonTransaction { .. } => {
            fatal(height, cause, "the block is ordered and cannot be executed; report it")
        }
        ExecuteError::Arena(_) => fatal(height, cause, "lower the limits of blocks"),
        ExecuteError::State(_) => fatal(height, cause, "the ledger has outgrown this host"),
        ExecuteError::StatePoisoned { .. } | ExecuteError::MemoryLost { .. } | ExecuteError::Stopped => {
            fatal(height, cause, "start the node again on the same directory")
        }
        ExecuteError::SupplyChanged { .. } => fatal(height, cause, "keep the directory and report it"),
        ExecuteError::Topology(_) | ExecuteError::OutOfRange(_) => {
            fatal(height, cause, "choose other options")
        }
    }
}

fn not_durable(height: u64, cause: &DurableError) -> ExecutorError {
    match cause {
        // The log is as it was: once there is room again the same block goes through.
        DurableError::Io { .. }
        | DurableError::Backlog { .. }
        | DurableError::NotYet { .. }
        | DurableError::NotStored { .. } => again(height, cause),
        DurableError::Store { .. }
        | DurableError::Failed { .. }
        | DurableError::NoDirectory
        | DurableError::State(_) => {
            fatal(height, cause, "mend what it names and start the node again on the same directory")
        }
        DurableError::OutOfRange(_)
        | DurableError::Locked { .. }
        | DurableError::Damaged { .. }
        | DurableError::Missing { .. }
        | DurableError::Version { .. }
        | DurableError::OtherGenesis { .. }
        | DurableError::NoState { .. }
        | DurableError::NotEmpty { .. }
        | DurableError::Digest { .. } => fatal(height, cause, "the node cannot go on with this directory"),
        DurableError::OtherBlock { .. } | DurableError::Passed { .. } => fatal(
            height,
            cause,
            "ledger and quorum store do not belong together; give the whole directory back",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sequence_number_that_is_ahead_may_have_an_effect_later() {
        for &status in LedgerStatus::ALL {
            let expected = match status.code().0 {
                0 => TxnOutcome::Success,
                9 => TxnOutcome::WithoutEffect { again: true },
                1..=12 => TxnOutcome::WithoutEffect { again: false },
                _ => TxnOutcome::Failed,
            };
            assert_eq!(outcome_of(status), expected, "{status:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_nothing_else() {
        let again = [
            ExecuteError::NoShards("none".to_owned()),
            ExecuteError::DeadlineExceeded { accepted: 0, transactions: 1, last_death: None },
            ExecuteError::Durable(DurableError::NotYet { height: 3, durable: None }),
        ];
        for cause in again {
            assert!(matches!(refused(3, &cause), ExecutorError::Again { height: 3, .. }), "{cause}");
        }
        let never = [
            ExecuteError::StatePoisoned { height: 3, cause: "a test".to_owned() },
            ExecuteError::SupplyChanged { height: 3, difference: 1 },
            ExecuteError::Durable(DurableError::Failed { cause: "a test".to_owned() }),
        ];
        for cause in never {
            assert!(matches!(refused(3, &cause), ExecutorError::Fatal { height: 3, .. }), "{cause}");
        }
    }
}
