//! The process executor.

use crate::durable::{ColdOrder, ColdStore, DurableState, JournalWatch};
use crate::executor::Fleet;
use crate::executor::{
    BlockExecutor, BlockOutput, Call, Coordinator, CoordinatorMemory, Counters, ExecuteError, ExecuteOptions,
    ShardFds, ShardLimits,
};
use crate::state::{BaseState, StateDigest};
use crate::supervisor::config::ProcessesConfig;
use crate::supervisor::entry::is_supervisor_image;
use crate::supervisor::fallback_fleet::FallbackFleet;
use crate::supervisor::health::{HealthDesk, ShardHealth, SupervisorHealth};
use crate::supervisor::incidents::Incidents;
use crate::supervisor::launch::{FamilyRegions, LaunchError};
use crate::supervisor::placement::Placement;
use crate::supervisor::placement_desk::PlacementDesk;
use crate::supervisor::process_fleet::ProcessFleet;
use crate::supervisor::supervisor_link::SupervisorLink;
use crate::supervisor::turns::as_coordinator;
use crate::telemetry::{Timeline, TimelineBook};
use crate::topology::{LatencyBound, RegionKind};
use crate::types::PreparedBlock;
use crate::vm::Vm;
use phalanx_ipc::{Control, with_own_policy};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

/// Executes blocks over forked shard processes.
pub struct Processes {
    /// Held from a block on, until this is told that there is none to execute, or ends: the first field, so that it does not hold while the
    /// others end.
    latency_bound: LatencyBound,
    coordinator: Coordinator<FallbackFleet>,
    desk: Arc<HealthDesk>,
    places: Arc<PlacementDesk>,
    timeline: Arc<TimelineBook>,
    journal: Option<JournalWatch>,
    /// The cores of the shards, if whoever coordinates is to run before them.
    run_before: Option<Vec<u32>>,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes").field("desk", &self.desk).finish_non_exhaustive()
    }
}

impl Processes {
    /// Starts supervisor and shards on `state`; returns when all shards are ready. `vm` answers for the conserved
    /// quantity in this process; the shards make their own from [`ProcessesConfig::vm`].
    ///
    /// # Errors
    /// [`LaunchError`]; no process is left then.
    pub fn launch<V: Vm>(
        config: &ProcessesConfig,
        vm: V,
        state: BaseState,
    ) -> Result<Processes, LaunchError> {
        Processes::start(config, vm, state, None)?.ready(config)
    }

    /// As [`launch`](Self::launch), on a state directory: every block is appended to its log before it is applied.
    ///
    /// # Errors
    /// [`LaunchError`]; no process is left then.
    pub fn launch_durable<V: Vm>(
        config: &ProcessesConfig,
        vm: V,
        state: DurableState,
    ) -> Result<Processes, LaunchError> {
        let (base, journal) = state.into_parts();
        let mut processes =
            Processes::start(config, vm, base, journal.cold().cloned().zip(journal.cold_order()))?;
        processes.journal = Some(journal.watch());
        processes.coordinator.keep_journal(journal);
        processes.ready(config)
    }

    /// `cold` is what the state does not hold, and where the shards find that.
    fn start<V: Vm>(
        config: &ProcessesConfig,
        vm: V,
        state: BaseState,
        cold: Option<(ColdStore, &ColdOrder)>,
    ) -> Result<Processes, LaunchError> {
        if is_supervisor_image() {
            return Err(LaunchError::EntryMissing);
        }
        if config.shards == 0 || config.shards > crate::MAX_SHARDS {
            return Err(LaunchError::ShardCount { shards: config.shards });
        }
        config.check().map_err(ExecuteError::from)?;
        let placement = Placement::plan(config)?;
        placement.tell_notes();
        let control = Arc::new(placed_control(config, &placement)?);
        let desk = Arc::new(HealthDesk::new(Arc::clone(&control)));
        let memory = CoordinatorMemory::create(&config.memory, state)?;
        placement.bind_shared(&memory);
        let (cold, order) = cold.unzip();
        let regions = FamilyRegions::create(config, &control, &memory, &placement, order.cloned())?;
        let matrix = placement.costs();
        let files = regions.files(&memory)?;
        let places = Arc::new(PlacementDesk::new(placement, files));
        let run_before = config.run_first.then(|| regions.order.cores.clone());
        let link = SupervisorLink::start(&config.image, &regions)?;
        let inside = (ShardFds::of(&memory)?, ShardLimits::of(&config.memory, config.timeline), cold);
        let fleet = ProcessFleet::new(
            Arc::clone(&desk),
            Arc::clone(&places),
            regions,
            config.image.clone(),
            link,
            config.stall_limit,
        );
        let fleet = FallbackFleet::new(fleet, config.fallback, Arc::clone(&desk), inside, vm.clone());
        let options = ExecuteOptions {
            on_death: config.on_death,
            judge_ahead: config.judge_ahead,
            rounds_without_progress: config.rounds_without_progress,
            costs: config.costs,
            matrix: Some(matrix),
            validation: true,
        };
        let mut coordinator = Coordinator::new(fleet, memory, Counters::of(&vm), options);
        let timeline = Arc::new(TimelineBook::default());
        if config.timeline.is_some() {
            coordinator.record_into(Arc::clone(&timeline));
        }
        let latency_bound = config.idle_latency.bound();
        Ok(Processes { latency_bound, coordinator, desk, places, timeline, journal: None, run_before })
    }

