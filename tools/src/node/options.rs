//! The command line of `phalanx node`.

use crate::cli::{Format, Shards};
use crate::idle_options::IdleOptions;
use crate::time::parse_time;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most validators in one process: each has some tasks, a store on disk, and checks every signature by itself.
pub const VALIDATORS_MAX: usize = 16;

/// Most restarts of one validator's components within a minute that can be taken.
const RESTARTS_MAX: u32 = 1_000_000;

/// Options of `phalanx node`.
#[derive(Clone, Debug, Args)]
pub struct NodeOptions {
    /// Runs this many validators in this process, 1 to 16, each a whole quorum store with a disk of its own. The first one has
    /// the blocks executed; the others take over what they came to. Default: 4.
    #[arg(
        long,
        value_name = "N",
        default_value = "4",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=VALIDATORS_MAX as u64)
    )]
    pub validators: usize,

    /// Executes blocks with this many shards, 1 to 384; `auto` takes one per core that this process may use, less one for the
    /// coordinator when there are more than two. Default: auto.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// How long cores may take to wake up.
    #[command(flatten)]
    pub idle: IdleOptions,

    /// Keeps everything that must survive in this directory, and goes on where the last node with it ended. Give the same
    /// --validators, --accounts and --seed each time; others are refused. The directory is made if it is missing. Default: a
    /// temporary directory, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Begins the ledger with this many accounts, from which --load makes its transfers. Default: 10000.
    #[arg(
        long,
        value_name = "K",
        default_value = "10000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=10_000_000)
    )]
    pub accounts: usize,

    /// Takes transactions and questions over HTTP at this address, such as 127.0.0.1:7878; port 0 is any free one. What it is
    /// stands on standard error. Whoever can reach it may submit. Default: 127.0.0.1:0.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub listen: SocketAddr,

    /// Has clients of its own submit this many signed transfers per second, 1 to 100000, each followed to its end. Default:
    /// none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub load: Option<u64>,

    /// Runs for this long, such as 60s or 2h, then waits for the end of every transaction and stops. Default: until SIGINT or
    /// SIGTERM.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,

    /// Waits this long at most, after --duration, until every transaction has its end, all validators stand at the same commit and
    /// nothing is excluded any more. Default: 90s.
    #[arg(long, value_name = "TIME", default_value = "90s", hide_default_value = true, value_parser = parse_time)]
    pub settle_limit: Duration,

    /// Lets the transfers of --load expire when they are not in a block after this long; whole seconds. Default: 40s.
    #[arg(long, value_name = "TIME", default_value = "40s", hide_default_value = true, value_parser = parse_time)]
    pub expire_after: Duration,

    /// Kills one component of one validator this often, both drawn at random; it is started again by its supervision. Default:
    /// never.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub kill_components_every: Option<Duration>,

    /// Sends SIGKILL to one shard process this often, drawn at random. Default: never.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub kill_shards_every: Option<Duration>,

    /// Ends the node, with exit code 10, when the components of one validator had to be started again more often than this within
    /// a minute. Default: 30; with --kill-components-every, 30 more than it causes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(RESTARTS_MAX)))]
    pub restarts_per_minute: Option<u32>,

    /// Makes blocks straight from one queue, without validators and with nothing on a disk: what the rest is measured against.
    /// Default: batches, proofs, everything durable.
    #[arg(long, conflicts_with_all = ["validators", "state_dir", "kill_components_every", "restarts_per_minute"])]
    pub plain: bool,

    /// Derives the validators' keys, the accounts, the load and what is killed from this number. Default: 1.
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    pub seed: u64,

    /// Executes only. Default: every block is executed again by a sequential executor with a state of its own, and outputs and
    /// state digests are compared.
    #[arg(long)]
    pub no_verify: bool,

    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Everything else goes to
    /// standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Logs more on standard error: `-v` for info, `-vv` for debug. Default: warnings, or only errors with --kill-*, or what
    /// RUST_LOG says.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl NodeOptions {
    /// Whether it kills anything of its own.
    pub fn is_chaos(&self) -> bool {
        self.kill_components_every.is_some() || self.kill_shards_every.is_some()
    }

    /// Number of validators.
    pub fn validators(&self) -> usize {
        if self.plain { 0 } else { self.validators }
    }

    /// Restarts of the components of one validator within a minute that are taken.
    pub fn restart_limit(&self) -> u32 {
        const BY_THEMSELVES: u32 = 30;
        let minute = Duration::from_secs(60).as_micros();
        let by_kills = self.kill_components_every.map_or(0, |every| minute / every.as_micros().max(1) + 1);
        let by_kills = u32::try_from(by_kills).unwrap_or(u32::MAX);
        // More kills than that are not possible.
        self.restarts_per_minute.unwrap_or_else(|| BY_THEMSELVES.saturating_add(by_kills).min(RESTARTS_MAX))
    }
}
