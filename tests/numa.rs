//! Places: shards on their planned cores, every page of every region on its planned node, also after deaths; what moves
//! them away is found and put right while blocks run, and no result is ever wrong for it.
//!
//! On a host with one node this shows little. `tools/numa-guest/guest test` runs this program in machines with several
//! nodes; what needs such a machine, or to own it, says so and is left out elsewhere.
//!
//! What would break it: a region bound after its first touch, a respawned shard elsewhere, an audit that trusts what the
//! kernel reports. Negative controls, built in: with a page touched before its region is bound, and with memory that is not
//! bound at all, the same look at the pages must find some on other nodes.
//!
//! It is the image of its own supervisor: in a guest there is no other program.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    PATIENCE, Scene, all_ready, allowed_cores, assert_same, deadline, eventually, kill_shard, nothing_left,
    own_pid,
};
use phalanx::supervisor::{
    AuditFinding, AuditSubject, HugePages, LaunchError, Pacing, PlacementConfig, PlacementReport,
    SupervisorImage,
};
use phalanx::topology::{LayoutOptions, RegionKind, SysTree, Topology};
use phalanx::types::NodeId;
use phalanx::{Phalanx, PhalanxBuilder};
use std::fs;
use std::time::{Duration, Instant};

const AUDIT: Duration = Duration::from_millis(50);
/// Transactions of a block: emulated machines are slow.
const BLOCK: usize = 120;

fn in_guest() -> bool {
    std::env::var_os("PHALANX_GUEST").is_some()
}

fn topology() -> Topology {
    Topology::read(&SysTree::host()).unwrap()
}

/// Whether there is more than one node to put memory on.
fn several_nodes() -> bool {
    topology().nodes.iter().filter(|node| node.memory_bytes > 0).count() > 1
}

fn scene() -> Scene {
    Scene::new(61, 30, false)
}

fn patient() -> PlacementConfig {
    PlacementConfig { audit_interval: None, ..PlacementConfig::default() }
}

/// On every core that the layout gives by itself.
fn builder(scene: &Scene, placement: PlacementConfig) -> PhalanxBuilder<phalanx::vm::ledger::LedgerVm> {
    Phalanx::builder(scene.vm.config())
        .supervisor_image(SupervisorImage::Own)
        .memory(scene.memory)
        .stall_limit(Duration::from_secs(30))
        .attach_limit(PATIENCE)
        .pacing(Pacing { start_limit_ms: 60_000, ..Pacing::default() })
        .log("error")
        .placement(placement)
}

fn run_blocks(scene: &mut Scene, blocks: usize, phalanx: &Phalanx) {
    // Once per launch: the oracle begins at the genesis, as the family does.
    for (block, expected) in scene.expected(vec![BLOCK; blocks]) {
        assert_same(&expected, &phalanx.execute(&block, deadline()).unwrap(), "in its place");
    }
}

fn assert_at_home(phalanx: &Phalanx, when: &str) -> PlacementReport {
    let report = phalanx.placement_report(None).unwrap();
    for shard in &report.shards {
        assert!(shard.is_home(), "{when}: {shard:?}");
        assert_eq!(shard.last, Some(shard.planned.index()), "{when}: {shard:?}");
    }
    let away: Vec<_> = report.regions.iter().filter(|region| region.misplaced > 0).collect();
    assert!(away.is_empty(), "{when}: pages on other nodes: {away:?}");
    let kinds =
        [RegionKind::Inbox, RegionKind::Outputs, RegionKind::Arena, RegionKind::Base, RegionKind::Board];
    for kind in kinds {
        let pages: u64 =
            report.regions.iter().filter(|it| it.kind == kind).flat_map(|it| it.pages.values()).sum();
        assert!(pages > 0, "{when}: no page of any {kind} was looked at");
    }
    report
}

fn everything_is_in_its_place_also_after_deaths() {
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
fn pages_that_were_touched_too_early_or_never_bound_are_found() {
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

/// Executes blocks until a finding is wanted; every block must be right.
fn blocks_until(
    scene: &mut Scene,
    phalanx: &Phalanx,
    oracle: &mut Oracle,
    wanted: impl Fn(&AuditFinding) -> bool,
) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        oracle.step(scene, phalanx);
        let findings = phalanx.take_audit_findings();
        for finding in &findings {
            println!("  after {:?}: {finding}", begun.elapsed());
        }
        if findings.iter().any(&wanted) {
            return Some(begun.elapsed());
        }
    }
    None
}

