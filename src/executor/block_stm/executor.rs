//! The executor: one block after the other over the crew, and the serial part of the commit.

use crate::executor::BlockExecutor;
use crate::executor::block_output::{BlockOutput, BlockStats, KeyDirectory, OutputPlace};
use crate::executor::block_stm::config::BlockStmConfig;
use crate::executor::block_stm::crew::{Crew, End};
use crate::executor::block_stm::job::Job;
use crate::executor::error::ExecuteError;
use crate::state::{BaseState, Room, StateDigest};
use crate::topology::LatencyBound;
use crate::types::{PreparedBlock, TxnIndex};
use crate::vm::Vm;
use std::sync::Arc;
use std::time::Instant;

/// Transactions for which another thread is woken.
const TRANSACTIONS_PER_THREAD: usize = 4;

/// Executes blocks optimistically over threads of this process, with versions of every key in memory (Block-STM,
/// Gelashvili et al., PPoPP 2023). Commutative writes are validated by their intervals. A thread cannot be killed: a
/// transaction that never ends never returns, and one that brings its thread down brings the process down.
pub struct BlockStm {
    crew: Crew,
    poisoned: Option<String>,
    _latency_bound: LatencyBound,
}

impl std::fmt::Debug for BlockStm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockStm").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl BlockStm {
    /// Starts the threads on `state`.
    ///
    /// # Errors
    /// [`ExecuteError`] when threads cannot be had or the host's cores cannot be told.
    pub fn launch<V: Vm>(config: BlockStmConfig, vm: V, state: BaseState) -> Result<BlockStm, ExecuteError> {
        let crew = Crew::start(&config, &vm, Job::new(state))?;
        Ok(BlockStm { crew, poisoned: None, _latency_bound: config.idle_latency.held() })
    }

    fn run(&mut self, block: &Arc<PreparedBlock>, deadline: Instant) -> Result<BlockOutput, ExecuteError> {
        let transactions = block.len();
        let begun = Instant::now();
        if begun >= deadline {
            return Err(ExecuteError::DeadlineExceeded { accepted: 0, transactions, last_death: None });
        }
        let threads = transactions.div_ceil(TRANSACTIONS_PER_THREAD).min(self.crew.len());
        self.crew.shared.job.write().start_block(block, self.crew.len());
        // Also of those who will not take part.
        self.crew.shared.harvests.iter().for_each(|harvest| harvest.lock().clear());
        if threads > 0 {
            match self.crew.run(threads, deadline) {
                End::Finished => {}
                End::Late => {
                    let accepted = self.crew.shared.job.read().scheduler.validated();
                    return Err(ExecuteError::DeadlineExceeded { accepted, transactions, last_death: None });
                }
                End::Failed(note) => {
                    return Err(ExecuteError::System(format!("a thread of the executor failed: {note}")));
                }
            }
        }
        let execute = begun.elapsed();
        let begun = Instant::now();
        let mut output = self.commit(block)?;
        output.stats.execute = execute;
        output.stats.commit = begun.elapsed();
        output.stats.shards_used = u32::try_from(threads).unwrap_or(u32::MAX);
        Ok(output)
    }

    /// Takes in what the threads found and applies it.
    fn commit(&mut self, block: &Arc<PreparedBlock>) -> Result<BlockOutput, ExecuteError> {
        let height = block.header().height;
        let threads = self.crew.len();
        let mut harvests: Vec<_> = self.crew.shared.harvests.iter().map(|harvest| harvest.lock()).collect();
        if let Some((txn, note)) =
            harvests.iter_mut().filter_map(|h| h.poison.take()).min_by_key(|&(txn, _)| txn)
        {
            return Err(ExecuteError::PoisonTransaction { txn, what: format!("it panics: {note}") });
        }
        let (mut room, mut difference, mut executions) = (Room::default(), 0_i128, 0);
        for harvest in &harvests {
            room.merge(harvest.settlement.room);
            difference = difference.wrapping_add(harvest.settlement.difference);
            executions += harvest.executions;
        }
        if difference != 0 {
            return Err(ExecuteError::SupplyChanged { height, difference });
        }
        let mut job = self.crew.shared.job.write();
        let (names, base) = job.names_and_base();
        base.reserve(room)?;
        for harvest in &harvests {
            harvest
                .settlement
                .apply(block, names, base)
                .map_err(|error| ExecuteError::StatePoisoned { height, cause: error.to_string() })?;
        }
        let mut places = vec![OutputPlace::default(); block.len()];
        let mut buffers: Vec<Vec<u8>> = Vec::new();
        for (thread, harvest) in harvests.iter_mut().enumerate() {
            for &(TxnIndex(txn), place) in &harvest.places {
                places[txn as usize] = place;
            }
            for (number, output) in harvest.outputs.drain(..).enumerate() {
                let buffer = number * threads + thread;
                buffers.resize_with(buffers.len().max(buffer + 1), Vec::new);
                buffers[buffer] = output;
            }
        }
        let keys = KeyDirectory::Declared(Arc::clone(block));
        let reexecuted = executions.saturating_sub(block.len() as u64);
        let stats = BlockStats { rounds: 1, reexecuted, ..BlockStats::default() };
        Ok(BlockOutput { height, places, buffers, keys, digest: job.base.digest(), stats })
    }
}

impl BlockExecutor for BlockStm {
    fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        if let Some(cause) = &self.poisoned {
            let height = block.header().height;
            return Err(ExecuteError::StatePoisoned { height, cause: cause.clone() });
        }
        let result = self.run(block, deadline);
        if let Err(ExecuteError::StatePoisoned { cause, .. }) = &result {
            self.poisoned = Some(cause.clone());
        }
        self.crew.shared.job.write().block = None;
        result
    }

    fn digest(&self) -> StateDigest {
        self.crew.shared.job.read().base.digest()
    }
}
