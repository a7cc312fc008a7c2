//! A worker's executor: its state is made the one that a block needs, and followed from output to output.

use crate::conformance::options::ConformanceOptions;
use crate::evm_executor::EvmExecutor;
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::topology::IdleLatency;
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::evm::{EvmConfig, EvmVm};
use phalanx_bench::ethereum::chain::RunBlock;
use phalanx_bench::ethereum::{Entries, apply, loading_block};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An executor of one chain id.
pub struct Engine {
    executor: Box<dyn BlockExecutor + Send>,
    shards: usize,
    /// Declares what transactions touch.
    vm: EvmVm,
    /// What the executor's state holds.
    present: Entries,
    limit: Duration,
}

impl Engine {
    /// Starts an executor on an empty state.
    ///
    /// # Errors
    /// What cannot be had, for people.
    pub fn start(options: &ConformanceOptions, chain_id: u64, log: &str) -> Result<Engine, String> {
        let limit = Duration::from_millis(options.deadline_ms);
        let vm = EvmConfig { chain_id };
        let (kind, shards) = (options.executor, options.shards);
        let (stall_limit, idle_latency) = (Some(limit), IdleLatency::Any);
        let wanted = EvmExecutor { kind, shards, vm, idle_latency, log, stall_limit };
        let (executor, shards) = wanted.launch()?;
        Ok(Engine { executor, shards, vm: EvmVm::new(vm), present: Entries::new(), limit })
    }

    /// Its chain id.
    pub fn chain_id(&self) -> u64 {
        self.vm.config().chain_id
    }

    /// Number of shards; the sequential executor counts as one.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Executes a block and follows what it does to the state.
    fn execute(&mut self, block: PreparedBlock) -> Result<BlockOutput, String> {
        let output = self.executor.execute(&Arc::new(block), Instant::now() + self.limit);
        let output = output.map_err(|error| error.to_string())?;
        for one in output.transactions() {
            for write in one.writes() {
                let (key, write) = write.map_err(|error| error.to_string())?;
                apply(&mut self.present, key, &write)?;
            }
        }
        Ok(output)
    }

    fn load(&mut self, target: &Entries) -> Result<(), String> {
        if self.present == *target {
            return Ok(());
        }
        let block = loading_block(&self.present, target).map_err(|error| error.to_string())?;
        let output = self.execute(block)?;
        match output.transactions().find(|one| one.status().0 != 0) {
            Some(odd) => Err(format!("a state cannot be loaded: status {}", odd.status().0)),
            None => Ok(()),
        }
    }
}

impl RunBlock for Engine {
    fn run(&mut self, before: &Entries, block: &Block) -> Result<BlockOutput, String> {
        self.load(before)?;
        let prepared = PreparedBlock::prepare(&self.vm, block).map_err(|error| error.to_string())?;
        self.execute(prepared)
    }
}
