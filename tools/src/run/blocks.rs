//! The loop over the blocks: generate, prepare, execute, verify.

use crate::cli::{RunOptions, WorkloadName};
use crate::run::engine::{Engine, oracle};
use crate::run::error::RunError;
use crate::run::family::Family;
use crate::run::progress::Progress;
use crate::run::report::{Report, Tally};
use phalanx::executor::{BlockExecutor, BlockOutput, Sequential};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::ledger::{LedgerConfig, LedgerVm};
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Verification has all the time it needs: the deadline is for the executor that is looked at.
const VERIFY_LIMIT: Duration = Duration::from_secs(86_400);

/// Executes the whole workload.
///
/// # Errors
/// [`RunError`] for the first thing that goes wrong.
pub fn run(
    options: &RunOptions,
    filter: &str,
    family: Arc<Family>,
    progress: &Progress,
) -> Result<Report, RunError> {
    progress.say("making accounts");
    let mut workload = Workload::new(workload_config(options))?;
    let config = LedgerConfig { commutative: !options.no_commutative, ..workload.ledger_config() };
    let genesis = workload.genesis()?;
    let mut oracle = if options.no_verify { None } else { Some(oracle(config, &genesis)?) };
    let engine = Engine::start(options, filter, config, &genesis, family)?;
    let shards = engine.shards();
    tracing::info!(executor = %options.executor, shards, accounts = workload.accounts().len(), "executor is ready");
    drop(genesis);

    let mut session = Session { engine, vm: LedgerVm::new(config), options, tally: Tally::default() };
    progress.say("generating");
    while let Some(block) = workload.next_block() {
        progress.say("executing");
        let (prepared, output) = session.execute(&block)?;
        if let Some(oracle) = &mut oracle {
            progress.say("verifying");
            verify(oracle, &prepared, &output)?;
        }
        progress.count();
        progress.say("generating");
    }
    progress.finish();
    let Session { engine, tally, .. } = session;
    let casualties = engine.casualties();
    engine.close();
    Ok(Report::new(options, shards, &tally, casualties, oracle.is_some()))
}

fn workload_config(options: &RunOptions) -> WorkloadConfig {
    let kind = match &options.workload {
        WorkloadName::Uniform => WorkloadKind::Uniform,
        WorkloadName::Zipf => WorkloadKind::Zipf { skew: options.skew },
        WorkloadName::Hot => WorkloadKind::Hot,
        WorkloadName::File(path) => WorkloadKind::Trace(path.clone()),
    };
    WorkloadConfig {
        kind,
        accounts: options.accounts,
        block_size: options.block_size,
        seed: options.seed,
        signed: !options.unsigned,
        blocks: options.blocks,
    }
}

/// The executor that is looked at, and what is known of it so far.
struct Session<'a> {
    engine: Engine,
    vm: LedgerVm,
    options: &'a RunOptions,
    tally: Tally,
}

impl Session<'_> {
    /// Prepares and executes one block, both on the clock.
    fn execute(&mut self, block: &Block) -> Result<(Arc<PreparedBlock>, BlockOutput), RunError> {
        let height = block.header.height;
        let begun = Instant::now();
        let prepared = self.engine.prepare(&self.vm, block);
        let prepared = Arc::new(prepared.map_err(|cause| RunError::Prepare { height, cause })?);
        let ready = Instant::now();
        let deadline = ready + Duration::from_millis(self.options.deadline_ms);
        let output = self.engine.execute(&prepared, deadline);
        let output = output.map_err(|cause| RunError::Execute { height, cause })?;
        let executed = ready.elapsed();
        self.tally.count(&output, ready - begun, executed);
        let stats = output.stats();
        tracing::info!(
            height,
            transactions = output.len(),
            executed_us = executed.as_micros(),
            rounds = stats.rounds,
            cut_short = stats.rounds_cut_short,
            "block is executed"
        );
        Ok((prepared, output))
    }
}

/// Executes the block sequentially and compares everything.
fn verify(
    oracle: &mut Sequential<LedgerVm>,
    block: &Arc<PreparedBlock>,
    output: &BlockOutput,
) -> Result<(), RunError> {
    let height = block.header().height;
    let expected = oracle.execute(block, Instant::now() + VERIFY_LIMIT);
    let expected = expected.map_err(|cause| RunError::Verify { height, cause })?;
    match output.first_difference(&expected) {
        Some(difference) => Err(RunError::Mismatch { height, difference }),
        None => Ok(()),
    }
}
