//! What a host is made of: nodes with memory and distances, CPUs with their cores, caches and nodes.

use crate::types::{CpuId, NodeId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Distance of a node to itself, by the firmware's convention.
pub const DISTANCE_LOCAL: u32 = 10;
/// Distance to another node where nothing better is known.
pub const DISTANCE_REMOTE: u32 = 20;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Its nodes, ascending. At least one.
    pub nodes: Vec<Node>,
    /// Its CPUs that are online, ascending. At least one; each belongs to exactly one node.
    pub cpus: Vec<Cpu>,
    /// CPUs that are there but offline.
    pub offline: BTreeSet<CpuId>,
    /// What was missing or did not fit together, and what was assumed instead.
    pub notes: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Bytes of memory; 0 for a node without.
    pub memory_bytes: u64,
    /// Bytes that were free when this was read, or held by files that nobody has used for long: the kernel gives those away first.
    pub free_bytes: u64,
    /// Huge pages of 2 MiB reserved on it, and free ones of them.
    pub huge_pages: (u64, u64),
    /// To every node, itself included: 10 is local, 20 twice as far.
    pub distances: BTreeMap<NodeId, u32>,
    /// Latency from the nearest CPUs to its memory in ns, where the firmware tells (HMAT).
    pub read_latency_ns: Option<u64>,
    /// Bandwidth from the nearest CPUs to its memory in MB/s, where the firmware tells.
    pub read_bandwidth_mbs: Option<u64>,
}

impl Node {
    /// Distance to another node.
    #[must_use]
    pub fn distance(&self, to: NodeId) -> u32 {
        let other = if to == self.id { DISTANCE_LOCAL } else { DISTANCE_REMOTE };
        self.distances.get(&to).copied().unwrap_or(other)
    }
}

/// What kind of core a CPU is, on hosts that have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CoreKind {
    /// As fast as any of the host.
    Fast,
    /// Slower than others (an efficiency core).
    Slow,
}

/// A CPU that is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// The node that it belongs to.
    pub node: NodeId,
    /// Its socket.
    pub package: u32,
    /// The physical core: the lowest CPU of it that is online.
    pub core: CpuId,
    /// The CPUs that share its last-level cache: the lowest of them.
    pub cache: CpuId,
    /// What kind of core it is.
    pub kind: CoreKind,
}

impl Topology {
    /// One node with these CPUs, each a core of its own, and memory of unknown size: for a host that does not tell.
    #[must_use]
    pub fn flat(cpus: impl IntoIterator<Item = CpuId>) -> Topology {
        let node = NodeId(0);
        let cpu = |id| Cpu { id, node, package: 0, core: id, cache: id, kind: CoreKind::Fast };
        Topology {
            nodes: vec![Node {
                id: node,
                memory_bytes: 0,
                free_bytes: 0,
                huge_pages: (0, 0),
                distances: BTreeMap::from([(node, DISTANCE_LOCAL)]),
                read_latency_ns: None,
                read_bandwidth_mbs: None,
            }],
            cpus: cpus.into_iter().map(cpu).collect(),
            offline: BTreeSet::new(),
            notes: vec!["the host does not describe itself; it is taken for one node".to_owned()],
        }
    }

    /// A node by its number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// A CPU by its number, if it is online.
    #[must_use]
    pub fn cpu(&self, id: CpuId) -> Option<&Cpu> {
        self.cpus.binary_search_by_key(&id, |cpu| cpu.id).ok().map(|place| &self.cpus[place])
    }

    /// The CPUs of a node that are online.
    pub fn cpus_of(&self, node: NodeId) -> impl Iterator<Item = &Cpu> {
        self.cpus.iter().filter(move |cpu| cpu.node == node)
    }

    /// Distance between two nodes.
    #[must_use]
    pub fn distance(&self, from: NodeId, to: NodeId) -> u32 {
        let unknown = if from == to { DISTANCE_LOCAL } else { DISTANCE_REMOTE };
        self.node(from).map_or(unknown, |node| node.distance(to))
    }

    /// The node whose memory is for who runs on `node`: itself if it has memory, else the nearest of those that have both
    /// memory and CPUs, else the nearest with memory; itself if nobody is known to have any. Only nodes in `allowed` count.
    #[must_use]
    pub fn memory_for(&self, node: NodeId, allowed: impl Fn(NodeId) -> bool) -> NodeId {
        let has_memory = |other: &&Node| other.memory_bytes > 0 && allowed(other.id);
        let nearest = self.nodes.iter().filter(has_memory).min_by_key(|other| {
            let bare = self.cpus_of(other.id).next().is_none();
            (other.id != node, bare, self.distance(node, other.id), other.id)
        });
        nearest.map_or(node, |nearest| nearest.id)
    }
}
