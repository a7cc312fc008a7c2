//! Phalanx executes blocks of transactions over forked, pinned, single-threaded shard processes.
//!
//! Whatever is killed, whenever, the result is byte-for-byte what sequential execution in block order gives.
#![deny(unsafe_code)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("phalanx needs 64-bit addresses");

mod phalanx;

pub mod durable;
pub mod executor;
#[cfg(feature = "fail-points")]
pub mod fail_points;
pub mod partition;
pub mod quorum_store;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod topology;
pub mod types;
pub mod vm;

pub use phalanx::{BlockHandle, Phalanx, PhalanxBuilder, QUEUE_LIMIT, Totals};
pub use supervisor::{supervisor_entry, supervisor_entry_by, supervisor_entry_with};

/// Most shards that one executor may have.
pub const MAX_SHARDS: usize = 384;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
