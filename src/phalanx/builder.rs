//! How a [`Phalanx`] is set up and launched.

use super::Phalanx;
use crate::durable::{DurableConfig, DurableState};
use crate::executor::{ExecuteError, JudgeAhead, MemoryConfig, OnDeath};
use crate::state::{BaseState, StateError};
use crate::supervisor::{
    Fallback, LaunchError, Pacing, Placement, PlacementConfig, Processes, ProcessesConfig, SupervisorImage,
};
use crate::telemetry::TimelineConfig;
use crate::topology::IdleLatency;
use crate::vm::evm::{EvmConfig, EvmVm};
use crate::vm::ledger::{LedgerConfig, LedgerVm};
use crate::vm::{BuiltInVm, Vm};
use phalanx_ipc::Region;
use std::time::Duration;

/// Makes a [`Phalanx`].
#[derive(Clone, Debug)]
pub struct PhalanxBuilder<V> {
    config: ProcessesConfig,
    shards: Option<usize>,
    durable: Option<DurableConfig>,
    vm: V,
}

impl PhalanxBuilder<LedgerVm> {
    /// For the ledger.
    #[must_use]
    pub fn ledger(config: LedgerConfig) -> PhalanxBuilder<LedgerVm> {
        PhalanxBuilder::new(LedgerVm::new(config), BuiltInVm::Ledger(config).to_bytes())
    }
}

impl PhalanxBuilder<EvmVm> {
    /// For Ethereum's transactions.
    #[must_use]
    pub fn evm(config: EvmConfig) -> PhalanxBuilder<EvmVm> {
        PhalanxBuilder::new(EvmVm::new(config), BuiltInVm::Evm(config).to_bytes())
    }
}

impl<V: Vm> PhalanxBuilder<V> {
    /// For a virtual machine of your own, and the bytes from which the supervisor makes its copy (see
    /// [`crate::supervisor_entry_with`]).
    #[must_use]
    pub fn new(vm: V, vm_bytes: Vec<u8>) -> PhalanxBuilder<V> {
        let config = ProcessesConfig { vm: vm_bytes, ..ProcessesConfig::default() };
        PhalanxBuilder { config, shards: None, durable: None, vm }
    }

    /// Number of shards, 1 ..= [`crate::MAX_SHARDS`]. Default: one per core that this process may use, less one for the
    /// coordinator when there are more than two.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// What becomes the supervisor. Default: this program itself, whose `main` calls [`crate::supervisor_entry`] first.
    #[must_use]
    pub fn supervisor_image(mut self, image: SupervisorImage) -> Self {
        self.config.image = image;
        self
    }

