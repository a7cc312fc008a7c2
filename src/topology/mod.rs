//! Which cores, caches and nodes the host has, and where shards and memory go on them.

mod allowance;
mod cost_matrix;
mod cpu_list;
mod error;
mod host;
mod idle_latency;
mod latency_bound;
mod layout;
mod model;
mod reader;
mod region_plan;
mod sys_tree;

pub use allowance::{Allowance, quota_of};
pub use cost_matrix::CostMatrix;
pub use cpu_list::{format_list, parse_list};
pub use error::TopologyError;
pub use host::{Host, Spins};
pub use idle_latency::{IdleLatency, idle_driver};
pub use latency_bound::{LATENCY_DEVICE, LatencyBound};
pub use layout::{Layout, LayoutOptions, Seat};
pub use model::{CoreKind, Cpu, DISTANCE_LOCAL, DISTANCE_REMOTE, Node, Topology};
pub use reader::NODES_MAX;
pub use region_plan::{Placing, RegionKind, RegionPlan, RegionSizes};
pub use sys_tree::SysTree;

#[cfg(test)]
mod tests;
