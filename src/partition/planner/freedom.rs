//! Which transactions any shard may execute, and how they are claimed.

use super::Planner;
use crate::partition::arena::{FREE, FREE_FIRST, NO_TXN, TIED};
use crate::partition::arena_writer::PlanParts;
use crate::types::{TransactionAccess, TxnIndex};

/// Expected work that is claimed at once, where that is several free transactions: a claim takes 10 to 100 ns.
const GRAIN_NS: u64 = 10_000;
/// And how many, where some of the work is done for many transactions at once.
const GRAIN_AHEAD: u32 = 64;
/// A free transaction that takes at least this long, and this part of what a shard has to do on average, is begun first: it
/// keeps others waiting for half of itself on average if it comes last.
pub(super) const LONG_NS: u32 = 50_000;
const LONG_PART: u64 = 16;
/// A shard leaves its free transactions for last, when others have time for them too, if the tied ones take at least this
/// part of what a shard has to do on average, or if accesses are sure.
const MUCH_TIED: (u64, u64) = (3, 4);
/// But not if part of the work is done for many transactions at once, nor if one takes less than this on average: executed in
/// a row, what the next ones need comes from memory meanwhile.
pub(super) const LIGHT_NS: u32 = 2_000;

/// A long transaction and its seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) txn: TxnIndex,
    pub(super) seat: usize,
    pub(super) cost_ns: u32,
    /// Whether it had its seat before all others were placed.
    pub(super) seated: bool,
}

impl Planner {
    /// Ties the transaction being placed to those that it waits for; whether it is free.
    pub(super) fn tie(&mut self, parts: &mut PlanParts<'_>, accesses: &[TransactionAccess]) -> u32 {
        // One shard alone executes in block order: what nobody foresaw holds there too.
        let mut freedom = if self.shards.len() > 1 { FREE } else { TIED };
        if self.inputs.is_empty() {
            return freedom;
        }
        for access in accesses {
            if !self.waits(access) {
                continue;
            }
            let Some(&writer) = self.writers.get(access.key.index()).filter(|writer| writer.txn != NO_TXN)
            else {
                continue;
            };
            freedom = TIED;
            let Some(planned) = parts.planned.get_mut(writer.txn.index()) else { continue };
            if std::mem::replace(&mut planned.freedom, TIED) == FREE {
                parts.sub_blocks[self.shards[writer.seat as usize].index()].free -= 1;
                let cost_ns = parts.transactions.get(writer.txn.index()).map_or(0, |entry| entry.cost_ns);
                self.tied_ns[writer.seat as usize] += u64::from(cost_ns);
            }
        }
        freedom
    }

    /// Says which free transactions shards execute first and which last, and how many are claimed at once.
    pub(super) fn lay_out_claims(&self, parts: &mut PlanParts<'_>) {
        let average_ns = self.total_ns / self.shards.len().max(1) as u64;
        let each_ns = self.total_ns / u64::from(self.transactions.max(1));
        let grain = if self.ahead_ns > 0 {
            GRAIN_AHEAD
        } else {
            u32::try_from(GRAIN_NS / each_ns.max(1)).unwrap_or(u32::MAX).max(1)
        };
        // Who was put where by what it is near is a guess: calls that nobody ties may conflict, and do so less in block order.
        let is_sure = self.near.is_empty();
        let is_better_in_a_row = self.in_order || self.ahead_ns > 0 || each_ns < u64::from(LIGHT_NS);
        for (shard, &tied_ns) in self.shards.iter().zip(&self.tied_ns) {
            let is_much = tied_ns.saturating_mul(MUCH_TIED.1) >= average_ns.saturating_mul(MUCH_TIED.0);
            let sub_block = &mut parts.sub_blocks[shard.index()];
            sub_block.grain = grain;
            sub_block.tied_first = u32::from(!is_better_in_a_row && (is_sure || is_much));
        }
        self.begin_with_long_ones(parts, average_ns);
        self.begin_with_the_first(parts);
    }

    /// A shard whose values others wait for begins with none, since they would wait for that too; but with one that had its seat
    /// first: the others were placed around it.
    fn begin_with_long_ones(&self, parts: &mut PlanParts<'_>, average_ns: u64) {
        let is_long = |long: &&Long| {
            u64::from(long.cost_ns) * LONG_PART >= average_ns
                && (long.seated || !self.answers.get(long.seat).is_some_and(|&answers| answers))
        };
        for long in self.long.iter().filter(is_long) {
            self.begin_with(parts, long.txn, long.seat);
        }
    }

    /// The first one in line is sure to be accepted: it is not left for last, where a cut would find it undone.
    fn begin_with_the_first(&self, parts: &mut PlanParts<'_>) {
        let Some((txn, seat)) = self.first else { return };
        if parts.sub_blocks[self.shards[seat].index()].tied_first != 0 {
            self.begin_with(parts, txn, seat);
        }
    }

    /// Has a shard begin with this transaction if it is free.
    fn begin_with(&self, parts: &mut PlanParts<'_>, txn: TxnIndex, seat: usize) {
        let planned = parts.planned.get_mut(txn.index());
        if let Some(planned) = planned.filter(|planned| planned.freedom == FREE) {
            planned.freedom = FREE_FIRST;
            parts.sub_blocks[self.shards[seat].index()].free_first += 1;
        }
    }
}
