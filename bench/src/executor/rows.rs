//! Rows of the report.
//!
//! Times are in nanoseconds per transaction unless a field says otherwise. A field that is none was not measured; the
//! row says why in `skipped`, `error` or a field that ends in `_reason`.

use crate::executor::{ExecutorName, WorkloadName};
use crate::report::{Bound, Spread, Verdict};
use serde::Serialize;

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExecutorRow {
    /// Blocks that all contenders of a setting executed.
    Setting(SettingRow),
    /// One executor on them.
    Cell(Box<CellRow>),
    /// Something that has a target in the performance budget.
    Budget(BudgetRow),
    /// What a value costs that crosses from one shard to another.
    Crossing(CrossingRow),
    /// What a round costs in which there is next to nothing to execute.
    Wakeup(WakeupRow),
    /// How often anybody wakes up while there is nothing to do.
    Idle(IdleRow),
    /// What the scaling model gives for a host of so many shards.
    Scaling(ScalingRow),
}

/// What was executed. All cells, budget rows and predictions with the same key are about the same blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SettingKey {
    /// Who pays whom.
    pub workload: WorkloadName,
    /// Whether transactions are signed and the ledger verifies them.
    pub signed: bool,
    /// Transactions per block.
    pub block_size: usize,
}

/// Blocks that all contenders of a setting executed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingRow {
    /// Which setting.
    #[serde(flatten)]
    pub key: SettingKey,
    /// Whether balances and fees are commutative writes; otherwise they are reads and writes.
    pub commutative: bool,
    /// Interleaved rounds that were measured.
    pub rounds: u32,
    /// Blocks that each contender executed on the clock in each round.
    pub blocks_per_round: usize,
    /// Generating, encoding and (if signed) signing, on all cores, outside the measured time.
    pub generate_ns: Option<Spread>,
    /// Preparing (decoding, access sets, hashes), on one core, outside the measured time.
    pub prepare_ns: Option<Spread>,
    /// Transactions in the longest chain of declared dependencies, as a share of the block.
    pub chain_share: Option<f64>,
    /// Blocks after which the state digests of all contenders were compared with the sequential executor's, and equal.
    pub verified_blocks: u64,
    /// Why nothing was measured.
    pub skipped: Option<String>,
}

/// A ratio and its 95 % bootstrap interval over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One executor in one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellRow {
    /// Which setting.
    #[serde(flatten)]
    pub key: SettingKey,
    /// The executor.
    pub executor: ExecutorName,
    /// Shards or threads; 1 for the sequential executor.
    pub shards: usize,
    /// Whether shards and coordinator have a core each; more of them than cores share.
    pub oversubscribed: bool,
    /// Transactions executed on the clock, in all rounds.
    pub transactions: u64,
    /// Over the rounds.
    pub transactions_per_s: Option<Spread>,
    /// Its speed divided by the sequential executor's, round by round; above 1 is faster.
    pub ratio_to_sequential: Option<Interval>,
    /// Where the time goes.
    pub phases: Option<Phases>,
    /// CPU seconds per transaction of the whole process tree: coordinator, supervisor and shards. Median of the rounds.
    pub cpu_s_per_transaction: Option<f64>,
    /// Most memory that the family held at the end of a round, before its outputs were dropped, in MiB: anonymous memory of
    /// all its processes, and shared memory counted once.
    pub memory_mib: Option<f64>,
    /// Of its state, what lay on huge pages when it began, in MiB. Those with less are slower for that reason alone.
    pub huge_mib: f64,
    /// Cross-shard edges per transaction.
    pub edges_per_transaction: Option<f64>,
    /// Executions per transaction beyond the first.
    pub reexecuted_per_transaction: Option<f64>,
    /// Rounds of execution per block.
    pub rounds_per_block: Option<f64>,
    /// Why it could not be measured, or not to the end.
    pub error: Option<String>,
}

