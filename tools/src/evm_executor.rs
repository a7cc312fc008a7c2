//! An executor for Ethereum blocks whose state can be replaced between them.

use crate::cli::{ExecutorKind, Shards};
use phalanx::MAX_SHARDS;
use phalanx::executor::{
    BlockExecutor, BlockStm, BlockStmConfig, MemoryConfig, Sequential, Threads, ThreadsConfig,
};
use phalanx::state::{BaseState, StateError};
use phalanx::supervisor::{Processes, ProcessesConfig};
use phalanx::topology::{Host, IdleLatency};
use phalanx::vm::evm::EvmConfig;
use phalanx_bench::ethereum::LoadingEvm;
use std::time::Duration;

/// What is wanted of an executor.
#[derive(Clone, Copy, Debug)]
pub struct EvmExecutor<'a> {
    pub kind: ExecutorKind,
    pub shards: Shards,
    pub vm: EvmConfig,
    /// How long cores may take to wake up. The sequential executor asks for nothing.
    pub idle_latency: IdleLatency,
    /// Log filter of shard processes.
    pub log: &'a str,
    /// How long one transaction may take before its shard process counts as hanging; `None` for what is usual. Nobody is
    /// known to kill shards where it is set, so they are not made to answer deaths first.
    pub stall_limit: Option<Duration>,
}

impl EvmExecutor<'_> {
    /// Starts it on an empty state, and tells how many shards it has; the sequential executor counts as one.
    ///
    /// # Errors
    /// Which memory, threads or processes cannot be had, for people.
    pub fn launch(&self) -> Result<(Box<dyn BlockExecutor + Send>, usize), String> {
        let (vm, idle_latency) = (LoadingEvm::new(self.vm), self.idle_latency);
        let host = Host::detect().map_err(|error| error.to_string())?;
        let shards = match (self.shards, self.kind) {
            (_, ExecutorKind::Sequential) => 1,
            (Shards::Count(count), _) => count,
            (Shards::Auto, ExecutorKind::BlockStm) => host.cores().min(MAX_SHARDS),
            (Shards::Auto, ExecutorKind::Threads | ExecutorKind::Processes) => host.auto_shards(),
        };
        let state = empty_state().map_err(|error| error.to_string())?;
        let executor: Box<dyn BlockExecutor + Send> = match self.kind {
            ExecutorKind::Sequential => Box::new(Sequential::new(vm, state)),
            ExecutorKind::Threads => {
                let config = ThreadsConfig { shards, idle_latency, ..ThreadsConfig::default() };
                Box::new(Threads::launch(config, vm, state).map_err(|error| error.to_string())?)
            }
            ExecutorKind::BlockStm => {
                let config = BlockStmConfig { threads: shards, idle_latency, ..BlockStmConfig::default() };
                Box::new(BlockStm::launch(config, vm, state).map_err(|error| error.to_string())?)
            }
            ExecutorKind::Processes => {
                let usual = ProcessesConfig::default();
                let config = ProcessesConfig {
                    shards,
                    vm: vm.to_bytes().map_err(|error| error.to_string())?,
                    log: self.log.to_owned(),
                    stall_limit: self.stall_limit.unwrap_or(usual.stall_limit),
                    run_first: self.stall_limit.is_none(),
                    idle_latency,
                    ..usual
                };
                Box::new(Processes::launch(&config, vm, state).map_err(|error| error.to_string())?)
            }
        };
        Ok((executor, shards))
    }
}

/// A state without entries.
fn empty_state() -> Result<BaseState, StateError> {
    BaseState::with_entries(MemoryConfig::default().state, std::iter::empty::<(Vec<u8>, Vec<u8>)>())
}
