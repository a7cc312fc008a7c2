//! What coordinator and supervisor say to each other: BCS messages over a socket pair. Facts about shards are not said
//! but stand in the control segment.

use crate::durable::ColdOrder;
use crate::executor::MemoryConfig;
use crate::partition::ArenaLimits;
use crate::state::StateConfig;
use crate::supervisor::audit::{AuditFinding, AuditMark};
use crate::supervisor::child::Pacing;
use crate::telemetry::TimelineConfig;
use phalanx_ipc::{Channel, ChannelError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// Environment variable that tells an image that it is to be the supervisor.
pub(super) const MARKER: &str = "PHALANX_SUPERVISOR";
/// Its value: the version of this protocol and of everything else that the two images share, records in arenas and outputs
/// included.
pub(super) const MARKER_VALUE: &str = "9";

/// Everything that a supervisor needs to know, beside the descriptors that follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LaunchOrder {
    /// Name of the control segment.
    pub(super) control: String,
    /// The core of each shard.
    pub(super) cores: Vec<u32>,
    /// What shards' own memory is bound to, by shard; empty if it is not bound.
    pub(super) heaps: Vec<u32>,
    /// Whether regions ask for huge pages where they are touched.
    pub(super) huge_pages: bool,
    /// `oom_score_adj` of shards.
    pub(super) oom_score_adj: i32,
    /// What the supervisor is to compare, and how often.
    pub(super) audit: Option<AuditOrder>,
    /// Cells of each ring.
    pub(super) ring_cells: u64,
    /// Sizes of the regions.
    pub(super) memory: WireMemory,
    /// Turns that a shard spins before it sleeps.
    pub(super) spins: u32,
    /// Whether supervisor and new shards ask to run before others.
    pub(super) run_first: bool,
    /// Nice value of shards.
    pub(super) nice: i32,
    /// What the virtual machine is made from.
    pub(super) vm: Vec<u8>,
    pub(super) pacing: Pacing,
    /// Where shards find what the base state does not hold, if it is a cache.
    pub(super) cold: Option<ColdOrder>,
    /// Whether there are regions for spans, and what goes into them.
    pub(super) timeline: Option<TimelineConfig>,
    /// Log filter of this family.
    pub(super) log: String,
    /// Descriptors that follow in further messages: board, two arenas, overlay, base (read-only), then per shard inbox
    /// (writable), output arena (writable), output arena (read-only), and the region for spans (writable) if there is a
    /// timeline.
    pub(super) fds: u32,
}

/// The plan, as far as the supervisor audits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuditOrder {
    /// Time between audits in ms.
    pub(super) interval_ms: u64,
    /// Whether pages have planned nodes.
    pub(super) bound: bool,
    /// Nodes of the shards' own regions, by shard.
    pub(super) nodes: Vec<u32>,
    /// Nodes of what is spread.
    pub(super) spread: Vec<u32>,
    /// Node of the board.
    pub(super) home: u32,
    /// By node of a shard's memory: CPUs for a shard that loses its own, the best first.
    pub(super) spares: BTreeMap<u32, Vec<u32>>,
}

/// [`MemoryConfig`] as it travels.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct WireMemory {
    arena: [u64; 6],
    state: [u64; 2],
    output_arena_bytes: u64,
    ring_budget_bytes: u64,
}

impl From<&MemoryConfig> for WireMemory {
    fn from(config: &MemoryConfig) -> WireMemory {
        let ArenaLimits { transactions, transaction_bytes, accesses, keys, key_bytes, edges } = config.arena;
        let arena = [transactions, transaction_bytes, accesses, keys, key_bytes, edges];
        WireMemory {
            arena: arena.map(|limit| limit as u64),
            state: [config.state.max_entries, config.state.heap_bytes],
            output_arena_bytes: config.output_arena_bytes as u64,
            ring_budget_bytes: config.ring_budget_bytes as u64,
        }
    }
}

impl From<WireMemory> for MemoryConfig {
    fn from(wire: WireMemory) -> MemoryConfig {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let [transactions, transaction_bytes, accesses, keys, key_bytes, edges] = wire.arena.map(size);
        let [max_entries, heap_bytes] = wire.state;
        MemoryConfig {
            arena: ArenaLimits { transactions, transaction_bytes, accesses, keys, key_bytes, edges },
            state: StateConfig { max_entries, heap_bytes },
            output_arena_bytes: size(wire.output_arena_bytes),
            ring_budget_bytes: size(wire.ring_budget_bytes),
        }
    }
}

/// From the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Answer with the same number.
    Ping(u64),
    /// This life of the shard is over, by its lifeline: make the next one. A stale generation is ignored.
    Replace { shard: u32, generation: u32 },
    /// Kill this life of the shard and make the next one. A stale generation is ignored.
    Kill { shard: u32, generation: u32 },
    /// Kill all shards and exit.
    Stop,
}

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Answer to [`Command::Ping`].
    Pong(u64),
    /// An audit found something.
    Found(AuditFinding),
    /// An audit was made, and what it found has been told.
    Audited(AuditMark),
}

/// Sends one message.
pub(super) fn send<T: Serialize>(
    channel: &Channel,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), ChannelError> {
    let bytes = bcs::to_bytes(message).unwrap_or_default();
    channel.send(&bytes, fds)
}
