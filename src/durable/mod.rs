//! Durable state: what was executed survives the death of every process, and of the machine.
//!
//! Every block is first appended to a log, then applied to the base state. A thread makes what was appended durable,
//! another one brings it into a key-value store behind the log. Opening the directory again replays what the store
//! lacks, so that it always opens at the last block that was reported durable, or a later one. With a budget the base state is
//! a cache of the store: what it does not hold is read there.

mod appender;
mod applier;
mod batch;
mod cold;
mod config;
mod directory;
mod environment;
mod error;
mod head;
mod inspect;
mod journal;
mod log_scan;
mod opened;
mod progress;
mod record;
mod segment;
mod snapshot;
mod step;
mod store;
mod syncer;

pub use config::DurableConfig;
pub use error::DurableError;
pub use head::Head;
pub use inspect::{DirectoryReport, inspect, verify};
pub use opened::DurableState;
pub use progress::DurableProgress;
pub use snapshot::{SnapshotHead, export, import};
pub use step::Step;
#[cfg(feature = "fail-points")]
pub use step::StepHook;

pub(crate) use cold::{ColdOrder, ColdReads, ColdStore};
pub(crate) use environment::open_environment;
pub(crate) use journal::{Journal, JournalWatch, Recalled};

#[cfg(test)]
mod tests;
