//! What it costs to bring a value from one shard to another, from distances of their nodes.

use crate::topology::layout::Layout;
use crate::topology::model::{DISTANCE_LOCAL, Topology};
use std::sync::Arc;

/// Costs between shards, in parts of ten of what an edge costs on one node: 10 there, 7 within one last-level cache, 0 from
/// a shard to itself, else the distance of the memory nodes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostMatrix {
    shards: usize,
    tenths: Arc<[u32]>,
}

/// Between two shards with one last-level cache.
const ONE_CACHE: u32 = 7;

impl CostMatrix {
    /// Of the shards of a layout.
    #[must_use]
    pub fn of(topology: &Topology, layout: &Layout) -> CostMatrix {
        let seats = &layout.seats;
        let tenths = seats.iter().enumerate().flat_map(|(from, source)| {
            seats.iter().enumerate().map(move |(to, target)| {
                if from == to {
                    0
                } else if source.node != target.node {
                    topology.distance(source.node, target.node).max(DISTANCE_LOCAL)
                } else if source.cache == target.cache {
                    ONE_CACHE
                } else {
                    DISTANCE_LOCAL
                }
            })
        });
        CostMatrix { shards: seats.len(), tenths: tenths.collect() }
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Tenths between two shards; 10 if one is not known.
    #[must_use]
    pub fn tenths(&self, from: usize, to: usize) -> u32 {
        if from >= self.shards || to >= self.shards {
            return DISTANCE_LOCAL;
        }
        self.tenths.get(from * self.shards + to).copied().unwrap_or(DISTANCE_LOCAL)
    }

    /// Whether every pair costs the same and is on one node, so that there is nothing to choose.
    #[must_use]
    pub fn is_even(&self) -> bool {
        let mut pairs = (0..self.shards * self.shards).filter(|pair| pair % (self.shards + 1) != 0);
        let first = pairs.next().and_then(|pair| self.tenths.get(pair));
        first.is_none_or(|&first| first <= DISTANCE_LOCAL) && pairs.all(|pair| self.tenths.get(pair) == first)
    }
}
