//! What a replay comes to: a line per block and one with the sums.

use serde::Serialize;
use std::time::Duration;

/// One block. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct BlockRow {
    pub block: u64,
    pub transactions: usize,
    pub gas_used: u64,
    pub gas_ok: bool,
    /// `None` before Byzantium: receipts held state roots then. And for a block that is recalled: its logs are not kept.
    pub receipts_root_ok: Option<bool>,
    /// `None` for a block that is recalled.
    pub logs_bloom_ok: Option<bool>,
    pub matches_sequential: bool,
    /// What differs, if something does.
    pub difference: Option<String>,
    /// Whether the block's access list is right, if it was executed by one. A wrong list does no harm but costs time.
    pub access_list_ok: Option<bool>,
    /// What is wrong with it.
    pub access_list_difference: Option<String>,
    /// Whether the block was in its state directory already, and not executed.
    pub recalled: bool,
    pub rounds: u64,
    pub reexecuted: u64,
    pub shards_used: u32,
    /// revm alone on one core, median.
    pub sequential_us: f64,
    /// From the encoded block in memory to accepted outputs, median.
    pub execute_us: f64,
    /// The part of it that went into hints: looking them up and hashing their keys.
    pub prepare_us: f64,
    pub plan_us: f64,
    /// Time in which shards worked, over all rounds, and how much of it they waited for each other, summed over shards.
    pub rounds_us: f64,
    pub waited_us: f64,
    pub validate_us: f64,
    /// To bring the accepted outputs into the state: not part of `execute_us`.
    pub commit_us: f64,
    /// `None` for a block that is recalled, which says nothing of executing.
    pub ratio: Option<f64>,
}

/// The sums.
#[derive(Clone, Debug, Serialize)]
pub struct TotalRow {
    pub total: bool,
    pub executor: String,
    pub shards: usize,
    pub hints: String,
    pub repeat: u32,
    pub blocks: usize,
    pub transactions: usize,
    pub gas_used: u64,
    /// Whether everything of every block is as it should be.
    pub ok: bool,
    pub rounds: u64,
    pub reexecuted: u64,
    /// These and their ratio without blocks that are recalled.
    pub sequential_us: f64,
    pub execute_us: f64,
    pub prepare_us: f64,
    pub ratio: f64,
}

impl BlockRow {
    /// Whether everything is as it should be.
    pub fn ok(&self) -> bool {
        let by_logs = [self.receipts_root_ok, self.logs_bloom_ok];
        self.gas_ok && !by_logs.contains(&Some(false)) && self.matches_sequential
    }

    /// The row of the table for people.
    pub fn text(&self) -> String {
        let checks = match (self.ok(), &self.difference) {
            (true, _) => match &self.access_list_difference {
                None if self.recalled => "ok; recalled".to_owned(),
                None => "ok".to_owned(),
                Some(wrong) => format!("ok; its access list is WRONG: {wrong}"),
            },
            (false, Some(difference)) => format!("WRONG: {difference}"),
            (false, None) => "WRONG: the header says otherwise".to_owned(),
        };
        format!(
            "{:>9} {:>6} {:>9} {:>6} {:>6} {:>6} {:>11.1} {:>11.1} {:>6}  {checks}\n",
            self.block,
            self.transactions,
            self.gas_used,
            self.shards_used,
            self.rounds,
            self.reexecuted,
            self.sequential_us,
            self.execute_us,
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        )
    }
}

/// The head of the table for people.
pub fn head() -> String {
    format!(
        "{:>9} {:>6} {:>9} {:>6} {:>6} {:>6} {:>11} {:>11} {:>6}  checks\n",
        "block", "txns", "gas", "shards", "rounds", "again", "revm us", "execute us", "ratio"
    )
}

impl TotalRow {
    /// The row of the table for people.
    pub fn text(&self) -> String {
        let checks = if self.ok { "all blocks are right" } else { "SOME BLOCKS ARE WRONG" };
        format!(
            "{:>9} {:>6} {:>9} {:>6} {:>6} {:>6} {:>11.1} {:>11.1} {:>6.2}  {checks}\n",
            format!("{} blocks", self.blocks),
            self.transactions,
            self.gas_used,
            self.shards,
            self.rounds,
            self.reexecuted,
            self.sequential_us,
            self.execute_us,
            self.ratio
        )
    }
}

/// Microseconds to a tenth.
pub fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// How many times as fast, to a thousandth; 1 for a block that takes no time.
pub fn ratio(sequential_us: f64, execute_us: f64) -> f64 {
    if execute_us > 0.0 { (sequential_us / execute_us * 1e3).round() / 1e3 } else { 1.0 }
}

/// The middle one; of an even number the lower middle.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
