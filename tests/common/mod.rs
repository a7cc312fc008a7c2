//! What the integration tests share: random numbers with a printed seed, ledgers with their oracle, looks at processes,
//! and a way to run a test in a process of its own.

#![allow(dead_code, unused_imports, missing_docs, reason = "each test program uses a part of it")]
#![allow(missing_debug_implementations, reason = "nothing here is printed")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails its test by panicking"
)]

mod alone;
mod bank;
pub mod contracts;
mod dice;
mod durable;
pub mod ethereum;
mod family;
mod hints;
mod process;
pub mod programs;
mod scene;
mod tally;

pub use alone::{Apart, alone, alone_under, apart, apart_with, is_apart, output_of};
pub use bank::{Bank, CULPRIT, RECIPIENT};
pub use dice::{Dice, seed};
pub use durable::{Refusals, scratch, small_durable};
pub use family::{all_ready, kill_shard, launch, nothing_left, own_pid, works};
pub use hints::{Hints, prepare_with};
pub use process::{
    allowed_cores, children_of, comm_of, eventually, fds_of, parent_of, segments_of, send_signal, state_of,
    switches_of, threads_of,
};
pub use scene::{Scene, assert_same, small_memory, transfer};
pub use tally::Tally;

use std::time::{Duration, Instant};

/// Nothing that must succeed takes a tenth of this, even on a loaded host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The deadline of a call that must succeed.
pub fn deadline() -> Instant {
    Instant::now() + PATIENCE
}
