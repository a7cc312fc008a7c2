//! The host as text: nodes with their memory and distances, caches with their cores, shards in their places.

use phalanx::supervisor::Placement;
use phalanx::topology::{Allowance, CoreKind, Cpu, Node, Topology, format_list};
use phalanx::types::{CpuId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Draws it. Writing to a string cannot fail, so what `writeln!` says is not looked at.
pub fn drawing(topology: &Topology, allowance: &Allowance, placement: Option<&Placement>) -> String {
    let mut text = String::new();
    let nodes = topology.nodes.len();
    let cores: BTreeSet<CpuId> = topology.cpus.iter().map(|cpu| cpu.core).collect();
    let packages: BTreeSet<u32> = topology.cpus.iter().map(|cpu| cpu.package).collect();
    let _ = writeln!(
        text,
        "{}, {}, {}, {} online{}",
        count(nodes, "node"),
        count(packages.len(), "socket"),
        count(cores.len(), "core"),
        count(topology.cpus.len(), "CPU"),
        match topology.offline.len() {
            0 => String::new(),
            _ => format!(", offline: {}", list(&topology.offline)),
        }
    );
    let _ = writeln!(
        text,
        "this process may use CPUs {}, memory of nodes {}{}",
        list(&allowance.cpus),
        format_list(allowance.memory.iter().map(|node| node.0)),
        allowance.quota_cpus.map(|quota| format!(", {quota:.2} CPUs of time")).unwrap_or_default()
    );
    for node in &topology.nodes {
        draw_node(&mut text, topology, allowance, placement, node);
    }
    if nodes > 1 {
        draw_distances(&mut text, topology);
    }
    if let Some(placement) = placement {
        draw_plan(&mut text, placement);
    }
    let notes = topology.notes.iter().chain(placement.iter().flat_map(|placement| &placement.layout.notes));
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn list(cpus: &BTreeSet<CpuId>) -> String {
    format_list(cpus.iter().map(|cpu| cpu.0))
}

fn mib(bytes: u64) -> String {
    match bytes >> 20 {
        many @ 10_240.. => format!("{} GiB", many >> 10),
        few => format!("{few} MiB"),
    }
}

fn draw_node(
    text: &mut String,
    topology: &Topology,
    allowance: &Allowance,
    placement: Option<&Placement>,
    node: &Node,
) {
    let memory = match node.memory_bytes {
        0 => "no memory".to_owned(),
        bytes => format!("{} of memory, {} free", mib(bytes), mib(node.free_bytes)),
    };
    let huge = match node.huge_pages {
        (0, _) => String::new(),
        (all, free) => format!(", {all} huge pages, {free} free"),
    };
    let latency = node.read_latency_ns.map(|ns| format!(", {ns} ns")).unwrap_or_default();
    let bandwidth = node.read_bandwidth_mbs.map(|mbs| format!(", {mbs} MB/s")).unwrap_or_default();
    let _ = writeln!(text, "\nnode {}  {memory}{huge}{latency}{bandwidth}", node.id);
    let mut caches: BTreeMap<(u32, CpuId), BTreeMap<CpuId, Vec<&Cpu>>> = BTreeMap::new();
    for cpu in topology.cpus_of(node.id) {
        caches.entry((cpu.package, cpu.cache)).or_default().entry(cpu.core).or_default().push(cpu);
    }
    if caches.is_empty() {
        let _ = writeln!(text, "  no CPUs");
    }
    for ((package, _), cores) in caches {
        let cpus = cores.values().flatten().map(|cpu| cpu.id.0);
        let _ = writeln!(text, "  socket {package}, one cache: CPUs {}", format_list(cpus));
        for cpus in cores.values() {
            let threads: Vec<String> = cpus.iter().map(|cpu| draw_cpu(cpu, allowance, placement)).collect();
            let _ = writeln!(text, "    [ {} ]", threads.join(" | "));
        }
    }
}

fn draw_cpu(cpu: &Cpu, allowance: &Allowance, placement: Option<&Placement>) -> String {
    let kind = match cpu.kind {
        CoreKind::Fast => "",
        CoreKind::Slow => " (slow)",
    };
    if !allowance.cpus.contains(&cpu.id) {
        return format!("{}{kind} not allowed", cpu.id);
    }
    let Some(placement) = placement else { return format!("{}{kind}", cpu.id) };
    let seats = placement.layout.seats.iter().enumerate();
    let shards: Vec<String> =
        seats.filter(|(_, seat)| seat.cpu == cpu.id).map(|(shard, _)| shard.to_string()).collect();
    let use_of_it = if placement.layout.service.contains(&cpu.id) {
        "kept free".to_owned()
    } else if shards.is_empty() {
        "unused".to_owned()
    } else {
        format!("shard {}", shards.join(","))
    };
    format!("{}{kind} {use_of_it}", cpu.id)
}

fn draw_distances(text: &mut String, topology: &Topology) {
    let ids: Vec<NodeId> = topology.nodes.iter().map(|node| node.id).collect();
    let _ = write!(text, "\ndistances");
    for id in &ids {
        let _ = write!(text, "{id:>5}");
    }
    for from in &ids {
        let _ = write!(text, "\n{from:>9}");
        for to in &ids {
            let _ = write!(text, "{:>5}", topology.distance(*from, *to));
        }
    }
    let _ = writeln!(text);
}

fn draw_plan(text: &mut String, placement: &Placement) {
    let layout = &placement.layout;
    let _ = writeln!(
        text,
        "\n{}; CPUs kept for coordinator, supervisor and interrupts: {}",
        count(layout.seats.len(), "shard"),
        list(&layout.service)
    );
    let binding = if placement.bound { "bound to nodes" } else { "not bound: where it is touched first" };
    let _ =
        writeln!(text, "memory is {binding}; the greatest sizes are address space, taken as it is touched");
    // Shards of one node are alike.
    let mut rows: BTreeMap<(String, String, u64), Vec<u32>> = BTreeMap::new();
    let mut order = Vec::new();
    for plan in &placement.regions {
        let row = (plan.kind.to_string(), plan.placing.to_string(), plan.bytes);
        if !rows.contains_key(&row) {
            order.push(row.clone());
        }
        rows.entry(row).or_default().extend(plan.shard.map(|shard| shard.0));
    }
    for row in order {
        let shards = rows.get(&row).map(Vec::as_slice).unwrap_or_default();
        let whose = match shards {
            [] => String::new(),
            shards => format!("of shards {}", format_list(shards.iter().copied())),
        };
        let (kind, placing, bytes) = row;
        let size = if bytes == 0 { "small".to_owned() } else { format!("to {}", mib(bytes)) };
        let line = format!("  {kind:<8} {size:<12} {placing:<30} {whose}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
