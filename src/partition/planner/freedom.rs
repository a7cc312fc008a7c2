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
/// A shard leaves its free transactions for later, when others have time for them too, if the tied ones take at least this
/// part of what a shard has to do on average, or if accesses are sure.
const MUCH_TIED: (u64, u64) = (3, 4);
/// But not if a transaction takes less than this on average: executed in order, what the next ones need comes from memory
/// meanwhile.
pub(super) const LIGHT_NS: u32 = 2_000;

/// A long transaction and its seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) txn: TxnIndex,
    pub(super) seat: usize,
    pub(super) cost_ns: u32,
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

    /// Says with which free transactions shards begin, whether they leave the others for later, and how many are claimed at once. A shard whose values others wait for
    /// begins with none: they would wait for it too.
    pub(super) fn lay_out_claims(&self, parts: &mut PlanParts<'_>) {
        let average_ns = self.total_ns / self.shards.len().max(1) as u64;
        let is_long = |long: &&Long| {
            u64::from(long.cost_ns) * LONG_PART >= average_ns
                && !self.answers.get(long.seat).is_some_and(|&answers| answers)
        };
        for long in self.long.iter().filter(is_long) {
            let planned = parts.planned.get_mut(long.txn.index());
            if let Some(planned) = planned.filter(|planned| planned.freedom == FREE) {
                planned.freedom = FREE_FIRST;
                parts.sub_blocks[self.shards[long.seat].index()].free_first += 1;
            }
        }
        let each_ns = self.total_ns / u64::from(self.transactions.max(1));
        let grain = if self.ahead_ns > 0 {
            GRAIN_AHEAD
        } else {
            u32::try_from(GRAIN_NS / each_ns.max(1)).unwrap_or(u32::MAX).max(1)
        };
        // What is near something is a guess: calls that nobody ties may conflict, and do so less in block order.
        let (is_sure, is_light) = (self.near.is_empty(), self.ahead_ns > 0 || each_ns < u64::from(LIGHT_NS));
        for (shard, &tied_ns) in self.shards.iter().zip(&self.tied_ns) {
            let is_much = tied_ns.saturating_mul(MUCH_TIED.1) >= average_ns.saturating_mul(MUCH_TIED.0);
            let sub_block = &mut parts.sub_blocks[shard.index()];
            sub_block.grain = grain;
            sub_block.tied_first = u32::from(!is_light && (is_sure || is_much));
        }
    }
}