/// A sequential executor beside the family, block by block.
struct Oracle(phalanx::executor::Sequential<phalanx::vm::ledger::LedgerVm>);

impl Oracle {
    fn step(&mut self, scene: &mut Scene, phalanx: &Phalanx) {
        use phalanx::executor::BlockExecutor;
        let block = scene.workload.next_block(BLOCK);
        let block = scene.prepare(&block);
        let expected = self.0.execute(&block, deadline()).unwrap();
        assert_same(&expected, &phalanx.execute(&block, deadline()).unwrap(), "while places change");
    }
}

fn audited(scene: &Scene) -> (Phalanx, Oracle) {
    let placement = PlacementConfig { audit_interval: Some(AUDIT), ..PlacementConfig::default() };
    (scene.launch(builder(scene, placement)), Oracle(scene.oracle()))
}

fn pin_of(finding: &AuditFinding, wanted: usize, repaired: bool) -> bool {
    matches!(finding.subject, AuditSubject::Pin { shard, .. } if shard.index() == wanted)
        && finding.repaired == repaired
}

fn an_audit_puts_a_shard_back_that_somebody_moved() {
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene);
    oracle.step(&mut scene, &phalanx);
    let cores: Vec<usize> = topology().cpus.iter().map(|cpu| cpu.id.index()).collect();
    if cores.len() < 2 {
        return skip("needs two cores");
    }
    let shard = phalanx.health().len() - 1;
    let pid = phalanx.health()[shard].pid;
    let mut wide = nix::sched::CpuSet::new();
    cores.iter().for_each(|&core| wide.set(core).unwrap());
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(pid), &wide).unwrap();
    assert!(blocks_until(&mut scene, &phalanx, &mut oracle, |found| pin_of(found, shard, true)).is_some());
    let planned = phalanx.placement().layout.seats[shard].cpu.to_string();
    assert_eq!(allowed_cores(pid, pid), Some(planned));
    // Told once.
    oracle.step(&mut scene, &phalanx);
    assert!(phalanx.take_audit_findings().is_empty());
}

fn an_audit_brings_pages_home_that_were_touched_too_early() {
    if !several_nodes() {
        return skip("needs more than one node with memory");
    }
    let mut scene = scene();
    let placement =
        PlacementConfig { audit_interval: Some(AUDIT), touch_first: true, ..PlacementConfig::default() };
    let phalanx = scene.launch(builder(&scene, placement));
    let mut oracle = Oracle(scene.oracle());
    let inbox = |finding: &AuditFinding| {
        matches!(finding.subject, AuditSubject::Pages { region: RegionKind::Inbox, .. }) && finding.repaired
    };
    assert!(blocks_until(&mut scene, &phalanx, &mut oracle, inbox).is_some());
}

fn a_core_that_goes_offline_is_reported_and_taken_back() {
    if !in_guest() {
        return skip("would take a core of this host offline");
    }
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene);
    oracle.step(&mut scene, &phalanx);
    let shard = phalanx.health().len() - 1;
    let core = phalanx.placement().layout.seats[shard].cpu;
    let switch = format!("/sys/devices/system/cpu/cpu{core}/online");
    fs::write(&switch, "0").unwrap();
    let reported = blocks_until(&mut scene, &phalanx, &mut oracle, |found| pin_of(found, shard, false));
    println!("  core {core} offline: reported after {reported:?}");
    assert!(reported.is_some());
    assert!(topology().offline.contains(&core));
    // A shard that dies meanwhile comes back all the same.
    kill_shard(&phalanx, shard);
    oracle.step(&mut scene, &phalanx);
    fs::write(&switch, "1").unwrap();
    let repaired = blocks_until(&mut scene, &phalanx, &mut oracle, |found| pin_of(found, shard, true));
    println!("  core {core} online: repaired after {repaired:?}");
    assert!(repaired.is_some());
    assert!(eventually(PATIENCE, || all_ready(&phalanx)));
    oracle.step(&mut scene, &phalanx);
    assert!(phalanx.placement_report(Some(1)).unwrap().shards.iter().all(|shard| shard.is_home()));
}

/// A control group of this process's own, left at the end.
struct Group;

impl Group {
    const PATH: &str = "/sys/fs/cgroup/phalanx-test";

    fn enter() -> Group {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset +cpu").unwrap();
        fs::create_dir_all(Self::PATH).unwrap();
        let group = Group;
        group.set("cgroup.procs", &own_pid().to_string());
        group
    }

