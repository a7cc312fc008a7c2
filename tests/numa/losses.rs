//! Cores and memory that go away while blocks run: told in time, made good where it can be, and no result is wrong for it.
//!
//! In time means: by the first audit that begins after the loss, which is counted, not measured; and within twice the longest
//! time between two audits that this machine needed right before. An emulated machine with many CPUs gives the supervisor its
//! turn late, so the interval that was asked for is not the one that it keeps.

use crate::common::{PATIENCE, Scene, all_ready, allowed_cores, eventually, kill_shard};
use crate::support::{
    Group, Oracle, assert_at_home, audited, blocks_until, in_guest, scene, several_nodes, skip, topology,
};
use phalanx::Phalanx;
use phalanx::supervisor::{AuditFinding, AuditMark, AuditSubject, Placement, Remedy};
use phalanx::topology::{LayoutOptions, RegionKind, format_list};
use phalanx::types::CpuId;
use phalanx_ipc::monotonic_now;
use std::fs;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(500);
/// Audits that are watched before anything is lost.
const UNDISTURBED: usize = 4;

/// How a family loses a core, and gets it back.
enum Loss {
    Offline(CpuId),
    Cpuset(Group, CpuId),
}

impl Loss {
    fn set(&self, there: bool) {
        match self {
            Loss::Offline(core) => {
                let switch = format!("/sys/devices/system/cpu/cpu{core}/online");
                fs::write(switch, if there { "1" } else { "0" }).unwrap();
            }
            Loss::Cpuset(group, core) => {
                let cpus = topology().cpus.into_iter().map(|cpu| cpu.id);
                let left = cpus.filter(|cpu| there || cpu != core).map(|cpu| cpu.0);
                group.set("cpuset.cpus", &format_list(left));
            }
        }
    }
}

/// The last audit, and the longest time between two while nothing happened.
struct Rhythm {
    last: AuditMark,
    longest: Duration,
}

impl Rhythm {
    /// Watches audits; returns right after one was told.
    fn of(scene: &mut Scene, phalanx: &Phalanx, oracle: &mut Oracle) -> Rhythm {
        let (mut marks, begun) = (Vec::<AuditMark>::new(), Instant::now());
        while marks.len() < UNDISTURBED {
            assert!(begun.elapsed() < PATIENCE, "audits are made: {marks:?}");
            oracle.step(scene, phalanx);
            marks.extend(phalanx.last_audit().filter(|mark| marks.last() != Some(mark)));
        }
        let undisturbed = phalanx.take_audit_findings();
        assert!(undisturbed.is_empty(), "nothing has happened yet: {undisturbed:?}");
        // Of audits of which one was not seen this is the time of both: the more patience.
        let longest = marks.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(longest >= INTERVAL);
        Rhythm { last: *marks.last().unwrap(), longest }
    }

    /// Asserts that a finding came with the first audit after a loss that was complete at `lost`, and soon.
    fn assert_in_time(&self, finding: &AuditFinding, lost: Duration) {
        // Audits begin an interval apart, so at most so many may have begun before.
        let before =
            u64::try_from(lost.saturating_sub(self.last.at).as_nanos() / INTERVAL.as_nanos()).unwrap();
        assert!(finding.audit <= self.last.audit + before + 1, "an audit did not see it: {finding:?}");
        let late = finding.at.saturating_sub(lost);
        println!("  found {late:?} after the loss, audits were at most {:?} apart before", self.longest);
        assert!(late <= 2 * self.longest, "{late:?}, audits were at most {:?} apart", self.longest);
    }
}

fn of_pin(finding: &AuditFinding, wanted: usize) -> bool {
    matches!(finding.subject, AuditSubject::Pin { shard, .. } if shard.index() == wanted)
}

/// Executes blocks until a finding is wanted, and returns it.
fn await_finding(
    scene: &mut Scene,
    phalanx: &Phalanx,
    oracle: &mut Oracle,
    wanted: impl Fn(&AuditFinding) -> bool,
) -> AuditFinding {
    let found = blocks_until(scene, phalanx, oracle, wanted);
    found.unwrap_or_else(|| panic!("no such finding; the last audit was {:?}", phalanx.last_audit()))
}

