//! The collaborative scheduler of Block-STM: who executes or validates which transaction next.
//!
//! Source: Gelashvili et al., "Block-STM", PPoPP 2023, algorithms 4 and 5. Two indices sweep the block, one for executions
//! and one for validations; whoever changes what others may rest on takes an index back. Different from the paper:
//!
//! - The validation index waits at a transaction that is not executed yet, while execution is not far ahead: each
//!   transaction is then mostly validated once, after everything before it, and by the thread that executed it.
//! - Threads are counted as active while they find work, not for each task: the end is found by looking at one word per
//!   thread, and busy threads share the two indices only.

use crate::executor::block_stm::status::{Attempt, Phase, Stamp, Status};
use crate::types::TxnIndex;
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Execute(TxnIndex, Attempt),
    Validate(TxnIndex, Attempt),
}

/// A transaction, as the scheduler sees it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    status: Status,
    /// Transactions that wait for this one.
    waiting: Mutex<Vec<TxnIndex>>,
}

/// Gives access to where each transaction stands.
pub(super) trait Standings {
    fn standing(&self, txn: TxnIndex) -> Option<&Standing>;
}

/// Transactions by which execution may be ahead of validation, per thread, before validation passes over one that is
/// still being executed.
const LEAD_PER_THREAD: usize = 8;

/// The indices of one block.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    execution: CachePadded<AtomicUsize>,
    validation: CachePadded<AtomicUsize>,
    /// How often an index was taken back.
    decreases: CachePadded<AtomicUsize>,
    done: CachePadded<AtomicBool>,
    /// Which threads have or look for work.
    active: Vec<CachePadded<AtomicBool>>,
    transactions: usize,
    lead: usize,
    stamp: Stamp,
}

impl Scheduler {
    /// Starts a block of `transactions` for at most `threads` threads, none of which is active yet.
    pub(super) fn start_block(&mut self, stamp: Stamp, transactions: usize, threads: usize) {
        *self.execution.get_mut() = 0;
        *self.validation.get_mut() = 0;
        *self.decreases.get_mut() = 0;
        *self.done.get_mut() = false;
        self.active.resize_with(threads, CachePadded::default);
        self.active.iter_mut().for_each(|active| *active.get_mut() = false);
        (self.transactions, self.lead, self.stamp) = (transactions, threads * LEAD_PER_THREAD, stamp);
    }

    /// Whether every transaction is executed and validated.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Transactions validated so far, in a row from the first. May go back.
    pub(super) fn validated(&self) -> usize {
        self.validation.load(Ordering::Relaxed).min(self.transactions)
    }

    /// The next task for an active thread, if there is one.
    pub(super) fn next_task(&self, standings: &impl Standings) -> Option<Task> {
        loop {
            let (validation, execution) =
                (self.validation.load(Ordering::SeqCst), self.execution.load(Ordering::SeqCst));
            if validation < execution.min(self.transactions) {
                match self.next_validation(standings, validation, execution) {
                    Next::Task(task) => return Some(task),
                    Next::LookAgain => continue,
                    Next::Nothing => {}
                }
            }
            if execution >= self.transactions {
                return None;
            }
            let txn = index(self.execution.fetch_add(1, Ordering::SeqCst));
            if let Some(task) = self.try_begin(standings, txn) {
                return Some(task);
            }
        }
    }

