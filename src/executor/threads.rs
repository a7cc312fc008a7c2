//! The in-process twin of the process executor: the same plan and shard loop on pinned threads over crossbeam channels.

use crate::executor::call::Call;
use crate::executor::coordinator::{Coordinator, ExecuteOptions, JudgeAhead};
use crate::executor::error::ExecuteError;
use crate::executor::memory::{CoordinatorMemory, MemoryConfig};
use crate::executor::shard_regions::{ShardFds, ShardLimits};
use crate::executor::tally::Counters;
use crate::executor::thread_fleet::ThreadFleet;
use crate::executor::{BlockExecutor, BlockOutput};
use crate::partition::CostModel;
use crate::state::{BaseState, StateDigest};
use crate::telemetry::{Timeline, TimelineBook, TimelineConfig};
use crate::topology::{IdleLatency, LatencyBound};
use crate::types::{Generation, PreparedBlock};
use crate::vm::Vm;
use std::sync::Arc;
use std::time::Instant;

/// Threads live once.
const ONLY_LIFE: Generation = Generation(1);

/// How a thread executor is made.
#[derive(Clone, Copy, Debug)]
pub struct ThreadsConfig {
    /// Number of shards, 1 ..= [`crate::MAX_SHARDS`].
    pub shards: usize,
    /// Sizes of the shared memory.
    pub memory: MemoryConfig,
    /// Assumed costs of communication.
    pub costs: CostModel,
    /// Whether and how a timeline is recorded; take it with [`Threads::take_timeline`]. Default: none.
    pub timeline: Option<TimelineConfig>,
    /// When outputs are judged.
    pub judge_ahead: JudgeAhead,
    /// How long cores may take to wake up as long as the executor is there.
    pub idle_latency: IdleLatency,
    /// Off only to show that the tests would notice missing validation.
    #[doc(hidden)]
    pub validation: bool,
}

impl Default for ThreadsConfig {
    fn default() -> ThreadsConfig {
        ThreadsConfig {
            shards: 1,
            memory: MemoryConfig::default(),
            costs: CostModel::default(),
            timeline: None,
            judge_ahead: JudgeAhead::default(),
            idle_latency: IdleLatency::default(),
            validation: true,
        }
    }
}

/// Executes blocks over threads of this process. A thread cannot be killed: a transaction that never ends never
/// returns, and one that brings its thread down brings the process down. That is what the process executor is for.
pub struct Threads {
    coordinator: Coordinator<ThreadFleet>,
    timeline: Arc<TimelineBook>,
    _latency_bound: LatencyBound,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl Threads {
    /// Starts the threads on `state`.
    ///
    /// # Errors
    /// [`ExecuteError`] when memory or threads cannot be had.
    pub fn launch<V: Vm>(config: ThreadsConfig, vm: V, state: BaseState) -> Result<Threads, ExecuteError> {
        let shards = config.shards.clamp(1, crate::MAX_SHARDS);
        let memory = CoordinatorMemory::create(&config.memory, state)?;
        let fds = ShardFds::of(&memory)?;
        let limits = ShardLimits::of(&config.memory, config.timeline);
        let fleet = ThreadFleet::launch(shards, ONLY_LIFE, &fds, &limits, None, &vm)?;
        let options = ExecuteOptions {
            costs: config.costs,
            judge_ahead: config.judge_ahead,
            validation: config.validation,
            ..ExecuteOptions::default()
        };
        let mut coordinator = Coordinator::new(fleet, memory, Counters::of(&vm), options);
        let timeline = Arc::new(TimelineBook::default());
        if config.timeline.is_some() {
            coordinator.record_into(Arc::clone(&timeline));
        }
        Ok(Threads { coordinator, timeline, _latency_bound: config.idle_latency.held() })
    }

    /// Takes what was recorded since the last time; empty unless [`ThreadsConfig::timeline`] asks for it.
    #[must_use]
    pub fn take_timeline(&self) -> Timeline {
        self.timeline.take()
    }
}

impl BlockExecutor for Threads {
    fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        self.coordinator.execute(&Call::plain(block, deadline))
    }

    fn digest(&self) -> StateDigest {
        self.coordinator.base().digest()
    }
}
