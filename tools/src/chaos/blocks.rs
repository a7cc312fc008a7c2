//! Blocks without end, each compared with an oracle of its own state. While one is compared the next one executes.

use crate::chaos::check::Check;
use crate::chaos::error::ChaosError;
use crate::chaos::feed::{Feed, FirstState};
use crate::chaos::options::ChaosOptions;
use crate::run::RunError;
use phalanx::executor::{BlockExecutor, BlockOutput, BlockStats};
use phalanx::types::{PreparedBlock, TxnIndex};
use phalanx::{BlockHandle, Phalanx, Totals};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks submitted and not compared yet: one executes while the one before it is compared.
const AHEAD: usize = 2;
/// The oracle has all the time it needs.
const ORACLE_LIMIT: Duration = Duration::from_secs(86_400);
/// The block at which a violation is planted.
const PLANTED_AT: u64 = 3;

/// What is wrong with a block.
pub type Violation = (Check, String);

/// Where blocks come from, and what they must come to.
pub struct Blocks {
    feed: Feed,
    oracle: Box<dyn BlockExecutor>,
    deadline: Duration,
    waiting: VecDeque<Waiting>,
    /// Blocks submitted so far.
    submitted: u64,
    tally: Tally,
    planted: Option<Check>,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("tally", &self.tally).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Waiting {
    /// Place among all that were submitted, from 1.
    number: u64,
    prepared: Arc<PreparedBlock>,
    handle: BlockHandle,
}

/// Sums over the blocks that were found right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Blocks.
    pub blocks: u64,
    /// Transactions.
    pub transactions: u64,
    /// Number of the last one, from 1.
    pub last: u64,
    /// Their own figures.
    pub stats: BlockStats,
}

impl Blocks {
    /// Makes or reads what they come from, and returns the first state too.
    ///
    /// # Errors
    /// [`ChaosError`] when options or files are impossible, or memory cannot be had.
    pub fn new(options: &ChaosOptions, seed: u64) -> Result<(Blocks, FirstState), ChaosError> {
        let (feed, first) = Feed::new(options, seed)?;
        let blocks = Blocks {
            oracle: feed.oracle(&first)?,
            feed,
            deadline: options.deadline,
            waiting: VecDeque::new(),
            submitted: 0,
            tally: Tally::default(),
            planted: options.break_check,
        };
        Ok((blocks, first))
    }

    /// Where they come from.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What was found right so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Submits until enough wait.
    ///
    /// # Errors
    /// [`RunError`] when a block cannot be made; the inner error is a violation.
    pub fn submit(&mut self, phalanx: &Phalanx) -> Result<Result<(), Violation>, RunError> {
        while self.waiting.len() < AHEAD {
            let Some(prepared) = self.feed.next_block()? else { return Ok(Ok(())) };
            self.submitted += 1;
            let number = self.submitted;
            let too_short = self.planted == Some(Check::Deadline) && number == PLANTED_AT;
            let limit = if too_short { Duration::ZERO } else { self.deadline };
            match phalanx.submit(&prepared, Instant::now() + limit) {
                Ok(handle) => self.waiting.push_back(Waiting { number, prepared, handle }),
                Err(error) => {
                    return Ok(Err((Check::Deadline, format!("block {number} is refused: {error}"))));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Waits for the oldest block and compares it.
    ///
    /// # Errors
    /// [`RunError`] when the oracle cannot execute it; the inner error is a violation.
    pub fn compare(&mut self) -> Result<Result<(), Violation>, RunError> {
        let Some(Waiting { number, prepared, handle }) = self.waiting.pop_front() else { return Ok(Ok(())) };
        let output = match handle.wait() {
            Ok(output) => output,
            Err(error) => {
                return Ok(Err((Check::Deadline, format!("block {number} was not executed: {error}"))));
            }
        };
        let expected = self.expect(number, &prepared)?;
        if let Some(difference) = output.first_difference(&expected) {
            let what = format!("block {number} differs from sequential execution in {difference}");
            return Ok(Err((Check::Digest, what)));
        }
        if self.planted == Some(Check::LostBlock) && number == PLANTED_AT {
            return Ok(Ok(()));
        }
        Ok(self.count(number, prepared.header().height, &output))
    }

    /// Compares all that are submitted.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub fn compare_all(&mut self) -> Result<Result<(), Violation>, RunError> {
        while !self.waiting.is_empty() {
            if let Err(violation) = self.compare()? {
                return Ok(Err(violation));
            }
        }
        Ok(Ok(()))
    }

    fn expect(&mut self, number: u64, prepared: &Arc<PreparedBlock>) -> Result<BlockOutput, RunError> {
        let height = prepared.header().height;
        let mut prepared = Arc::clone(prepared);
        if self.planted == Some(Check::Digest) && number == PLANTED_AT {
            // The oracle gets a block without its last transaction.
            let mut shorter = PreparedBlock::new(prepared.header().clone());
            for txn in (0_u32..).map(TxnIndex).take(prepared.len().saturating_sub(1)) {
                let pushed = shorter.push(prepared.transaction(txn).unwrap_or_default(), |_| {});
                pushed.map_err(|cause| RunError::Prepare { height, cause })?;
            }
            prepared = Arc::new(shorter);
        }
        let expected = self.oracle.execute(&prepared, Instant::now() + ORACLE_LIMIT);
        expected.map_err(|cause| RunError::Verify { height, cause })
    }

    fn count(&mut self, number: u64, height: u64, output: &BlockOutput) -> Result<(), Violation> {
        let last = self.tally.last;
        if number != last + 1 || output.height() != height {
            let came = output.height();
            let what = format!("block {number} at height {height} came as {came} after block {last}");
            return Err((Check::LostBlock, what));
        }
        self.tally.blocks += 1;
        self.tally.last = number;
        self.tally.transactions += output.len() as u64;
        self.tally.stats.add(output.stats());
        Ok(())
    }

    /// Whether the family has counted the same blocks, and each once.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn agree(&self, totals: &Totals) -> Result<String, String> {
        let Tally { blocks, transactions, .. } = self.tally;
        let (theirs, failed) = ((totals.blocks, totals.transactions), totals.failed_blocks);
        if theirs != (blocks, transactions) || failed != 0 {
            return Err(format!(
                "{blocks} blocks with {transactions} transactions came out; the family counts {} with {}, and {failed} failed",
                theirs.0, theirs.1
            ));
        }
        Ok(format!("{blocks} blocks in order, each once"))
    }
}
