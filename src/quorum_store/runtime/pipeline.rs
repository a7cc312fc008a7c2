//! The way of a block from its order to its commit: staged durably, its batches brought together, executed, appended to the
//! commit log. Each step may be done again by the next life, from what the disk holds.

use crate::quorum_store::runtime::agreement::NextBlock;
use crate::quorum_store::runtime::commons::{Commons, RequesterMail, Role};
use crate::quorum_store::runtime::tallies::Tallies;
use crate::quorum_store::runtime::vital::{Life, TaskEnd};
use crate::quorum_store::{
    AppendError, Batch, BatchDigest, BatchInfo, BlockExecutor, BlockToExecute, CommitEntry, Committed,
    DiskError, ExecutedBlock, ExecutorError, FetchEnd, OrderedBlock, PooledTxn, Refusal, TxnException,
    TxnOutcome,
};
use crate::vm::ledger::Address;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the disk or the executor refused is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// A batch that nobody gave is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Without news it is looked at everything again, and a sign of life given.
const LOOK: Duration = Duration::from_millis(100);

/// The task. Returns when it is asked to end.
pub async fn run(commons: &Arc<Commons>, life: &mut Life) -> Result<(), TaskEnd> {
    let (agreement, own) = (Arc::clone(&commons.seat.agreement), commons.seat.validator);
    let mut changes = agreement.watch();
    life.take_seat(commons.config.supervision.execute_limit).await;
    while !life.is_stopped() {
        let head = commons.commits.head();
        agreement.committed(own, head);
        match agreement.next(head) {
            NextBlock::Ordered(block) => bring(commons, life, &block).await?,
            NextBlock::TooLate(height, time) => {
                tracing::warn!(validator = %own, head, height, "goes on behind blocks that nobody keeps any more");
                commons.commits.take_over(height, time);
            }
            NextBlock::NotYet => tokio::select! {
                () = life.stopped() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            },
        }
        life.beat();
    }
    Ok(())
}

