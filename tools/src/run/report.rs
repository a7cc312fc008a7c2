//! What a run comes to: the table and the JSON object.

use crate::cli::{RunOptions, WorkloadName};
use crate::run::family::Casualties;
use phalanx::executor::{BlockOutput, BlockStats};
use phalanx::state::StateDigest;
use phalanx::supervisor::{HugePages, PlacementReport, RegionReport, ShardPlace};
use phalanx::types::StatusCode;
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// Version of the JSON object: raised when a key changes its meaning or goes, not when one is added.
const SCHEMA_VERSION: u32 = 1;

/// Sums over the blocks of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    blocks: u64,
    transactions: u64,
    succeeded: u64,
    prepare: Duration,
    /// Preparation and execution, seen from outside.
    wall: Duration,
    stats: BlockStats,
    digest: StateDigest,
}

impl Tally {
    /// Counts one block in.
    pub fn count(&mut self, output: &BlockOutput, prepare: Duration, execute: Duration) {
        let succeeded = output.transactions().filter(|output| output.status() == StatusCode::SUCCESS).count();
        self.blocks += 1;
        self.transactions += output.len() as u64;
        self.succeeded += succeeded as u64;
        self.prepare += prepare;
        self.wall += prepare + execute;
        self.digest = output.digest();
        self.stats.add(output.stats());
    }

    /// Nanoseconds per transaction, to a tenth.
    fn per_transaction(&self, time: Duration) -> f64 {
        let each = time.as_secs_f64() * 1e9 / self.transactions.max(1) as f64;
        rounded(each, 10.0)
    }
}

/// What a run comes to. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    executor: String,
    shards: usize,
    workload: String,
    /// Exponent of the zipf workload, for no other.
    skew: Option<f64>,
    /// Accounts asked for; a file brings its own.
    accounts: Option<usize>,
    block_size: usize,
    signed: bool,
    commutative: bool,
    seed: u64,
    blocks: u64,
    transactions: u64,
    succeeded: u64,
    failed: u64,
    wall_ms: f64,
    transactions_per_s: f64,
    prepare_ns_per_txn: f64,
    plan_ns_per_txn: f64,
    execute_ns_per_txn: f64,
    validate_ns_per_txn: f64,
    commit_ns_per_txn: f64,
    cross_shard_edges: u64,
    reexecuted: u64,
    rounds: u64,
    rounds_cut_short: u64,
    respawns: u64,
    supervisor_restarts: u64,
    state_digest: String,
    /// Height of the state directory's last block when the run began; `None` without one.
    resumed_after: Option<u64>,
    /// `None` when nobody looked. A mismatch is an error and makes no report.
    verified: Option<bool>,
    /// With `--placement-report`.
    placement: Option<PlacementReport>,
}

impl Report {
    /// For a run that came to its end.
    pub fn new(
        options: &RunOptions,
        shards: usize,
        tally: &Tally,
        casualties: Casualties,
        verified: bool,
    ) -> Report {
        let Tally { transactions, succeeded, wall, stats, .. } = *tally;
        let from_file = matches!(options.workload, WorkloadName::File(_));
        let seconds = wall.as_secs_f64();
        let rate = if seconds > 0.0 { transactions as f64 / seconds } else { 0.0 };
        Report {
            schema_version: SCHEMA_VERSION,
            executor: options.executor.to_string(),
            shards,
            workload: options.workload.to_string(),
            skew: (options.workload == WorkloadName::Zipf).then_some(options.skew),
            accounts: (!from_file).then_some(options.accounts),
            block_size: options.block_size,
            signed: !options.unsigned,
            commutative: !options.no_commutative,
            seed: options.seed,
            blocks: tally.blocks,
            transactions,
            succeeded,
            failed: transactions - succeeded,
            wall_ms: rounded(seconds * 1e3, 1e3),
            transactions_per_s: rounded(rate, 1.0),
            prepare_ns_per_txn: tally.per_transaction(tally.prepare),
            plan_ns_per_txn: tally.per_transaction(stats.plan),
            execute_ns_per_txn: tally.per_transaction(stats.execute),
            validate_ns_per_txn: tally.per_transaction(stats.validate),
            commit_ns_per_txn: tally.per_transaction(stats.commit),
            cross_shard_edges: stats.cross_shard_edges,
            reexecuted: stats.reexecuted,
            rounds: stats.rounds,
            rounds_cut_short: stats.rounds_cut_short,
            respawns: casualties.respawns,
            supervisor_restarts: casualties.supervisor_restarts,
            state_digest: tally.digest.to_string(),
            resumed_after: None,
            verified: verified.then_some(true),
            placement: None,
        }
    }

