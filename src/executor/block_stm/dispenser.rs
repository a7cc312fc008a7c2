//! Hands out a block's transactions in runs, for work that needs no order.

use crossbeam::utils::CachePadded;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Transactions in one run.
const RUN: usize = 64;

/// Each transaction is handed out once.
#[derive(Debug)]
pub(super) struct Dispenser {
    next: CachePadded<AtomicUsize>,
    worked_off: CachePadded<AtomicUsize>,
    transactions: usize,
}

impl Dispenser {
    pub(super) fn new(transactions: usize) -> Dispenser {
        Dispenser { next: CachePadded::default(), worked_off: CachePadded::default(), transactions }
    }

    /// The next run, if there is one left.
    pub(super) fn take(&self) -> Option<Range<u32>> {
        let start = self.next.fetch_add(RUN, Ordering::Relaxed);
        let end = self.transactions.min(start.saturating_add(RUN));
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
        (start < end).then_some(start..end)
    }

    /// A run is worked off.
    pub(super) fn note_worked_off(&self, run: &Range<u32>) {
        self.worked_off.fetch_add(run.len(), Ordering::AcqRel);
    }

    /// Whether all runs are worked off; what was done for them is visible then.
    pub(super) fn is_worked_off(&self) -> bool {
        self.worked_off.load(Ordering::Acquire) >= self.transactions
    }
}