/// Brings a block to its commit, or as far as it comes before the task is asked to end.
async fn bring(commons: &Arc<Commons>, life: &mut Life, block: &Arc<OrderedBlock>) -> Result<(), TaskEnd> {
    let (disk, to_stage) = (Arc::clone(&commons.seat.disk), Arc::clone(block));
    if !persistently(commons, life, move || disk.stage(&to_stage).map_err(Into::into)).await? {
        return Ok(());
    }
    let (role, known) = (&commons.seat.role, commons.seat.agreement.exceptions(block.height));
    let executor = match role {
        // What is known was executed, durably.
        Role::Executes(executor) if known.is_none() => Some(Arc::clone(executor)),
        Role::Executes(_) | Role::Follows => None,
    };
    let Some(batches) = gather(commons, life, block, executor.is_some()).await? else { return Ok(()) };
    let txns: usize = batches.iter().map(|batch| batch.txns.len()).sum();
    let found = match executor {
        Some(executor) => execute(commons, life, executor, block, batches).await?,
        None => follow(commons, life, block.height).await,
    };
    let Some(exceptions) = found else { return Ok(()) };
    let content = Committed::Block {
        height: block.height,
        batches: block.batches.clone(),
        exceptions: exceptions.to_vec(),
    };
    let entry = CommitEntry { sequence: block.height, timestamp: block.timestamp, content };
    let shared = Arc::clone(commons);
    if persistently(commons, life, move || shared.commits.append(entry.clone())).await? {
        commons.seat.agreement.committed(commons.seat.validator, block.height);
        Tallies::count(&commons.tallies.blocks);
        commons.tallies.block_txns.fetch_add(txns as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes until the disk takes it; false if the task is to end first. The disk is full, or broken: an operator mends that, and
/// nothing is lost meanwhile.
async fn persistently(
    commons: &Arc<Commons>,
    life: &mut Life,
    write: impl Fn() -> Result<(), AppendError> + Clone + Send + 'static,
) -> Result<bool, TaskEnd> {
    while !life.is_stopped() {
        match life.block(None, write.clone()).await? {
            Ok(()) => return Ok(true),
            Err(AppendError::Disk(DiskError::Closed)) => return Ok(false),
            Err(AppendError::Disk(error)) => {
                tracing::warn!(validator = %commons.seat.validator, %error, "a block waits for the disk");
                Tallies::count(&commons.tallies.disk_retries);
                idle(life, TRY_AGAIN).await;
            }
            Err(error @ AppendError::OutOfOrder { .. }) => return Err(TaskEnd::Failed(error.to_string())),
        }
    }
    Ok(false)
}

async fn idle(life: &mut Life, time: Duration) {
    tokio::select! {
        () = life.stopped() => {}
        () = tokio::time::sleep(time) => {}
    }
    life.beat();
}

/// All batches of a block that are executed, in their order; what is not here is fetched. `None` if the task is to end first.
/// Unless they are `needed`, those are left out that no peer has any more, since they expired too long ago.
async fn gather(
    commons: &Arc<Commons>,
    life: &mut Life,
    block: &OrderedBlock,
    needed: bool,
) -> Result<Option<Vec<Arc<Batch>>>, TaskEnd> {
    let mut wanted: Vec<BatchInfo> =
        block.batches.iter().filter(|info| info.is_executed_at(block.timestamp)).copied().collect();
    let mut found: HashMap<BatchDigest, Arc<Batch>> = HashMap::new();
    let mut asked: Option<tokio::time::Instant> = None;
    while !life.is_stopped() {
        let missing: Vec<BatchInfo> =
            wanted.iter().filter(|info| !found.contains_key(&info.digest)).copied().collect();
        let shared = Arc::clone(commons);
        let look = move || {
            missing.into_iter().map(|info| (info, shared.store.get(&info.digest))).collect::<Vec<_>>()
        };
        let mut missing = Vec::new();
        for (info, stored) in life.block(None, look).await? {
            // Without room for it in the store it comes this way.
            let fetched = match commons.fetches.take(&info.digest) {
                Some(FetchEnd::Found(batch)) => Some(batch),
                Some(FetchEnd::Failed(Refusal::Expired)) if !needed && stored.is_none() => {
                    tracing::warn!(batch = %info.key(), height = block.height, "nobody has a batch of a block any more");
                    wanted.retain(|one| one.digest != info.digest);
                    continue;
                }
                Some(FetchEnd::Failed(refusal)) => {
                    tracing::warn!(batch = %info.key(), %refusal, height = block.height, "nobody gives a batch of a block; it is asked for again");
                    None
                }
                None => None,
            };
            match stored.or(fetched) {
                Some(batch) => _ = found.insert(info.digest, batch),
                None => missing.push(info),
            }
        }
        if missing.is_empty() {
            let all = wanted.iter().filter_map(|info| found.get(&info.digest).cloned());
            return Ok(Some(all.collect()));
        }
        // Again and again: the requester may have died, and its peers may have been cut off.
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            asked = Some(tokio::time::Instant::now());
            commons.fetches.want(missing.iter().map(|info| info.digest));
            for info in missing {
                // Counted there.
                let _ = commons.mailboxes.requester.control(RequesterMail::Want(info));
            }
        }
        tokio::select! {
            () = life.stopped() => {}
            () = commons.fetches.news() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        life.beat();
    }
    Ok(None)
}

/// What the executing validator of this process came to.
async fn follow(commons: &Arc<Commons>, life: &mut Life, height: u64) -> Option<Arc<[TxnException]>> {
    let mut changes = commons.seat.agreement.watch();
    while !life.is_stopped() {
        if let Some(exceptions) = commons.seat.agreement.exceptions(height) {
            return Some(exceptions);
        }
        tokio::select! {
            () = life.stopped() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        life.beat();
    }
    None
}

/// Has the block executed, and tells the others what it came to. `None` if the task is to end first.
async fn execute(
    commons: &Arc<Commons>,
    life: &mut Life,
    executor: Arc<dyn BlockExecutor>,
    block: &OrderedBlock,
    batches: Vec<Arc<Batch>>,
) -> Result<Option<Arc<[TxnException]>>, TaskEnd> {
    let txns = Arc::new(in_order(&batches));
    let to_execute = Arc::new(BlockToExecute {
        height: block.height,
        timestamp: block.timestamp,
        transactions: txns.iter().map(|txn| txn.bytes.clone()).collect(),
    });
    while !life.is_stopped() {
        let (executor, to_execute) = (Arc::clone(&executor), Arc::clone(&to_execute));
        let limit = Some(commons.config.supervision.execute_limit);
        match life.block(limit, move || executor.execute(&to_execute)).await? {
            Ok(executed) => {
                let exceptions = exceptions_of(block.height, &txns, &executed).map_err(TaskEnd::Fatal)?;
                commons.seat.agreement.executed(block.height, Arc::clone(&exceptions));
                return Ok(Some(exceptions));
            }
            Err(error @ ExecutorError::Again { .. }) => {
                tracing::warn!(%error, "a block waits for the executor");
                Tallies::count(&commons.tallies.executor_retries);
                idle(life, TRY_AGAIN).await;
            }
            Err(error @ ExecutorError::Fatal { .. }) => return Err(TaskEnd::Fatal(error)),
        }
    }
    Ok(None)
}

fn exceptions_of(
    height: u64,
    txns: &[PooledTxn],
    executed: &ExecutedBlock,
) -> Result<Arc<[TxnException]>, ExecutorError> {
    if executed.outcomes.len() != txns.len() {
        let reason = format!("{} outcomes for {} transactions", executed.outcomes.len(), txns.len());
        return Err(ExecutorError::Fatal { height, reason });
    }
    let outcomes = txns.iter().zip(executed.outcomes.iter().copied());
    let exceptions = outcomes.filter(|&(_, outcome)| outcome != TxnOutcome::Success);
    Ok(exceptions.map(|(txn, outcome)| TxnException { hash: txn.summary.hash, outcome }).collect())
}

/// The transactions of batches: each once, and those of one sender by their sequence numbers, in the places that they have
/// together. So nobody's transaction waits for another block because it is in a better paid batch than the one before it.
pub fn in_order(batches: &[Arc<Batch>]) -> Vec<PooledTxn> {
    let mut seen = HashSet::new();
    let read =
        batches.iter().flat_map(|batch| &batch.txns).filter_map(|bytes| PooledTxn::read(bytes.clone()).ok());
    let mut txns: Vec<PooledTxn> = read.filter(|txn| seen.insert(txn.summary.hash)).collect();
    let mut places: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
    for (place, txn) in txns.iter().enumerate() {
        places.entry(txn.summary.sender).or_default().push(place);
    }
    for places in places.into_values().filter(|places| places.len() > 1) {
        let mut own: Vec<PooledTxn> = places.iter().map(|&place| txns[place].clone()).collect();
        own.sort_by_key(|txn| txn.summary.sequence);
        for (place, txn) in places.into_iter().zip(own) {
            txns[place] = txn;
        }
    }
    txns
}
