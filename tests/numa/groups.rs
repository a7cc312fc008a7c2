//! Control groups that a family is born into. Only where this program owns the machine.

use crate::support::{
    Group, assert_at_home, builder, in_guest, patient, run_blocks, scene, several_nodes, skip, topology,
};
use phalanx::supervisor::LaunchError;
use phalanx::topology::format_list;
use phalanx::types::{CpuId, NodeId};
use std::collections::BTreeSet;
use std::fs;

pub fn a_quota_below_the_shards_is_refused_with_the_reason() {
    if !in_guest() {
        return skip("would change control groups of this host");
    }
    let group = Group::enter();
    group.set("cpu.max", "50000 100000");
    let scene = scene();
    let refused =
        builder(&scene, patient()).shards(2).launch(scene.genesis.iter().map(|(key, value)| (key, value)));
    let error = refused.unwrap_err();
    println!("  {error}");
    assert!(matches!(error, LaunchError::Topology(_)) && error.to_string().contains("cpu.max"));
    group.set("cpu.max", "max 100000");
}

pub fn a_cpuset_says_which_cores_and_nodes_a_family_has() {
    if !in_guest() || !several_nodes() {
        return skip("needs several nodes with memory, and would change control groups of this host");
    }
    let group = Group::enter();
    let topology = topology();
    let own = topology
        .cpus
        .iter()
        .rev()
        .find(|cpu| topology.node(cpu.node).unwrap().memory_bytes > 0)
        .unwrap()
        .node;
    let cpus: BTreeSet<CpuId> = topology.cpus_of(own).map(|cpu| cpu.id).collect();
    group.set("cpuset.cpus", &format_list(cpus.iter().map(|cpu| cpu.0)));
    group.set("cpuset.mems", &own.to_string());
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, patient()));
    run_blocks(&mut scene, 2, &phalanx);
    let report = assert_at_home(&phalanx, "in a cpuset of one node");
    let nodes: BTreeSet<NodeId> =
        report.regions.iter().flat_map(|region| region.pages.keys().copied()).collect();
    assert_eq!(nodes, [own].into());
    assert!(report.shards.iter().all(|shard| cpus.contains(&shard.planned)));
    assert!(phalanx.placement().layout.spares.iter().all(|spare| cpus.contains(&spare.cpu)));
    drop(phalanx);
    drop(group);
}

pub fn the_cores_of_an_isolated_partition_are_the_shards_own() {
    if !in_guest() {
        return skip("would change control groups of this host");
    }
    let group = Group::enter();
    let cpus: BTreeSet<u32> = topology().cpus.iter().rev().take(2).map(|cpu| cpu.id.0).collect();
    group.set("cpuset.cpus", &format_list(cpus.iter().copied()));
    group.set("cpuset.cpus.partition", "isolated");
    assert_eq!(group.get("cpuset.cpus.partition").trim(), "isolated");
    // The kernel takes them away from everybody else, and does not show it where isolcpus= shows.
    let others = fs::read_to_string("/sys/fs/cgroup/cpuset.cpus.effective").unwrap();
    let others = phalanx::topology::parse_list(&others).unwrap();
    assert!(others.is_disjoint(&cpus), "{others:?}");
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, patient()));
    run_blocks(&mut scene, 2, &phalanx);
    let report = assert_at_home(&phalanx, "in an isolated partition");
    assert!(report.shards.iter().all(|shard| cpus.contains(&shard.planned.0)));
    drop(phalanx);
    drop(group);
}
