//! The executor that the options ask for.

use crate::cli::{ExecutorKind, RunOptions, Shards};
use crate::run::error::RunError;
use crate::run::family::{Casualties, Family, FirstState};
use phalanx::durable::{DurableError, DurableState};
use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStm, BlockStmConfig, ExecuteError, MemoryConfig, Sequential, Threads,
    ThreadsConfig,
};
use phalanx::state::{BaseState, StateError};
use phalanx::supervisor::{Incidents, PlacementReport};
use phalanx::telemetry::{Timeline, TimelineConfig};
use phalanx::topology::Host;
use phalanx::types::{Block, PrepareError, PreparedBlock};
use phalanx::vm::ledger::{GenesisEntry, LedgerConfig, LedgerVm};
use phalanx::{MAX_SHARDS, Phalanx, PhalanxBuilder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an orderly end may wait for a start that is under way.
pub const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// One of the executors.
#[derive(Debug)]
pub enum Engine {
    /// One transaction after the other, on the calling thread.
    Sequential(Box<Sequential<LedgerVm>>),
    /// Shards as threads.
    Threads {
        /// The executor.
        threads: Box<Threads>,
        /// Number of shards.
        shards: usize,
    },
    /// Shards as processes.
    Processes(Arc<Family>),
    /// Optimistic execution on threads.
    BlockStm {
        /// The executor.
        block_stm: Box<BlockStm>,
        /// Number of threads.
        threads: usize,
    },
}

impl Engine {
    /// Starts the executor on its first state, which is durable only for processes; these are started in `family`.
    ///
    /// # Errors
    /// When memory, threads or processes cannot be had.
    pub fn start(
        options: &RunOptions,
        filter: &str,
        config: LedgerConfig,
        first: FirstState<'_>,
        family: Arc<Family>,
    ) -> Result<Engine, RunError> {
        let timeline = options.trace.is_some().then(|| TimelineConfig {
            transactions: options.trace_transactions,
            ..TimelineConfig::default()
        });
        let genesis = match &first {
            FirstState::Genesis(genesis) => *genesis,
            FirstState::Durable(_) if options.executor != ExecutorKind::Processes => {
                return Err(RunError::NothingDurable);
            }
            FirstState::Durable(_) => &[],
        };
        let idle_latency = options.idle.idle_latency;
        match options.executor {
            ExecutorKind::Sequential => Ok(Engine::Sequential(Box::new(oracle(config, genesis)?))),
            ExecutorKind::Threads => {
                let shards = match options.shards {
                    Shards::Count(count) => count,
                    Shards::Auto => {
                        Host::detect().map_err(|error| RunError::Threads(error.into()))?.auto_shards()
                    }
                };
                let config_of_threads =
                    ThreadsConfig { shards, timeline, idle_latency, ..ThreadsConfig::default() };
                let launched =
                    Threads::launch(config_of_threads, LedgerVm::new(config), first_state(genesis)?);
                let threads = Box::new(launched.map_err(RunError::Threads)?);
                Ok(Engine::Threads { threads, shards })
            }
            ExecutorKind::Processes => {
                let mut builder = builder(options, filter, config);
                if let Some(timeline) = timeline {
                    builder = builder.timeline(timeline);
                }
                family.launch(builder, first)?;
                Ok(Engine::Processes(family))
            }
            ExecutorKind::BlockStm => {
                let threads = match options.shards {
                    Shards::Count(count) => count,
                    // All of them: the thread that calls sleeps meanwhile.
                    Shards::Auto => Host::detect()
                        .map_err(|error| RunError::Threads(error.into()))?
                        .cores()
                        .min(MAX_SHARDS),
                };
                let config_of_threads = BlockStmConfig { threads, idle_latency, ..BlockStmConfig::default() };
                let launched =
                    BlockStm::launch(config_of_threads, LedgerVm::new(config), first_state(genesis)?);
                let block_stm = Box::new(launched.map_err(RunError::Threads)?);
                Ok(Engine::BlockStm { block_stm, threads })
            }
        }
    }

    /// Number of shards; the sequential executor counts as one.
    pub fn shards(&self) -> usize {
        match self {
            Engine::Sequential(_) => 1,
            Engine::Threads { shards, .. } => *shards,
            Engine::Processes(family) => family.shards(),
            Engine::BlockStm { threads, .. } => *threads,
        }
    }

    /// Makes a block ready for this executor. The sequential one plans nothing and gets no access hints.
    ///
    /// # Errors
    /// [`PrepareError`] for a block that is too large.
    pub fn prepare(&self, vm: &LedgerVm, block: &Block) -> Result<PreparedBlock, PrepareError> {
        match self {
            Engine::Sequential(_) => {
                let mut prepared = PreparedBlock::new(block.header.clone());
                for transaction in &block.transactions {
                    prepared.push(transaction, |_| {})?;
                }
                Ok(prepared)
            }
            Engine::Threads { .. } | Engine::Processes(_) | Engine::BlockStm { .. } => {
                PreparedBlock::prepare(vm, block)
            }
        }
    }

    /// Executes and commits one block.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing of the block is committed.
    pub fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        match self {
            Engine::Sequential(sequential) => sequential.execute(block, deadline),
            Engine::Threads { threads, .. } => threads.execute(block, deadline),
            Engine::Processes(family) => family.execute(block, deadline),
            Engine::BlockStm { block_stm, .. } => block_stm.execute(block, deadline),
        }
    }

    /// Waits until the block at `height` is durable, if anything is to be.
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn wait_durable(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        match self {
            Engine::Processes(family) => family.wait_durable(height, deadline),
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => {
                Err(DurableError::NoDirectory)
            }
        }
    }

    /// Takes what was recorded and what befell since the last time.
    pub fn take_trace(&self) -> (Timeline, Incidents) {
        match self {
            Engine::Sequential(_) | Engine::BlockStm { .. } => (Timeline::default(), Incidents::default()),
            Engine::Threads { threads, .. } => (threads.take_timeline(), Incidents::default()),
            Engine::Processes(family) => family.take_trace(),
        }
    }

    /// Waits a moment until all deaths so far can be told.
    pub fn await_strength(&self) {
        match self {
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => {}
            Engine::Processes(family) => family.await_strength(),
        }
    }

    /// What the shard processes went through so far.
    pub fn casualties(&self) -> Casualties {
        match self {
            Engine::Processes(family) => family.casualties(),
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => Casualties::default(),
        }
    }

    /// Where everything is; `None` for all but processes.
    ///
    /// # Errors
    /// [`ExecuteError`] when the kernel does not tell.
    pub fn placement_report(&self) -> Result<Option<PlacementReport>, ExecuteError> {
        match self {
            Engine::Processes(family) => family.placement_report(),
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => Ok(None),
        }
    }

    /// Whether it can go on by its own strength: of processes, at least one shard is ready.
    pub fn is_well(&self) -> bool {
        match self {
            Engine::Processes(family) => family.is_well(),
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => true,
        }
    }

    /// Ends threads or processes and waits for them.
    pub fn close(self) {
        match self {
            Engine::Processes(family) => family.close(CLOSE_PATIENCE),
            Engine::Sequential(_) | Engine::Threads { .. } | Engine::BlockStm { .. } => {}
        }
    }
}

