//! Transactions that take so long that the round is as long as they are, or nearly: they have their seats before all others.

use super::freedom::{LONG_NS, Long};
use super::{Planner, Standing, Waiting};
use crate::partition::arena_writer::PlanParts;
use crate::types::{AccessMode, Incarnation, PreparedTransaction, TransactionAccess, TxnIndex};
use std::cmp::Reverse;

/// Part of what a shard has to do on average that such a transaction takes at least.
const LONGEST_PART: (u64, u64) = (1, 2);
/// Blocks with more transactions or declared accesses are not looked through, which stays well under a millisecond of work so. In
/// larger ones it rarely is a single transaction that counts.
const TRANSACTIONS_MAX: usize = 1 << 12;
const ACCESSES_MAX: usize = 1 << 16;

impl Planner {
    /// Gives the longest transactions seats, by the longest processing time rule (Graham 1969), if they are sure to wait for nobody:
    /// late in block order they could not be balanced any more. One that declares nothing, or is put where it is for what it is
    /// merely near, may wait for others that nobody foresees, and conflicts less in block order. One that others wait for keeps its
    /// seat, but is executed in its turn.
    pub(super) fn seat_the_longest(
        &mut self,
        parts: &PlanParts<'_>,
        standing: impl Fn(TxnIndex) -> (Standing, Incarnation),
    ) {
        let (transactions, shards) = (parts.transactions, self.shards.len() as u64);
        let is_small = transactions.len() <= TRANSACTIONS_MAX && parts.accesses.len() <= ACCESSES_MAX;
        if shards < 2 || self.in_order || !is_small {
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
                && entry.access_count > 0
                && cost_ns * shards * LONGEST_PART.1 >= total_ns * LONGEST_PART.0
        };
        if !open().any(|(_, entry)| is_longest(entry)) {
            return;
        }
        self.changed.clear();
        self.changed.resize(self.writers.len(), false);
        for (txn, entry) in open() {
            let accesses = parts.accesses_of(entry);
            if is_longest(entry) && !accesses.iter().any(|access| self.may_wait(access)) {
                self.seated.push(Long { txn, seat: 0, cost_ns: entry.cost_ns, seated_ns: Some(0) });
            }
            for access in accesses.iter().filter(|access| access.access_mode().changes_value()) {
                if let Some(changed) = self.changed.get_mut(access.key.index()) {
                    *changed = true;
                }
            }
        }
        self.seated.sort_by_key(|long| Reverse(long.cost_ns));
        for long in &mut self.seated {
            let seat = self.load.least();
            let start_ns = self.load.get(seat);
            (long.seat, long.seated_ns) = (seat, Some(start_ns));
            self.load.set(seat, start_ns + u64::from(long.cost_ns));
        }
        // The next one to be placed stands last.
        self.seated.sort_by_key(|long| Reverse(long.txn));
    }

    /// Whether who takes part in this access may have to wait for those before it.
    fn may_wait(&self, access: &TransactionAccess) -> bool {
        let is_changed = || self.changed.get(access.key.index()).copied().unwrap_or(false);
        self.waiting == Waiting::ForWriters
            && (access.access_mode() == AccessMode::Near || (self.waits(access) && is_changed()))
    }

    /// The seat that the transaction being placed has already, and when it begins there. Ask in block order.
    pub(super) fn take_seat(&mut self, txn: TxnIndex) -> Option<(usize, u64)> {
        while let Some(long) = self.seated.pop_if(|long| long.txn <= txn) {
            let Long { seat, cost_ns, seated_ns, .. } = long;
            self.load.set(seat, self.load.get(seat).saturating_sub(u64::from(cost_ns)));
            if long.txn == txn {
                return Some((seat, seated_ns.unwrap_or(0)));
            }
        }
        None
    }
}
