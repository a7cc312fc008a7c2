//! The executor of a replay, whose state is replaced before every block.

use crate::evm_executor::EvmExecutor;
use crate::replay::error::ReplayError;
use crate::replay::options::ReplayOptions;
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::types::{PreparedBlock, Write};
use phalanx::vm::evm::EvmConfig;
use phalanx_bench::ethereum::{Entries, loading_block};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Loading a state has all the time it needs.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

/// An executor and what its state holds.
pub struct Engine {
    executor: Box<dyn BlockExecutor>,
    shards: usize,
    present: Entries,
}

impl Engine {
    /// Starts the executor that the options ask for, on an empty state.
    ///
    /// # Errors
    /// `Start`.
    pub fn start(options: &ReplayOptions, filter: &str) -> Result<Engine, ReplayError> {
        let wanted = EvmExecutor {
            kind: options.executor,
            shards: options.shards,
            vm: EvmConfig::default(),
            log: filter,
            stall_limit: None,
        };
        let (executor, shards) = wanted.launch().map_err(ReplayError::Start)?;
        Ok(Engine { executor, shards, present: Entries::new() })
    }

    /// Number of shards; the sequential executor counts as one.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Makes the state `target`.
    ///
    /// # Errors
    /// `Execute` with this block's number.
    pub fn load(&mut self, block: u64, target: &Entries) -> Result<(), ReplayError> {
        let loading = loading_block(&self.present, target)?;
        let output = self.executor.execute(&Arc::new(loading), Instant::now() + LOAD_LIMIT);
        let output = output.map_err(|error| ReplayError::execute(block, error))?;
        if let Some(odd) = output.transactions().find(|output| output.status().0 != 0) {
            let cause = format!("its state cannot be loaded: status {}", odd.status().0);
            return Err(ReplayError::Execute { block, cause });
        }
        self.present.clone_from(target);
        Ok(())
    }

    /// Executes one block and tells how long that took until its outputs were accepted: they are brought into the state
    /// afterwards.
    ///
    /// # Errors
    /// `Execute`.
    pub fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        limit: Duration,
    ) -> Result<(BlockOutput, Duration), ReplayError> {
        let begun = Instant::now();
        let output = self.executor.execute(block, begun + limit);
        let output = output.map_err(|error| ReplayError::execute(block.header().height, error))?;
        let took = begun.elapsed().saturating_sub(output.stats().commit);
        for one in output.transactions() {
            for (key, write) in one.writes().map_while(Result::ok) {
                match write {
                    // Whatever stands there now, it is to be loaded again.
                    Write::Set(_) | Write::Add(_) => {
                        self.present.insert(key.to_vec(), Vec::new());
                    }
                    Write::Delete => {
                        self.present.remove(key);
                    }
                }
            }
        }
        Ok((output, took))
    }
}
