//! On which nodes the pages of each region belong.

use crate::topology::layout::Layout;
use crate::types::{NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A kind of region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionKind {
    /// Rings to one shard, at that shard, who polls them.
    Inbox,
    /// What one shard puts out, at that shard, who writes it.
    Outputs,
    /// A shard's timeline, at that shard.
    Spans,
    /// Words of the coordinator that every shard looks at.
    Board,
    /// A block and its plan, read by all shards.
    Arena,
    /// Writes of earlier rounds, read by all shards.
    Overlay,
    /// The base state, read by all shards.
    Base,
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegionKind::Inbox => "inbox",
            RegionKind::Outputs => "outputs",
            RegionKind::Spans => "spans",
            RegionKind::Board => "board",
            RegionKind::Arena => "arena",
            RegionKind::Overlay => "overlay",
            RegionKind::Base => "base",
        })
    }
}

/// Where pages of a region go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// On this node and no other. What would not fit there would end in an out-of-memory kill: for small regions only.
    Only(NodeId),
    /// On this node while it has room.
    Near(NodeId),
    /// Page by page in turns over these nodes.
    Spread(BTreeSet<NodeId>),
}

impl Placing {
    /// Whether a page on this node is where it belongs.
    #[must_use]
    pub fn allows(&self, node: NodeId) -> bool {
        match self {
            Placing::Only(wanted) | Placing::Near(wanted) => *wanted == node,
            Placing::Spread(nodes) => nodes.contains(&node),
        }
    }
}

impl fmt::Display for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placing::Only(node) => write!(f, "only node {node}"),
            Placing::Near(node) => write!(f, "node {node} while it has room"),
            Placing::Spread(nodes) => {
                let list = crate::topology::format_list(nodes.iter().map(|node| node.0));
                write!(f, "spread over nodes {list}")
            }
        }
    }
}

/// Where one region goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionPlan {
    /// What it is.
    pub kind: RegionKind,
    /// Whose it is, if it is one shard's.
    pub shard: Option<ShardId>,
    /// Its greatest size in bytes. Memory is taken only as it is touched.
    pub bytes: u64,
    /// Its nodes.
    pub placing: Placing,
}

/// Greatest sizes of regions in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSizes {
    /// One inbox.
    pub inbox: u64,
    /// One shard's outputs.
    pub outputs: u64,
    /// One shard's timeline, if there is one.
    pub spans: Option<u64>,
    /// One of the two arenas.
    pub arena: u64,
    /// The overlay.
    pub overlay: u64,
    /// The base state.
    pub base: u64,
}

impl RegionPlan {
    /// Where all regions of a layout go: first the shared ones (board, two arenas, overlay, base), then by shard inbox,
    /// outputs and spans. Inboxes are bound strictly unless their node lacks the memory: see [`crowded`](Self::crowded).
    #[must_use]
    pub fn of(layout: &Layout, sizes: &RegionSizes, crowded: &BTreeSet<NodeId>) -> Vec<RegionPlan> {
        let shared = |kind, bytes, placing| RegionPlan { kind, shard: None, bytes, placing };
        let spread = || Placing::Spread(layout.spread.clone());
        let mut plans = vec![
            shared(RegionKind::Board, 0, Placing::Near(layout.home)),
            shared(RegionKind::Arena, sizes.arena, spread()),
            shared(RegionKind::Arena, sizes.arena, spread()),
            shared(RegionKind::Overlay, sizes.overlay, spread()),
            shared(RegionKind::Base, sizes.base, spread()),
        ];
        for (place, seat) in layout.seats.iter().enumerate() {
            let shard = u32::try_from(place).ok().map(ShardId);
            let near = || Placing::Near(seat.memory);
            let tight = crowded.contains(&seat.memory);
            let inbox = if tight { near() } else { Placing::Only(seat.memory) };
            let own = |kind, bytes, placing| RegionPlan { kind, shard, bytes, placing };
            plans.push(own(RegionKind::Inbox, sizes.inbox, inbox));
            plans.push(own(RegionKind::Outputs, sizes.outputs, near()));
            plans.extend(sizes.spans.map(|bytes| own(RegionKind::Spans, bytes, near())));
        }
        plans
    }

    /// Nodes that could not hold what would be bound to them strictly and still have half of their free memory: binding past
    /// the free memory of a node ends in an out-of-memory kill although others are empty.
    #[must_use]
    pub fn crowded(
        layout: &Layout,
        inbox_bytes: u64,
        free_bytes: impl Fn(NodeId) -> u64,
    ) -> BTreeSet<NodeId> {
        let strict = |node: NodeId| {
            let shards = layout.seats.iter().filter(|seat| seat.memory == node).count();
            inbox_bytes.saturating_mul(shards as u64)
        };
        layout.spread.iter().copied().filter(|&node| strict(node) > free_bytes(node) / 2).collect()
    }
}
