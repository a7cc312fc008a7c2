//! What the measurement came to.

use crate::percentiles::Percentiles;
use phalanx_bench::report::{BenchReport, Ratio, Spread, Verdict};
use serde::Serialize;
use std::fmt::Write;

/// One result. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DurableRow {
    /// One family over all rounds.
    Throughput {
        /// In memory, or on a state directory; then until the store has the last block of a round.
        family: &'static str,
        shards: usize,
        signed: bool,
        accounts: usize,
        block_size: usize,
        blocks: usize,
        rounds: usize,
        transactions_per_s: Spread,
    },
    /// The two against each other.
    Ratio(Ratio),
    /// From a block's output until the block is durable.
    ExecutedToDurable {
        /// Blocks that were made durable together, on average.
        blocks_per_sync: f64,
        times_us: Option<Percentiles>,
    },
    /// Reading what is not in memory.
    CacheMiss {
        /// Entries of the state.
        entries: u64,
        /// Memory that the state may take.
        cache_bytes: u64,
        /// Entries read from the store, per transaction.
        misses_per_transaction: f64,
        /// What each added to the time of the blocks, in nanoseconds; `None` without misses.
        ns_per_miss: Option<Spread>,
    },
    /// Opening a directory whose store lacks blocks of the log.
    Recovery {
        blocks: u64,
        transactions_per_block: usize,
        log_bytes: u64,
        /// Opening with nothing to bring in: loading the state and comparing its digest.
        open_ms: f64,
        /// Opening with all blocks to bring in.
        recovery_ms: f64,
        /// What the blocks took, for 10,000 of them.
        ms_per_10000_blocks: f64,
    },
}

/// The report for people.
pub fn table(report: &BenchReport<DurableRow>) -> String {
    let mut table = report.heading() + "\n";
    for row in &report.rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{}", line(row));
    }
    table
}

fn line(row: &DurableRow) -> String {
    match row {
        DurableRow::Throughput { family, transactions_per_s: Spread { median, min, max }, .. } => {
            format!("{family:<18} {median:.0} transactions/s ({min:.0} to {max:.0})")
        }
        DurableRow::Ratio(Ratio { name, median, low, high, target, verdict }) => {
            let value = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.3}"));
            let target = target.map(|target| format!(" ({target})")).unwrap_or_default();
            let verdict = verdict.unwrap_or(Verdict::Open);
            format!("{name:<18} {} [{}, {}]{target}: {verdict}", value(*median), value(*low), value(*high))
        }
        DurableRow::ExecutedToDurable { blocks_per_sync, times_us } => {
            let times = times_us.map_or("none".to_owned(), |times| times.to_string());
            format!("executed to durable  {times}; {blocks_per_sync:.2} blocks per sync")
        }
        DurableRow::CacheMiss { entries, cache_bytes, misses_per_transaction, ns_per_miss } => {
            let cost = ns_per_miss.map_or("none".to_owned(), |Spread { median, min, max }| {
                format!("{median:.0} ns ({min:.0} to {max:.0})")
            });
            format!(
                "cache miss         {cost}; {misses_per_transaction:.2} per transaction, {entries} entries in {cache_bytes} \
                 bytes"
            )
        }
        DurableRow::Recovery { blocks, log_bytes, open_ms, recovery_ms, ms_per_10000_blocks, .. } => format!(
            "recovery of {blocks} blocks ({log_bytes} bytes of log)  {recovery_ms:.0} ms, {open_ms:.0} ms with none; \
             {ms_per_10000_blocks:.0} ms per 10000 blocks"
        ),
    }
}
