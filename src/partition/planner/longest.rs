//! Transactions that take so long that the round is as long as they are, or nearly: they have their seats before all others.

use super::freedom::{LONG_NS, Long};
use super::{Planner, Standing};
use crate::partition::arena_writer::PlanParts;
use crate::types::{AccessMode, Incarnation, KeyId, PreparedTransaction, TransactionAccess, TxnIndex};

/// Part of what a shard has to do on average that such a transaction takes at least.
const LONGEST_PART: (u64, u64) = (1, 2);
/// Blocks with more transactions are not looked through: no single one of theirs is that long.
const LOOKED_THROUGH_MAX: usize = 1 << 14;

impl Planner {
    /// Gives the longest transactions seats of their own, by the longest processing time rule (Graham 1969), if they are sure to wait
    /// for nobody: late in block order they could not be balanced any more. One that is put where it is for what it is merely near
    /// may wait for others that nobody foresees, and conflicts less in block order.
    pub(super) fn seat_the_longest(
        &mut self,
        parts: &PlanParts<'_>,
        standing: impl Fn(TxnIndex) -> (Standing, Incarnation),
    ) {
        let (transactions, shards) = (parts.transactions, self.shards.len() as u64);
        if shards < 2 || self.in_order || transactions.len() > LOOKED_THROUGH_MAX {
            return;
        }
        let open = || {
            let numbered = (0_u32..).map(TxnIndex).zip(transactions);
            numbered.filter(|(txn, _)| standing(*txn).0 == Standing::Open)
        };
        let total_ns: u64 = open().map(|(_, entry)| u64::from(entry.cost_ns)).sum();
        let is_longest = |entry: &PreparedTransaction| {
            let cost_ns = u64::from(entry.cost_ns);
            entry.cost_ns >= LONG_NS
                && entry.ahead_ns == 0
                && cost_ns * shards * LONGEST_PART.1 >= total_ns * LONGEST_PART.0
        };
        for (txn, entry) in open().filter(|(_, entry)| is_longest(entry)) {
            let is_sure = |access: &TransactionAccess| access.access_mode() != AccessMode::Near;
            let before = open().take_while(|(other, _)| *other < txn).map(|(_, entry)| entry);
            if parts.accesses_of(entry).iter().all(is_sure) && !self.waits_for_any(parts, entry, before) {
                self.seated.push(Long { txn, seat: 0, cost_ns: entry.cost_ns, seated: true });
            }
        }
        self.seated.sort_by_key(|long| std::cmp::Reverse(long.cost_ns));
        for long in &mut self.seated {
            long.seat = self.load.least();
            self.load.set(long.seat, self.load.get(long.seat) + u64::from(long.cost_ns));
        }
    }

    /// Whether a transaction waits for a value that one of those before it changes.
    fn waits_for_any<'p>(
        &self,
        parts: &PlanParts<'p>,
        entry: &PreparedTransaction,
        mut before: impl Iterator<Item = &'p PreparedTransaction>,
    ) -> bool {
        let awaited = parts.accesses_of(entry).iter().filter(|access| self.waits(access));
        let mut awaited: Vec<KeyId> = awaited.map(|access| access.key).collect();
        awaited.sort_unstable();
        let is_awaited = |access: &TransactionAccess| {
            access.access_mode().changes_value() && awaited.binary_search(&access.key).is_ok()
        };
        before.any(|entry| parts.accesses_of(entry).iter().any(is_awaited))
    }

    /// The seat that the transaction being placed has already.
    pub(super) fn take_seat(&mut self, txn: TxnIndex) -> Option<usize> {
        let place = self.seated.iter().position(|long| long.txn == txn)?;
        let Long { seat, cost_ns, .. } = self.seated.swap_remove(place);
        self.load.set(seat, self.load.get(seat).saturating_sub(u64::from(cost_ns)));
        Some(seat)
    }
}
