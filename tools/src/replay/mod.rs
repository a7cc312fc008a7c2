//! `phalanx replay`: real Ethereum blocks over shards, checked against their headers and against revm alone.

mod durable;
mod engine;
mod error;
mod knowledge;
mod options;
mod report;

use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use crate::signals::{self, StopSignal};
use durable::difference_of_recalled;
use engine::Engine;
use error::ReplayError;
use knowledge::Knowledge;
use phalanx::executor::{BlockOutput, BlockStats};
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx_bench::ethereum::{EthereumBlock, Outcome, ReceiptTotals, Reference, ReferenceState};
use report::{BlockRow, TotalRow, head, median, micros, ratio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use options::ReplayOptions;

/// Runs the command.
pub fn command(options: &ReplayOptions) -> Exit {
    let filter = crate::logging::filter(options.verbose);
    phalanx::telemetry::log_to_stderr(&filter);
    match replay(options, &filter) {
        Ok(exit) => exit,
        Err(error) => {
            print_error(&error);
            error.exit()
        }
    }
}

/// How long a block that executes may go on after a signal: then the process ends, and the shards with it.
const END_LIMIT: Duration = Duration::from_millis(800);

/// What a signal asked for, if one came.
#[derive(Clone, Debug, Default)]
struct StopRequest(Arc<OnceLock<StopSignal>>);

impl StopRequest {
    /// Notes signals from now on.
    fn watch() -> Result<StopRequest, ReplayError> {
        let request = StopRequest::default();
        let noted = request.clone();
        let on_first = move |signal: StopSignal| {
            // Nobody noted one before.
            let _ = noted.0.set(signal);
            std::thread::sleep(END_LIMIT);
            print_error(ReplayError::Stopped(signal));
            signals::end_at_once(signal.exit());
        };
        signals::watch(on_first).map_err(ReplayError::Signals)?;
        Ok(request)
    }

    fn look(&self) -> Result<(), ReplayError> {
        self.0.get().map_or(Ok(()), |&signal| Err(ReplayError::Stopped(signal)))
    }
}

/// Replays all blocks, prints a line for each as it is done, and the sums.
fn replay(options: &ReplayOptions, filter: &str) -> Result<Exit, ReplayError> {
    durable::check(options)?;
    let stop = StopRequest::watch()?;
    let folders = options.folders.iter();
    let mut cases = folders.map(|folder| EthereumBlock::read(folder)).collect::<Result<Vec<_>, _>>()?;
    cases.sort_by_key(|case| case.file.context.number);
    let mut knowledge = Knowledge::new(options)?;
    let mut engine = Engine::start(options, filter)?;
    let mut rows = Vec::with_capacity(cases.len());
    if options.format == Format::Text && print(&head()).is_err() {
        return Ok(Exit::Failed);
    }
    for case in &cases {
        let row = replay_block(options, &mut engine, &mut knowledge, case, &stop)?;
        if put(options.format, &row, BlockRow::text).is_err() {
            return Ok(Exit::Failed);
        }
        rows.push(row);
    }
    knowledge.finish()?;
    let total = total_of(options, engine.shards(), &rows);
    if put(options.format, &total, TotalRow::text).is_err() {
        return Ok(Exit::Failed);
    }
    Ok(if total.ok { Exit::Ok } else { Exit::Mismatch })
}

fn put<R: serde::Serialize>(format: Format, row: &R, text: impl Fn(&R) -> String) -> std::io::Result<()> {
    let line = match format {
        Format::Text => text(row),
        Format::Json => serde_json::to_string(row)? + "\n",
    };
    print(&line).inspect_err(|error| print_error(format!("the report cannot be written: {error}")))
}

/// Times of one block, repeat by repeat.
#[derive(Default)]
struct Times {
    sequential: Vec<Duration>,
    prepare: Vec<Duration>,
    execute: Vec<Duration>,
}

/// Replays one block as often as asked, by turns with revm alone.
fn replay_block(
    options: &ReplayOptions,
    engine: &mut Engine,
    knowledge: &mut Knowledge,
    case: &EthereumBlock,
    stop: &StopRequest,
) -> Result<BlockRow, ReplayError> {
    let number = case.file.context.number;
    let refused = |cause| ReplayError::Reference { block: number, cause };
    let state = ReferenceState::of(case);
    let reference = Reference::new(case, &state);
    let expected = reference.outcome().map_err(refused)?;
    let (entries, block) = (case.entries(), case.block());
    let limit = Duration::from_millis(options.deadline_ms);
    let (mut times, mut checks) = (Times::default(), Checks::default());
    let known = knowledge.known(case, block.transactions.len())?;
    for _ in 0..options.repeat {
        stop.look()?;
        times.sequential.push(reference.time().map_err(refused)?);
        engine.load(number, &entries)?;
        let begun = Instant::now();
        let prepared = Arc::new(knowledge.prepare(&known, case, &block)?);
        let preparing = begun.elapsed();
        let (output, executing) = engine.execute(&prepared, limit)?;
        times.execute.push(preparing + executing);
        times.prepare.push(preparing);
        match engine.recalled() {
            Some(after) if output.is_recalled() => {
                let difference = difference_of_recalled(case, &expected, &output, after);
                checks.look_at_recalled(case, &output, difference);
            }
            Some(_) | None => checks.look(case, &expected, &mut entries.clone(), &output),
        }
        engine.close()?;
    }
    if let Some(list) = knowledge.given_list(&known, case) {
        let right = reference.access_list().map_err(refused)?;
        checks.list_difference = Some(list.first_difference(&right));
    }
    knowledge.learn(case, &reference, &block)?;
    Ok(checks.row(case, &mut times))
}

/// What the repeats of one block came to.
struct Checks {
    gas_used: u64,
    gas_ok: bool,
    root_ok: bool,
    bloom_ok: bool,
    difference: Option<String>,
    recalled: bool,
    /// The first fault of the access list that the block was executed by, if it was.
    list_difference: Option<Option<String>>,
    stats: BlockStats,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks {
            gas_used: 0,
            gas_ok: true,
            root_ok: true,
            bloom_ok: true,
            difference: None,
            recalled: false,
            list_difference: None,
            stats: BlockStats::default(),
        }
    }
}

