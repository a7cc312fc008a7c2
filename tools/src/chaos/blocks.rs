//! Blocks without end, each compared with an oracle of its own state. While one is compared the next one executes.

use crate::chaos::check::Check;
use crate::chaos::options::ChaosOptions;
use crate::run::{RunError, oracle};
use phalanx::executor::{BlockExecutor, BlockOutput, BlockStats, Sequential};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::ledger::{GenesisEntry, LedgerConfig, LedgerVm};
use phalanx::{BlockHandle, Phalanx, Totals};
use phalanx_bench::{Workload, WorkloadConfig};
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
#[derive(Debug)]
pub struct Blocks {
    workload: Workload,
    vm: LedgerVm,
    oracle: Sequential<LedgerVm>,
    deadline: Duration,
    waiting: VecDeque<Waiting>,
    tally: Tally,
    planted: Option<Check>,
}

#[derive(Debug)]
struct Waiting {
    block: Block,
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
    /// Height of the last one.
    pub height: u64,
    /// Their own figures.
    pub stats: BlockStats,
}

impl Blocks {
    /// Makes the accounts, and returns the first state too.
    ///
    /// # Errors
    /// [`RunError`] when the options are impossible or memory cannot be had.
    pub fn new(options: &ChaosOptions, seed: u64) -> Result<(Blocks, Vec<GenesisEntry>), RunError> {
        let workload = Workload::new(WorkloadConfig {
            kind: options.workload_kind(),
            accounts: options.accounts,
            block_size: options.block_size,
            seed,
            signed: options.signed,
            blocks: u64::MAX,
        })?;
        let config = workload.ledger_config();
        let genesis = workload.genesis()?;
        let blocks = Blocks {
            workload,
            vm: LedgerVm::new(config),
            oracle: oracle(config, &genesis)?,
            deadline: options.deadline,
            waiting: VecDeque::new(),
            tally: Tally::default(),
            planted: options.break_check,
        };
        Ok((blocks, genesis))
    }

    /// The ledger that they are for.
    pub fn config(&self) -> LedgerConfig {
        self.vm.config()
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
            let Some(block) = self.workload.next_block() else { return Ok(Ok(())) };
            let height = block.header.height;
            let prepared = PreparedBlock::prepare(&self.vm, &block);
            let prepared = Arc::new(prepared.map_err(|cause| RunError::Prepare { height, cause })?);
            let too_short = self.planted == Some(Check::Deadline) && height == PLANTED_AT;
            let limit = if too_short { Duration::ZERO } else { self.deadline };
            match phalanx.submit(&prepared, Instant::now() + limit) {
                Ok(handle) => self.waiting.push_back(Waiting { block, prepared, handle }),
                Err(error) => {
                    return Ok(Err((Check::Deadline, format!("block {height} is refused: {error}"))));
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
        let Some(Waiting { block, prepared, handle }) = self.waiting.pop_front() else { return Ok(Ok(())) };
        let height = block.header.height;
        let output = match handle.wait() {
            Ok(output) => output,
            Err(error) => {
                return Ok(Err((Check::Deadline, format!("block {height} was not executed: {error}"))));
            }
        };
        let expected = self.expect(&block, &prepared)?;
        if let Some(difference) = output.first_difference(&expected) {
            let what = format!("block {height} differs from sequential execution in {difference}");
            return Ok(Err((Check::Digest, what)));
        }
        if self.planted == Some(Check::LostBlock) && height == PLANTED_AT {
            return Ok(Ok(()));
        }
        Ok(self.count(&output))
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

    fn expect(&mut self, block: &Block, prepared: &Arc<PreparedBlock>) -> Result<BlockOutput, RunError> {
        let height = block.header.height;
        let mut prepared = Arc::clone(prepared);
        if self.planted == Some(Check::Digest) && height == PLANTED_AT {
            // The oracle gets a block without its last transaction.
            let mut shorter = block.clone();
            shorter.transactions.pop();
            let shorter = PreparedBlock::prepare(&self.vm, &shorter);
            prepared = Arc::new(shorter.map_err(|cause| RunError::Prepare { height, cause })?);
        }
        let expected = self.oracle.execute(&prepared, Instant::now() + ORACLE_LIMIT);
        expected.map_err(|cause| RunError::Verify { height, cause })
    }

    fn count(&mut self, output: &BlockOutput) -> Result<(), Violation> {
        let (last, height) = (self.tally.height, output.height());
        if height != last + 1 {
            return Err((Check::LostBlock, format!("block {height} came after block {last}")));
        }
        self.tally.blocks += 1;
        self.tally.height = height;
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