    fn ready(mut self, config: &ProcessesConfig) -> Result<Processes, LaunchError> {
        self.await_ready(config)?;
        Ok(self)
    }

    fn await_ready(&mut self, config: &ProcessesConfig) -> Result<(), LaunchError> {
        let begun = Instant::now();
        let deadline = begun + config.attach_limit;
        loop {
            let fleet = self.coordinator.fleet_mut();
            fleet.recover(deadline, &|| false)?;
            let mut ready = Vec::new();
            fleet.ready(&mut ready);
            if ready.len() == config.shards {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let detail =
                    self.health().iter().map(|shard| shard.message.clone()).find(|text| !text.is_empty());
                return Err(LaunchError::NotReady {
                    ready: ready.len(),
                    shards: config.shards,
                    waited_ms: begun.elapsed().as_millis(),
                    detail: detail.unwrap_or_else(|| {
                        "read the log, or start fewer shards; a program can raise attach_limit".to_owned()
                    }),
                });
            }
        }
    }

    /// The calling thread is to coordinate and nothing else: it runs first if that is wanted.
    pub(crate) fn take_over(&self) {
        self.coordinator.take_seat();
        if let Some(cores) = &self.run_before {
            as_coordinator(cores);
        }
    }

    /// Executes one block with everything that a caller can ask for.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Result<BlockOutput, ExecuteError> {
        self.latency_bound.hold();
        self.coordinator.execute(call)
    }

    /// Sleeps until `wake` is readable; cores may sleep deeply meanwhile. A supervisor that is lost meanwhile is replaced at once.
    pub(crate) fn idle(&mut self, wake: BorrowedFd<'_>) {
        self.latency_bound.release();
        self.coordinator.fleet_mut().idle(wake);
    }

    /// What is known of each shard now.
    #[must_use]
    pub fn health(&self) -> Vec<ShardHealth> {
        self.desk.shards()
    }

    /// What is known of the supervisor now.
    #[must_use]
    pub fn supervisor(&self) -> SupervisorHealth {
        self.desk.supervisor()
    }

    /// Takes what befell the processes since the last time, as far as it is complete.
    #[must_use]
    pub fn take_incidents(&self) -> Incidents {
        self.desk.take_incidents()
    }

    /// Takes what was recorded since the last time; empty unless [`ProcessesConfig::timeline`] asks for it.
    #[must_use]
    pub fn take_timeline(&self) -> Timeline {
        self.timeline.take()
    }

    /// For whoever asks for the timeline from another thread.
    pub(crate) fn timeline(&self) -> Arc<TimelineBook> {
        Arc::clone(&self.timeline)
    }

    /// For whoever asks how durable blocks are; `None` without a state directory.
    pub(crate) fn journal(&self) -> Option<JournalWatch> {
        self.journal.clone()
    }

    /// For whoever asks for places from another thread.
    pub(crate) fn places(&self) -> Arc<PlacementDesk> {
        Arc::clone(&self.places)
    }

    /// For whoever asks for health from another thread.
    pub(crate) fn desk(&self) -> Arc<HealthDesk> {
        Arc::clone(&self.desk)
    }
}

/// The control segment, whose memory is reserved at once: on the node of what the coordinator writes.
fn placed_control(config: &ProcessesConfig, placement: &Placement) -> Result<Control, LaunchError> {
    let count = u32::try_from(config.shards).unwrap_or(u32::MAX);
    let Some(policy) = placement.policy(RegionKind::Board, None) else {
        return Control::create_named(count).map_err(LaunchError::resource);
    };
    let (control, placed) = with_own_policy(&policy, || Control::create_named(count));
    if let Err(error) = placed {
        tracing::warn!(%error, "the control segment is not placed");
    }
    control.map_err(LaunchError::resource)
}

impl BlockExecutor for Processes {
    fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        self.call(&Call::plain(block, deadline))
    }

    fn digest(&self) -> StateDigest {
        self.coordinator.base().digest()
    }
}