impl Checks {
    /// Looks at one output.
    fn look(
        &mut self,
        case: &EthereumBlock,
        expected: &Outcome,
        entries: &mut phalanx_bench::ethereum::Entries,
        output: &BlockOutput,
    ) {
        self.stats = *output.stats();
        let outcome = match Outcome::of_output(case, entries, output) {
            Ok(outcome) => outcome,
            Err(error) => {
                (self.gas_ok, self.root_ok, self.bloom_ok) = (false, false, false);
                self.difference.get_or_insert_with(|| error.to_string());
                return;
            }
        };
        let totals = ReceiptTotals::of(&outcome.receipts);
        self.gas_used = totals.gas_used;
        self.gas_ok &= totals.gas_used == case.file.gas_used;
        self.root_ok &= totals.root == case.file.receipts_root;
        self.bloom_ok &= totals.bloom.as_slice() == case.file.logs_bloom.as_ref();
        if let Some(difference) = outcome.first_difference(expected) {
            self.difference.get_or_insert(difference);
        }
    }

    /// Looks at what is kept of a block that was executed before.
    fn look_at_recalled(&mut self, case: &EthereumBlock, output: &BlockOutput, difference: Option<String>) {
        self.recalled = true;
        let users = output.transactions().skip(case.system_calls().len());
        self.gas_used = users.map(|one| one.gas_used()).sum();
        self.gas_ok = self.gas_used == case.file.gas_used;
        self.difference = difference;
    }

    fn row(self, case: &EthereumBlock, times: &mut Times) -> BlockRow {
        let [sequential_us, execute_us, prepare_us] =
            [&mut times.sequential, &mut times.execute, &mut times.prepare]
                .map(|times| micros(median(times)));
        let has_root = case.file.context.spec.is_enabled_in(SpecId::BYZANTIUM);
        BlockRow {
            block: case.file.context.number,
            transactions: case.file.transactions.len(),
            gas_used: self.gas_used,
            gas_ok: self.gas_ok,
            receipts_root_ok: (has_root && !self.recalled).then_some(self.root_ok),
            logs_bloom_ok: (!self.recalled).then_some(self.bloom_ok),
            matches_sequential: self.difference.is_none(),
            difference: self.difference,
            access_list_ok: self.list_difference.as_ref().map(Option::is_none),
            access_list_difference: self.list_difference.flatten(),
            recalled: self.recalled,
            rounds: self.stats.rounds,
            reexecuted: self.stats.reexecuted,
            shards_used: self.stats.shards_used,
            sequential_us,
            execute_us,
            prepare_us,
            plan_us: micros(self.stats.plan),
            rounds_us: micros(self.stats.execute),
            waited_us: micros(self.stats.waited),
            validate_us: micros(self.stats.validate),
            commit_us: micros(self.stats.commit),
            ratio: (!self.recalled).then(|| ratio(sequential_us, execute_us)),
        }
    }
}

fn total_of(options: &ReplayOptions, shards: usize, rows: &[BlockRow]) -> TotalRow {
    let executed = || rows.iter().filter(|row| !row.recalled);
    let sum = |of: fn(&BlockRow) -> f64| (executed().map(of).sum::<f64>() * 10.0).round() / 10.0;
    let (sequential_us, execute_us) = (sum(|row| row.sequential_us), sum(|row| row.execute_us));
    TotalRow {
        total: true,
        executor: options.executor.to_string(),
        shards,
        hints: options.hints.to_string(),
        repeat: options.repeat,
        blocks: rows.len(),
        transactions: rows.iter().map(|row| row.transactions).sum(),
        gas_used: rows.iter().map(|row| row.gas_used).sum(),
        ok: rows.iter().all(BlockRow::ok),
        rounds: rows.iter().map(|row| row.rounds).sum(),
        reexecuted: rows.iter().map(|row| row.reexecuted).sum(),
        sequential_us,
        execute_us,
        prepare_us: sum(|row| row.prepare_us),
        ratio: ratio(sequential_us, execute_us),
    }
}
