//! What a node's run comes to: the table and the JSON object.

use crate::node::book::Counts;
use crate::node::latency::LatencyMs;
use crate::node::memory::MemoryReport;
use crate::run::Casualties;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Version of the JSON object: raised when a key changes its meaning or goes, not when one is added.
const SCHEMA_VERSION: u32 = 1;

/// Where a validator stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Sequence of the last commit in its log.
    pub head: u64,
    /// How far each component has come in the log.
    pub cursors: BTreeMap<&'static str, u64>,
    /// Transactions that are in batches without an end.
    pub exclusion_size: u64,
    /// What it holds in memory.
    pub holds: Holds,
    /// Components that were started again.
    pub restarts: u64,
}

/// What a validator holds in memory, in numbers: each is bounded by time or by a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holds {
    /// Transactions in the mempool.
    pub mempool: usize,
    /// Batches in the store.
    pub batches: usize,
    /// Items of the proof queue.
    pub queued: usize,
    /// Entries of the proof coordinator's tables.
    pub collections: usize,
    /// Entries of the commit log.
    pub commits: usize,
}

impl Standing {
    /// Whether every component has come to the end of the log.
    pub fn is_even(&self) -> bool {
        self.cursors.values().all(|&cursor| cursor == self.head)
    }
}

/// CPU and waiting time of each step, in microseconds per transaction that came through it; a step that nobody measured is
/// missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepCosts(pub BTreeMap<&'static str, f64>);

impl StepCosts {
    /// Adds a step.
    pub fn add(&mut self, step: &'static str, transactions: u64, time: Duration) {
        if transactions > 0 {
            let each = time.as_secs_f64() * 1e6 / transactions as f64;
            self.0.insert(step, (each * 100.0).round() / 100.0);
        }
    }
}

/// What a run comes to. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Number of validators; 0 with --plain.
    pub validators: usize,
    /// Number of shards.
    pub shards: usize,
    /// Accounts of the ledger's first state.
    pub accounts: usize,
    /// The seed.
    pub seed: u64,
    /// Transfers per second that were asked for.
    pub load: Option<u64>,
    /// What ended it: `duration`, a signal's name, or `gave up`.
    pub ended_by: String,
    /// From the first moment at which transactions were taken until no more were.
    pub seconds: f64,
    /// From then until everything had its end.
    pub settle_seconds: f64,
    /// Height of the directory's last block when the node began; `None` for a new directory.
    pub resumed_after: Option<u64>,
    /// Transactions submitted, by own clients and over HTTP.
    pub submitted: u64,
    /// Those with an effect in a committed block.
    pub committed: u64,
    /// Those of them that failed and paid.
    pub failed: u64,
    /// Those that no block took in time.
    pub expired: u64,
    /// Those that were refused for good, by the mempool or by a block.
    pub rejected: u64,
    /// Those without an end.
    pub unfinished: u64,
    /// Transfers that the own clients did not send although they were due.
    pub held_back: u64,
    /// Blocks committed.
    pub blocks: u64,
    /// Those of them that had a transaction.
    pub blocks_with_transactions: u64,
    /// Height of the last one.
    pub height: u64,
    /// Committed transactions per second, until no more were taken.
    pub tps: f64,
    /// From submission until the commit was known.
    pub submit_to_commit_ms: Option<LatencyMs>,
    /// Components that were started again.
    pub component_restarts: u64,
    /// Components that this node killed.
    pub component_kills: u64,
    /// Shards that this node killed.
    pub shard_kills: u64,
    /// Shard processes that were started again.
    pub shard_respawns: u64,
    /// Times that the shards' supervisor was started again.
    pub supervisor_restarts: u64,
    /// Where each validator stands at the end.
    pub cursors: Vec<Standing>,
    /// Transactions excluded at the end, by all validators together.
    pub exclusion_size: u64,
    /// Whether every committed block equals sequential execution; `None` if nobody looked.
    pub verified: Option<bool>,
    /// Blocks that were compared.
    pub verified_blocks: u64,
    /// Time of each step.
    pub step_us_per_txn: StepCosts,
    /// What was refused or dropped between the validators, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Memory of this process; its shards' own is not in it.
    pub memory_bytes: MemoryReport,
    /// What is not as it must be.
    pub violations: Vec<String>,
}

/// What the book, the shards and the clock come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Ends of transactions.
    pub counts: Counts,
    /// What befell the shards.
    pub casualties: Casualties,
    /// Time in which transactions were taken.
    pub taken_for: Duration,
    /// Time from then until everything had its end.
    pub settled_for: Duration,
    /// Those committed before the first of both was over.
    pub committed_in_time: u64,
}

