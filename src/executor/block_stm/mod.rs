//! Block-STM: in-process optimistic execution over multi-version memory, what a user would pick instead of sharded
//! execution, and what it is measured against. `docs/architecture.md` says how it works.

mod config;
mod crew;
mod dispenser;
mod executor;
mod extra_keys;
mod job;
mod key_cell;
mod observation;
mod record;
mod scheduler;
mod settlement;
mod source;
mod status;
mod version;
mod worker;

pub use config::BlockStmConfig;
pub use executor::BlockStm;
