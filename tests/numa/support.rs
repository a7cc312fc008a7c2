//! What the tests of places share.

use crate::common::{PATIENCE, Scene, assert_same, deadline, own_pid};
use phalanx::executor::{BlockExecutor, Sequential};
use phalanx::supervisor::{AuditFinding, Pacing, PlacementConfig, PlacementReport, SupervisorImage};
use phalanx::topology::{LayoutOptions, RegionKind, SysTree, Topology};
use phalanx::vm::ledger::LedgerVm;
use phalanx::{Phalanx, PhalanxBuilder};
use std::fs;
use std::time::{Duration, Instant};

/// Between audits, where nothing depends on it.
pub const AUDIT: Duration = Duration::from_millis(50);
/// Transactions of a block: emulated machines are slow.
pub const BLOCK: usize = 120;

pub fn in_guest() -> bool {
    std::env::var_os("PHALANX_GUEST").is_some()
}

pub fn topology() -> Topology {
    Topology::read(&SysTree::host()).unwrap()
}

/// Whether there is more than one node to put memory on.
pub fn several_nodes() -> bool {
    topology().nodes.iter().filter(|node| node.memory_bytes > 0).count() > 1
}

pub fn scene() -> Scene {
    Scene::new(61, 30, false)
}

pub fn patient() -> PlacementConfig {
    PlacementConfig { audit_interval: None, ..PlacementConfig::default() }
}

/// On every core that the layout gives by itself.
pub fn builder(scene: &Scene, placement: PlacementConfig) -> PhalanxBuilder<LedgerVm> {
    Phalanx::builder(scene.vm.config())
        .supervisor_image(SupervisorImage::Own)
        .memory(scene.memory)
        .stall_limit(Duration::from_secs(30))
        .attach_limit(PATIENCE)
        .pacing(Pacing { start_limit_ms: 60_000, ..Pacing::default() })
        .log("error")
        .placement(placement)
}

pub fn run_blocks(scene: &mut Scene, blocks: usize, phalanx: &Phalanx) {
    // Once per launch: the oracle begins at the genesis, as the family does.
    for (block, expected) in scene.expected(vec![BLOCK; blocks]) {
        assert_same(&expected, &phalanx.execute(&block, deadline()).unwrap(), "in its place");
    }
}

pub fn assert_at_home(phalanx: &Phalanx, when: &str) -> PlacementReport {
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

/// Executes blocks until a finding is wanted; every block must be right.
pub fn blocks_until(
    scene: &mut Scene,
    phalanx: &Phalanx,
    oracle: &mut Oracle,
    wanted: impl Fn(&AuditFinding) -> bool,
) -> Option<AuditFinding> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        oracle.step(scene, phalanx);
        let findings = phalanx.take_audit_findings();
        for finding in &findings {
            println!("  after {:?}: {finding}", begun.elapsed());
        }
        let found = findings.into_iter().find(&wanted);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A sequential executor beside the family, block by block.
pub struct Oracle(pub Sequential<LedgerVm>);

impl Oracle {
    pub fn step(&mut self, scene: &mut Scene, phalanx: &Phalanx) {
        let block = scene.workload.next_block(BLOCK);
        let block = scene.prepare(&block);
        let expected = self.0.execute(&block, deadline()).unwrap();
        assert_same(&expected, &phalanx.execute(&block, deadline()).unwrap(), "while places change");
    }
}

pub fn audited(scene: &Scene, interval: Duration, layout: LayoutOptions) -> (Phalanx, Oracle) {
    let placement = PlacementConfig { audit_interval: Some(interval), layout, ..PlacementConfig::default() };
    (scene.launch(builder(scene, placement)), Oracle(scene.oracle()))
}

/// A control group of this process's own, left at the end.
#[derive(Debug)]
pub struct Group;

impl Group {
    const PATH: &str = "/sys/fs/cgroup/phalanx-test";

    pub fn enter() -> Group {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset +cpu").unwrap();
        fs::create_dir_all(Self::PATH).unwrap();
        let group = Group;
        // As a test that failed may have left it.
        for (file, text) in [
            ("cpuset.cpus.partition", "member"),
            ("cpuset.cpus", "\n"),
            ("cpuset.mems", "\n"),
            ("cpu.max", "max"),
        ] {
            group.set(file, text);
        }
        group.set("cgroup.procs", &own_pid().to_string());
        group
    }

    pub fn set(&self, file: &str, text: &str) {
        fs::write(format!("{}/{file}", Self::PATH), text).unwrap();
    }

    pub fn get(&self, file: &str) -> String {
        fs::read_to_string(format!("{}/{file}", Self::PATH)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write("/sys/fs/cgroup/cgroup.procs", own_pid().to_string());
        let _ = fs::remove_dir(Self::PATH);
    }
}

pub fn skip(why: &str) {
    println!("  left out: {why}");
}
