//! Options of `phalanx replay`.

use crate::cli::{ExecutorKind, Format, Shards};
use crate::idle_options::IdleOptions;
use clap::{ArgAction, Args, ValueEnum};
use std::fmt;
use std::path::PathBuf;

/// Options of `phalanx replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// Folders with one block each: block.json (as eth_getBlockByNumber with full transactions returns it), prestate.json
    /// (as geth's prestateTracer returns it) and, where the block asks for them, block_hashes.json. They are replayed in
    /// order of block numbers. Default: none, at least one must be given.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,

    /// Executes one transaction after the other (sequential), with shards as threads of this process (threads) or as
    /// processes (processes), or optimistically (block-stm). Default: processes.
    #[arg(long, value_enum, default_value_t = ExecutorKind::Processes, hide_default_value = true)]
    pub executor: ExecutorKind,

    /// Uses this many shards, 1 to 384, or one per core that this process may use, less one if there are more than two
    /// (auto). Default: auto.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// Executes every block so many times, by turns with revm alone, and reports medians. Default: 1.
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeat: u32,

    /// What is known before a block executes: only what its transactions say of themselves (cold), also what similar
    /// calls in blocks of lower numbers among the given ones touched (learned), or what this block's transactions
    /// touch (oracle: from --access, or from the access list in the block's own file). Default: cold.
    #[arg(long, value_enum, default_value_t = Hints::Cold, hide_default_value = true)]
    pub hints: Hints,

    /// Reads what transactions touch from this file: as --write-access wrote it, or block access lists (EIP-7928) as
    /// --write-access-list writes them, which let every transaction run without the others. Default: nothing is read.
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,

    /// Writes what the transactions touched, and how long they took, into this file. Default: nothing is written.
    #[arg(long, value_name = "FILE")]
    pub write_access: Option<PathBuf>,

    /// Writes a block access list (EIP-7928) for every block into this file, as revm alone finds it. Default: nothing is
    /// written.
    #[arg(long, value_name = "FILE")]
    pub write_access_list: Option<PathBuf>,

    /// Makes every block durable in a directory of its own in this one, named after its number; its state begins with the one
    /// before the block. A block that is there already is recalled, not executed, and the state that is there is compared.
    /// The directories are made if they are missing. Only for the processes executor. Default: states are in memory only.
    #[arg(long, value_name = "DIR", conflicts_with = "repeat")]
    pub state_dir: Option<PathBuf>,

    /// How long cores may take to wake up.
    #[command(flatten)]
    pub idle: IdleOptions,

    /// Gives up on a block that is not executed within this time, in milliseconds. Default: 60000.
    #[arg(long, value_name = "MS", default_value = "60000", hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub deadline_ms: u64,

    /// Prints a table (text), or one JSON object per line and block, then one with the sums (json). Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Logs more on standard error: `-v` for info, `-vv` for debug. Default: warnings, or what RUST_LOG says.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What is known before a block executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hints {
    /// What transactions say of themselves.
    Cold,
    /// What similar calls in lower blocks touched.
    Learned,
    /// What the block's own transactions touched.
    Oracle,
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hints::Cold => "cold",
            Hints::Learned => "learned",
            Hints::Oracle => "oracle",
        })
    }
}
