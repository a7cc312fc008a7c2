//! Who goes where: a pure function of the host, of what may be used of it, and of what is wished.
//!
//! Shards with neighbouring numbers get neighbouring cores: a last-level cache is filled before the next, a node before
//! the next, and after a node comes the one nearest to those that are in use.

use crate::topology::TopologyError;
use crate::topology::allowance::Allowance;
use crate::topology::cpu_list::format_list;
use crate::topology::model::{CoreKind, Cpu, Topology};
use crate::types::{CpuId, NodeId};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What is wished of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutOptions {
    /// Number of shards; `None`: one for every place. More than there are places take the cores that are kept free, and
    /// then share cores.
    pub shards: Option<usize>,
    /// Only these CPUs; `None`: all that may be used. No core is kept free then.
    pub cores: Option<BTreeSet<CpuId>>,
    /// Not these CPUs.
    pub exclude_cores: BTreeSet<CpuId>,
    /// Only CPUs of these nodes.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// At most so many shards on a node.
    pub shards_per_node: Option<usize>,
    /// Whether each hardware thread of a core is a place; otherwise a core is one.
    pub smt: bool,
    /// Cores of each node that are kept for coordinator, supervisor and interrupts. At least one core of a node is left for
    /// shards, and on a host with one or two cores none is kept.
    pub service_cores: usize,
}

impl Default for LayoutOptions {
    fn default() -> LayoutOptions {
        LayoutOptions {
            shards: None,
            cores: None,
            exclude_cores: BTreeSet::new(),
            nodes: None,
            shards_per_node: None,
            smt: false,
            service_cores: 1,
        }
    }
}

/// Where one shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Seat {
    /// The CPU that it is pinned to.
    pub cpu: CpuId,
    /// The node of that CPU.
    pub node: NodeId,
    /// The node of its memory: the same, or the nearest that has memory.
    pub memory: NodeId,
    /// Its last-level cache.
    pub cache: CpuId,
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// By shard.
    pub seats: Vec<Seat>,
    /// CPUs kept for coordinator, supervisor and interrupts.
    pub service: BTreeSet<CpuId>,
    /// Cores with no shard on them, the same wishes granted, that a shard may be given when it loses its own: first places
    /// that nobody took, then cores kept free.
    pub spares: Vec<Seat>,
    /// The node of what the coordinator alone writes and everybody looks at.
    pub home: NodeId,
    /// Nodes over which is spread what all shards read.
    pub spread: BTreeSet<NodeId>,
    /// Whether shards share cores.
    pub shared_cores: bool,
    /// What is not as wished, and why.
    pub notes: Vec<String>,
}

/// A CPU for a shard, and its node.
type Spot = (NodeId, CpuId);

/// A core that can take shards: the CPUs of it that may be used.
#[derive(Clone, Debug)]
struct Core {
    cpus: Vec<CpuId>,
    node: NodeId,
    cache: CpuId,
    kind: CoreKind,
}

impl Layout {
    /// Lays shards out.
    ///
    /// # Errors
    /// `CoreUnusable`, `NodeUnusable` for one that was asked for and cannot be had, `NothingLeft` when options and limits
    /// leave no CPU, `TooFewPlaces` when `shards_per_node` leaves fewer places than shards, `TooManyShards`, and
    /// `QuotaTooSmall` when the shards' cores could not all run all the time.
    pub fn plan(
        topology: &Topology,
        allowance: &Allowance,
        options: &LayoutOptions,
    ) -> Result<Layout, TopologyError> {
        check_wishes(topology, allowance, options)?;
        let cores = usable_cores(topology, allowance, options);
        if cores.is_empty() {
            return Err(TopologyError::NothingLeft { allowed: list_of(&allowance.cpus) });
        }
        let mut notes = Vec::new();
        let (places, spare, service) = split(topology, cores.clone(), options);
        let places = limit_per_node(places, options);
        let wanted = options.shards.unwrap_or(places.len().min(crate::MAX_SHARDS));
        if wanted == 0 || wanted > crate::MAX_SHARDS {
            return Err(TopologyError::TooManyShards { shards: wanted });
        }
        let wanted = fit_quota(wanted, allowance, options, &mut notes)?;
        if wanted > places.len() && options.shards_per_node.is_some() {
            return Err(TopologyError::TooFewPlaces { shards: wanted, places: places.len() });
        }
        let (cpus, service, shared_cores) = take(places, spare, service, wanted, &mut notes);
        let in_use: BTreeSet<CpuId> = cpus.iter().copied().collect();
        if let Some(quota) = allowance.quota_cpus
            && (in_use.len() as f64) > quota.max(1.0)
        {
            return Err(TopologyError::QuotaTooSmall { quota, cores: in_use.len() });
        }
        let spares = spares_of(cores, &in_use, &service);
        let mut layout = finish(topology, allowance, cpus, service, shared_cores, notes);
        layout.spares = seats_on(topology, allowance, spares);
        Ok(layout)
    }