    fn next_validation(&self, standings: &impl Standings, validation: usize, execution: usize) -> Next {
        let txn = index(validation);
        let Some(standing) = standings.standing(txn) else { return Next::Nothing };
        let before = standing.status.load(self.stamp);
        let near = execution < self.transactions && execution - validation <= self.lead;
        if before.1 != Phase::Executed && near {
            return Next::Nothing;
        }
        let taken = self
            .validation
            .compare_exchange(validation, validation + 1, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        // Looked at again, since it may have been executed just before the index passed it.
        match standing.status.load(self.stamp) {
            (attempt, Phase::Executed) if taken => Next::Task(Task::Validate(txn, attempt)),
            _ => Next::LookAgain,
        }
    }

    fn try_begin(&self, standings: &impl Standings, txn: TxnIndex) -> Option<Task> {
        let status = &standings.standing(txn).filter(|_| txn.index() < self.transactions)?.status;
        let (attempt, phase) = status.load(self.stamp);
        let begun = phase == Phase::Ready
            && status.pass(self.stamp, (attempt, Phase::Ready), (attempt, Phase::Executing));
        begun.then_some(Task::Execute(txn, attempt))
    }

    /// An execution ended and its writes are published. `shifted`: they may change what transactions above rest on in a
    /// way that origins do not tell. The next task for the same thread, if one suggests itself.
    pub(super) fn finish_execution(
        &self,
        standings: &impl Standings,
        txn: TxnIndex,
        attempt: Attempt,
        shifted: bool,
    ) -> Option<Task> {
        let standing = standings.standing(txn)?;
        if standing.status.finish(self.stamp, attempt) {
            self.resume(standings, standing);
        }
        let validation = self.validation.load(Ordering::SeqCst);
        if validation > txn.index() {
            if !shifted {
                return Some(Task::Validate(txn, attempt));
            }
            self.take_back(&self.validation, txn.index());
        } else if validation == txn.index() {
            let next = validation + 1;
            let order = Ordering::SeqCst;
            let taken = self.validation.compare_exchange(validation, next, order, order).is_ok();
            return taken.then_some(Task::Validate(txn, attempt));
        }
        None
    }

    fn resume(&self, standings: &impl Standings, standing: &Standing) {
        let waiting = std::mem::take(&mut *standing.waiting.lock());
        for &txn in &waiting {
            if let Some(status) = standings.standing(txn).map(|standing| &standing.status) {
                let (attempt, _) = status.load(self.stamp);
                let next = Attempt(attempt.0 + 1);
                status.pass(self.stamp, (attempt, Phase::Suspended), (next, Phase::Ready));
            }
        }
        if let Some(first) = waiting.iter().min() {
            self.take_back(&self.execution, first.index());
        }
    }

    /// Suspends an execution until `writer` is executed; false if it is by now.
    pub(super) fn suspend(
        &self,
        standings: &impl Standings,
        txn: TxnIndex,
        attempt: Attempt,
        writer: TxnIndex,
    ) -> bool {
        let (Some(own), Some(other)) = (standings.standing(txn), standings.standing(writer)) else {
            return false;
        };
        let mut waiting = other.waiting.lock();
        if !other.status.await_end(self.stamp) {
            return false;
        }
        own.status.pass(self.stamp, (attempt, Phase::Executing), (attempt, Phase::Suspended));
        waiting.push(txn);
        true
    }

    /// Whether somebody executes `txn` right now.
    pub(super) fn is_executing(&self, standings: &impl Standings, txn: TxnIndex) -> bool {
        standings.standing(txn).is_some_and(|s| s.status.load(self.stamp).1 == Phase::Executing)
    }

    /// Whether the writes of `txn` are there to read.
    pub(super) fn is_executed(&self, standings: &impl Standings, txn: TxnIndex) -> bool {
        standings.standing(txn).is_some_and(|s| s.status.load(self.stamp).1 == Phase::Executed)
    }

    /// A validation failed: true for the one who is to mark the writes as estimates and then call
    /// [`finish_abort`](Self::finish_abort).
    pub(super) fn try_abort(&self, standings: &impl Standings, txn: TxnIndex, attempt: Attempt) -> bool {
        standings.standing(txn).is_some_and(|standing| {
            standing.status.pass(self.stamp, (attempt, Phase::Executed), (attempt, Phase::Aborting))
        })
    }

    /// The writes of an aborted attempt are marked: the transaction is to be executed again, mostly by the same thread.
    pub(super) fn finish_abort(
        &self,
        standings: &impl Standings,
        txn: TxnIndex,
        attempt: Attempt,
    ) -> Option<Task> {
        let status = &standings.standing(txn)?.status;
        let next = Attempt(attempt.0 + 1);
        status.pass(self.stamp, (attempt, Phase::Aborting), (next, Phase::Ready));
        self.take_back(&self.validation, txn.index() + 1);
        if self.execution.load(Ordering::SeqCst) > txn.index() {
            self.try_begin(standings, txn)
        } else {
            None
        }
    }

    /// Takes an index back to `target` unless it is not beyond it.
    fn take_back(&self, sweep: &AtomicUsize, target: usize) {
        if sweep.load(Ordering::SeqCst) > target && sweep.fetch_min(target, Ordering::SeqCst) > target {
            self.decreases.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Counts a thread as active. Before it asks for its first task.
    pub(super) fn begin(&self, thread: usize) {
        if let Some(active) = self.active.get(thread) {
            active.store(true, Ordering::SeqCst);
        }
    }

    /// Looks for the end, for a thread that finds no task: true when it is worth looking for one again, and the thread
    /// then counts as active.
    pub(super) fn rest(&self, thread: usize) -> bool {
        let Some(own) = self.active.get(thread) else { return false };
        own.store(false, Ordering::SeqCst);
        let decreases = self.decreases.load(Ordering::SeqCst);
        let execution = self.execution.load(Ordering::SeqCst);
        let validation = self.validation.load(Ordering::SeqCst);
        if execution.min(validation) < self.transactions {
            own.store(true, Ordering::SeqCst);
            return true;
        }
        let idle = self.active.iter().all(|active| !active.load(Ordering::SeqCst));
        if idle && self.decreases.load(Ordering::SeqCst) == decreases {
            self.done.store(true, Ordering::SeqCst);
        }
        false
    }
}

/// What looking for a validation came to.
enum Next {
    Task(Task),
    LookAgain,
    Nothing,
}

fn index(place: usize) -> TxnIndex {
    TxnIndex(u32::try_from(place).unwrap_or(u32::MAX))
}
