//! What is known of the processes now: read from the control segment and the book of incidents, from any thread.

use crate::executor::{DeathCause, counter};
use crate::supervisor::incidents::{IncidentLog, Incidents};
use crate::types::{Generation, ShardId};
use parking_lot::{Mutex, MutexGuard};
use phalanx_ipc::{ChildSlot, Control, LifelineState, SlotState, monotonic_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

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
    /// Deaths in a row before it got anything done; they slow down its replacement.
    pub useless_deaths: u32,
    /// How long until it is tried again, if that is put off.
    pub retry_in: Option<Duration>,
    /// Processes made for it so far.
    pub spawns: u64,
    /// Processes of it that ended so far.
    pub deaths: u64,
    /// How its life before this one ended, if there was one and its end is known.
    pub last_death: Option<DeathCause>,
    /// Transactions that it has executed, over all its lives.
    pub executed: u64,
    /// What its processes said last, if anything: of a panic with the place in the source, or of an end.
    pub message: String,
}

/// What is known of the supervisor now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupervisorHealth {
    /// Its process; `None` while there is none.
    pub pid: Option<i32>,
    /// Times that it had to be started again.
    pub restarts: u64,
    /// Whether blocks are executed in this process, because no shard process can be had (see
    /// [`Fallback`](crate::supervisor::Fallback)).
    pub in_process: bool,
}

/// Where health can be asked for without disturbing the coordinator.
#[derive(Debug)]
pub(crate) struct HealthDesk {
    control: Arc<Control>,
    incidents: Mutex<IncidentLog>,
    supervisor: AtomicI32,
    restarts: AtomicU64,
    in_process: AtomicBool,
}

impl HealthDesk {
    pub(super) fn new(control: Arc<Control>) -> HealthDesk {
        let incidents = Mutex::new(IncidentLog::new(control.shards()));
        HealthDesk {
            control,
            incidents,
            supervisor: AtomicI32::new(0),
            restarts: AtomicU64::new(0),
            in_process: AtomicBool::new(false),
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The book of incidents. Held for moments only.
    pub(super) fn incidents(&self) -> MutexGuard<'_, IncidentLog> {
        self.incidents.lock()
    }

    /// Which process the supervisor is now; 0 for none.
    pub(super) fn set_supervisor(&self, pid: i32) {
        self.supervisor.store(pid, Ordering::Relaxed);
    }

    /// Whether blocks are executed in this process now.
    pub(super) fn set_in_process(&self, in_process: bool) {
        self.in_process.store(in_process, Ordering::Relaxed);
    }

    /// The supervisor was started again, as this process.
    pub(super) fn count_supervisor(&self, pid: i32) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.set_supervisor(pid);
    }

    pub(crate) fn segment(&self) -> &str {
        self.control.os_id().unwrap_or_default()
    }

    pub(crate) fn supervisor(&self) -> SupervisorHealth {
        let pid = self.supervisor.load(Ordering::Relaxed);
        SupervisorHealth {
            pid: (pid != 0).then_some(pid),
            restarts: self.restarts.load(Ordering::Relaxed),
            in_process: self.in_process.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shards(&self) -> Vec<ShardHealth> {
        let slots = (0..self.control.shards()).filter_map(|id| Some((ShardId(id), self.control.slot(id)?)));
        slots.map(|(shard, slot)| self.shard(shard, slot)).collect()
    }

    fn shard(&self, shard: ShardId, slot: &ChildSlot) -> ShardHealth {
        let generation = slot.generation.load(Ordering::Acquire);
        let pid = slot.pid.load(Ordering::Acquire);
        let ready = pid != 0
            && slot.ready_generation.load(Ordering::Acquire) == generation
            && generation != 0
            && slot.lifeline(generation).probe() == LifelineState::Held
            && !slot.is_dying(generation);
        let retry_at = Duration::from_nanos(slot.retry_at.load(Ordering::Relaxed));
        let before = Generation(generation.saturating_sub(1));
        let last_death = (before.0 != 0).then(|| self.incidents().cause_of(slot, shard, before));
        ShardHealth {
            pid,
            generation,
            ready,
            resting: slot.state() == SlotState::Resting,
            useless_deaths: slot.useless_deaths.load(Ordering::Relaxed),
            retry_in: retry_at.checked_sub(monotonic_now()).filter(|left| !left.is_zero()),
            spawns: slot.spawns.load(Ordering::Relaxed),
            deaths: slot.crashes.load(Ordering::Relaxed),
            last_death: last_death.filter(|cause| *cause != DeathCause::Unknown),
            executed: slot.counters[counter::EXECUTED].load(Ordering::Relaxed),
            message: slot.message(),
        }
    }

    /// Takes the incidents that are complete.
    pub(crate) fn take_incidents(&self) -> Incidents {
        let mut log = self.incidents();
        log.sweep(&self.control);
        log.take()
    }
}