    /// The spares for a shard whose memory is on this node, the nearest first; of equally near ones in their own order.
    #[must_use]
    pub fn spares_near(&self, topology: &Topology, node: NodeId) -> Vec<CpuId> {
        let mut spares: Vec<&Seat> = self.spares.iter().collect();
        spares.sort_by_key(|spare| topology.distance(node, spare.node));
        spares.into_iter().map(|spare| spare.cpu).collect()
    }

    /// The CPUs of the shards, by shard.
    #[must_use]
    pub fn cores(&self) -> Vec<u32> {
        self.seats.iter().map(|seat| seat.cpu.0).collect()
    }
}

fn list_of(cpus: &BTreeSet<CpuId>) -> String {
    format_list(cpus.iter().map(|cpu| cpu.0))
}

/// Whether what was asked for by name is there, online and allowed.
fn check_wishes(
    topology: &Topology,
    allowance: &Allowance,
    options: &LayoutOptions,
) -> Result<(), TopologyError> {
    for &cpu in options.cores.iter().flatten() {
        let why = if topology.offline.contains(&cpu) {
            "is offline"
        } else if topology.cpu(cpu).is_none() {
            "does not exist"
        } else if !allowance.cpus.contains(&cpu) {
            "is not allowed to this process"
        } else {
            continue;
        };
        return Err(TopologyError::CoreUnusable { cpu, why, allowed: list_of(&allowance.cpus) });
    }
    for &node in options.nodes.iter().flatten() {
        if topology.node(node).is_none() {
            return Err(TopologyError::NodeUnusable { node, why: "does not exist" });
        }
        if topology.cpus_of(node).next().is_none() {
            return Err(TopologyError::NodeUnusable { node, why: "has no CPU that is online" });
        }
    }
    Ok(())
}

/// Physical cores with the CPUs of them that may be used.
fn usable_cores(topology: &Topology, allowance: &Allowance, options: &LayoutOptions) -> Vec<Core> {
    let usable = |cpu: &&Cpu| {
        allowance.cpus.contains(&cpu.id)
            && options.cores.as_ref().is_none_or(|cores| cores.contains(&cpu.id))
            && !options.exclude_cores.contains(&cpu.id)
            && options.nodes.as_ref().is_none_or(|nodes| nodes.contains(&cpu.node))
    };
    // By core alone: a host that puts the threads of one core on two nodes has no more cores for that.
    let mut cores: BTreeMap<CpuId, Core> = BTreeMap::new();
    for cpu in topology.cpus.iter().filter(usable) {
        let (node, cache, kind) = (cpu.node, cpu.cache, cpu.kind);
        let core = Core { cpus: Vec::new(), node, cache, kind };
        cores.entry(cpu.core).or_insert(core).cpus.push(cpu.id);
    }
    cores.into_values().collect()
}

/// Places for shards in the order in which they are to be filled, the same for the cores kept free, and all CPUs of those.
fn split(
    topology: &Topology,
    cores: Vec<Core>,
    options: &LayoutOptions,
) -> (Vec<Spot>, Vec<Spot>, BTreeSet<CpuId>) {
    let keep = if cores.len() <= 2 || options.cores.is_some() { 0 } else { options.service_cores };
    let mut by_node: BTreeMap<NodeId, Vec<Core>> = BTreeMap::new();
    for core in cores {
        by_node.entry(core.node).or_default().push(core);
    }
    let mut order = node_order(topology, &by_node);
    let (mut places, mut spare, mut service) = (Vec::new(), Vec::new(), BTreeSet::new());
    for node in order.drain(..) {
        let mut cores = by_node.remove(&node).unwrap_or_default();
        // The lowest cores get most of the interrupts.
        cores.sort_by_key(|core| core.cpus.first().copied());
        let kept: Vec<Core> = cores.drain(..keep.min(cores.len() - 1)).collect();
        cores.sort_by_key(|core| (core.kind, core.cache, core.cpus.first().copied()));
        places.extend(places_of(&cores, options.smt).map(|cpu| (node, cpu)));
        spare.extend(places_of(&kept, options.smt).map(|cpu| (node, cpu)));
        service.extend(kept.into_iter().flat_map(|core| core.cpus));
    }
    (places, spare, service)
}

fn places_of(cores: &[Core], smt: bool) -> impl Iterator<Item = CpuId> {
    let threads = if smt { usize::MAX } else { 1 };
    cores.iter().flat_map(move |core| core.cpus.iter().copied().take(threads))
}

/// The node with most cores first (of those the most central), then always the one nearest to those before it. Nodes without
/// memory come last.
fn node_order(topology: &Topology, by_node: &BTreeMap<NodeId, Vec<Core>>) -> Vec<NodeId> {
    let mut left: BTreeSet<NodeId> = by_node.keys().copied().collect();
    let mut order: Vec<NodeId> = Vec::new();
    while !left.is_empty() {
        let next = left.iter().copied().min_by_key(|&node| {
            let far: u32 = order.iter().map(|&before| topology.distance(before, node)).sum();
            // How near it is to those still to come.
            let apart: u32 = left.iter().map(|&other| topology.distance(node, other)).sum();
            let cores = by_node.get(&node).map_or(0, Vec::len);
            let bare = topology.node(node).is_none_or(|node| node.memory_bytes == 0);
            let cores = if order.is_empty() { cores } else { 0 };
            (bare, far, Reverse(cores), apart, node)
        });
        let Some(next) = next else { break };
        left.remove(&next);
        order.push(next);
    }
    order
}

