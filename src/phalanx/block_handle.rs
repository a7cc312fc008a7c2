//! A submitted block, as its caller and as the coordinator's thread hold it.

use crate::executor::{BlockOutput, Death, ExecuteError};
use crate::types::PreparedBlock;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

/// Decided once per block: either it may be committed, or its caller has given it up.
#[derive(Debug, Default)]
struct Decision(AtomicU8);

const OPEN: u8 = 0;
const CLAIMED: u8 = 1;
const ABANDONED: u8 = 2;

impl Decision {
    /// The coordinator is about to commit; false if the caller has given up.
    fn claim(&self) -> bool {
        self.0.compare_exchange(OPEN, CLAIMED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The caller gives up; false if the commit is under way.
    fn abandon(&self) -> bool {
        self.0.compare_exchange(OPEN, ABANDONED, Ordering::SeqCst, Ordering::SeqCst) != Err(CLAIMED)
    }

    fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::SeqCst) == ABANDONED
    }
}

/// How far a block has come, for a caller whose time is up before the coordinator's thread has answered: that one may still wait for
/// a shard's end.
#[derive(Clone, Debug, Default)]
struct Standing {
    accepted: usize,
    last_death: Option<Death>,
}

/// What both sides share.
#[derive(Debug, Default)]
struct Shared {
    decision: Decision,
    standing: Mutex<Standing>,
}

/// The coordinator's side.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) block: Arc<PreparedBlock>,
    pub(super) deadline: Instant,
    shared: Arc<Shared>,
    answer: Sender<Result<BlockOutput, ExecuteError>>,
}

impl Job {
    /// Both sides of a block: the coordinator's, with its own deadline, and the caller's.
    pub(super) fn new(
        block: &Arc<PreparedBlock>,
        own_deadline: Instant,
        deadline: Instant,
    ) -> (Job, BlockHandle) {
        let (sender, receiver) = bounded(1);
        let shared = Arc::new(Shared::default());
        let job = Job {
            block: Arc::clone(block),
            deadline: own_deadline,
            shared: Arc::clone(&shared),
            answer: sender,
        };
        (job, BlockHandle { transactions: block.len(), deadline, shared, answer: receiver })
    }

    /// Whether the caller has given the block up.
    pub(super) fn is_abandoned(&self) -> bool {
        self.shared.decision.is_abandoned()
    }

    /// The commit begins; false if the caller has given the block up.
    pub(super) fn claim(&self) -> bool {
        self.shared.decision.claim()
    }

    /// Notes how far the block has come.
    pub(super) fn tell(&self, accepted: usize, last_death: Option<&Death>) {
        *self.shared.standing.lock() = Standing { accepted, last_death: last_death.cloned() };
    }

    /// Ends the call. Whether somebody is left to hear it is not told.
    pub(super) fn answer(&self, result: Result<BlockOutput, ExecuteError>) {
        // The caller may have gone.
        let _ = self.answer.send(result);
    }

    pub(super) fn answer_cancelled(&self) {
        self.answer(Err(ExecuteError::Cancelled { accepted: 0, transactions: self.block.len() }));
    }
}

/// A submitted block.
#[derive(Debug)]
pub struct BlockHandle {
    transactions: usize,
    deadline: Instant,
    shared: Arc<Shared>,
    answer: Receiver<Result<BlockOutput, ExecuteError>>,
}

impl BlockHandle {
    /// Waits for the block's output, until its deadline at most. (A commit that is under way at the deadline is
    /// waited for: it takes milliseconds and cannot be taken back.)
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing of the block is committed.
    pub fn wait(self) -> Result<BlockOutput, ExecuteError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.answer.recv_timeout(left) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(ExecuteError::Stopped),
            Err(RecvTimeoutError::Timeout) if self.cancel() => {
                let Standing { accepted, last_death } = self.shared.standing.lock().clone();
                Err(ExecuteError::DeadlineExceeded { accepted, transactions: self.transactions, last_death })
            }
            Err(RecvTimeoutError::Timeout) => self.answer.recv().unwrap_or(Err(ExecuteError::Stopped)),
        }
    }

    /// Gives the block up unless its commit is under way; true if nothing of it will be committed.
    pub fn cancel(&self) -> bool {
        self.shared.decision.abandon()
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a caller whose time is up while the coordinator's thread still waits for a shard's end, and who is told nothing
    //! of the deaths before. Negative control run: with a `tell` that does nothing, and an answer margin of 100 ms,
    //! `a_block_that_is_late_because_its_shard_was_stopped_names_that_death` in tests/poison.rs fails about every other time.

    use super::*;
    use crate::executor::DeathCause;
    use crate::types::{BlockHeader, Generation, ShardId};
    use std::time::Duration;

    #[test]
    fn a_caller_whose_time_is_up_hears_how_far_the_block_came_and_of_the_last_death() {
        let block = Arc::new(PreparedBlock::new(BlockHeader::default()));
        let now = Instant::now();
        let (job, handle) = Job::new(&block, now, now);
        let cause = DeathCause::Stopped { stalled: Duration::from_millis(600) };
        let death = Death { shard: ShardId(1), pid: 7, generation: Generation(2), txn: None, cause };
        job.tell(3, Some(&death));
        let error = handle.wait().unwrap_err();
        let ExecuteError::DeadlineExceeded { accepted, last_death, .. } = error else { panic!("{error}") };
        assert_eq!((accepted, last_death), (3, Some(death)));
        assert!(job.is_abandoned() && !job.claim(), "nothing of it may be committed");
    }

    #[test]
    fn a_commit_that_is_under_way_is_waited_for() {
        let block = Arc::new(PreparedBlock::new(BlockHeader::default()));
        let now = Instant::now();
        let (job, handle) = Job::new(&block, now, now);
        assert!(job.claim() && !handle.cancel());
        job.answer(Err(ExecuteError::Stopped));
        assert!(matches!(handle.wait(), Err(ExecuteError::Stopped)));
    }
}