    /// Says behind which block of a state directory the run began.
    pub fn resumed(self, after: Option<u64>) -> Report {
        Report { resumed_after: after, ..self }
    }

    /// Says where everything was after the last block.
    pub fn placed(self, placement: Option<PlacementReport>) -> Report {
        Report { placement, ..self }
    }

    /// Whether everything that was looked at is where it was planned.
    pub fn is_in_place(&self) -> bool {
        self.placement
            .as_ref()
            .is_none_or(|places| places.misplaced() == 0 && places.shards.iter().all(ShardPlace::is_home))
    }

    /// The JSON object, on one line.
    ///
    /// # Errors
    /// None that can happen with these fields; the encoder's type has one.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let width = self.rows().iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.rows() {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:<width$}  {value}");
        }
        table
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let signed = if self.signed { "signed" } else { "unsigned" };
        let skew = self.skew.map(|skew| format!(", skew {skew}")).unwrap_or_default();
        let plain = if self.commutative { "" } else { ", no commutative writes" };
        let verified = match self.verified {
            Some(true) => "every block equals sequential execution",
            Some(false) => "NO: a block differs from sequential execution",
            None => "not looked at",
        };
        let each = |time: f64| format!("{time:.1} ns per transaction");
        vec![
            ("executor", format!("{}, {} shards", self.executor, self.shards)),
            ("workload", format!("{}{skew}, {signed}{plain}, seed {}", self.workload, self.seed)),
            ("blocks", self.blocks.to_string()),
            (
                "transactions",
                format!("{}: {} succeeded, {} failed", self.transactions, self.succeeded, self.failed),
            ),
            ("wall time", format!("{:.1} ms", self.wall_ms)),
            ("throughput", format!("{:.0} transactions/s", self.transactions_per_s)),
            ("prepare", each(self.prepare_ns_per_txn)),
            ("plan", each(self.plan_ns_per_txn)),
            ("execute", each(self.execute_ns_per_txn)),
            ("validate", each(self.validate_ns_per_txn)),
            ("commit", each(self.commit_ns_per_txn)),
            ("rounds", format!("{}, {} cut short", self.rounds, self.rounds_cut_short)),
            ("executed again", self.reexecuted.to_string()),
            ("cross-shard edges", self.cross_shard_edges.to_string()),
            (
                "respawns",
                format!("{} of shards, {} of the supervisor", self.respawns, self.supervisor_restarts),
            ),
            ("state digest", self.state_digest.clone()),
            ("verified", verified.to_owned()),
        ]
        .into_iter()
        .chain(self.placement.as_ref().map(|places| ("placement", placement_line(places))))
        .chain(self.placement.as_ref().and_then(huge_pages_line).map(|line| ("huge pages", line)))
        .collect()
    }
}

fn placement_line(places: &PlacementReport) -> String {
    let home = places.shards.iter().filter(|shard| shard.is_home()).count();
    let (shards, pages, away) = (places.shards.len(), places.pages(), places.misplaced());
    format!("{home} of {shards} shards on their CPUs, {} of {pages} pages on their nodes", pages - away)
}

/// Nothing unless they were asked for.
fn huge_pages_line(places: &PlacementReport) -> Option<String> {
    if places.huge_pages == HugePages::Ordinary {
        return None;
    }
    let mib: u64 = places.regions.iter().filter_map(|region| region.huge_bytes).sum::<u64>() >> 20;
    let name = |region: &RegionReport| match region.shard {
        Some(shard) => format!("{} of shard {shard}", region.kind),
        None => region.kind.to_string(),
    };
    let lacking: Vec<String> = places.lacking_huge_pages().map(name).collect();
    Some(match lacking.is_empty() {
        true => format!("{mib} MiB"),
        false => format!("{mib} MiB; MISSING, on ordinary pages: {}", lacking.join(", ")),
    })
}

/// `value` with as many steps per unit as `steps` says.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
