//! The command line of `phalanx chaos`.

use crate::chaos::check::Check;
use crate::chaos::mix::Mix;
use crate::cli::{Format, parse_skew};
use crate::time::parse_time;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, ValueEnum};
use phalanx::MAX_SHARDS;
use phalanx_bench::WorkloadKind;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `phalanx chaos`.
#[derive(Clone, Debug, Args)]
pub struct ChaosOptions {
    /// Injects faults for this long, such as 60s, 500ms or 2h. Default: 60s.
    #[arg(long, value_name = "TIME", default_value = "60s", hide_default_value = true, value_parser = parse_time)]
    pub duration: Duration,

    /// Draws schedule and workload from this number; the report names it. Default: one of its own for each trial.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Uses this many shards, 1 to 384; more than there are cores is fine. Default: 4.
    #[arg(
        long,
        value_name = "N",
        default_value = "4",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SHARDS as u64)
    )]
    pub shards: usize,

    /// Has a shard killed that is stopped, or works without progress, for this long. Default: 1s.
    #[arg(long, value_name = "TIME", default_value = "1s", hide_default_value = true, value_parser = parse_time)]
    pub stall_limit: Duration,

    /// Injects these faults, each as NAME or NAME:WEIGHT, separated by commas: kill, segv, bus, ill, abrt (the signal,
    /// to a shard), term, int (likewise; shards ignore them), stop (SIGSTOP until it is killed for it), pause (SIGSTOP,
    /// and SIGCONT at four fifths of the stall limit), kill-all, kill-pair (several shards at once), kill-twice (a shard
    /// and its successor), supervisor-kill, supervisor-stop. Default: all but term and int.
    #[arg(long, value_name = "NAME[:WEIGHT],...", default_value_t = Mix::default(), hide_default_value = true)]
    pub mix: Mix,

    /// Injects so many faults per second in the mean, 0.01 to 1000. Default: 10.
    #[arg(long, value_name = "N", default_value = "10", hide_default_value = true, value_parser = parse_rate)]
    pub rate: f64,

    /// Draws sender and recipient evenly (uniform), by rank from a Zipf distribution (zipf), has everyone pay one
    /// account (hot), or executes blocks of Ethereum again and again (ethereum, needs --blocks). Default: uniform.
    #[arg(long, value_enum, default_value_t = ChaosWorkload::Uniform, hide_default_value = true)]
    pub workload: ChaosWorkload,

    /// Takes blocks of Ethereum from these folders, as replay does; other workloads ignore them. Default: none.
    #[arg(long, value_name = "DIR", num_args = 1.., required_if_eq("workload", "ethereum"))]
    pub blocks: Vec<PathBuf>,

    /// Sets the exponent of the zipf workload, from 0 (uniform) up; other workloads ignore it. Default: 1.0.
    #[arg(long, value_name = "S", default_value = "1.0", hide_default_value = true, value_parser = parse_skew)]
    pub skew: f64,

    /// Spreads the transfers over this many accounts. Default: 10000.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=10_000_000)
    )]
    pub accounts: usize,

    /// Puts this many transactions into a block. Default: 2000.
    #[arg(
        long,
        value_name = "N",
        default_value = "2000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    pub block_size: usize,

    /// Signs all transactions and has the ledger verify them. Default: no signatures.
    #[arg(long)]
    pub signed: bool,

    /// Takes it for a violation when a block is not executed within this time. Default: 30s.
    #[arg(long, value_name = "TIME", default_value = "30s", hide_default_value = true, value_parser = parse_time)]
    pub deadline: Duration,

    /// Takes it for a violation when not all shards are back this long after the last fault. Default: 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", hide_default_value = true, value_parser = parse_time)]
    pub recovery_limit: Duration,

    /// Plants a violation of this check, to show that it is found: the trial must then end with 6 and name it. Default:
    /// nothing is planted.
    #[arg(long, value_enum, value_name = "CHECK")]
    pub break_check: Option<Check>,

    /// Prints the schedule of faults and injects none. Default: injects them.
    #[arg(long)]
    pub dry_run: bool,

    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Everything else
    /// goes to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Logs more on standard error: `-v` for every death, `-vv` for info, `-vvv` for debug. Default: errors, or what
    /// RUST_LOG says.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl ChaosOptions {
    /// Who pays whom; `None` if blocks come from files.
    pub fn workload_kind(&self) -> Option<WorkloadKind> {
        match self.workload {
            ChaosWorkload::Uniform => Some(WorkloadKind::Uniform),
            ChaosWorkload::Zipf => Some(WorkloadKind::Zipf { skew: self.skew }),
            ChaosWorkload::Hot => Some(WorkloadKind::Hot),
            ChaosWorkload::Ethereum => None,
        }
    }
}

/// Where the transfers come from. Files end; trials go on until their time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChaosWorkload {
    /// Any two accounts.
    Uniform,
    /// Accounts by rank.
    Zipf,
    /// One recipient.
    Hot,
    /// Blocks of Ethereum.
    Ethereum,
}

impl fmt::Display for ChaosWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChaosWorkload::Uniform => "uniform",
            ChaosWorkload::Zipf => "zipf",
            ChaosWorkload::Hot => "hot",
            ChaosWorkload::Ethereum => "ethereum",
        })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("give a number from 0.01 to 1000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_bounds() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "1001", "many"] {
            assert!(parse_rate(text).is_err(), "{text:?} was accepted");
        }
    }
}
