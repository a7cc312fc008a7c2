//! The processes of a running family, found from outside, for whoever is to signal to them.
//!
//! Nobody else is ever signalled to: a process counts only if the control segment names it with its start time, or it
//! is a child of the segment's owner, and it has the name and the parent that it must have. It is held by a pidfd
//! before it is looked at, so that it cannot be another one by the time the signal goes out.

use crate::proc;
use nix::sys::signal::Signal;
use phalanx_ipc::{
    ControlError, ControlView, HandleError, ProcessHandle, ProcessIdentity, SlotSnapshot, monotonic_now,
    parent_of,
};
use std::time::Duration;

/// Set in the wait status of a process that left a core dump.
const CORE_DUMPED: i32 = 0x80;

const SUPERVISOR: &str = "phx-supervisor";

/// A family, found by its control segment.
#[derive(Debug)]
pub struct Victims {
    view: ControlView,
}

/// One life of a shard.
#[derive(Debug)]
pub struct ShardVictim {
    /// Which shard.
    pub shard: u32,
    /// Which of its lives.
    pub generation: u32,
    /// The process.
    pub process: Victim,
}

/// A process of the family.
#[derive(Debug)]
pub struct Victim(ProcessHandle);

impl Victim {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.0.identity().pid
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.0.identity().is_alive()
    }

    /// Sends a signal; the time by the monotonic clock right before. `None` if the process is gone.
    ///
    /// # Errors
    /// What the kernel refuses otherwise.
    pub fn strike(&self, signal: Signal) -> Result<Option<Duration>, HandleError> {
        let at = monotonic_now();
        match self.0.signal(signal) {
            Ok(()) => Ok(Some(at)),
            Err(HandleError::Gone { .. }) => Ok(None),
            Err(error @ HandleError::Os { .. }) => Err(error),
        }
    }
}

impl Victims {
    /// Finds the family of a control segment.
    ///
    /// # Errors
    /// [`ControlError`] when there is none, or it is of another build.
    pub fn open(segment: &str) -> Result<Victims, ControlError> {
        Ok(Victims { view: ControlView::open(segment)? })
    }

    /// The owner of the segment.
    pub fn owner(&self) -> ProcessIdentity {
        self.view.owner()
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        usize::try_from(self.view.slots()).unwrap_or(0)
    }

    /// What the slot of a shard says now.
    pub fn slot(&self, shard: u32) -> Option<SlotSnapshot> {
        self.view.slot(shard)
    }

    /// Whether a life of a shard left a core dump; none until it is reaped, and some lives later.
    pub fn dumped_core(&self, shard: u32, generation: u32) -> Option<bool> {
        self.view.exit_of(shard, generation).map(|raw| raw & CORE_DUMPED != 0)
    }

    /// The present life of every shard; 0 before the first.
    pub fn generations(&self) -> Vec<u32> {
        (0..self.view.slots()).map(|shard| self.slot(shard).map_or(0, |slot| slot.generation)).collect()
    }

    /// The living process of a shard; none between two lives, or while it is being made.
    pub fn shard(&self, shard: u32) -> Option<ShardVictim> {
        let slot = self.slot(shard)?;
        let handle = ProcessHandle::open(slot.process?).ok()?;
        let pid = handle.identity().pid;
        let named = proc::name_of(pid)? == format!("phx-shard-{shard}");
        let parent = parent_of(pid)?;
        let related = proc::name_of(parent)? == SUPERVISOR && parent_of(parent)? == self.owner().pid;
        (named && related).then_some(ShardVictim {
            shard,
            generation: slot.generation,
            process: Victim(handle),
        })
    }

    /// The living supervisor; none while there is none.
    pub fn supervisor(&self) -> Option<Victim> {
        let children = proc::children_of(self.owner().pid).into_iter();
        let mut held = children.filter_map(|pid| ProcessHandle::open(ProcessIdentity::of(pid)?).ok());
        held.find(|handle| {
            let pid = handle.identity().pid;
            proc::name_of(pid).is_some_and(|name| name == SUPERVISOR)
                && parent_of(pid) == Some(self.owner().pid)
        })
        .map(Victim)
    }
}