fn limit_per_node(places: Vec<Spot>, options: &LayoutOptions) -> Vec<Spot> {
    let Some(limit) = options.shards_per_node else { return places };
    let mut taken: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut fits = |node| {
        let taken = taken.entry(node).or_default();
        *taken += 1;
        *taken <= limit
    };
    places.into_iter().filter(|&(node, _)| fits(node)).collect()
}

/// A number that nobody asked for is brought down to the quota; one that was is refused later.
fn fit_quota(
    wanted: usize,
    allowance: &Allowance,
    options: &LayoutOptions,
    notes: &mut Vec<String>,
) -> Result<usize, TopologyError> {
    let Some(quota) = allowance.quota_cpus.filter(|_| options.shards.is_none()) else { return Ok(wanted) };
    let fitting = (1..=wanted).rev().find(|&shards| shards as f64 <= quota).unwrap_or(1);
    if fitting < wanted {
        notes.push(format!(
            "the CPU quota (cpu.max) is {quota:.2} CPUs: {fitting} shards instead of {wanted}; raise it to use more"
        ));
    }
    Ok(fitting)
}

/// The CPUs of `wanted` shards: places, then the cores kept free, then all of them again.
fn take(
    places: Vec<Spot>,
    spare: Vec<Spot>,
    mut service: BTreeSet<CpuId>,
    wanted: usize,
    notes: &mut Vec<String>,
) -> (Vec<CpuId>, BTreeSet<CpuId>, bool) {
    let mut cpus: Vec<CpuId> = places.into_iter().map(|(_, cpu)| cpu).take(wanted).collect();
    let missing = wanted - cpus.len();
    let given_up: Vec<CpuId> = spare.into_iter().map(|(_, cpu)| cpu).take(missing).collect();
    if !given_up.is_empty() {
        for cpu in &given_up {
            service.remove(cpu);
        }
        let list = format_list(given_up.iter().map(|cpu| cpu.0));
        notes.push(format!("{wanted} shards take the cores {list} too, which are better kept for interrupts and the coordinator"));
        cpus.extend(given_up);
    }
    let cores = cpus.len();
    if cores < wanted {
        notes.push(format!("{wanted} shards share {cores} cores"));
        cpus = cpus.iter().copied().cycle().take(wanted).collect();
    }
    (cpus, service, cores < wanted)
}

/// The first CPU of every core on which nobody is, those last that are kept free for others.
fn spares_of(cores: Vec<Core>, in_use: &BTreeSet<CpuId>, service: &BTreeSet<CpuId>) -> Vec<CpuId> {
    let idle = cores.into_iter().filter(|core| core.cpus.iter().all(|cpu| !in_use.contains(cpu)));
    let mut spares: Vec<CpuId> = idle.filter_map(|core| core.cpus.first().copied()).collect();
    spares.sort_by_key(|cpu| (service.contains(cpu), *cpu));
    spares
}

/// Seats on these CPUs: those that are online.
fn seats_on(topology: &Topology, allowance: &Allowance, cpus: Vec<CpuId>) -> Vec<Seat> {
    let may_use = |node: NodeId| allowance.memory.contains(&node);
    let cpus = cpus.into_iter().filter_map(|cpu| topology.cpu(cpu));
    let seat = |cpu: &Cpu| Seat {
        cpu: cpu.id,
        node: cpu.node,
        memory: topology.memory_for(cpu.node, may_use),
        cache: cpu.cache,
    };
    cpus.map(seat).collect()
}

fn finish(
    topology: &Topology,
    allowance: &Allowance,
    cpus: Vec<CpuId>,
    service: BTreeSet<CpuId>,
    shared_cores: bool,
    mut notes: Vec<String>,
) -> Layout {
    let may_use = |node: NodeId| allowance.memory.contains(&node);
    let seats = seats_on(topology, allowance, cpus);
    let strangers: BTreeSet<NodeId> =
        seats.iter().filter(|seat| seat.node != seat.memory).map(|seat| seat.node).collect();
    for node in strangers {
        let memory = topology.memory_for(node, may_use);
        notes.push(format!(
            "node {node} has no memory that may be used; its shards use that of node {memory}"
        ));
    }
    if seats.iter().any(|seat| topology.cpu(seat.cpu).is_some_and(|cpu| cpu.kind == CoreKind::Slow)) {
        notes.push("some shards are on slower cores (efficiency cores)".to_owned());
    }
    let spread: BTreeSet<NodeId> = seats.iter().map(|seat| seat.memory).collect();
    let home = seats.first().map_or_else(NodeId::default, |seat| seat.memory);
    Layout { seats, service, spares: Vec::new(), home, spread, shared_cores, notes }
}
