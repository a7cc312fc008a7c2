//! Where shards and pages really are: looked at when somebody asks, from any thread.

use crate::executor::ExecuteError;
use crate::supervisor::audit::{AuditFinding, AuditMark};
use crate::supervisor::placement::{HugePages, Placement};
use crate::topology::{Placing, RegionKind, RegionPlan};
use crate::types::{CpuId, NodeId, ShardId};
use parking_lot::Mutex;
use phalanx_ipc::{
    Control, HUGE_PAGE_BYTES, OsCause, allowed_cores_of, huge_bytes_of, last_core_of, pages_of,
};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of the pages that are counted.
const PAGE_BYTES: u64 = 4096;
/// Findings kept for whoever asks; the oldest go first.
const FINDINGS_KEPT: usize = 1024;

/// Knows the plan, and can look.
#[derive(Debug)]
pub(crate) struct PlacementDesk {
    placement: Placement,
    /// By the order of [`Placement::regions`].
    files: Vec<OwnedFd>,
    findings: Mutex<VecDeque<AuditFinding>>,
    audited: Mutex<Option<AuditMark>>,
}

/// Where everything is, beside where it should be. Stale at once.
#[derive(Clone, Debug, Serialize)]
pub struct PlacementReport {
    /// By shard.
    pub shards: Vec<ShardPlace>,
    /// By region.
    pub regions: Vec<RegionReport>,
    /// Which pages were asked for.
    pub huge_pages: HugePages,
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardPlace {
    /// Which.
    pub shard: ShardId,
    /// Its process; 0 if there is none now.
    pub pid: i32,
    /// The CPU that it should be on.
    pub planned: CpuId,
    /// The CPUs that it may run on.
    pub allowed: Vec<usize>,
    /// The CPU that it ran on last.
    pub last: Option<usize>,
}

impl ShardPlace {
    /// Whether it may run on its planned CPU only.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.allowed == [self.planned.index()]
    }
}

/// Where the pages of a region are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionReport {
    /// What it is.
    pub kind: RegionKind,
    /// Whose it is, if it is one shard's.
    pub shard: Option<ShardId>,
    /// Where its pages should be.
    pub placing: Placing,
    /// Pages looked at, by node.
    pub pages: BTreeMap<NodeId, u64>,
    /// Pages of those that are elsewhere.
    pub misplaced: u64,
    /// Bytes of the region that are on huge pages; `None` unless those were asked for it, or when the kernel does not tell.
    pub huge_bytes: Option<u64>,
    /// Whether huge pages were asked for it and 2 MiB or more that were touched are on ordinary ones.
    pub lacks_huge_pages: bool,
}

impl PlacementReport {
    /// Pages that are not where they should be, over all regions.
    #[must_use]
    pub fn misplaced(&self) -> u64 {
        self.regions.iter().map(|region| region.misplaced).sum()
    }

    /// Regions that should be on huge pages and are not, or not all of what was touched of them.
    pub fn lacking_huge_pages(&self) -> impl Iterator<Item = &RegionReport> {
        self.regions.iter().filter(|region| region.lacks_huge_pages)
    }

    /// Pages looked at, over all regions.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.regions.iter().flat_map(|region| region.pages.values()).sum()
    }
}

impl PlacementDesk {
    pub(super) fn new(placement: Placement, files: Vec<OwnedFd>) -> PlacementDesk {
        PlacementDesk { placement, files, findings: Mutex::default(), audited: Mutex::default() }
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Every region, and its descriptor: writable where a shard writes.
    pub(super) fn regions(&self) -> impl Iterator<Item = (&RegionPlan, &OwnedFd)> {
        self.placement.regions.iter().zip(&self.files)
    }

    /// What audits found, and the last of them if there was another.
    pub(super) fn note(&self, (found, audited): (Vec<AuditFinding>, Option<AuditMark>)) {
        if audited.is_some() {
            *self.audited.lock() = audited;
        }
        let mut findings = self.findings.lock();
        findings.extend(found);
        let surplus = findings.len().saturating_sub(FINDINGS_KEPT);
        findings.drain(..surplus);
    }

    pub(crate) fn last_audit(&self) -> Option<AuditMark> {
        *self.audited.lock()
    }

    pub(crate) fn take_findings(&self) -> Vec<AuditFinding> {
        self.findings.lock().drain(..).collect()
    }

    /// Looks at every shard, and at every page of every region or at `limit` of each.
    pub(crate) fn report(
        &self,
        control: &Arc<Control>,
        limit: Option<usize>,
    ) -> Result<PlacementReport, ExecuteError> {
        let seats = self.placement.layout.seats.iter().enumerate();
        let shards = seats.filter_map(|(place, seat)| {
            let shard = ShardId(u32::try_from(place).ok()?);
            let pid = control.slot(shard.0)?.pid.load(Ordering::Acquire);
            // 0 would be the caller.
            let living = (pid != 0).then_some(pid);
            Some(ShardPlace {
                shard,
                pid,
                planned: seat.cpu,
                allowed: living.and_then(|pid| allowed_cores_of(pid).ok()).unwrap_or_default(),
                last: living.and_then(last_core_of),
            })
        });
        let huge_pages = self.placement.huge_pages;
        let regions = self.regions().map(|(plan, file)| look_at(plan, file, huge_pages, limit));
        let regions: Result<Vec<RegionReport>, OsCause> = regions.collect();
        let regions = regions.map_err(ExecuteError::system)?;
        Ok(PlacementReport { shards: shards.collect(), regions, huge_pages })
    }
}

fn look_at(
    plan: &RegionPlan,
    file: &OwnedFd,
    asked: HugePages,
    limit: Option<usize>,
) -> Result<RegionReport, OsCause> {
    let mut pages: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut looked_at = 0;
    for page in pages_of(file, limit, 0)? {
        *pages.entry(NodeId(page.node)).or_default() += 1;
        looked_at += 1;
    }
    let away = pages.iter().filter(|(node, _)| !plan.placing.allows(**node));
    let misplaced = away.map(|(_, pages)| pages).sum();
    let huge_bytes = if asked.covers(plan.kind) { huge_bytes_of(file).ok() } else { None };
    let touched = looked_at * PAGE_BYTES;
    let lacks_huge_pages = huge_bytes.is_some_and(|bytes| {
        // What is behind the last whole huge page of a region cannot be on one.
        touched > 0
            && (asked == HugePages::Reserved || plan.bytes >= HUGE_PAGE_BYTES as u64)
            && (bytes == 0 || touched >= bytes + HUGE_PAGE_BYTES as u64)
    });
    let (kind, shard, placing) = (plan.kind, plan.shard, plan.placing.clone());
    Ok(RegionReport { kind, shard, placing, pages, misplaced, huge_bytes, lacks_huge_pages })
}
