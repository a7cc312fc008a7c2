//! Planning a block of 10,000 uniform transfers, from declared access sets: ids for all keys, then places for all
//! transactions.

mod common;

use common::{BLOCK_SIZE, Transfers};
use criterion::{BenchmarkId, Criterion, Throughput};
use phalanx::partition::{ArenaLimits, ArenaWriter, CostModel, Planner, Standing};
use phalanx::types::{Incarnation, PreparedBlock, RoundId, ShardId};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let block = Transfers::new()?.next_block()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(BLOCK_SIZE as u64));
    for shards in [2, 16] {
        let shards: Vec<ShardId> = (0..shards).map(ShardId).collect();
        let mut arena = ArenaWriter::create("phalanx-bench-plan", ArenaLimits::default())?;
        let mut planner = Planner::new(CostModel::default());
        // Once outside, so that a failure is an error and not a figure.
        plan(&mut arena, &mut planner, &block, &shards)?;
        group.bench_function(BenchmarkId::from_parameter(shards.len()), |bencher| {
            bencher.iter_custom(|blocks| {
                (0..blocks).flat_map(|_| plan(&mut arena, &mut planner, &block, &shards)).sum()
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// The time it takes; loading the arena is left out, as in the statistics of a block.
fn plan(
    arena: &mut ArenaWriter,
    planner: &mut Planner,
    block: &PreparedBlock,
    shards: &[ShardId],
) -> Result<Duration, Box<dyn Error>> {
    arena.begin_load(block)?;
    while !arena.load_step(block)? {}
    let begun = Instant::now();
    planner.begin(arena, shards)?;
    while !planner.step(arena, usize::MAX, |_| (Standing::Open, Incarnation(1)))? {}
    planner.seal(arena, RoundId(1), false)?;
    Ok(begun.elapsed())
}
