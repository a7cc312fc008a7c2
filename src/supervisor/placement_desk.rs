//! Where shards and pages really are: looked at when somebody asks, from any thread.

use crate::executor::ExecuteError;
use crate::supervisor::audit::{AuditFinding, AuditMark};
use crate::supervisor::placement::Placement;
use crate::topology::{Placing, RegionKind};
use crate::types::{CpuId, NodeId, ShardId};
use parking_lot::Mutex;
use phalanx_ipc::{Control, OsCause, allowed_cores_of, last_core_of, pages_of};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
}

impl PlacementReport {
    /// Pages that are not where they should be, over all regions.
    #[must_use]
    pub fn misplaced(&self) -> u64 {
        self.regions.iter().map(|region| region.misplaced).sum()
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
        let regions = self.placement.regions.iter().zip(&self.files).map(|(plan, file)| {
            let mut pages: BTreeMap<NodeId, u64> = BTreeMap::new();
            for page in pages_of(file, limit, 0)? {
                *pages.entry(NodeId(page.node)).or_default() += 1;
            }
            let away = pages.iter().filter(|(node, _)| !plan.placing.allows(**node));
            Ok(RegionReport {
                kind: plan.kind,
                shard: plan.shard,
                placing: plan.placing.clone(),
                misplaced: away.map(|(_, pages)| pages).sum(),
                pages,
            })
        });
        let regions: Result<Vec<RegionReport>, OsCause> = regions.collect();
        Ok(PlacementReport { shards: shards.collect(), regions: regions.map_err(ExecuteError::system)? })
    }
}
