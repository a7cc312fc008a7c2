//! The audit: while blocks run the supervisor compares pins and a sample of pages with the plan, repairs what it can, and
//! tells what it found.
//!
//! Pins are lost without a word when a CPU goes offline or a cpuset changes, and do not come back by themselves. Pages stay
//! where they were when a policy comes to nothing.

use crate::supervisor::protocol::AuditOrder;
use crate::supervisor::shard_process::FamilyFds;
use crate::topology::RegionKind;
use crate::types::{CpuId, NodeId, ShardId};
use phalanx_ipc::{allowed_cores_of, move_pages_home, pages_of, pin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Pages of a region that are looked at in one audit.
const PAGES_LOOKED_AT: usize = 16;
/// Shards whose regions are looked at in one audit; the others have their turn in the next ones.
const SHARDS_LOOKED_AT: usize = 8;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// Whose place is not the planned one, or is again.
    pub subject: AuditSubject,
    /// Whether it is as planned now: by the audit itself, or by whoever undid the cause.
    pub repaired: bool,
}

/// Whose place an audit found changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditSubject {
    /// A shard may run elsewhere than on its CPU.
    Pin {
        /// The shard.
        shard: ShardId,
        /// Its process.
        pid: i32,
        /// The CPU that it was planned for.
        planned: CpuId,
        /// The first CPUs of those that it was found allowed to use.
        allowed: Vec<CpuId>,
    },
    /// Pages of a region are on other nodes.
    Pages {
        /// What it is.
        region: RegionKind,
        /// Whose it is, if it is one shard's.
        shard: Option<ShardId>,
        /// Pages that were looked at.
        looked_at: u32,
        /// Pages of those that were elsewhere.
        misplaced: u32,
    },
}

/// Most CPUs that a finding names.
const CPUS_NAMED: usize = 16;

/// Audits at an interval.
#[derive(Debug)]
pub(super) struct Auditor {
    order: Option<AuditOrder>,
    last: Option<Instant>,
    turn: usize,
    next_shard: usize,
    /// Shards that were found unpinned, by the life that was, and what they were allowed.
    lost: BTreeMap<ShardId, (i32, Vec<usize>)>,
}

impl Auditor {
    pub(super) fn new(order: Option<AuditOrder>) -> Auditor {
        Auditor { order, last: None, turn: 0, next_shard: 0, lost: BTreeMap::new() }
    }

    /// Audits if it is time to; `running` are the shards that are ready, with their processes. Takes well under a
    /// millisecond.
    pub(super) fn look(
        &mut self,
        now: Instant,
        cores: &[u32],
        running: &[(ShardId, i32)],
        fds: &FamilyFds,
    ) -> Vec<AuditFinding> {
        let Some(order) = self.order.take() else { return Vec::new() };
        let interval = Duration::from_millis(order.interval_ms);
        let mut found = Vec::new();
        if self.last.is_none_or(|last| now.duration_since(last) >= interval) {
            self.last = Some(now);
            for &(shard, pid) in running {
                let planned = cores.get(shard.index()).copied().map(CpuId);
                found.extend(planned.and_then(|planned| self.look_at_pin(shard, pid, planned)));
            }
            if order.bound {
                self.look_at_pages(&order, fds, &mut found);
            }
        }
        self.order = Some(order);
        found
    }

    /// Puts a shard back onto its CPU if it may run elsewhere. Tells of it once, and once more when it is put right.
    fn look_at_pin(&mut self, shard: ShardId, pid: i32, planned: CpuId) -> Option<AuditFinding> {
        // A process that is gone has no affinity; its death is somebody else's affair.
        let allowed = allowed_cores_of(pid).ok()?;
        let finding = |allowed: &[usize], repaired| {
            let named = allowed.iter().take(CPUS_NAMED).filter_map(|&cpu| u32::try_from(cpu).ok());
            let allowed = named.map(CpuId).collect();
            AuditFinding { subject: AuditSubject::Pin { shard, pid, planned, allowed }, repaired }
        };
        if allowed == [planned.index()] {
            let (_, was) = self.lost.remove(&shard)?;
            return Some(finding(&was, true));
        }
        if pin(pid, planned.index()).is_ok() {
            self.lost.remove(&shard);
            return Some(finding(&allowed, true));
        }
        // It cannot be helped now; the kernel may have clipped the mask meanwhile.
        let allowed = allowed_cores_of(pid).unwrap_or(allowed);
        let known = self.lost.insert(shard, (pid, allowed.clone()));
        (known.as_ref() != Some(&(pid, allowed.clone()))).then(|| finding(&allowed, false))
    }

