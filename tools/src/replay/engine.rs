//! The executor of a replay, whose state is replaced before every block.

use crate::cli::{ExecutorKind, Shards};
use crate::replay::error::ReplayError;
use crate::replay::options::ReplayOptions;
use phalanx::MAX_SHARDS;
use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStm, BlockStmConfig, MemoryConfig, Sequential, Threads, ThreadsConfig,
};
use phalanx::state::BaseState;
use phalanx::supervisor::{Processes, ProcessesConfig};
use phalanx::topology::Host;
use phalanx::types::{PreparedBlock, Write};
use phalanx::vm::evm::EvmConfig;
use phalanx_bench::ethereum::{Entries, LoadingEvm, loading_block};
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
        let vm = LoadingEvm::new(EvmConfig::default());
        let host = Host::detect().map_err(|error| ReplayError::Start(error.to_string()))?;
        let shards = match (options.shards, options.executor) {
            (_, ExecutorKind::Sequential) => 1,
            (Shards::Count(count), _) => count,
            (Shards::Auto, ExecutorKind::BlockStm) => host.cores().min(MAX_SHARDS),
            (Shards::Auto, ExecutorKind::Threads | ExecutorKind::Processes) => host.auto_shards(),
        };
        let state = empty_state()?;
        let executor: Box<dyn BlockExecutor> = match options.executor {
            ExecutorKind::Sequential => Box::new(Sequential::new(vm, state)),
            ExecutorKind::Threads => {
                Box::new(Threads::launch(ThreadsConfig { shards, ..ThreadsConfig::default() }, vm, state)?)
            }
            ExecutorKind::BlockStm => {
                let config = BlockStmConfig { threads: shards, ..BlockStmConfig::default() };
                Box::new(BlockStm::launch(config, vm, state)?)
            }
            ExecutorKind::Processes => {
                let bytes = vm.to_bytes().map_err(|error| ReplayError::Start(error.to_string()))?;
                let config = ProcessesConfig {
                    shards,
                    vm: bytes,
                    log: filter.to_owned(),
                    ..ProcessesConfig::default()
                };
                Box::new(Processes::launch(&config, vm, state)?)
            }
        };
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

    /// Executes one block.
    ///
    /// # Errors
    /// `Execute`.
    pub fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        limit: Duration,
    ) -> Result<BlockOutput, ReplayError> {
        let output = self.executor.execute(block, Instant::now() + limit);
        let output = output.map_err(|error| ReplayError::execute(block.header().height, error))?;
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
        Ok(output)
    }
}

/// A state without entries.
///
/// # Errors
/// `Start` when memory cannot be had.
pub fn empty_state() -> Result<BaseState, ReplayError> {
    Ok(BaseState::with_entries(MemoryConfig::default().state, std::iter::empty::<(Vec<u8>, Vec<u8>)>())?)
}
