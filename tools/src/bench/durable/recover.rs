//! How long it takes to open a directory whose store lacks the blocks of its log.

use crate::bench::DurableArguments;
use crate::bench::durable::measure::{execute, prepare, workload_of};
use crate::bench::durable::rows::DurableRow;
use crate::bench::progress::{bar, show};
use crate::run::RunError;
use phalanx::Phalanx;
use phalanx::durable::{DurableConfig, DurableState, inspect};
use phalanx::executor::MemoryConfig;
use phalanx::state::StateDigest;
use phalanx::vm::ledger::{GenesisEntry, LedgerVm};
use std::path::Path;
use std::time::{Duration, Instant};

/// Transactions in a block.
const BLOCK_SIZE: usize = 100;
/// Blocks prepared at once.
const PART: u64 = 500;

/// Measures.
///
/// # Errors
/// [`RunError`]; `Mismatch` when recovery does not come to the same state.
pub fn run(arguments: &DurableArguments, home: &Path) -> Result<DurableRow, RunError> {
    let mut workload = workload_of(arguments, BLOCK_SIZE, false)?;
    let (genesis, vm) = (workload.genesis()?, LedgerVm::new(workload.ledger_config()));
    let config = DurableConfig { keep_blocks: u64::MAX, ..DurableConfig::new(home) };
    drop(open(&config, &genesis)?);
    // The store as it is before any block, to be put back.
    let (data, aside) = (home.join("store/data.mdb"), home.join("first.mdb"));
    std::fs::copy(&data, &aside)?;
    let builder = Phalanx::builder(vm.config()).shards(arguments.shards).log("error");
    let family = builder.state_dir(config.clone()).launch(genesis.iter().map(|(key, value)| (key, value)))?;
    let (bar, mut done) = (bar(), 0);
    while done < arguments.recovery_blocks {
        let part = PART.min(arguments.recovery_blocks - done);
        let blocks = prepare(&mut workload, &vm, usize::try_from(part).unwrap_or(usize::MAX))?;
        execute(&family, &blocks, false)?;
        done += part;
        let as_size = |blocks: u64| usize::try_from(blocks).unwrap_or(usize::MAX);
        show(&bar, as_size(done), as_size(arguments.recovery_blocks), "blocks to recover".to_owned());
    }
    bar.finish_and_clear();
    let digest = family.digest();
    drop(family);
    let log_bytes = inspect(home)?.log_bytes;
    let open_time = timed(&config, &genesis, digest)?;
    std::fs::copy(&aside, &data)?;
    let recovery_time = timed(&config, &genesis, digest)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let of_blocks = ms(recovery_time) - ms(open_time);
    Ok(DurableRow::Recovery {
        blocks: arguments.recovery_blocks,
        transactions_per_block: BLOCK_SIZE,
        log_bytes,
        open_ms: ms(open_time),
        recovery_ms: ms(recovery_time),
        ms_per_10000_blocks: of_blocks * 1e4 / arguments.recovery_blocks as f64,
    })
}

fn open(config: &DurableConfig, genesis: &[GenesisEntry]) -> Result<DurableState, RunError> {
    let entries = genesis.iter().map(|(key, value)| (key, value));
    Ok(DurableState::open(config, MemoryConfig::default().state, entries)?)
}

/// How long opening takes, which must come to this digest.
fn timed(
    config: &DurableConfig,
    genesis: &[GenesisEntry],
    digest: StateDigest,
) -> Result<Duration, RunError> {
    let begun = Instant::now();
    let state = open(config, genesis)?;
    let time = begun.elapsed();
    if state.head().digest != digest {
        let height = state.head().height().unwrap_or(0);
        let difference = phalanx::executor::Difference { txn: None, what: "state digest" };
        return Err(RunError::Mismatch { height, difference });
    }
    Ok(time)
}