    fn set(&self, file: &str, text: &str) {
        fs::write(format!("{}/{file}", Self::PATH), text).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write("/sys/fs/cgroup/cgroup.procs", own_pid().to_string());
        let _ = fs::remove_dir(Self::PATH);
    }
}

fn a_cpuset_that_shrinks_is_reported_and_pins_come_back_with_it() {
    if !in_guest() {
        return skip("would change control groups of this host");
    }
    let group = Group::enter();
    let cores: Vec<u32> = topology().cpus.iter().map(|cpu| cpu.id.0).collect();
    group.set("cpuset.cpus", &phalanx::topology::format_list(cores.iter().copied()));
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene);
    oracle.step(&mut scene, &phalanx);
    let shard = phalanx.health().len() - 1;
    let core = phalanx.placement().layout.seats[shard].cpu;
    let left = cores.iter().copied().filter(|&other| other != core.0);
    group.set("cpuset.cpus", &phalanx::topology::format_list(left));
    let reported = blocks_until(&mut scene, &phalanx, &mut oracle, |found| pin_of(found, shard, false));
    println!("  core {core} taken out of the cpuset: reported after {reported:?}");
    assert!(reported.is_some());
    group.set("cpuset.cpus", &phalanx::topology::format_list(cores.iter().copied()));
    // Kernels that remember a pin put it back before the audit can: told as put right as well.
    let repaired = blocks_until(&mut scene, &phalanx, &mut oracle, |found| pin_of(found, shard, true));
    println!("  core {core} given back: repaired after {repaired:?}");
    assert!(repaired.is_some());
    drop(phalanx);
    drop(group);
}

fn a_quota_below_the_shards_is_refused_with_the_reason() {
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

fn huge_pages_are_used_where_they_are_reserved_and_missed_loudly_elsewhere() {
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
        assert_eq!(pages >= 512, home != *without, "{region:?}");
    }
    drop(phalanx);
    with.iter().for_each(|&node| reserve(node, 0));
}

fn the_layout_keeps_to_the_nodes_that_were_named() {
    let node = topology().cpus[0].node;
    let layout = LayoutOptions { nodes: Some([node].into()), shards: None, ..LayoutOptions::default() };
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, PlacementConfig { layout, ..patient() }));
    run_blocks(&mut scene, 2, &phalanx);
    assert!(phalanx.placement().layout.seats.iter().all(|seat| seat.node == node));
    assert_at_home(&phalanx, "on one node");
}

fn skip(why: &str) {
    println!("  left out: {why}");
}

fn main() {
    phalanx::supervisor_entry();
    let tests: [(&str, fn()); 9] = [
        ("everything_is_in_its_place_also_after_deaths", everything_is_in_its_place_also_after_deaths),
        (
            "pages_that_were_touched_too_early_or_never_bound_are_found",
            pages_that_were_touched_too_early_or_never_bound_are_found,
        ),
        ("an_audit_puts_a_shard_back_that_somebody_moved", an_audit_puts_a_shard_back_that_somebody_moved),
        (
            "an_audit_brings_pages_home_that_were_touched_too_early",
            an_audit_brings_pages_home_that_were_touched_too_early,
        ),
        (
            "a_core_that_goes_offline_is_reported_and_taken_back",
            a_core_that_goes_offline_is_reported_and_taken_back,
        ),
        (
            "a_cpuset_that_shrinks_is_reported_and_pins_come_back_with_it",
            a_cpuset_that_shrinks_is_reported_and_pins_come_back_with_it,
        ),
        (
            "a_quota_below_the_shards_is_refused_with_the_reason",
            a_quota_below_the_shards_is_refused_with_the_reason,
        ),
        (
            "huge_pages_are_used_where_they_are_reserved_and_missed_loudly_elsewhere",
            huge_pages_are_used_where_they_are_reserved_and_missed_loudly_elsewhere,
        ),
        ("the_layout_keeps_to_the_nodes_that_were_named", the_layout_keeps_to_the_nodes_that_were_named),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in tests {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            let begun = Instant::now();
            // In a guest one boot is to tell of all of them.
            let passed = std::panic::catch_unwind(test).is_ok();
            failed += i32::from(!passed);
            let verdict = if passed { "ok" } else { "FAILED" };
            println!("test {name} ... {verdict} ({:.1} s)", begun.elapsed().as_secs_f64());
        }
    }
    std::process::exit(i32::from(failed > 0));
}
