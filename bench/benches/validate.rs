//! Validating the outputs of a block of 10,000 uniform transfers, which two shards have just written.
//!
//! The figure is the coordinator's own: whole blocks are executed, and the time that each spent in validation counts.

mod common;

use common::{BLOCK_SIZE, Transfers};
use criterion::{Criterion, Throughput};
use phalanx::executor::{BlockExecutor, Threads, ThreadsConfig};
use phalanx::state::{BaseState, StateConfig};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut transfers = Transfers::new()?;
    let state = BaseState::with_entries(StateConfig::default(), transfers.genesis()?)?;
    let config = ThreadsConfig { shards: 2, ..ThreadsConfig::default() };
    let mut executor = Threads::launch(config, transfers.vm.clone(), state)?;
    let mut validate = || -> Result<Duration, Box<dyn Error>> {
        let block = transfers.next_block()?;
        let output = executor.execute(&block, Instant::now() + Duration::from_secs(60))?;
        Ok(output.stats().validate)
    };
    // Once outside, so that a failure is an error and not a figure.
    validate()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("validate");
    group.throughput(Throughput::Elements(BLOCK_SIZE as u64)).sample_size(20);
    group.bench_function("uniform", |bencher| {
        bencher.iter_custom(|blocks| (0..blocks).flat_map(|_| validate()).sum());
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}
