//! What somebody moved is put back.

use crate::common::allowed_cores;
use crate::support::{AUDIT, Oracle, audited, blocks_until, builder, scene, several_nodes, skip, topology};
use phalanx::supervisor::{AuditFinding, AuditSubject, PlacementConfig, Remedy};
use phalanx::topology::{LayoutOptions, RegionKind};

pub fn an_audit_puts_a_shard_back_that_somebody_moved() {
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene, AUDIT, LayoutOptions::default());
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
    let restored = blocks_until(&mut scene, &phalanx, &mut oracle, |found| {
        matches!(found.subject, AuditSubject::Pin { shard: found, .. } if found.index() == shard)
            && found.remedy == Remedy::Restored
    });
    assert!(restored.is_some());
    let planned = phalanx.placement().layout.seats[shard].cpu.to_string();
    assert_eq!(allowed_cores(pid, pid), Some(planned));
    // Told once.
    oracle.step(&mut scene, &phalanx);
    assert!(phalanx.take_audit_findings().is_empty());
}

pub fn an_audit_brings_pages_home_that_were_touched_too_early() {
    if !several_nodes() {
        return skip("needs more than one node with memory");
    }
    let mut scene = scene();
    let placement =
        PlacementConfig { audit_interval: Some(AUDIT), touch_first: true, ..PlacementConfig::default() };
    let phalanx = scene.launch(builder(&scene, placement));
    let mut oracle = Oracle(scene.oracle());
    let inbox = |finding: &AuditFinding| {
        matches!(finding.subject, AuditSubject::Pages { region: RegionKind::Inbox, .. })
            && finding.remedy == Remedy::Restored
    };
    assert!(blocks_until(&mut scene, &phalanx, &mut oracle, inbox).is_some());
}
