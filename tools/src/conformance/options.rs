//! Options of `phalanx conformance`.

use crate::cli::{ExecutorKind, Format, Shards};
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Most files that are worked on at once.
const JOBS_MAX: u64 = 256;

/// Options of `phalanx conformance`.
#[derive(Clone, Debug, Args)]
pub struct ConformanceOptions {
    /// Files with BlockchainTests, as ethereum/tests and execution-spec-tests publish them, and folders in which all
    /// files ending in .json are taken, hidden ones left out. Default: none, at least one must be given.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Executes one transaction after the other (sequential), with shards as threads of this process (threads) or as
    /// processes (processes), or optimistically (block-stm). Default: processes.
    #[arg(long, value_enum, default_value_t = ExecutorKind::Processes, hide_default_value = true)]
    pub executor: ExecutorKind,

    /// Executes each block with this many shards, 1 to 384, or one per core that this process may use, less one if there
    /// are more than two (auto). Default: auto.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// Works on so many files at once, each with an executor of its own, 1 to 256. Default: one per core.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=JOBS_MAX))]
    pub jobs: Option<usize>,

    /// Takes only tests whose names contain this. Default: all.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,

    /// Prints each block that was rejected as it should be, with what its test expected and the reason found. The JSON
    /// report has them always. Default: only their number.
    #[arg(long)]
    pub reasons: bool,

    /// Gives up on a block that is not executed within this time, in milliseconds. Default: 300000.
    #[arg(long, value_name = "MS", default_value = "300000", hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub deadline_ms: u64,

    /// Prints a table (text) or one JSON object (json). Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Logs more on standard error: `-v` for info, `-vv` for debug. Default: warnings, or what RUST_LOG says.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}
