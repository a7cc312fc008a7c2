//! Huge pages: where they are given, and that nobody is left in the belief that they are.

use crate::support::{assert_at_home, builder, in_guest, patient, run_blocks, scene, skip, topology};
use phalanx::supervisor::{HugePages, PlacementConfig, PlacementReport};
use phalanx::topology::RegionKind;
use phalanx::types::NodeId;
use std::fs;

pub fn huge_pages_are_used_where_they_are_reserved_and_missed_loudly_elsewhere() {
    if !in_guest() {
        return skip("would reserve huge pages of this host");
    }
    let nodes: Vec<NodeId> =
        topology().nodes.iter().filter(|it| it.memory_bytes > 0).map(|it| it.id).collect();
    let reserve = |node: NodeId, pages: u32| {
        let file = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
        fs::write(file, pages.to_string()).unwrap();
    };
    // The last node gets none: its shards must do with ordinary pages.
    let (without, with) = nodes.split_last().unwrap();
    with.iter().for_each(|&node| reserve(node, 24));
    let mut scene = scene();
    let phalanx =
        scene.launch(builder(&scene, PlacementConfig { huge_pages: HugePages::Reserved, ..patient() }));
    run_blocks(&mut scene, 1, &phalanx);
    let report = assert_at_home(&phalanx, "on huge pages");
    for region in report.regions.iter().filter(|region| region.kind == RegionKind::Inbox) {
        let pages: u64 = region.pages.values().sum();
        let home = phalanx.placement().layout.seats[region.shard.unwrap().index()].memory;
        let given = home != *without;
        assert_eq!(pages >= 512, given, "{region:?}");
        assert_eq!((region.huge_bytes > Some(0), region.lacks_huge_pages), (given, !given), "{region:?}");
    }
    drop(phalanx);
    with.iter().for_each(|&node| reserve(node, 0));
}

/// A family that asks for transparent huge pages, with this setting of the kernel for shared memory.
fn asked_for(setting: &str) -> PlacementReport {
    let file = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let text = fs::read_to_string(file).unwrap();
    let before = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    fs::write(file, setting).unwrap();
    let mut scene = scene();
    let placement = PlacementConfig { huge_pages: HugePages::Transparent, ..patient() };
    let phalanx = scene.launch(builder(&scene, placement));
    run_blocks(&mut scene, 2, &phalanx);
    let report = assert_at_home(&phalanx, "with transparent huge pages");
    fs::write(file, before).unwrap();
    assert_eq!(report.huge_pages, HugePages::Transparent);
    report
}

pub fn transparent_huge_pages_are_used_where_the_kernel_gives_them() {
    if !in_guest() {
        return skip("would change this host's settings");
    }
    let report = asked_for("advise");
    let lacking: Vec<_> = report.lacking_huge_pages().collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    for kind in [RegionKind::Outputs, RegionKind::Arena] {
        let of_kind = report.regions.iter().filter(|region| region.kind == kind && !region.pages.is_empty());
        for region in of_kind {
            println!("  {kind} {:?}: {:?} bytes on huge pages", region.shard, region.huge_bytes);
            assert!(region.huge_bytes >= Some(2 << 20), "{region:?}");
        }
    }
}

pub fn transparent_huge_pages_that_are_not_given_are_reported() {
    if !in_guest() {
        return skip("would change this host's settings");
    }
    let report = asked_for("never");
    let lacking: Vec<RegionKind> = report.lacking_huge_pages().map(|region| region.kind).collect();
    println!("  not on huge pages: {lacking:?}");
    assert!(lacking.contains(&RegionKind::Outputs) && lacking.contains(&RegionKind::Arena), "{report:?}");
}
