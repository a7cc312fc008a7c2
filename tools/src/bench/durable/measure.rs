//! Throughput of two families on the same blocks, in turns, and how long a block takes to be durable.

use crate::bench::DurableArguments;
use crate::bench::durable::rows::DurableRow;
use crate::bench::progress::{bar, show};
use crate::percentiles::Percentiles;
use crate::run::RunError;
use phalanx::durable::{DurableConfig, DurableError};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx::{BlockHandle, Phalanx};
use phalanx_bench::report::{Bound, Ratio, Spread};
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a block may take.
pub const BLOCK_LIMIT: Duration = Duration::from_secs(60);
/// Blocks submitted ahead.
const AHEAD: usize = 2;
/// What durable throughput should be, as a share of that in memory.
const TARGET: f64 = 0.9;

const MEMORY: &str = "in memory";
const DURABLE: &str = "durable";

/// Measures.
///
/// # Errors
/// [`RunError`]; `Mismatch` when the families do not agree.
pub fn run(arguments: &DurableArguments, home: &Path) -> Result<Vec<DurableRow>, RunError> {
    let mut workload = workload_of(arguments, arguments.block_size, !arguments.unsigned)?;
    let vm = LedgerVm::new(workload.ledger_config());
    let genesis = workload.genesis()?;
    let builder = || Phalanx::builder(vm.config()).shards(arguments.shards).log("error");
    let memory = builder().launch(genesis.iter().map(|(key, value)| (key, value)))?;
    let durable = builder().state_dir(DurableConfig::new(home));
    let durable = durable.launch(genesis.iter().map(|(key, value)| (key, value)))?;
    let (bar, mut rates, mut times) = (bar(), [Vec::new(), Vec::new()], Vec::new());
    // The first round warms caches, page tables and the disk's files, and does not count.
    for round in 0..=arguments.rounds {
        show(&bar, round, arguments.rounds + 1, "rounds".to_owned());
        let blocks = prepare(&mut workload, &vm, arguments.blocks)?;
        let transactions: usize = blocks.iter().map(|block| block.len()).sum();
        for turn in 0..2 {
            let is_durable = (round + turn) % 2 == 1;
            let family = if is_durable { &durable } else { &memory };
            let (time, lags) = execute(family, &blocks, is_durable)?;
            if round > 0 {
                rates[usize::from(is_durable)].push(transactions as f64 / time.as_secs_f64());
                times.extend(lags);
            }
        }
        if memory.digest() != durable.digest() {
            let difference = phalanx::executor::Difference { txn: None, what: "state digest" };
            return Err(RunError::Mismatch { height: 0, difference });
        }
    }
    bar.finish_and_clear();
    let progress = durable.durable_progress().unwrap_or_default();
    let all_blocks = (arguments.rounds + 1) * arguments.blocks;
    let [of_memory, of_durable] = &rates;
    let row = |family: &'static str, rates: &[f64]| {
        Spread::of(rates).map(|transactions_per_s| DurableRow::Throughput {
            family,
            shards: arguments.shards,
            signed: !arguments.unsigned,
            accounts: arguments.accounts,
            block_size: arguments.block_size,
            blocks: arguments.blocks,
            rounds: arguments.rounds,
            transactions_per_s,
        })
    };
    let mut rows: Vec<DurableRow> =
        [row(MEMORY, of_memory), row(DURABLE, of_durable)].into_iter().flatten().collect();
    let name = format!("{DURABLE} / {MEMORY}");
    let target = (!arguments.unsigned).then_some(Bound::AtLeast(TARGET));
    rows.push(DurableRow::Ratio(Ratio::new(name, of_durable, of_memory, target)));
    let blocks_per_sync = all_blocks as f64 / progress.syncs.max(1) as f64;
    rows.push(DurableRow::ExecutedToDurable { blocks_per_sync, times_us: Percentiles::of(&times) });
    Ok(rows)
}

pub fn workload_of(
    arguments: &DurableArguments,
    block_size: usize,
    signed: bool,
) -> Result<Workload, RunError> {
    Ok(Workload::new(WorkloadConfig {
        kind: WorkloadKind::Uniform,
        accounts: arguments.accounts,
        block_size,
        seed: 1,
        signed,
        blocks: u64::MAX,
    })?)
}

/// The next blocks of a workload.
pub fn prepare(
    workload: &mut Workload,
    vm: &LedgerVm,
    count: usize,
) -> Result<Vec<Arc<PreparedBlock>>, RunError> {
    let mut blocks = Vec::with_capacity(count);
    while blocks.len() < count {
        let Some(block) = workload.next_block() else { break };
        let height = block.header.height;
        let prepared = PreparedBlock::prepare(vm, &block);
        blocks.push(Arc::new(prepared.map_err(|cause| RunError::Prepare { height, cause })?));
    }
    Ok(blocks)
}

/// Executes the blocks, [`AHEAD`] of them submitted ahead; returns the time until the last one is executed, and of a durable
/// family until it is durable and in the store, too: nothing of its work is left for the next turn. Of each block how many
/// microseconds lay between executed and durable.
pub fn execute(
    family: &Phalanx,
    blocks: &[Arc<PreparedBlock>],
    is_durable: bool,
) -> Result<(Duration, Vec<u64>), RunError> {
    let begun = Instant::now();
    let (executed, news) = channel::<(u64, Instant)>();
    std::thread::scope(|scope| {
        // Waits for each block to be durable, while others are executed.
        let lags = scope.spawn(move || {
            let mut lags = Vec::new();
            for (height, at) in news {
                family.wait_durable(height, Instant::now() + BLOCK_LIMIT)?;
                lags.push(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Ok::<_, DurableError>(lags)
        });
        let mut waiting: VecDeque<(u64, BlockHandle)> = VecDeque::new();
        let mut left = blocks.iter();
        loop {
            while waiting.len() < AHEAD
                && let Some(block) = left.next()
            {
                let height = block.header().height;
                let handle = family.submit(block, Instant::now() + BLOCK_LIMIT);
                waiting.push_back((height, handle.map_err(|cause| RunError::Execute { height, cause })?));
            }
            let Some((height, handle)) = waiting.pop_front() else { break };
            handle.wait().map_err(|cause| RunError::Execute { height, cause })?;
            if is_durable {
                // The other end lives until this one is dropped, or its error is seen below.
                let _ = executed.send((height, Instant::now()));
            }
        }
        drop(executed);
        let lags = lags.join().map_err(|_| RunError::Panicked)??;
        if let Some(last) = blocks.last().filter(|_| is_durable) {
            family.wait_stored(last.header().height, Instant::now() + BLOCK_LIMIT)?;
        }
        Ok((begun.elapsed(), lags))
    })
}
