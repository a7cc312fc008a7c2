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

/// A long transaction and its seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) txn: TxnIndex,
    pub(super) seat: usize,
    pub(super) cost_ns: u32,
}

impl Planner {
    /// Ties the transaction being placed to those that it waits for; whether it is free.
    pub(super) fn tie(&self, parts: &mut PlanParts<'_>, accesses: &[TransactionAccess]) -> u32 {
        // One shard alone executes in block order: what nobody foresaw holds there too.
        let mut freedom = if self.shards.len() > 1 { FREE } else { TIED };
        if self.inputs.is_empty() {
            return freedom;
        }
        for access in accesses.iter().filter(|access| self.waits(access)) {
            let Some(writer) = self.writers.get(access.key.index()).filter(|writer| writer.txn != NO_TXN)
            else {
                continue;
            };
            freedom = TIED;
            let Some(planned) = parts.planned.get_mut(writer.txn.index()) else { continue };
            if std::mem::replace(&mut planned.freedom, TIED) == FREE {
                parts.sub_blocks[self.shards[writer.seat as usize].index()].free -= 1;
            }
        }
        freedom
    }

    /// Says with which free transactions shards begin, and how many are claimed at once. A shard whose values others wait for
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
        for shard in &self.shards {
            parts.sub_blocks[shard.index()].grain = grain;
        }
    }
}