    fn look_at_pages(&mut self, order: &AuditOrder, fds: &FamilyFds, found: &mut Vec<AuditFinding>) {
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let home = |node: u32| move |at: u32| (at != node).then_some(node);
        let board = home(order.home);
        found.extend(look_at(&fds.shared.board, RegionKind::Board, None, turn, board));
        let spread = |at: u32| if order.spread.contains(&at) { None } else { order.spread.first().copied() };
        let [first, second] = &fds.shared.arenas;
        for (file, kind) in [
            (first, RegionKind::Arena),
            (second, RegionKind::Arena),
            (&fds.shared.overlay, RegionKind::Overlay),
            (&fds.shared.base, RegionKind::Base),
        ] {
            found.extend(look_at(file, kind, None, turn, spread));
        }
        let shards = fds.shards.len();
        for step in 0..SHARDS_LOOKED_AT.min(shards) {
            let place = (self.next_shard + step) % shards;
            let (Some(own), Some(&node)) = (fds.shards.get(place), order.nodes.get(place)) else { continue };
            let shard = u32::try_from(place).ok().map(ShardId);
            found.extend(look_at(&own.inbox, RegionKind::Inbox, shard, turn, home(node)));
            found.extend(look_at(&own.outputs, RegionKind::Outputs, shard, turn, home(node)));
            if let Some(spans) = &own.spans {
                found.extend(look_at(spans, RegionKind::Spans, shard, turn, home(node)));
            }
        }
        self.next_shard = (self.next_shard + SHARDS_LOOKED_AT) % shards.max(1);
    }
}

/// Looks at some pages of a region; `better` names a node for a page that is on a wrong one. Moves those there.
fn look_at(
    file: &OwnedFd,
    region: RegionKind,
    shard: Option<ShardId>,
    turn: usize,
    better: impl Fn(u32) -> Option<u32>,
) -> Option<AuditFinding> {
    let limit = Some(PAGES_LOOKED_AT);
    // What cannot be looked at is not held against anyone: the kernel may forbid it.
    let pages = pages_of(file, limit, turn).ok()?;
    let count = |places: &[phalanx_ipc::PagePlace]| {
        places.iter().filter(|place| better(place.node).is_some()).count()
    };
    let misplaced = count(&pages);
    if misplaced == 0 {
        return None;
    }
    // Another page may have come meanwhile; then others are looked at, which does no harm.
    let moved = move_pages_home(file, limit, turn, |place| better(place.node));
    let left = pages_of(file, limit, turn).map_or(misplaced, |pages| count(&pages));
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let subject =
        AuditSubject::Pages { region, shard, looked_at: small(pages.len()), misplaced: small(misplaced) };
    Some(AuditFinding { subject, repaired: moved.is_ok() && left == 0 })
}

impl std::fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let now = if self.repaired { "it is put right" } else { "it cannot be put right now" };
        match &self.subject {
            AuditSubject::Pin { shard, pid, planned, allowed } => {
                let allowed = crate::topology::format_list(allowed.iter().map(|cpu| cpu.0));
                write!(f, "shard {shard} (pid {pid}) belongs on CPU {planned}, was allowed {allowed}; {now}")
            }
            AuditSubject::Pages { region, shard, looked_at, misplaced } => {
                let whose = shard.map(|shard| format!(" of shard {shard}")).unwrap_or_default();
                write!(
                    f,
                    "{misplaced} of {looked_at} pages of the {region}{whose} are on another node; {now}"
                )
            }
        }
    }
}

/// The nodes by which an audit is ordered.
pub(super) fn node_numbers(nodes: impl IntoIterator<Item = NodeId>) -> Vec<u32> {
    nodes.into_iter().map(|node| node.0).collect()
}
