//! Whom the kernel is to run first where processes outnumber cores: the supervisor, then the coordinator, then shards.
//!
//! A death must be noticed and answered at once although every core is at work. Coordinator and supervisor are woken
//! often and need little, but a thread that has had its share waits for the next tick, up to 4 ms, unless it counts for
//! more than the one at work.

use phalanx_ipc::{Turns, nice_now};
use std::time::Duration;

/// The supervisor, and a shard until it is ready: next to nothing, at once.
const SUPERVISOR: Turns = Turns { nice: -15, slice: Duration::from_micros(100) };
/// The coordinator looks for deaths every 250 us.
const COORDINATOR: Turns = Turns { nice: -10, slice: Duration::from_micros(300) };

/// The calling thread is the coordinator's.
pub(crate) fn as_coordinator() {
    ask(COORDINATOR);
}

/// The calling thread is the supervisor's, or a new shard's.
pub(super) fn as_supervisor() {
    ask(SUPERVISOR);
}

/// The calling thread works as a shard, with the nice value of who launched the family.
pub(super) fn as_shard(nice: i32) {
    ask(Turns { nice, slice: Duration::ZERO });
}

fn ask(turns: Turns) {
    // Without the right to a better nice value a short slice is what is left.
    let modest = Turns { nice: nice_now(), ..turns };
    if let Err(error) = turns.ask().or_else(|_| modest.ask()) {
        tracing::debug!(%error, "the kernel takes no wish for turns");
    }
}
