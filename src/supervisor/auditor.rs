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
/// Shards whose regions are looked at at once, if they are few; the others have their turn later in the same interval.
const SHARDS_LOOKED_AT: usize = 8;
/// The most parts in which an audit looks at its shards.
const GROUPS_MAX: usize = 8;

/// A region, for telling that its pages cannot be put right.
type Place = (RegionKind, Option<ShardId>, u8);

/// Audits at an interval.
#[derive(Debug)]
pub(super) struct Auditor {
    order: Option<AuditOrder>,
    last: Option<AuditMark>,
    /// Shards whose regions were looked at in the present audit, and whose turn it is.
    looked_at: usize,
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
        Auditor {
            order,
            last: None,
            looked_at: 0,
            next_shard: 0,
            pins: PinWatch::default(),
            lost: BTreeSet::new(),
        }
    }

    /// The CPU that the next life of a shard is to begin on.
    pub(super) fn seat(&self, shard: ShardId, planned: CpuId) -> CpuId {
        self.pins.seat(shard, planned)
    }

    /// Audits, or goes on with the present audit, if it is time to; `running` are the shards that are ready, with their processes. Takes some
    /// microseconds per page that is looked at.
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
        let (now, interval) = (monotonic_now(), Duration::from_millis(order.interval_ms));
        // Blocks may be rare: an audit that is not through goes on first, however late it is.
        let shards = if order.bound { fds.shards.len() } else { 0 };
        let goes_on = |last: &AuditMark| self.looked_at < shards || now.saturating_sub(last.at) < interval;
        let present = self.last.filter(goes_on);
        let mark = present
            .unwrap_or_else(|| AuditMark { audit: self.last.map_or(1, |last| last.audit + 1), at: now });
        let turn = usize::try_from(mark.audit).unwrap_or(0);
        let mut found = Vec::new();
        if present.is_none() {
            (self.last, self.looked_at) = (Some(mark), 0);
            for &(shard, pid) in running {
                let Some(&planned) = cores.get(shard.index()) else { continue };
                let node = order.nodes.get(shard.index());
                let spares = node.and_then(|node| order.spares.get(node)).map_or(&[][..], Vec::as_slice);
                let watched = Watched { shard, pid, planned: CpuId(planned), spares };
                found.extend(self.pins.look(&HostPins, watched));
            }
            if order.bound {
                self.look_at_shared(order, turn, fds, &mut found);
            }
        }
        for _ in 0..shards_due(now.saturating_sub(mark.at), interval, shards, self.looked_at) {
            self.look_at_shard(order, turn, fds, &mut found);
        }
        if present.is_some() && found.is_empty() {
            return None;
        }
        let finding = |(subject, remedy)| AuditFinding { subject, remedy, audit: mark.audit, at: now };
        Some(Audited { mark, found: found.into_iter().map(finding).collect() })
    }

    /// Looks at regions that are no shard's own.
    fn look_at_shared(
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
    }

    /// Looks at the regions of the shard whose turn it is.
    fn look_at_shard(
        &mut self,
        order: &AuditOrder,
        turn: usize,
        fds: &FamilyFds,
        found: &mut Vec<(AuditSubject, Remedy)>,
    ) {
        let home = |node: u32| move |at: u32| (at != node).then_some(node);
        let place = self.next_shard % fds.shards.len().max(1);
        (self.looked_at, self.next_shard) = (self.looked_at + 1, place + 1);
        let (Some(own), Some(&node)) = (fds.shards.get(place), order.nodes.get(place)) else { return };
        let shard = u32::try_from(place).ok().map(ShardId);
        found.extend(self.look_at(&own.inbox, (RegionKind::Inbox, shard, 0), turn, home(node)));
        found.extend(self.look_at(&own.outputs, (RegionKind::Outputs, shard, 0), turn, home(node)));
        if let Some(spans) = &own.spans {
            found.extend(self.look_at(spans, (RegionKind::Spans, shard, 0), turn, home(node)));
        }
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

/// How many more shards an audit looks at when so much of the interval is over, at most one group of them: of all before the
/// interval ends, if it is asked often enough.
fn shards_due(elapsed: Duration, interval: Duration, shards: usize, looked_at: usize) -> usize {
    let group = shards.div_ceil(GROUPS_MAX).max(SHARDS_LOOKED_AT);
    let groups = shards.div_ceil(group) as u128;
    let over = elapsed.as_nanos() * groups / interval.as_nanos().max(1);
    let groups_due = usize::try_from(over.min(groups)).unwrap_or(0) + 1;
    shards.min(groups_due * group).saturating_sub(looked_at).min(group)
}

#[cfg(test)]
mod tests {
    //! What would break: a shard whose pages are looked at in every third audit only, as it once was with 24 of them where blocks are
    //! rare, or a supervisor that looks at hundreds of them at once. Negative control run, in the machine of eight nodes: with
    //! audits that give way to the next one before they are through,
    //! `memory_that_leaves_the_cpuset_is_reported_in_time_and_pages_come_home_with_it` fails.

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);

    /// How many shards an audit has looked at after each look, `gap` apart.
    fn looks(shards: usize, gap: Duration) -> Vec<usize> {
        let mut after = vec![0];
        for number in 0.. {
            let looked_at = after[after.len() - 1];
            if looked_at == shards && number > 0 {
                break;
            }
            let more = shards_due(gap * number, INTERVAL, shards, looked_at);
            after.push(looked_at + more);
            assert!(number < 1_000, "{shards} shards, {gap:?} apart: {looked_at}");
        }
        after
    }

    #[test]
    fn every_shard_is_looked_at_within_one_interval_and_few_at_once() {
        for shards in [0, 1, 8, 9, 24, 64, 100, 384] {
            for gap in [Duration::from_millis(1), Duration::from_millis(50), INTERVAL, 5 * INTERVAL] {
                let after = looks(shards, gap);
                let most = after.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
                assert!(most <= shards.div_ceil(8).max(8), "{shards} shards, {gap:?} apart: {after:?}");
                assert!(after.len() <= 9 || gap < INTERVAL / 8, "{shards} shards, {gap:?} apart: {after:?}");
                let time = gap * u32::try_from(after.len().saturating_sub(2)).unwrap();
                assert!(time < INTERVAL || gap > INTERVAL / 8, "{shards} shards, {gap:?} apart: {time:?}");
            }
        }
    }
}
