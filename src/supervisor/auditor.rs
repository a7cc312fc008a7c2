//! The audit: while blocks run the supervisor compares pins, last CPUs and a sample of pages with the plan, repairs what it
//! can, and tells what it found.
//!
//! Pages stay where they were when a policy comes to nothing, and follow a cpuset that shrinks but not one that grows.

use crate::supervisor::audit::{AuditFinding, AuditMark, AuditSubject, Remedy};
use crate::supervisor::pin_watch::{HostPins, PinWatch, Watched};
use crate::supervisor::protocol::AuditOrder;
use crate::supervisor::shard_process::FamilyFds;
use crate::topology::RegionKind;
use crate::types::{CpuId, NodeId, ShardId};
use phalanx_ipc::{PagePlace, monotonic_now, move_pages_home, pages_of};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Pages of a region that are looked at in one audit.
const PAGES_LOOKED_AT: usize = 16;
/// Pages of a region that are moved in one audit, beside those looked at; the others have their turn in the next ones. A page
/// takes some microseconds, and a death is not to wait for this.
const PAGES_MOVED: usize = 256;
/// Shards whose regions are looked at in one audit; the others have their turn in the next ones.
const SHARDS_LOOKED_AT: usize = 8;

/// A region, for telling that its pages cannot be put right.
type Place = (RegionKind, Option<ShardId>, u8);

/// Audits at an interval.
#[derive(Debug)]
pub(super) struct Auditor {
    order: Option<AuditOrder>,
    last: Option<AuditMark>,
    next_shard: usize,
    pins: PinWatch,
    /// Regions with pages elsewhere that could not be moved, until a look finds none: told once.
    lost: BTreeSet<Place>,
}

/// What one audit came to.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) mark: AuditMark,
    pub(super) found: Vec<AuditFinding>,
}

impl Auditor {
    pub(super) fn new(order: Option<AuditOrder>) -> Auditor {
        Auditor { order, last: None, next_shard: 0, pins: PinWatch::default(), lost: BTreeSet::new() }
    }

    /// The CPU that the next life of a shard is to begin on.
    pub(super) fn seat(&self, shard: ShardId, planned: CpuId) -> CpuId {
        self.pins.seat(shard, planned)
    }

    /// Audits if it is time to; `running` are the shards that are ready, with their processes. Takes well under a
    /// millisecond.
    pub(super) fn look(
        &mut self,
        cores: &[u32],
        running: &[(ShardId, i32)],
        fds: &FamilyFds,
    ) -> Option<Audited> {
        let order = self.order.take()?;
        let audited = self.look_by(&order, cores, running, fds);
        self.order = Some(order);
        audited
    }

    fn look_by(
        &mut self,
        order: &AuditOrder,
        cores: &[u32],
        running: &[(ShardId, i32)],
        fds: &FamilyFds,
    ) -> Option<Audited> {
        let at = monotonic_now();
        let due = self.last.is_none_or(|last| at - last.at >= Duration::from_millis(order.interval_ms));
        if !due {
            return None;
        }
        let mark = AuditMark { audit: self.last.map_or(1, |last| last.audit + 1), at };
        self.last = Some(mark);
        let mut found = Vec::new();
        for &(shard, pid) in running {
            let Some(&planned) = cores.get(shard.index()) else { continue };
            let node = order.nodes.get(shard.index());
            let spares = node.and_then(|node| order.spares.get(node)).map_or(&[][..], Vec::as_slice);
            let watched = Watched { shard, pid, planned: CpuId(planned), spares };
            found.extend(self.pins.look(&HostPins, watched));
        }
        if order.bound {
            self.look_at_pages(order, usize::try_from(mark.audit).unwrap_or(0), fds, &mut found);
        }
        let finding = |(subject, remedy)| AuditFinding { subject, remedy, audit: mark.audit, at: mark.at };
        Some(Audited { mark, found: found.into_iter().map(finding).collect() })
    }

    fn look_at_pages(
        &mut self,
        order: &AuditOrder,
        turn: usize,
        fds: &FamilyFds,
        found: &mut Vec<(AuditSubject, Remedy)>,
    ) {
        let home = |node: u32| move |at: u32| (at != node).then_some(node);
        let spread = |at: u32| if order.spread.contains(&at) { None } else { order.spread.first().copied() };
        let board = (RegionKind::Board, None, 0);
        found.extend(self.look_at(&fds.shared.board, board, turn, home(order.home)));
        let [first, second] = &fds.shared.arenas;
        for (file, place) in [
            (first, (RegionKind::Arena, None, 0)),
            (second, (RegionKind::Arena, None, 1)),
            (&fds.shared.overlay, (RegionKind::Overlay, None, 0)),
            (&fds.shared.base, (RegionKind::Base, None, 0)),
        ] {
            found.extend(self.look_at(file, place, turn, spread));
        }
        let shards = fds.shards.len();
        for step in 0..SHARDS_LOOKED_AT.min(shards) {
            let place = (self.next_shard + step) % shards;
            let (Some(own), Some(&node)) = (fds.shards.get(place), order.nodes.get(place)) else { continue };
            let shard = u32::try_from(place).ok().map(ShardId);
            found.extend(self.look_at(&own.inbox, (RegionKind::Inbox, shard, 0), turn, home(node)));
            found.extend(self.look_at(&own.outputs, (RegionKind::Outputs, shard, 0), turn, home(node)));
            if let Some(spans) = &own.spans {
                found.extend(self.look_at(spans, (RegionKind::Spans, shard, 0), turn, home(node)));
            }
        }
        self.next_shard = (self.next_shard + SHARDS_LOOKED_AT) % shards.max(1);
    }

    /// Looks at some pages of a region; `better` names a node for a page that is on a wrong one. Moves those there.
    fn look_at(
        &mut self,
        file: &OwnedFd,
        place: Place,
        turn: usize,
        better: impl Fn(u32) -> Option<u32>,
    ) -> Option<(AuditSubject, Remedy)> {
        let limit = Some(PAGES_LOOKED_AT);
        // What cannot be looked at is not held against anyone: the kernel may forbid it.
        let pages = pages_of(file, limit, turn).ok()?;
        let count = |places: &[PagePlace]| places.iter().filter(|place| better(place.node).is_some()).count();
        let misplaced = count(&pages);
        if misplaced == 0 {
            self.lost.remove(&place);
            return None;
        }
        // Another page may have come meanwhile; then others are looked at, which does no harm.
        let moved = move_pages_home(file, limit, turn, |page| better(page.node));
        let left = pages_of(file, limit, turn).map_or(misplaced, |pages| count(&pages));
        if moved.is_ok() {
            // Where some are lost more are, as a rule. What cannot be moved now is found again.
            let _ = move_pages_home(file, Some(PAGES_MOVED), turn, |page| better(page.node));
        }
        let remedy = if moved.is_ok() && left == 0 { Remedy::Restored } else { Remedy::Nothing };
        let news = match remedy {
            Remedy::Restored | Remedy::Moved { .. } => {
                self.lost.remove(&place);
                true
            }
            Remedy::Nothing => self.lost.insert(place),
        };
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (region, shard, _) = place;
        let (looked_at, misplaced) = (small(pages.len()), small(misplaced));
        news.then_some((AuditSubject::Pages { region, shard, looked_at, misplaced }, remedy))
    }
}

/// The nodes by which an audit is ordered.
pub(super) fn node_numbers(nodes: impl IntoIterator<Item = NodeId>) -> Vec<u32> {
    nodes.into_iter().map(|node| node.0).collect()
}
