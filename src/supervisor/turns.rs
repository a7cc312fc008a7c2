//! Whom the kernel is to run first where processes outnumber cores: the supervisor, then the coordinator, then shards.
//!
//! A death must be noticed and answered at once although every core is at work. With fair turns a thread that has just
//! had its share waits for the next tick of the clock, up to 4 ms, behind a shard, or behind the kernel that dumps a core.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use phalanx_ipc::{Turns, nice_now};

/// The supervisor needs next to nothing, at once.
const SUPERVISOR: Turns = Turns::First { priority: 3 };
/// So does a new shard until it is ready; the coordinator can wait for it, and the supervisor must be able to end it.
const NEWBORN: Turns = Turns::First { priority: 2 };
/// The coordinator looks for deaths every 250 us.
const COORDINATOR: Turns = Turns::First { priority: 1 };
/// What they ask for where they may not run first.
const AHEAD: Turns = Turns::Fair { nice: -10 };

/// The calling thread is the coordinator's, of shards on these cores: it keeps off them if there are others.
pub(super) fn as_coordinator(shard_cores: &[u32]) {
    if let Err(error) = keep_off(shard_cores) {
        tracing::debug!(%error, "the coordinator's cores cannot be set");
    }
    // One that runs before its own supervisor would be the wrong way round.
    match SUPERVISOR.ask() {
        Ok(()) => ask(COORDINATOR),
        Err(_) => ask(AHEAD),
    }
}

fn keep_off(shard_cores: &[u32]) -> nix::Result<()> {
    let this_thread = Pid::from_raw(0);
    let mut cores = sched_getaffinity(this_thread)?;
    for &core in shard_cores {
        cores.unset(core as usize)?;
    }
    let left = (0..CpuSet::count()).any(|core| cores.is_set(core).unwrap_or(false));
    if left { sched_setaffinity(this_thread, &cores) } else { Ok(()) }
}

/// The calling thread is the supervisor's.
pub(super) fn as_supervisor() {
    ask(SUPERVISOR);
}

/// The calling thread is a new shard's.
pub(super) fn as_newborn() {
    ask(NEWBORN);
}

/// The calling thread works as a shard, with the nice value of who launched the family.
pub(super) fn as_shard(nice: i32) {
    if let Err(error) = (Turns::Fair { nice }).ask() {
        tracing::warn!(%error, nice, "the shard's turns cannot be set");
    }
}

fn ask(turns: Turns) {
    if let Err(error) = turns.ask().or_else(|_| AHEAD.ask()) {
        tracing::debug!(%error, nice = nice_now(), "no right to run before others; deaths may be noticed later");
    }
}