impl Report {
    /// An empty one.
    pub fn new(validators: usize, accounts: usize, seed: u64, load: Option<u64>) -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            validators,
            shards: 0,
            accounts,
            seed,
            load,
            ended_by: String::new(),
            seconds: 0.0,
            settle_seconds: 0.0,
            resumed_after: None,
            submitted: 0,
            committed: 0,
            failed: 0,
            expired: 0,
            rejected: 0,
            unfinished: 0,
            held_back: 0,
            blocks: 0,
            blocks_with_transactions: 0,
            height: 0,
            tps: 0.0,
            submit_to_commit_ms: None,
            component_restarts: 0,
            component_kills: 0,
            shard_kills: 0,
            shard_respawns: 0,
            supervisor_restarts: 0,
            cursors: Vec::new(),
            exclusion_size: 0,
            verified: None,
            verified_blocks: 0,
            step_us_per_txn: StepCosts::default(),
            refusals: BTreeMap::new(),
            memory_bytes: MemoryReport::default(),
            violations: Vec::new(),
        }
    }

    /// Enters sums.
    pub fn enter(&mut self, sums: &Sums) {
        let Sums { counts, casualties, taken_for, settled_for, committed_in_time } = *sums;
        (self.submitted, self.committed, self.failed) = (counts.submitted, counts.committed, counts.failed);
        (self.expired, self.rejected, self.unfinished) = (counts.expired, counts.rejected, counts.open());
        (self.seconds, self.settle_seconds) = (to_millis(taken_for), to_millis(settled_for));
        let rate = committed_in_time as f64 / taken_for.as_secs_f64().max(1e-3);
        self.tps = (rate * 10.0).round() / 10.0;
        self.shard_respawns = casualties.respawns;
        self.supervisor_restarts = casualties.supervisor_restarts;
        if counts.late > 0 {
            self.violations
                .push(format!("{} transactions were committed after they had expired", counts.late));
        }
    }

    /// Enters where the validators stand, the first one at `height`.
    pub fn stand(&mut self, height: u64, standings: Vec<Standing>) {
        self.component_restarts = standings.iter().map(|standing| standing.restarts).sum();
        self.exclusion_size = standings.iter().map(|standing| standing.exclusion_size).sum();
        self.height = height;
        self.cursors = standings;
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
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for (name, value) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:<width$}  {value}");
        }
        table
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let resumed = self.resumed_after.map(|height| format!(", resumed after block {height}"));
        let latency = self.submit_to_commit_ms.map_or_else(
            || "none was committed".to_owned(),
            |LatencyMs { p50, p99, max }| format!("p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms"),
        );
        let steps: Vec<String> =
            self.step_us_per_txn.0.iter().map(|(step, time)| format!("{step} {time:.1}")).collect();
        let mut rows = vec![
            (
                "node",
                match self.validators {
                    0 => format!("no quorum store, {} shards, seed {}", self.shards, self.seed),
                    count => format!("{count} validators, {} shards, seed {}", self.shards, self.seed),
                },
            ),
            (
                "time",
                format!(
                    "{:.1} s, and {:.1} s to settle; ended by {}",
                    self.seconds, self.settle_seconds, self.ended_by
                ),
            ),
            (
                "blocks",
                format!(
                    "{}, {} with transactions{}",
                    self.blocks,
                    self.blocks_with_transactions,
                    resumed.unwrap_or_default()
                ),
            ),
            (
                "transactions",
                format!(
                    "{} submitted: {} committed ({} failed), {} expired, {} rejected, {} without an end",
                    self.submitted, self.committed, self.failed, self.expired, self.rejected, self.unfinished
                ),
            ),
            ("held back", format!("{} transfers", self.held_back)),
            ("throughput", format!("{:.0} transactions/s", self.tps)),
            ("submit to commit", latency),
            ("time per step", format!("us per transaction: {}", steps.join(", "))),
        ];
        rows.extend(self.rows_of_the_end());
        rows.extend(self.violations.iter().map(|what| ("WRONG", what.clone())));
        rows
    }

    /// What was killed, and how everything stands at the end.
    fn rows_of_the_end(&self) -> Vec<(&'static str, String)> {
        let verified = match self.verified {
            Some(true) => format!("{} blocks equal sequential execution", self.verified_blocks),
            Some(false) => "NO: a block differs from sequential execution".to_owned(),
            None => "not looked at".to_owned(),
        };
        let heads: Vec<u64> = self.cursors.iter().map(|standing| standing.head).collect();
        let even =
            self.cursors.iter().all(Standing::is_even) && heads.windows(2).all(|pair| pair[0] == pair[1]);
        let cursors =
            if even { format!("all at commit {}", self.height) } else { format!("apart: heads {heads:?}") };
        let memory = &self.memory_bytes;
        let mib = |bytes: u64| bytes >> 20;
        vec![
            (
                "components",
                format!("{} killed, {} started again", self.component_kills, self.component_restarts),
            ),
            (
                "shards",
                format!(
                    "{} killed, {} started again; supervisor {} times",
                    self.shard_kills, self.shard_respawns, self.supervisor_restarts
                ),
            ),
            ("cursors", cursors),
            ("excluded", format!("{} transactions", self.exclusion_size)),
            (
                "memory",
                format!(
                    "{} MiB at the start, {} in the middle, {} at the end",
                    mib(memory.start.rss),
                    mib(memory.middle.rss),
                    mib(memory.end.rss)
                ),
            ),
            ("verified", verified),
        ]
    }
}

/// Seconds, to a thousandth.
fn to_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
