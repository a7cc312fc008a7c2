//! Cores and pages are where they were planned.

use crate::common::{
    PATIENCE, all_ready, assert_same, deadline, eventually, kill_shard, nothing_left, small_durable,
    small_memory,
};
use crate::support::{
    BLOCK, assert_at_home, builder, patient, run_blocks, scene, several_nodes, skip, topology,
};
use phalanx::Phalanx;
use phalanx::durable::DurableState;
use phalanx::supervisor::PlacementConfig;
use phalanx::topology::{LayoutOptions, RegionKind};
use phalanx::types::NodeId;
use phalanx_ipc::Region;
use std::collections::BTreeSet;
use std::fs;

pub fn everything_is_in_its_place_also_after_deaths() {
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, patient()));
    let blocks = scene.expected(vec![BLOCK; 6]);
    let mut blocks = blocks.iter();
    let mut execute = |count: usize| {
        for (block, expected) in blocks.by_ref().take(count) {
            assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "in its place");
        }
    };
    execute(2);
    let report = assert_at_home(&phalanx, "after the first blocks");
    println!(
        "  {} shards at home, {} pages on their planned nodes (nodes of inboxes: {:?})",
        report.shards.len(),
        report.pages(),
        report
            .regions
            .iter()
            .filter(|it| it.kind == RegionKind::Inbox)
            .map(|it| &it.pages)
            .collect::<Vec<_>>()
    );
    if several_nodes() {
        let base = report.regions.iter().find(|region| region.kind == RegionKind::Base).unwrap();
        let spread = phalanx.placement().layout.spread.len();
        assert!(base.pages.len() == spread, "the state is spread: {base:?}");
    }
    for shard in 0..report.shards.len().min(3) {
        kill_shard(&phalanx, shard);
        assert!(eventually(PATIENCE, || all_ready(&phalanx)));
        execute(1);
        assert_at_home(&phalanx, "after a death");
    }
    for (shard, health) in phalanx.health().iter().enumerate() {
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", health.pid)).unwrap();
        assert_eq!(score.trim(), "300");
        if several_nodes() {
            let node = phalanx.placement().layout.seats[shard].memory;
            let maps = fs::read_to_string(format!("/proc/{}/numa_maps", health.pid)).unwrap();
            assert!(maps.contains(&format!("prefer:{node}")), "own memory of shard {shard}: {maps}");
        }
    }
    drop(phalanx);
    nothing_left();
}

/// Both ways to have pages elsewhere; the same look must find them.
pub fn pages_that_were_touched_too_early_or_never_bound_are_found() {
    if !several_nodes() {
        return skip("needs more than one node with memory");
    }
    for (what, placement) in [
        ("touched before they were bound", PlacementConfig { touch_first: true, ..patient() }),
        ("never bound", PlacementConfig { bind: false, ..patient() }),
    ] {
        let mut scene = scene();
        let phalanx = scene.launch(builder(&scene, placement));
        run_blocks(&mut scene, 1, &phalanx);
        let report = phalanx.placement_report(None).unwrap();
        println!("  {what}: {} of {} pages on other nodes", report.misplaced(), report.pages());
        assert!(report.misplaced() > 0, "{what}, and the look does not see it");
        let kept = phalanx.placement_report(Some(8)).unwrap();
        assert!(kept.pages() < report.pages(), "a sample is smaller than the whole");
    }
}

/// The nodes on which a region has pages.
fn nodes_of(region: &Region) -> BTreeSet<NodeId> {
    region.pages(None, 0).unwrap().iter().map(|page| NodeId(page.node)).collect()
}

/// Pages of a family's state that are elsewhere, and the nodes of all of them.
fn base_of(phalanx: &Phalanx) -> (u64, BTreeSet<NodeId>) {
    let report = phalanx.placement_report(None).unwrap();
    let base = report.regions.into_iter().find(|region| region.kind == RegionKind::Base).unwrap();
    (base.misplaced, base.pages.into_keys().collect())
}

pub fn a_durable_state_is_spread_as_it_is_filled_and_not_afterwards() {
    let mut scene = scene();
    let directory = tempfile::tempdir().unwrap();
    let config = small_durable(&directory.path().join("state"));
    let builder = || builder(&scene, patient());
    let phalanx = scene.launch(builder().state_dir(config.clone()));
    let spread = phalanx.placement().layout.spread.clone();
    assert_eq!(base_of(&phalanx), (0, spread.clone()), "a new state directory");
    drop(phalanx);
    let genesis = || scene.genesis.iter().map(|(key, value)| (key, value));
    let placement = builder().plan_placement().unwrap();
    let place = |region: &Region| placement.place_state(region);
    let placed = DurableState::open_placed(&config, small_memory().state, genesis(), place).unwrap();
    assert_eq!(nodes_of(placed.state().region()), spread, "as it is filled, and nothing was moved yet");
    drop(placed);
    // The negative control: filled first.
    let early = DurableState::open(&config, small_memory().state, genesis()).unwrap();
    let before = nodes_of(early.state().region());
    println!("  placed: nodes {spread:?}; filled first: {before:?}");
    assert!(before.len() == 1, "one thread filled it, without a policy: {before:?}");
    // The launch moves what is outside of the family's nodes; the kernel spreads nothing that is inside.
    let phalanx = builder().launch_durable(early).unwrap();
    assert_eq!(base_of(&phalanx), (0, before), "nothing is elsewhere");
    run_blocks(&mut scene, 2, &phalanx);
    assert_at_home(&phalanx, "a state that was moved");
    drop(phalanx);
    nothing_left();
}

pub fn the_layout_keeps_to_the_nodes_that_were_named() {
    let node = topology().cpus[0].node;
    let layout = LayoutOptions { nodes: Some([node].into()), shards: None, ..LayoutOptions::default() };
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, PlacementConfig { layout, ..patient() }));
    run_blocks(&mut scene, 2, &phalanx);
    assert!(phalanx.placement().layout.seats.iter().all(|seat| seat.node == node));
    assert_at_home(&phalanx, "on one node");
}
