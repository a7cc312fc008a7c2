//! The command line.

use crate::bench::BenchOptions;
use crate::chaos::ChaosOptions;
use crate::conformance::ConformanceOptions;
use crate::doctor::DoctorOptions;
use crate::exit::EXIT_CODES;
use crate::idle_options::IdleOptions;
use crate::node::NodeOptions;
use crate::placement_options::PlacementOptions;
use crate::replay::ReplayOptions;
use crate::state::StateOptions;
use crate::time::parse_time;
use crate::topology::TopologyOptions;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use phalanx::MAX_SHARDS;
use phalanx::executor::OnDeath;
use phalanx::supervisor::Fallback;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The longest deadline: a day, in milliseconds.
const DEADLINE_LIMIT_MS: u64 = 86_400_000;
/// The greatest cache, in MiB.
const CACHE_LIMIT_MIB: u64 = 1 << 25;

/// Executes blocks of transactions over forked, pinned shard processes.
#[derive(Debug, Parser)]
#[command(name = "phalanx", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the command can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Executes a workload block by block and verifies each block against sequential execution.
    #[command(after_help = EXIT_CODES)]
    Run(RunOptions),
    /// Runs validators on this host, from client intake to committed block: mempool, quorum store, blocks executed over shards, all
    /// of it durable.
    #[command(after_help = EXIT_CODES)]
    Node(NodeOptions),
    /// Executes real Ethereum blocks over shards and checks them against their headers and against revm alone.
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayOptions),
    /// Executes Ethereum's own tests of the whole protocol (BlockchainTests) over shards: valid blocks by their state roots,
    /// invalid ones by being rejected.
    #[command(after_help = EXIT_CODES)]
    Conformance(ConformanceOptions),
    /// Measures parts of it beside what others use for the same.
    Bench(BenchOptions),
    /// Executes blocks while faults are injected into shards and supervisor, and looks whether anything is wrong, lost or
    /// left behind.
    #[command(after_help = EXIT_CODES)]
    Chaos(ChaosOptions),
    /// Looks at state directories, and takes snapshots of them.
    State(StateOptions),
    /// Draws nodes, caches and cores of this host, and with --plan where shards and memory would go on it.
    Topology(TopologyOptions),
    /// Looks whether this host is set up well for shards, and says which command mends what is not.
    #[command(after_help = EXIT_CODES)]
    Doctor(DoctorOptions),
}

