//! Processes: a supervisor that keeps shards alive, the shards themselves, and the executor on top of them.
//!
//! `supervisor_entry` and everything behind it run in the supervisor and its shards; the rest runs in the coordinator.

mod audit;
mod auditor;
mod child;
mod config;
mod entry;
mod fallback_fleet;
mod health;
mod incidents;
mod launch;
mod memory_watch;
mod pin_watch;
mod placement;
mod placement_desk;
mod process_fleet;
mod processes;
mod protocol;
mod ring_transport;
mod shard_process;
mod stall;
mod supervisor_link;
mod supervisor_loop;
mod turns;

pub use audit::{AuditFinding, AuditMark, AuditSubject, Remedy};
pub use child::Pacing;
pub use config::{Fallback, ProcessesConfig, SupervisorImage};
pub use entry::{
    Served, SupervisorSeat, is_supervisor_image, supervisor_entry, supervisor_entry_by, supervisor_entry_with,
};
pub use health::{ShardHealth, SupervisorHealth};
pub use incidents::{INCIDENTS_KEPT, Incidents, MemoryIncident, ShardIncident, SupervisorIncident};
pub use launch::LaunchError;
pub use placement::{HugePages, Placement, PlacementConfig};
pub use placement_desk::{PlacementReport, RegionReport, ShardPlace};
pub use processes::Processes;

pub(crate) use health::HealthDesk;
pub(crate) use placement_desk::PlacementDesk;
