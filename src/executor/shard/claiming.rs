//! Free transactions: who executes which is settled while the round runs. A shard claims its own in order; with nothing left
//! to do it takes over what is left of others.

use super::round::Round;
use crate::executor::transport::Transport;
use crate::partition::{FREE, FREE_FIRST, PlannedTransaction, SubBlock};
use crate::types::{RoundId, ShardId, TxnIndex};
use crate::vm::{Finding, Vm};
use phalanx_ipc::{CLAIMS_MAX, ChildSlot, fail_point};
use std::iter::successors;
use std::ops::Range;

/// What a shard has claimed of its own free transactions.
#[derive(Debug)]
pub(super) struct OwnClaims {
    round: RoundId,
    grain: u32,
    /// Those that the shard begins with are claimed one by one: what is claimed with them nobody else could take until the end.
    begun_with: u32,
    held: Range<u32>,
    exhausted: bool,
}

impl OwnClaims {
    pub(super) fn of(part: &SubBlock, round: RoundId) -> OwnClaims {
        OwnClaims { round, grain: part.grain, begun_with: part.free_first, held: 0..0, exhausted: false }
    }

    /// Whether the shard is to execute the one at `position`; ask for each in turn.
    pub(super) fn hold(&mut self, slot: &ChildSlot, position: u32) -> bool {
        if position >= CLAIMS_MAX {
            // Past what others can claim.
            return true;
        }
        let at_once = if position < self.begun_with { 1 } else { self.grain };
        while position >= self.held.end && !self.exhausted {
            match slot.claims.take_front(self.round.0, at_once) {
                Some(held) => self.held = held,
                None => self.exhausted = true,
            }
        }
        self.held.contains(&position)
    }
}

/// What came of looking for work while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Executed,
    NothingLeft,
    /// The coordinator cut the round short, or the shard cannot go on.
    CutShort,
}

/// The free transactions of one shard by position, as far as they were looked up.
#[derive(Debug, Default)]
pub(super) struct FreeList {
    of: Option<(RoundId, ShardId)>,
    txns: Vec<TxnIndex>,
}