/// What shard processes are launched by, as the options say.
pub fn builder(options: &RunOptions, filter: &str, config: LedgerConfig) -> PhalanxBuilder<LedgerVm> {
    let builder = Phalanx::builder(config)
        .on_death(options.on_death.into())
        .fallback(options.fallback.into())
        .stall_limit(options.stall_limit)
        .placement(options.placement.config())
        .idle_latency(options.idle.idle_latency)
        .log(filter);
    match options.shards {
        Shards::Count(count) => builder.shards(count),
        Shards::Auto => builder,
    }
}

/// A sequential executor with a state of its own.
///
/// # Errors
/// [`StateError`] when memory cannot be had.
pub fn oracle(config: LedgerConfig, genesis: &[GenesisEntry]) -> Result<Sequential<LedgerVm>, StateError> {
    Ok(Sequential::new(LedgerVm::new(config), first_state(genesis)?))
}

/// A sequential executor that begins with a copy of what a state directory holds.
///
/// # Errors
/// `State` when memory cannot be had, `Durable`.
pub fn oracle_from(config: LedgerConfig, state: &DurableState) -> Result<Sequential<LedgerVm>, RunError> {
    let mut entries = Vec::new();
    state.for_each(|key, value| entries.push((key.to_vec(), value.to_vec())))?;
    Ok(oracle(config, &entries)?)
}

fn first_state(genesis: &[GenesisEntry]) -> Result<BaseState, StateError> {
    BaseState::with_entries(MemoryConfig::default().state, genesis.iter().map(|(key, value)| (key, value)))
}
