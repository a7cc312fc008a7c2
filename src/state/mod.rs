//! Base state: what the last committed block left, as bytes under bytes, in one shared-memory table.
//!
//! One writer (the coordinator, in commit), many readers (shards, while a round runs); they take turns. The table holds the
//! whole state, or is a cache of the store below it.

mod cache;
mod config;
mod digest;
mod error;
mod heap;
mod layout;
mod reader;
mod room;
mod slot;
mod table;

pub use cache::CacheStats;
pub use config::StateConfig;
pub use digest::StateDigest;
pub use error::StateError;
pub use reader::{BaseValue, StateReader, StateTable};
pub use room::Room;
pub use slot::Place;
pub use table::BaseState;

pub(crate) use cache::Backlog;
