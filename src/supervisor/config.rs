//! How a process executor is made.

use crate::executor::{JudgeAhead, MemoryConfig, OnDeath};
use crate::partition::CostModel;
use crate::supervisor::child::Pacing;
use crate::supervisor::placement::PlacementConfig;
use crate::telemetry::TimelineConfig;
use crate::topology::IdleLatency;
use crate::types::OutOfRange;
use std::path::PathBuf;
use std::time::Duration;

/// What is executed to become the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SupervisorImage {
    /// The running program itself, whose `main` calls [`crate::supervisor::supervisor_entry`] first.
    #[default]
    Own,
    /// Another program: `phalanx-supervisor` for the ledger, or one of your own.
    Path(PathBuf),
}

impl SupervisorImage {
    pub(super) fn path(&self) -> PathBuf {
        match self {
            // The kernel's link: it still names the running program when the file was replaced by an update.
            SupervisorImage::Own => PathBuf::from("/proc/self/exe"),
            SupervisorImage::Path(path) => path.clone(),
        }
    }
}

/// What to do when no shard process can be had: all are taken out because they keep dying, or none can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Wait until the block's deadline, then fail with `NoShards`.
    #[default]
    Error,
    /// Execute in this process, on one thread, until a shard process is back. A virtual machine that crashes or hangs
    /// then does so in this process.
    InProcess,
}

/// How a process executor is made.
#[derive(Clone, Debug)]
pub struct ProcessesConfig {
    /// Number of shards, 1 ..= [`crate::MAX_SHARDS`].
    pub shards: usize,
    /// What becomes the supervisor.
    pub image: SupervisorImage,
    /// What the supervisor makes the virtual machine from; up to 48 KiB.
    pub vm: Vec<u8>,
    /// Sizes of the shared memory.
    pub memory: MemoryConfig,
    /// What to do when a shard dies while a block executes.
    pub on_death: OnDeath,
    /// When outputs are judged.
    pub judge_ahead: JudgeAhead,
    /// What to do when no shard process can be had.
    pub fallback: Fallback,
    /// Rounds without progress after which all that is left of a block goes to one shard.
    pub rounds_without_progress: u32,
    /// How long a shard may go without progress, stopped or on its own CPU time, before it is killed; 1 ms to a day.
    pub stall_limit: Duration,
    /// How fast dead shards are replaced.
    pub pacing: Pacing,
    /// How long to wait for the first shards.
    pub attach_limit: Duration,
    /// Assumed costs of communication.
    pub costs: CostModel,
    /// Whether supervisor, new shards and the thread of a [`Phalanx`](crate::Phalanx) that coordinates ask the kernel to run before others (`SCHED_FIFO`), so
    /// that a death is noticed and answered at once although every core is at work. Without the right to it
    /// (`CAP_SYS_NICE` or `RLIMIT_RTPRIO`) they ask for a better nice value, and without that for nothing.
    pub run_first: bool,
    /// How long cores may take to wake up while blocks are executed: from the first one on until the executor ends, or, of a
    /// [`Phalanx`](crate::Phalanx), until none is left in its queue.
    pub idle_latency: IdleLatency,
    /// Where shards and memory go, and how that is looked after.
    pub placement: PlacementConfig,
    /// Whether and how a timeline is recorded; take it with [`Processes::take_timeline`](crate::supervisor::Processes::take_timeline).
    /// Default: none.
    pub timeline: Option<TimelineConfig>,
    /// Log filter of supervisor and shards, as in `RUST_LOG`.
    pub log: String,
}

/// Most bytes of [`ProcessesConfig::vm`]: with everything else they make one message.
const VM_BYTES_MAX: u64 = 48 << 10;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl ProcessesConfig {
    /// Whether executors can be made like this. The number of shards is looked at by the launch itself.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first option that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        self.memory.check()?;
        OutOfRange::check("vm", self.vm.len() as u64, 0..=VM_BYTES_MAX)?;
        let stall_ms = u64::try_from(self.stall_limit.as_millis()).unwrap_or(u64::MAX);
        OutOfRange::check("stall_limit (in ms)", stall_ms, 1..=DAY_MS)
    }
}

impl Default for ProcessesConfig {
    fn default() -> ProcessesConfig {
        ProcessesConfig {
            shards: 1,
            image: SupervisorImage::Own,
            vm: Vec::new(),
            memory: MemoryConfig::default(),
            on_death: OnDeath::Resume,
            judge_ahead: JudgeAhead::default(),
            fallback: Fallback::Error,
            rounds_without_progress: 3,
            stall_limit: Duration::from_secs(1),
            pacing: Pacing::default(),
            attach_limit: Duration::from_secs(10),
            costs: CostModel::default(),
            run_first: true,
            idle_latency: IdleLatency::default(),
            placement: PlacementConfig::default(),
            timeline: None,
            log: "warn".to_owned(),
        }
    }
}
