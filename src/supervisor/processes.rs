//! The process executor.

use crate::executor::Fleet;
use crate::executor::{
    BlockExecutor, BlockOutput, Call, Coordinator, CoordinatorMemory, ExecuteError, ExecuteOptions,
};
use crate::state::{BaseState, StateDigest};
use crate::supervisor::config::ProcessesConfig;
use crate::supervisor::entry::is_supervisor_image;
use crate::supervisor::launch::{FamilyRegions, LaunchError};
use crate::supervisor::process_fleet::ProcessFleet;
use crate::supervisor::supervisor_link::SupervisorLink;
use crate::types::PreparedBlock;
use crate::vm::Vm;
use phalanx_ipc::{Control, LifelineState, SlotState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What is known of one shard process now. Each field may be stale at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHealth {
    /// Its process; 0 before the first.
    pub pid: i32,
    /// Which life it is in.
    pub generation: u32,
    /// Whether it can take part in a round.
    pub ready: bool,
    /// Whether it is taken out for a while because it kept dying.
    pub resting: bool,
    /// Processes made for it so far.
    pub spawns: u64,
    /// Processes of it that ended so far.
    pub deaths: u64,
    /// Transactions that it has executed, over all its lives.
    pub executed: u64,
    /// What its last process had to say before it ended, if anything.
    pub message: String,
}

/// Executes blocks over forked shard processes.
pub struct Processes {
    coordinator: Coordinator<ProcessFleet>,
    control: Arc<Control>,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes").field("control", &self.control.os_id()).finish_non_exhaustive()
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
        if is_supervisor_image() {
            return Err(LaunchError::EntryMissing);
        }
        if config.shards == 0 || config.shards > crate::MAX_SHARDS {
            return Err(LaunchError::ShardCount { shards: config.shards });
        }
        config.check().map_err(ExecuteError::from)?;
        let count = u32::try_from(config.shards).unwrap_or(u32::MAX);
        let control = Arc::new(Control::create_named(count).map_err(LaunchError::resource)?);
        let memory = CoordinatorMemory::create(&config.memory, state)?;
        let regions = FamilyRegions::create(config, &control, &memory)?;
        let link = SupervisorLink::start(&config.image, &regions)?;
        let fleet =
            ProcessFleet::new(Arc::clone(&control), regions, config.image.clone(), link, config.stall_limit);
        let options = ExecuteOptions {
            on_death: config.on_death,
            rounds_without_progress: config.rounds_without_progress,
            costs: config.costs,
            validation: true,
        };
        let conserved = Box::new(move |key: &[u8], value: Option<&[u8]>| vm.conserved(key, value));
        let mut processes =
            Processes { coordinator: Coordinator::new(fleet, memory, conserved, options), control };
        processes.await_ready(config)?;
        Ok(processes)
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
                    detail: detail.unwrap_or_else(|| "raise attach_limit or read the log".to_owned()),
                });
            }
        }
    }

    /// Executes one block with everything that a caller can ask for.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Result<BlockOutput, ExecuteError> {
        self.coordinator.execute(call)
    }

    /// What is known of each shard now.
    #[must_use]
    pub fn health(&self) -> Vec<ShardHealth> {
        health_of(&self.control)
    }

    /// Times that the supervisor had to be started again.
    pub fn supervisor_restarts(&mut self) -> u64 {
        self.coordinator.fleet_mut().supervisor_restarts()
    }

    /// The supervisor's process id, if it runs.
    pub fn supervisor_pid(&mut self) -> Option<i32> {
        self.coordinator.fleet_mut().supervisor().map(|identity| identity.pid)
    }

    /// The control segment, for whoever asks for health from another thread.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }
}

/// Reads the health of all shards from their slots.
pub(crate) fn health_of(control: &Control) -> Vec<ShardHealth> {
    let slots = (0..control.shards()).filter_map(|shard| control.slot(shard));
    slots
        .map(|slot| {
            let generation = slot.generation.load(Ordering::Acquire);
            let pid = slot.pid.load(Ordering::Acquire);
            let ready = pid != 0
                && slot.ready_generation.load(Ordering::Acquire) == generation
                && generation != 0
                && slot.lifeline(generation).probe() == LifelineState::Held;
            ShardHealth {
                pid,
                generation,
                ready,
                resting: slot.state() == SlotState::Resting,
                spawns: slot.spawns.load(Ordering::Relaxed),
                deaths: slot.crashes.load(Ordering::Relaxed),
                executed: slot.counters[crate::executor::counter::EXECUTED].load(Ordering::Relaxed),
                message: slot.message(),
            }
        })
        .collect()
}

impl BlockExecutor for Processes {
    fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        self.call(&Call { block, deadline, cancelled: &|| false, claim: &|| true, next: &|| None })
    }

    fn digest(&self) -> StateDigest {
        self.coordinator.base().digest()
    }
}
