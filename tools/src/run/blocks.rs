//! The loop over the blocks: generate, prepare, execute, verify.

use crate::cli::{ExecutorKind, RunOptions, WorkloadName};
use crate::run::engine::{Engine, builder, oracle, oracle_from};
use crate::run::error::RunError;
use crate::run::family::{Family, FirstState};
use crate::run::progress::Progress;
use crate::run::report::{Report, Tally};
use crate::run::trace::TraceFile;
use crate::run::workload_file;
use crate::service::Service;
use phalanx::durable::{DurableConfig, DurableState};
use phalanx::executor::{BlockExecutor, BlockOutput, MemoryConfig, Sequential};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::ledger::{GenesisEntry, LedgerConfig, LedgerVm};
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use phalanx_ipc::Region;
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
    service: &Service,
) -> Result<Report, RunError> {
    let mut trace = open_trace(options)?;
    progress.say("making accounts");
    let mut workload = Workload::new(workload_config(options))?;
    let config = LedgerConfig { commutative: !options.no_commutative, ..workload.ledger_config() };
    let genesis = workload.genesis()?;
    let (first, resumed_after) = match open_state(options, filter, config, &genesis)? {
        Some(state) => {
            let height = state.head().height();
            (FirstState::Durable(Box::new(state)), height)
        }
        None => (FirstState::Genesis(&genesis), None),
    };
    let mut oracle = match (&first, options.no_verify) {
        (FirstState::Genesis(_) | FirstState::Durable(_), true) => None,
        (FirstState::Genesis(genesis), false) => Some(oracle(config, genesis)?),
        (FirstState::Durable(state), false) => Some(oracle_from(config, state)?),
    };
    let engine = Engine::start(options, filter, config, first, family)?;
    workload.skip(resumed_after.unwrap_or(0));
    let shards = engine.shards();
    tracing::info!(executor = %options.executor, shards, accounts = workload.accounts().len(), "executor is ready");
    drop(genesis);
    if let Some(trace) = &mut trace {
        trace.name(shards, options.executor == ExecutorKind::Processes)?;
    }

    let vm = LedgerVm::new(config);
    let mut session = Session { engine, vm, options, tally: Tally::default(), last_height: None, trace };
    service.ready(&format!("{shards} shards"));
    progress.say("generating");
    while let Some(block) = workload.next_block() {
        progress.say("executing");
        let executed = session.execute(&block);
        if executed.is_err() {
            session.end_trace_of_failure();
        }
        let (prepared, output) = executed?;
        session.trace()?;
        if let Some(oracle) = &mut oracle {
            progress.say("verifying");
            verify(oracle, &prepared, &output)?;
        }
        progress.count();
        if session.engine.is_well() {
            service.alive(|| format!("block {} of {}, {shards} shards", progress.done(), progress.asked()));
        }
        progress.say("generating");
    }
    service.stopping();
    progress.say("making durable");
    session.wait_durable()?;
    progress.finish();
    session.end_trace()?;
    let Session { engine, tally, .. } = session;
    let casualties = engine.casualties();
    let places = if options.placement_report { engine.placement_report() } else { Ok(None) };
    engine.close();
    let report = Report::new(options, shards, &tally, casualties, oracle.is_some()).resumed(resumed_after);
    Ok(report.placed(places.map_err(RunError::Places)?))
}

/// The state directory, if one is asked for.
fn open_state(
    options: &RunOptions,
    filter: &str,
    ledger: LedgerConfig,
    genesis: &[GenesisEntry],
) -> Result<Option<DurableState>, RunError> {
    let Some(directory) = &options.state_dir else { return Ok(None) };
    if options.executor != ExecutorKind::Processes {
        return Err(RunError::NothingDurable);
    }
    let genesis = genesis.iter().map(|(key, value)| (key, value));
    workload_file::check(directory, options)?;
    let cache_bytes = options.cache_mib.map(|mib| mib << 20);
    let config = DurableConfig { cache_bytes, ..DurableConfig::new(directory) };
    // Before the first touch: what is there already can only be moved.
    let placement = builder(options, filter, ledger).plan_placement()?;
    let place = |region: &Region| placement.place_state(region);
    let state = DurableState::open_placed(&config, MemoryConfig::default().state, genesis, place)?;
    workload_file::keep(directory, options)?;
    tracing::info!(height = ?state.head().height(), whole = state.state().is_whole(), "state directory is open");
    Ok(Some(state))
}

fn open_trace(options: &RunOptions) -> Result<Option<TraceFile>, RunError> {
    match (&options.trace, options.executor) {
        (None, _) => Ok(None),
        (Some(_), ExecutorKind::Sequential | ExecutorKind::BlockStm) => Err(RunError::NothingToTrace),
        (Some(path), ExecutorKind::Threads | ExecutorKind::Processes) => TraceFile::create(path).map(Some),
    }
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
    last_height: Option<u64>,
    trace: Option<TraceFile>,
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
        self.last_height = Some(height);
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

impl Session<'_> {
    /// Waits until all that was executed is durable, if it is to be.
    fn wait_durable(&self) -> Result<(), RunError> {
        match (&self.options.state_dir, self.last_height) {
            (Some(_), Some(height)) => {
                let deadline = Instant::now() + Duration::from_millis(self.options.deadline_ms);
                Ok(self.engine.wait_durable(height, deadline)?)
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Writes down what was recorded since the last time.
    fn trace(&mut self) -> Result<(), RunError> {
        let Some(trace) = &mut self.trace else { return Ok(()) };
        let (timeline, incidents) = self.engine.take_trace();
        trace.add(&timeline, &incidents)
    }

    /// The block's error says more than one of its trace.
    fn end_trace_of_failure(&mut self) {
        if let Err(error) = self.end_trace() {
            tracing::warn!(%error, "the trace is not whole");
        }
    }

    fn end_trace(&mut self) -> Result<(), RunError> {
        if self.trace.is_none() {
            return Ok(());
        }
        self.engine.await_strength();
        self.trace()?;
        self.trace.take().map_or(Ok(()), TraceFile::finish)
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