/// Options of `phalanx run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Executes with one thread and no plan (sequential), with shards as threads of this process (threads) or as
    /// processes (processes), or optimistically with threads over versions of every key (block-stm: what the others are
    /// measured against). Default: processes.
    #[arg(long, value_enum, default_value_t = ExecutorKind::Processes, hide_default_value = true)]
    pub executor: ExecutorKind,

    /// Uses this many shards, 1 to 384; more than there are cores is fine. `auto` takes one per core that this process
    /// may use, less one for the coordinator when there are more than two. The sequential executor has no shards;
    /// for block-stm it is the number of threads, and `auto` takes every core. Default: auto.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// Draws sender and recipient evenly (uniform), by rank from a Zipf distribution (zipf), or has everyone pay one
    /// account (hot). Any other value is the path of a CSV file with the header block,index,from,to,value_wei: its
    /// addresses become accounts, its rows become transfers in file order. Default: uniform.
    #[arg(
        long,
        value_name = "uniform|zipf|hot|FILE.csv",
        default_value = "uniform",
        hide_default_value = true
    )]
    pub workload: WorkloadName,

    /// Sets the exponent of the zipf workload, from 0 (uniform) up; other workloads ignore it. Default: 1.0.
    #[arg(long, value_name = "S", default_value = "1.0", hide_default_value = true, value_parser = parse_skew)]
    pub skew: f64,

    /// Spreads the transfers over this many accounts; a file brings its own. Default: 100000.
    #[arg(
        long,
        value_name = "N",
        default_value = "100000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=u32::MAX as u64)
    )]
    pub accounts: usize,

    /// Executes this many blocks; a file may end earlier. Default: 10.
    #[arg(
        long,
        value_name = "N",
        default_value = "10",
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub blocks: u64,

    /// Puts this many transactions into a block; the last one of a file may have fewer. Default: 10000.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=u32::MAX as u64)
    )]
    pub block_size: usize,

    /// Leaves signatures out, and has the ledger not look for them. Default: all transactions are signed and verified.
    #[arg(long)]
    pub unsigned: bool,

    /// Has every change of a balance or sequence number read the number and set it. Default: changes are commutative
    /// writes, which do not conflict with each other.
    #[arg(long)]
    pub no_commutative: bool,

    /// Derives everything random from this number: the same seed gives the same blocks on every host. Default: 1.
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    pub seed: u64,

    /// Executes only. Default: every block is executed again by a sequential executor with a state of its own, and
    /// outputs and state digests are compared. With `--executor sequential` both sides are the same code, so that the
    /// comparison shows determinism only.
    #[arg(long)]
    pub no_verify: bool,

    /// Gives up on a block that is not executed within this time, in milliseconds. Default: 60000.
    #[arg(
        long,
        value_name = "MS",
        default_value = "60000",
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=DEADLINE_LIMIT_MS)
    )]
    pub deadline_ms: u64,

    /// Goes on from what was accepted when a shard process dies (resume), or ends the run with an error (fail). Other
    /// executors ignore it. Default: resume.
    #[arg(long, value_enum, default_value_t = DeathPolicy::Resume, hide_default_value = true)]
    pub on_death: DeathPolicy,

    /// Has a shard process killed that is stopped, or works without progress, for this long. Other executors ignore it.
    /// Default: 1s.
    #[arg(long, value_name = "TIME", default_value = "1s", hide_default_value = true, value_parser = parse_time)]
    pub stall_limit: Duration,

    /// What to do when no shard process can be had: waits until the deadline and ends the run (error), or executes in
    /// this process until one is back (in-process). Other executors ignore it. Default: error.
    #[arg(long, value_enum, default_value_t = FallbackPolicy::Error, hide_default_value = true)]
    pub fallback: FallbackPolicy,
    /// Writes who did what when into this file, in the trace event format that ui.perfetto.dev and chrome://tracing
    /// show: a row for the coordinator and for each shard, and every death. Not for the sequential executor.
    /// Default: nothing is recorded.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Records each transaction too. Default: only stretches of transactions between two waits.
    #[arg(long, requires = "trace")]
    pub trace_transactions: bool,

    /// Makes every block durable in this directory, and goes on where the last run with it ended: --blocks are executed
    /// on top. Give the options that make the blocks as the first time; others are refused. The directory is made if it
    /// is missing. Only for the processes executor. Default: the state is in memory only.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Holds at most this much of the state in memory, in MiB; what is not there is read from the state directory when it
    /// is needed. Default: all of the state is in memory.
    #[arg(
        long,
        value_name = "N",
        requires = "state_dir",
        value_parser = clap::value_parser!(u64).range(1..=CACHE_LIMIT_MIB)
    )]
    pub cache_mib: Option<u64>,

    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Everything else
    /// goes to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// How long cores may take to wake up.
    #[command(flatten)]
    pub idle: IdleOptions,

    /// Where shards and memory go. Only for the processes executor.
    #[command(flatten)]
    pub placement: PlacementOptions,

    /// Looks at every page and every pin after the last block, and reports where they are. Only for the processes executor.
    /// Default: nobody looks.
    #[arg(long)]
    pub placement_report: bool,

    /// Logs more on standard error: `-v` for info, `-vv` for debug. Default: warnings, or what RUST_LOG says.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Who executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExecutorKind {
    /// One thread, in block order.
    Sequential,
    /// Shards as threads of this process.
    Threads,
    /// Shards as processes.
    Processes,
    /// Optimistic execution on threads of this process.
    BlockStm,
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecutorKind::Sequential => "sequential",
            ExecutorKind::Threads => "threads",
            ExecutorKind::Processes => "processes",
            ExecutorKind::BlockStm => "block-stm",
        })
    }
}

/// What to do when a shard process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeathPolicy {
    /// Go on.
    Resume,
    /// End the run.
    Fail,
}

impl From<DeathPolicy> for OnDeath {
    fn from(policy: DeathPolicy) -> OnDeath {
        match policy {
            DeathPolicy::Resume => OnDeath::Resume,
            DeathPolicy::Fail => OnDeath::Fail,
        }
    }
}

/// What to do when no shard process can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FallbackPolicy {
    /// End the run.
    Error,
    /// Execute in this process.
    InProcess,
}