fn lose_a_core(layout: LayoutOptions, spare: bool, cpuset: bool) {
    if !in_guest() {
        return skip("would take a core of this host away");
    }
    // Before the launch: a family is born into its group.
    let group = cpuset.then(Group::enter);
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene, INTERVAL, layout);
    let shard = phalanx.health().len() - 1;
    let planned = phalanx.placement().layout.seats[shard].cpu;
    let loss = match group {
        Some(group) => Loss::Cpuset(group, planned),
        None => Loss::Offline(planned),
    };
    let rhythm = Rhythm::of(&mut scene, &phalanx, &mut oracle);
    // While blocks run.
    let (loss, found, lost) = std::thread::scope(|scope| {
        let taker = scope.spawn(move || {
            loss.set(false);
            (loss, monotonic_now())
        });
        let found = await_finding(&mut scene, &phalanx, &mut oracle, |found| of_pin(found, shard));
        let (loss, lost) = taker.join().unwrap();
        (loss, found, lost)
    });
    rhythm.assert_in_time(&found, lost);
    let pid = phalanx.health()[shard].pid;
    match found.remedy {
        Remedy::Moved { to } => {
            assert!(spare && !phalanx.placement().layout.cores().contains(&to.0), "{found}");
            let Placement { topology, layout, .. } = phalanx.placement();
            let spares = layout.spares_near(topology, layout.seats[shard].memory);
            assert_eq!(spares.first(), Some(&to), "the nearest");
            assert_eq!(allowed_cores(pid, pid), Some(to.to_string()));
        }
        Remedy::Nothing => assert!(!spare, "{found}"),
        Remedy::Restored => panic!("its core is gone: {found}"),
    }
    // A shard that dies meanwhile comes back all the same, on the spare core from its birth on.
    kill_shard(&phalanx, shard);
    assert!(eventually(PATIENCE, || all_ready(&phalanx)));
    if let Remedy::Moved { to } = found.remedy {
        let pid = phalanx.health()[shard].pid;
        assert_eq!(allowed_cores(pid, pid), Some(to.to_string()), "the next life");
    }
    oracle.step(&mut scene, &phalanx);
    loss.set(true);
    let home = |found: &AuditFinding| of_pin(found, shard) && found.remedy == Remedy::Restored;
    await_finding(&mut scene, &phalanx, &mut oracle, home);
    assert!(eventually(PATIENCE, || all_ready(&phalanx)));
    oracle.step(&mut scene, &phalanx);
    assert_at_home(&phalanx, "after everything is back");
    drop(phalanx);
    drop(loss);
}

/// Two shards on all that they may have.
fn no_spare() -> LayoutOptions {
    let cores = topology().cpus.into_iter().map(|cpu| cpu.id).rev().take(2).collect();
    LayoutOptions { cores: Some(cores), smt: true, ..LayoutOptions::default() }
}

pub fn a_shard_whose_core_goes_offline_is_reported_in_time_and_has_a_spare_one_until_it_is_back() {
    lose_a_core(LayoutOptions::default(), true, false);
}

pub fn a_core_that_goes_offline_is_reported_in_time_where_there_is_no_spare_one() {
    lose_a_core(no_spare(), false, false);
}

pub fn a_core_that_leaves_the_cpuset_is_reported_in_time_and_its_shard_has_a_spare_one() {
    lose_a_core(LayoutOptions::default(), true, true);
}

pub fn a_core_that_leaves_the_cpuset_is_reported_in_time_where_there_is_no_spare_one() {
    lose_a_core(no_spare(), false, true);
}

/// The kernel moves pages out of a node that leaves the cpuset, and does not bring them back with it.
pub fn memory_that_leaves_the_cpuset_is_reported_in_time_and_pages_come_home_with_it() {
    if !in_guest() || !several_nodes() {
        return skip("needs several nodes with memory, and would change control groups of this host");
    }
    let group = Group::enter();
    let memory = topology().nodes.into_iter().filter(|node| node.memory_bytes > 0).map(|node| node.id);
    let nodes: Vec<u32> = memory.map(|node| node.0).collect();
    group.set("cpuset.mems", &format_list(nodes.iter().copied()));
    let mut scene = scene();
    let (phalanx, mut oracle) = audited(&scene, INTERVAL, LayoutOptions::default());
    // One that is in use; the last in order may be slow memory without CPUs.
    let layout = &phalanx.placement().layout;
    let gone = layout.seats.iter().map(|seat| seat.memory).max().unwrap();
    let rhythm = Rhythm::of(&mut scene, &phalanx, &mut oracle);
    let left = nodes.iter().copied().filter(|&node| node != gone.0);
    group.set("cpuset.mems", &format_list(left));
    let lost = monotonic_now();
    let inbox =
        |found: &AuditFinding| matches!(found.subject, AuditSubject::Pages { region: RegionKind::Inbox, .. });
    let found = await_finding(&mut scene, &phalanx, &mut oracle, inbox);
    rhythm.assert_in_time(&found, lost);
    assert_eq!(found.remedy, Remedy::Nothing, "the node is not allowed: {found}");
    group.set("cpuset.mems", &format_list(nodes.iter().copied()));
    let home = |found: &AuditFinding| inbox(found) && found.remedy == Remedy::Restored;
    await_finding(&mut scene, &phalanx, &mut oracle, home);
    // Bit by bit.
    let begun = Instant::now();
    while phalanx.placement_report(None).unwrap().misplaced() > 0 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", phalanx.placement_report(None));
        oracle.step(&mut scene, &phalanx);
    }
    println!("  every page is home {:?} after the node was given back", begun.elapsed());
    drop(phalanx);
    drop(group);
}