impl<V: Vm, T: Transport> Round<'_, V, T> {
    /// Executes free transactions of the shard's own, those that it begins with or those left for last; false when the round is cut
    /// short.
    pub(super) fn execute_own(&mut self, positions: Range<u32>, own: &mut OwnClaims) -> bool {
        if positions.is_empty() {
            return true;
        }
        self.look_up_free(self.id);
        for position in positions {
            if own.hold(self.slot, position) && !self.execute_free(position, Finding::NOTHING) {
                return false;
            }
            self.flush_outbox();
        }
        true
    }

    /// Executes one free transaction out of turn, its own last one or somebody else's, while `waiting` waits for others.
    pub(super) fn execute_meanwhile(&mut self, waiting: TxnIndex) -> Meanwhile {
        let shards = self.plan.sub_blocks.len();
        let claimed = (0..shards).find_map(|step| self.claim_from((self.id.index() + step) % shards, 1));
        let Some((whose, claimed)) = claimed else { return Meanwhile::NothingLeft };
        self.look_up_free(whose);
        self.spans.resume();
        let executed = claimed.into_iter().all(|position| self.execute_free(position, Finding::NOTHING));
        self.spans.wait(Some(waiting));
        if executed { Meanwhile::Executed } else { Meanwhile::CutShort }
    }

    /// Claims up to `at_most` of what is left of a shard's free transactions. A damaged word hands out positions behind the last
    /// one, which are nobody's.
    fn claim_from(&self, shard: usize, at_most: u32) -> Option<(ShardId, Range<u32>)> {
        let part = self.plan.sub_blocks.get(shard).filter(|part| part.free > 0)?;
        let shard = ShardId(u32::try_from(shard).ok()?);
        let claims = &self.control.slot(shard.0)?.claims;
        let claimed = claims.take_back(self.plan.header.round.0, at_most)?;
        let claimed = claimed.start..claimed.end.min(part.free);
        (!claimed.is_empty()).then_some((shard, claimed))
    }

    /// Takes over from others until nothing is left; false when the round is cut short.
    pub(super) fn take_over(&mut self) -> bool {
        let shards = self.plan.sub_blocks.len();
        self.scratch.examination.clear();
        for step in 1..shards {
            let victim = (self.id.index() + step) % shards;
            let grain = self.plan.sub_blocks[victim].grain;
            while let Some((victim, claimed)) = self.claim_from(victim, grain) {
                fail_point("work taken over");
                self.look_up_free(victim);
                if !self.execute_run(claimed) {
                    return false;
                }
            }
        }
        true
    }

    /// Executes claimed transactions one after the other, examined together.
    fn execute_run(&mut self, claimed: Range<u32>) -> bool {
        for position in claimed.clone() {
            let (plan, free) = (self.plan, &self.scratch.free.txns);
            let upcoming = free.get(position as usize..claimed.end as usize).unwrap_or(&[]);
            let upcoming = upcoming.iter().map_while(|&txn| Some(plan.transaction(txn)?.0));
            let finding = self.scratch.examination.next(self.vm, upcoming);
            self.count_examined();
            if !self.execute_free(position, finding) {
                return false;
            }
            self.flush_outbox();
        }
        true
    }

    fn execute_free(&mut self, position: u32, finding: Finding) -> bool {
        let Some(&txn) = self.scratch.free.txns.get(position as usize) else { return false };
        let Some(&planned) = self.plan.planned.get(txn.index()) else { return false };
        self.prefetch(txn);
        !self.board.is_aborted(self.plan.header.round) && self.execute((txn, finding), &planned)
    }

    /// Lists the free transactions of a shard in the order of their positions.
    fn look_up_free(&mut self, shard: ShardId) {
        let wanted = Some((self.plan.header.round, shard));
        if self.scratch.free.of == wanted {
            return;
        }
        let FreeList { of, txns } = &mut self.scratch.free;
        *of = wanted;
        txns.clear();
        let Some(part) = self.plan.sub_blocks.get(shard.index()) else { return };
        if part.free_first > 0 {
            txns.extend(part_of(self.plan.planned, part, FREE_FIRST));
        }
        txns.extend(part_of(self.plan.planned, part, FREE));
    }
}

/// The transactions of a part that have this freedom, in block order.
fn part_of<'p>(
    planned: &'p [PlannedTransaction],
    part: &SubBlock,
    freedom: u32,
) -> impl Iterator<Item = TxnIndex> + use<'p> {
    let chain = successors(Some(part.first), |txn| Some(planned.get(txn.index())?.next));
    chain
        .take(part.count as usize)
        .filter(move |txn| planned.get(txn.index()).is_some_and(|planned| planned.freedom == freedom))
}

#[cfg(test)]
mod tests {
    //! What would break: work that waits until the end for the shard that claimed it beside what it begins with. Negative control run:
    //! with whole grains claimed from the first position on it fails.

    use super::*;
    use phalanx_ipc::Control;

    #[test]
    fn what_a_shard_begins_with_is_claimed_without_what_comes_behind_it() {
        let control = Control::create_private(1).unwrap();
        let (slot, round) = (control.slot(0).unwrap(), RoundId(1));
        slot.claims.lay_out(round.0, 10);
        let part = SubBlock { free: 10, free_first: 2, grain: 5, ..SubBlock::EMPTY };
        let mut own = OwnClaims::of(&part, round);
        assert!(own.hold(slot, 0) && own.hold(slot, 1));
        let others = std::iter::from_fn(|| slot.claims.take_back(round.0, 1));
        assert_eq!(others.flatten().min(), Some(2), "others may take all the rest");
        assert!(!own.hold(slot, 2));
    }
}
