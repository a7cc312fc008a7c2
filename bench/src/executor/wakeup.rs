//! What a round costs in which each shard has one transaction: announcements, wake-ups, and the way back.

use crate::executor::contender::{BLOCK_LIMIT, processes};
use crate::executor::error::ContenderError;
use crate::executor::{ExecutorOptions, WakeupRow};
use crate::report::{Spread, median};
use crate::{Workload, WorkloadConfig, WorkloadKind};
use phalanx::executor::BlockExecutor;
use phalanx::partition::CostModel;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEED: u64 = 13;
const ACCOUNTS: usize = 1_000;
/// Blocks whose median is the value of one round.
const BLOCKS_PER_ROUND: usize = 100;
/// Between two blocks: long enough for whoever spins to go to sleep, as between blocks of a ledger.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures process executors of these sizes, one after the other.
pub(super) fn measure(options: &ExecutorOptions) -> Vec<WakeupRow> {
    let blocks = if options.quick { 5 } else { BLOCKS_PER_ROUND };
    let rows = options.shards.iter().map(|&shards| match run(shards, options.rounds.max(1), blocks) {
        Ok(rounds) => {
            let timed = rounds.len() as u64 * blocks as u64;
            WakeupRow { shards, rounds: timed, round_ns: Spread::of(&rounds), error: None }
        }
        Err(error) => WakeupRow { shards, rounds: 0, round_ns: None, error: Some(error.to_string()) },
    });
    rows.collect()
}

fn run(shards: usize, rounds: u32, blocks: usize) -> Result<Vec<f64>, ContenderError> {
    let mut workload = Workload::new(WorkloadConfig {
        kind: WorkloadKind::Uniform,
        accounts: ACCOUNTS,
        block_size: shards,
        seed: SEED,
        signed: false,
        blocks: u64::MAX,
    })?;
    let config = workload.ledger_config();
    let vm = LedgerVm::new(config);
    // An edge that costs nothing is no reason to put two transactions on one shard.
    let mut processes = processes(shards, CostModel { edge_ns: 0 }, &vm, &workload.genesis()?)?;
    let mut medians = Vec::new();
    for _ in 0..rounds {
        let mut times = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            let Some(block) = workload.next_block() else { break };
            let block = Arc::new(PreparedBlock::prepare(&vm, &block)?);
            std::thread::sleep(PAUSE);
            let output = processes.execute(&block, Instant::now() + BLOCK_LIMIT)?;
            times.push(output.stats().execute.as_secs_f64() * 1e9);
        }
        medians.extend(median(&times));
    }
    Ok(medians)
}
