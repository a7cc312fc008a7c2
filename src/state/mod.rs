//! Base state: what the last committed block left, as bytes under bytes, in one shared-memory table.
//!
//! One writer (the coordinator, in commit), many readers (shards, while a round runs); they take turns.

mod digest;
mod heap;
mod table;

pub use digest::StateDigest;
pub use table::{BaseState, Place, Room, StateConfig, StateError, StateReader};
