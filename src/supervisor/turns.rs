//! Whom the kernel is to run first where processes outnumber cores: the supervisor, then the coordinator, then shards.
//!
//! A death must be noticed and answered at once although every core is at work. With fair turns a thread that has just
//! had its share waits for the next tick of the clock, up to 4 ms, behind a shard, or behind the kernel that dumps a core.

use phalanx_ipc::{Turns, nice_now};

/// The supervisor needs next to nothing, at once.
const SUPERVISOR: Turns = Turns::First { priority: 2 };
/// So does a new shard until it is ready. The supervisor must be able to end it.
const NEWBORN: Turns = Turns::First { priority: 1 };
/// The coordinator looks for deaths every 250 us.
const COORDINATOR: Turns = Turns::First { priority: 1 };
/// What they ask for where they may not run first.
const AHEAD: Turns = Turns::Fair { nice: -10 };

/// The calling thread is the coordinator's.
pub(crate) fn as_coordinator() {
    ask(COORDINATOR);
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
