//! Whom the kernel is to run first where processes outnumber cores: the supervisor, then the coordinator, then shards.
//!
//! A death must be noticed and answered at once although every core is at work. With fair turns a thread that has just
//! had its share waits for the next tick of the clock, up to 4 ms, behind a shard, or behind the kernel that dumps a core.

use phalanx_ipc::{PinError, Turns, allow_cores, allowed_cores, nice_now};

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

fn keep_off(shard_cores: &[u32]) -> Result<(), PinError> {
    let is_shards = |core: &usize| shard_cores.iter().any(|&shard| shard as usize == *core);
    let left: Vec<usize> = allowed_cores()?.into_iter().filter(|core| !is_shards(core)).collect();
    if left.is_empty() { Ok(()) } else { allow_cores(&left) }
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
