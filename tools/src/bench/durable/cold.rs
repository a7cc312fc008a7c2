//! What it costs to read an entry that is not in memory.

use crate::bench::DurableArguments;
use crate::bench::durable::measure::{execute, prepare, workload_of};
use crate::bench::durable::rows::DurableRow;
use crate::bench::progress::{bar, show};
use crate::run::RunError;
use phalanx::Phalanx;
use phalanx::durable::DurableConfig;
use phalanx::state::CacheStats;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::report::Spread;
use std::path::Path;

/// Bytes that an entry takes in memory, about.
const ENTRY_BYTES: u64 = 96;
/// The smallest cache there is.
const CACHE_MIN: u64 = 64 << 10;

/// Measures: the same blocks on a state that is all in memory, and on a cache of a hundredth of it, in turns. What the
/// second takes longer, divided by the entries that it read from the store, is the cost of a miss: the shard's read, telling
/// the coordinator, filling it in, and letting another one go.
///
/// # Errors
/// [`RunError`]; `Mismatch` when the families do not agree.
pub fn run(arguments: &DurableArguments, home: &Path) -> Result<DurableRow, RunError> {
    let mut workload = workload_of(arguments, arguments.block_size, false)?;
    let (genesis, vm) = (workload.genesis()?, LedgerVm::new(workload.ledger_config()));
    let cache_bytes = (genesis.len() as u64 * ENTRY_BYTES / 100).max(CACHE_MIN);
    let launch = |name: &str, cache_bytes: Option<u64>| {
        let config = DurableConfig { cache_bytes, ..DurableConfig::new(home.join(name)) };
        let builder = Phalanx::builder(vm.config()).shards(arguments.shards).log("error").state_dir(config);
        builder.launch(genesis.iter().map(|(key, value)| (key, value)))
    };
    std::fs::create_dir(home)?;
    let (whole, cached) = (launch("whole", None)?, launch("cached", Some(cache_bytes))?);
    let (bar, mut costs, mut reads) = (bar(), Vec::new(), 0);
    for round in 0..=arguments.rounds {
        show(&bar, round, arguments.rounds + 1, "rounds of misses".to_owned());
        let blocks = prepare(&mut workload, &vm, arguments.blocks)?;
        let before = filled(&cached);
        let mut times = [0.0; 2];
        for turn in 0..2 {
            let is_cached = (round + turn) % 2 == 1;
            let family = if is_cached { &cached } else { &whole };
            times[usize::from(is_cached)] = execute(family, &blocks, true)?.0.as_secs_f64();
        }
        let read = filled(&cached) - before;
        if round > 0 && read > 0 {
            costs.push((times[1] - times[0]) * 1e9 / read as f64);
            reads += read;
        }
        if whole.digest() != cached.digest() {
            let difference = phalanx::executor::Difference { txn: None, what: "state digest" };
            return Err(RunError::Mismatch { height: 0, difference });
        }
    }
    bar.finish_and_clear();
    let rounds = arguments.rounds.max(1) * arguments.blocks.max(1) * arguments.block_size.max(1);
    Ok(DurableRow::CacheMiss {
        entries: genesis.len() as u64,
        cache_bytes,
        misses_per_transaction: reads as f64 / rounds as f64,
        ns_per_miss: Spread::of(&costs),
    })
}

/// Entries read from the store until the last block began.
fn filled(family: &Phalanx) -> u64 {
    let cache = family.durable_progress().and_then(|progress| progress.cache);
    cache.map_or(0, |CacheStats { filled, .. }| filled)
}
