//! Transactions that take so long that the round is as long as they are, or nearly: they have their seats before all others.

use super::freedom::LONG_NS;
use super::{Planner, Standing, Waiting};
use crate::partition::arena_writer::PlanParts;
use crate::types::{AccessMode, Incarnation, PreparedTransaction, TransactionAccess, TxnIndex};
use std::cmp::Reverse;

/// Part of what a shard has to do on average that such a transaction takes at least.
const LONGEST_PART: u64 = 2;
/// Blocks with more transactions or declared accesses are not looked through, which stays well under a millisecond of work so. In
/// larger ones it rarely is a single transaction that counts.
const TRANSACTIONS_MAX: usize = 1 << 12;
const ACCESSES_MAX: usize = 1 << 16;

/// A transaction that has its seat before it is placed, and when it begins there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seated {
    txn: TxnIndex,
    cost_ns: u32,
    seat: usize,
    start_ns: u64,
}

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
        let is_small = parts.transactions.len() <= TRANSACTIONS_MAX && parts.accesses.len() <= ACCESSES_MAX;
        if self.shards.len() < 2 || self.in_order || !is_small {
            return;
        }
        let numbered = (0_u32..).map(TxnIndex).zip(parts.transactions);
        let open = numbered.filter(|(txn, _)| standing(*txn).0 == Standing::Open);
        let total_ns: u64 = open.clone().map(|(_, entry)| u64::from(entry.cost_ns)).sum();
        let least_ns = total_ns.div_ceil(self.shards.len() as u64 * LONGEST_PART).max(u64::from(LONG_NS));
        let is_longest = |entry: &PreparedTransaction| {
            u64::from(entry.cost_ns) >= least_ns && entry.ahead_ns == 0 && entry.access_count > 0
        };
        if open.clone().any(|(_, entry)| is_longest(entry)) {
            self.find_those_sure_to_begin(parts, open, is_longest);
            self.give_seats();
        }
    }

    /// Finds those that `is_longest` picks and that are sure to wait for nobody.
    fn find_those_sure_to_begin<'p>(
        &mut self,
        parts: &PlanParts<'_>,
        open: impl Iterator<Item = (TxnIndex, &'p PreparedTransaction)>,
        is_longest: impl Fn(&PreparedTransaction) -> bool,
    ) {
        self.changed.clear();
        self.changed.resize(self.writers.len(), false);
        for (txn, entry) in open {
            let accesses = entry.accesses_in(parts.accesses);
            if is_longest(entry) && !accesses.iter().any(|access| self.may_wait(access)) {
                self.seated.push(Seated { txn, cost_ns: entry.cost_ns, seat: 0, start_ns: 0 });
            }
            for access in accesses.iter().filter(|access| access.access_mode().changes_value()) {
                if let Some(changed) = self.changed.get_mut(access.key.index()) {
                    *changed = true;
                }
            }
        }
    }

    /// Whether who takes part in this access may have to wait for those before it.
    fn may_wait(&self, access: &TransactionAccess) -> bool {
        let is_changed = || self.changed.get(access.key.index()).copied().unwrap_or(false);
        self.waiting == Waiting::ForWriters
            && (access.access_mode() == AccessMode::Near || (self.waits(access) && is_changed()))
    }

    /// The longest one first, each where there is least to do.
    fn give_seats(&mut self) {
        self.seated.sort_by_key(|seated| Reverse(seated.cost_ns));
        for seated in &mut self.seated {
            seated.seat = self.load.least();
            seated.start_ns = self.load.get(seated.seat);
            self.load.set(seated.seat, seated.start_ns + u64::from(seated.cost_ns));
        }
        // The next one to be placed stands last.
        self.seated.sort_by_key(|seated| Reverse(seated.txn));
    }

    /// The seat that the transaction being placed has already, and when it begins there. Ask in block order.
    pub(super) fn take_seat(&mut self, txn: TxnIndex) -> Option<(usize, u64)> {
        let Seated { cost_ns, seat, start_ns, .. } = self.seated.pop_if(|seated| seated.txn == txn)?;
        self.load.set(seat, self.load.get(seat).saturating_sub(u64::from(cost_ns)));
        Some((seat, start_ns))
    }
}