    /// What to do when a shard dies while a block executes. Default: resume.
    #[must_use]
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.config.on_death = on_death;
        self
    }

    /// When the outputs of a round are judged. Default: as they come, if there are more cores than shards.
    #[must_use]
    pub fn judge_ahead(mut self, judge_ahead: JudgeAhead) -> Self {
        self.config.judge_ahead = judge_ahead;
        self
    }

    /// What to do when no shard process can be had. Default: an error.
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.config.fallback = fallback;
        self
    }

    /// Sizes of the shared memory.
    #[must_use]
    pub fn memory(mut self, memory: MemoryConfig) -> Self {
        self.config.memory = memory;
        self
    }

    /// How long a shard may go without progress, stopped or on its own CPU time, before it is killed. Default: 1 s.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.config.stall_limit = limit;
        self
    }

    /// How long to wait for the first shards. Default: 10 s.
    #[must_use]
    pub fn attach_limit(mut self, limit: Duration) -> Self {
        self.config.attach_limit = limit;
        self
    }

    /// How fast dead shards are replaced.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.config.pacing = pacing;
        self
    }

    /// Whether supervisor, new shards and the coordinator's thread ask the kernel to run before others; see
    /// [`ProcessesConfig::run_first`]. Default: yes.
    #[must_use]
    pub fn run_first(mut self, run_first: bool) -> Self {
        self.config.run_first = run_first;
        self
    }

    /// How long cores may take to wake up while there are blocks to execute; for all cores of the host. Default: [`IdleLatency::Auto`].
    #[must_use]
    pub fn idle_latency(mut self, idle_latency: IdleLatency) -> Self {
        self.config.idle_latency = idle_latency;
        self
    }

    /// Where shards and memory go, and how that is looked after. Default: one shard per physical core, its memory on its node,
    /// a core per node kept free, an audit a second.
    #[must_use]
    pub fn placement(mut self, placement: PlacementConfig) -> Self {
        self.config.placement = placement;
        self
    }

    /// What [`launch`](Self::launch) would decide about places, without making anything.
    ///
    /// # Errors
    /// [`LaunchError`] when options and host do not go together.
    pub fn plan_placement(&self) -> Result<Placement, LaunchError> {
        let mut planned = self.config.clone();
        planned.shards = match self.shards {
            Some(shards) => shards,
            None => Placement::auto_shards(&self.config.placement)?,
        };
        Placement::plan(&planned)
    }

    /// Records who does what when, for [`Phalanx::take_timeline`]. Default: nothing is recorded.
    #[must_use]
    pub fn timeline(mut self, timeline: TimelineConfig) -> Self {
        self.config.timeline = Some(timeline);
        self
    }

    /// Makes every block durable in this directory, and goes on where the last run with it ended. Default: the state is in
    /// memory only.
    #[must_use]
    pub fn state_dir(mut self, durable: DurableConfig) -> Self {
        self.durable = Some(durable);
        self
    }

    /// Log filter of supervisor and shards, as in `RUST_LOG`. Default: `warn`.
    #[must_use]
    pub fn log(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.config.log);
        self
    }

    /// Starts supervisor and shards on a state of these entries, and returns when all shards are ready. With a
    /// [`state_dir`](Self::state_dir) the entries are those that the directory is made from; one that is there keeps its
    /// state.
    ///
    /// # Errors
    /// [`LaunchError`]; no process is left then.
    pub fn launch<K: AsRef<[u8]>, E: AsRef<[u8]>>(
        mut self,
        genesis: impl IntoIterator<Item = (K, E)>,
    ) -> Result<Phalanx, LaunchError> {
        self.settle_shards()?;
        if let Some(durable) = self.durable.take() {
            let placement = Placement::plan(&self.config)?;
            let place = |region: &Region| placement.place_state(region);
            let state = DurableState::open_placed(&durable, self.config.memory.state, genesis, place);
            return self.launch_durable(state.map_err(ExecuteError::from)?);
        }
        let refused = |error: StateError| LaunchError::Execute(error.into());
        let state = BaseState::create(self.config.memory.state).map_err(refused)?;
        // Before anything of it is touched but its first page.
        Placement::plan(&self.config)?.place_state(state.region());
        let state = state.filled(genesis).map_err(refused)?;
        let processes = Processes::launch(&self.config, self.vm, state)?;
        Phalanx::over(processes)
    }

    /// As [`launch`](Self::launch), on a state directory that is open. Its state has the sizes with which it was opened, and its
    /// memory is spread over the nodes of the shards only if it was placed then ([`DurableState::open_placed`]).
    ///
    /// # Errors
    /// [`LaunchError`]; no process is left then, and the directory is closed.
    pub fn launch_durable(mut self, state: DurableState) -> Result<Phalanx, LaunchError> {
        self.settle_shards()?;
        let processes = Processes::launch_durable(&self.config, self.vm, state)?;
        Phalanx::over(processes)
    }

    fn settle_shards(&mut self) -> Result<(), LaunchError> {
        self.config.shards = match self.shards {
            Some(shards) => shards,
            None => Placement::auto_shards(&self.config.placement)?,
        };
        if self.config.shards == 0 || self.config.shards > crate::MAX_SHARDS {
            return Err(LaunchError::ShardCount { shards: self.config.shards });
        }
        self.config.check().map_err(ExecuteError::from)?;
        Ok(())
    }
}