impl From<FallbackPolicy> for Fallback {
    fn from(policy: FallbackPolicy) -> Fallback {
        match policy {
            FallbackPolicy::Error => Fallback::Error,
            FallbackPolicy::InProcess => Fallback::InProcess,
        }
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// How many shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// As the host's cores suggest.
    Auto,
    /// So many.
    Count(usize),
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Shards, String> {
        if text == "auto" {
            return Ok(Shards::Auto);
        }
        match text.parse() {
            Ok(count @ 1..=MAX_SHARDS) => Ok(Shards::Count(count)),
            Ok(_) | Err(_) => Err(format!("give a number from 1 to {MAX_SHARDS}, or auto")),
        }
    }
}

/// Where the transfers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadName {
    /// Any two accounts.
    Uniform,
    /// Accounts by rank.
    Zipf,
    /// One recipient.
    Hot,
    /// Rows of a file.
    File(PathBuf),
}

impl FromStr for WorkloadName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<WorkloadName, Infallible> {
        Ok(match text {
            "uniform" => WorkloadName::Uniform,
            "zipf" => WorkloadName::Zipf,
            "hot" => WorkloadName::Hot,
            path => WorkloadName::File(PathBuf::from(path)),
        })
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkloadName::Uniform => f.write_str("uniform"),
            WorkloadName::Zipf => f.write_str("zipf"),
            WorkloadName::Hot => f.write_str("hot"),
            WorkloadName::File(path) => path.display().fmt(f),
        }
    }
}

pub fn parse_skew(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(skew) if skew.is_finite() && skew >= 0.0 => Ok(skew),
        Ok(_) | Err(_) => Err("give a finite number from 0 up".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn options(line: &[&str]) -> Result<RunOptions, clap::Error> {
        let parsed = Cli::try_parse_from([&["phalanx", "run"], line].concat())?;
        match parsed.command {
            Command::Run(options) => Ok(options),
            Command::Node(options) => panic!("{options:?}"),
            Command::Bench(options) => panic!("{options:?}"),
            Command::Chaos(options) => panic!("{options:?}"),
            Command::Replay(options) => panic!("{options:?}"),
            Command::Conformance(options) => panic!("{options:?}"),
            Command::State(options) => panic!("{options:?}"),
            Command::Topology(options) => panic!("{options:?}"),
            Command::Doctor(options) => panic!("{options:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_that_the_help_states() {
        let options = options(&[]).unwrap();
        assert_eq!(options.executor, ExecutorKind::Processes);
        assert_eq!(options.shards, Shards::Auto);
        assert_eq!(options.workload, WorkloadName::Uniform);
        assert_eq!((options.accounts, options.blocks, options.block_size), (100_000, 10, 10_000));
        assert!(!options.unsigned && !options.no_verify);
        assert_eq!(options.format, Format::Text);
        assert_eq!((options.deadline_ms, options.seed), (60_000, 1));
        assert!((options.skew - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn every_option_states_its_default() {
        let mut command = Cli::command();
        let paths: [&[&str]; 13] = [
            &["bench", "quorum"],
            &["node"],
            &["topology"],
            &["doctor"],
            &["replay"],
            &["run"],
            &["bench", "ring"],
            &["bench", "recovery"],
            &["bench", "executor"],
            &["bench", "durable"],
            &["chaos"],
            &["state", "verify"],
            &["state", "stat"],
        ];
        for path in paths {
            let mut command = &mut command;
            for name in path {
                command = command.find_subcommand_mut(name).unwrap();
            }
            let options = command.get_arguments().filter(|argument| !argument.is_positional());
            for option in options.filter(|option| !["help", "version"].contains(&option.get_id().as_str())) {
                let help = option.get_help().unwrap().to_string();
                assert!(help.contains("Default: "), "{path:?} {}: {help}", option.get_id());
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let nonsense: [&[&str]; 12] = [
            &["--shards", "0"],
            &["--shards", "385"],
            &["--shards", "many"],
            &["--accounts", "1"],
            &["--blocks", "0"],
            &["--block-size", "0"],
            &["--skew", "-1"],
            &["--skew", "NaN"],
            &["--deadline-ms", "0"],
            &["--executor", "gpu"],
            &["--trace-transactions"],
            &["--cores", "3-1"],
        ];
        for line in nonsense {
            assert!(options(line).is_err(), "{line:?} was accepted");
        }
    }

    #[test]
    fn any_other_workload_is_a_path() {
        let options = options(&["--workload", "some/zipf.csv"]).unwrap();
        assert_eq!(options.workload, WorkloadName::File(PathBuf::from("some/zipf.csv")));
    }
}