/// Where the time of a cell goes: medians over the rounds. The sequential executor and Block-STM have no plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Phases {
    /// Wall time, all told; what follows is part of it, except `prepare_ns` (ahead of time) and `plan_ns` of
    /// `processes-ahead` (done while the block before executes).
    pub total_ns: f64,
    /// As in the setting; 0 for the sequential executor, which needs none.
    pub prepare_ns: f64,
    /// Planning.
    pub plan_ns: f64,
    /// From the announcement of a round until all shards have left it.
    pub execute_ns: f64,
    /// Time in which shards waited for a value, summed over the shards and divided by their number: part of `execute_ns`.
    pub wait_ns: Option<f64>,
    /// Why `wait_ns` is none.
    pub wait_reason: Option<&'static str>,
    /// Collecting and judging outputs.
    pub validate_ns: f64,
    /// Applying writes to the base state.
    pub commit_ns: f64,
    /// `total_ns` less `execute_ns`: all that the caller waits for while no shard works.
    pub serial_ns: f64,
}

/// Something that has a target in the performance budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetRow {
    /// What is measured; the same for all settings.
    pub name: &'static str,
    /// Which setting.
    #[serde(flatten)]
    pub key: SettingKey,
    /// Shards or threads of both sides.
    pub shards: usize,
    /// Unit of the values: `ns` or `ratio`.
    pub unit: &'static str,
    /// Median over the rounds; none if a side was not measured.
    pub median: Option<f64>,
    /// Lower end of the median's 95 % interval.
    pub low: Option<f64>,
    /// Upper end of it.
    pub high: Option<f64>,
    /// What it should be; none for one that is only told.
    pub target: Option<Bound>,
    /// Which of the values is judged: `median` or `low`.
    pub judged: &'static str,
    /// Whether the target is met; none without a target.
    pub verdict: Option<Verdict>,
    /// What a reader should know, such as why it is only told.
    pub note: Option<&'static str>,
}

/// What a value costs that crosses from one shard process to another. Blocks of pairs of transfers in which the second needs
/// what the first leaves are planned with both on one shard, and with the first on one shard and the second on another;
/// told is the difference per edge, in nanoseconds of CPU time on either side. Medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CrossingRow {
    /// Transactions between the two of a pair: with 0 the reader waits for every value.
    pub lag: usize,
    /// Pairs in a block: as many edges, when planned on two shards.
    pub pairs: usize,
    /// Rounds.
    pub rounds: u32,
    /// CPU time per transaction with both of a pair on one shard.
    pub same_shard_ns: Option<f64>,
    /// What an edge costs its writer's shard beyond that.
    pub writer_ns: Option<Spread>,
    /// What an edge costs its reader's shard beyond that.
    pub reader_ns: Option<Spread>,
    /// What an edge adds to the wall time of execution.
    pub wall_ns: Option<Spread>,
    /// Edges per pair in the plan on one shard, and on two: 0 and 1 if it was as meant.
    pub edges_per_pair: Option<(f64, f64)>,
    /// Why it was not measured.
    pub skipped: Option<String>,
}

/// What a round costs in which each shard has one transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WakeupRow {
    /// Shards.
    pub shards: usize,
    /// Rounds of execution that were timed.
    pub rounds: u64,
    /// From the announcement until all shards have left the round, in nanoseconds per block.
    pub round_ns: Option<Spread>,
    /// Why it was not measured.
    pub error: Option<String>,
}

/// How often threads of shards, supervisor and coordinator were put on a core or taken off it. Not per transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdleRow {
    /// Shards.
    pub shards: usize,
    /// How long there was no block, in milliseconds.
    pub idle_ms: u64,
    /// While a few blocks were executed: it shows that the count counts.
    pub at_work: Option<u64>,
    /// While there was none.
    pub idle: Option<u64>,
    /// What `idle` should be.
    pub target: Bound,
    /// Whether it is.
    pub verdict: Verdict,
    /// Why it was not measured.
    pub error: Option<String>,
}

/// What the scaling model gives for `processes-ahead`, which it was calibrated with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingRow {
    /// Which setting.
    #[serde(flatten)]
    pub key: SettingKey,
    /// Shards, one core each.
    pub shards: usize,
    /// NUMA nodes that they are spread over evenly.
    pub nodes: usize,
    /// Transactions per second. Predicted by the model unless `measured` is the same point.
    pub transactions_per_s: f64,
    /// What was measured here with so many shards, if anything.
    pub measured: Option<Spread>,
    /// False only at the point that the model was calibrated with.
    pub predicted: bool,
    /// What bounds it: `execution`, `coordinator` or `chain`.
    pub bound_by: &'static str,
}
