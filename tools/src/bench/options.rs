//! The command line of `phalanx bench`.

use crate::cli::Format;
use crate::placement_options::{Numbers, parse_numbers};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use phalanx::MAX_SHARDS;
use phalanx_bench::executor::{ExecutorName, WorkloadName};
use phalanx_bench::ring::{Payload, TransportName};
use std::path::PathBuf;

/// The longest measurement: a minute, in milliseconds.
const MILLIS_LIMIT: u64 = 60_000;

/// Options of `phalanx bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// What to measure.
    #[command(subcommand)]
    pub benchmark: Benchmark,
}

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Benchmark {
    /// Measures the rings beside other ways to pass messages on one host: throughput, round trip, wake-up.
    ///
    /// Each end has a core of its own; transports take turns, round by round. Every word of every message is written,
    /// read and verified. A transport that fails has the reason in its row. Targets are judged by the median of the
    /// ratios of the rounds; a missed target does not change the exit code. On a host with one core the ends share it
    /// and no target is judged. Nothing else should run on the host meanwhile.
    Ring(RingArguments),
    /// Measures how long it takes until a shard's death is known and until its successor is ready.
    ///
    /// A family executes blocks over a state so large that every shard has at least --state-mib of it mapped and touched
    /// when it is killed, in the middle of a round, with core dumps enabled. Times are from right before the signal is
    /// sent. Targets are judged by the 99th percentile; a missed target does not change the exit code. Nothing else
    /// should run on the host meanwhile.
    Recovery(RecoveryArguments),
    /// Measures the executors beside each other, on the same blocks, and against the performance budget.
    ///
    /// Contenders have a state each and take turns, round by round; generating, signing and preparing blocks is outside
    /// the measured time and told on its own. After each round every state digest must be that of sequential
    /// execution: otherwise the command ends with code 3 and no report. A contender that fails has the reason in its
    /// row; a missed target does not change the exit code. Then it measures what a value costs that crosses from one
    /// shard to another, and what a scaling model makes of it all. Nothing else should run on the host meanwhile. With
    /// all defaults it takes an hour or more.
    Executor(ExecutorArguments),
    /// Measures what durable state costs: throughput beside the same family in memory, the time from executed to durable,
    /// and recovery.
    ///
    /// Two families, one in memory and one on a state directory, execute the same blocks in turns, round by round, and
    /// their digests must agree. Then blocks are put into a log whose store is far behind, and the directory is opened.
    /// A missed target does not change the exit code. Nothing else should run on the host meanwhile.
    Durable(DurableArguments),
}

/// Options of `phalanx bench durable`.
#[derive(Clone, Debug, Args)]
pub struct DurableArguments {
    /// Makes the state directories in this directory, and removes them at the end. Default: the working directory.
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub directory: PathBuf,

    /// Gives each family so many turns. Default: 8.
    #[arg(
        long,
        value_name = "N",
        default_value = "8",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000)
    )]
    pub rounds: usize,

    /// Executes so many blocks in a turn. Default: 24.
    #[arg(
        long,
        value_name = "N",
        default_value = "24",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000)
    )]
    pub blocks: usize,

    /// Puts this many transactions into a block. Default: 10000.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    pub block_size: usize,

    /// Spreads the transfers over this many accounts. Default: 100000.
    #[arg(
        long,
        value_name = "N",
        default_value = "100000",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=u32::MAX as u64)
    )]
    pub accounts: usize,

    /// Uses this many shards, 1 to 384. Default: 2.
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        hide_default_value = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SHARDS as u64)
    )]
    pub shards: usize,

    /// Leaves signatures out. Default: all transactions are signed and verified.
    #[arg(long)]
    pub unsigned: bool,

    /// Recovers from a log with so many blocks of 100 unsigned transactions that the store lacks; 0 leaves it out.
    /// Default: 10000.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(0..=10_000_000)
    )]
    pub recovery_blocks: u64,

    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Everything else goes
    /// to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
}

/// Options of `phalanx bench recovery`.
#[derive(Clone, Debug, Args)]
pub struct RecoveryArguments {
    /// Kills a shard only when it has touched so much shared memory, in MiB. Default: 1024.
    #[arg(
        long,
        value_name = "MIB",
        default_value = "1024",
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=4096)
    )]
    pub state_mib: u64,

    /// Kills so often with each signal. Default: 1000.
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        hide_default_value = true,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub kills: u32,

    /// Kills by SIGKILL, SIGSEGV, SIGABRT, or by each of them in turn. Default: all.
    #[arg(long, value_enum, default_value_t = RecoverySignal::All, hide_default_value = true)]
    pub signal: RecoverySignal,

    /// Uses this many shards, 1 to 384. Default: 2.
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        hide_default_value = true,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=phalanx::MAX_SHARDS as u64)
    )]
    pub shards: usize,

    /// Puts this many transactions into a block. Default: 10000.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        hide_default_value = true,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    pub block_size: usize,

    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Everything else goes
    /// to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
}

/// By which signals shards are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecoverySignal {
    /// SIGKILL.
    Kill,
    /// SIGSEGV.
    Segv,
    /// SIGABRT.
    Abrt,
    /// Each of them.
    All,
}

/// Options of `phalanx bench ring`.
#[derive(Clone, Debug, Args)]
pub struct RingArguments {
    /// Gives every transport so many turns. Default: 5.
    #[arg(
        long,
        value_name = "N",
        default_value = "5",
        hide_default_value = true,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub rounds: u32,

    /// Measures for so long in each turn, in milliseconds. Default: 200.
    #[arg(
        long,
        value_name = "MS",
        default_value = "200",
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=MILLIS_LIMIT)
    )]
    pub millis: u64,

    /// Sends messages of these sizes, in bytes, separated by commas; round trip and wake-up are measured at 64 only.
    /// Default: 16,64,256,4096.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "16,64,256,4096",
        hide_default_value = true,
        value_delimiter = ',',
        value_parser = parse_payload
    )]
    pub payload: Vec<Payload>,

    /// Measures these transports only, separated by commas: phalanx (inbox and doorbell, as shards use them),
    /// phalanx-ring (the ring without its doorbell), rtrb, crossbeam, iceoryx2, unix-socket, pipe, tonic, ping-pong-1,
    /// ping-pong-2 (cache lines), futex. Default: all that were built in.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_transport)]
    pub transport: Vec<TransportName>,

    /// Measures the ring between every pair of cores instead: round trip, and one way in batches, in both directions.
    /// Default: the transports between two cores.
    #[arg(long, conflicts_with_all = ["transport", "payload", "report"])]
    pub matrix: bool,

    /// Takes these cores for the matrix, as in 0-3,8. Default: all that this process may use.
    #[arg(long, value_name = "LIST", requires = "matrix", value_parser = parse_numbers)]
    pub cores: Option<Numbers>,

    /// Prints the result on standard output as tables (text) or as exactly one JSON object (json). Everything else goes
    /// to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Writes a page with figures into this file as well, for a browser; it needs no network. Default: no page.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// Options of `phalanx bench executor`.
#[derive(Clone, Debug, Args)]
pub struct ExecutorArguments {
    /// Executes these workloads only, separated by commas: uniform, zipf-0.8, zipf-1.2, hot (everybody pays one account),
    /// hot-plain (the same without commutative writes), batch (eight recipients each), trace. Default: all.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_workload)]
    pub workloads: Vec<WorkloadName>,

    /// Compares these executors only, separated by commas: sequential, threads, block-stm, processes, processes-ahead (the
    /// next block is planned while one executes). The sequential one takes part in any case. Default: all.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_executor)]
    pub executors: Vec<ExecutorName>,

    /// Gives the executors these numbers of shards or threads, separated by commas, 1 to 384. Default: 1, 2, 4 and so on up
    /// to twice the cores.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SHARDS as u64))]
    pub shards: Vec<usize>,

    /// Puts so many transactions into a block, numbers separated by commas. The budget and the scaling model speak of
    /// blocks of 10000, or else of the greatest. Default: 1000,10000,50000.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub block_sizes: Vec<usize>,

    /// Signs and verifies transactions (signed), or does not (unsigned). Default: both.
    #[arg(long, value_name = "CHOICE", value_enum, value_delimiter = ',')]
    pub signatures: Vec<Signatures>,

    /// Gives every contender so many turns, after one to warm up. Default: 12.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: Option<u32>,

    /// Leaves out what is left of the rounds, but not the first two, when a setting has spent so many seconds on the clock per
    /// contender. Default: 5.
    #[arg(
        long,
        value_name = "S",
        default_value = "5",
        hide_default_value = true,
        value_parser = parse_seconds
    )]
    pub seconds: f64,

    /// Spreads the transfers over so many accounts; the trace brings its own. Default: 100000.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(10..=10_000_000))]
    pub accounts: Option<usize>,

    /// Takes the transfers of the workload `trace` from this CSV file with the header block,index,from,to,value_wei, from its
    /// start again when it ends. Default: none, that workload is skipped.
    #[arg(long, value_name = "FILE.csv")]
    pub trace_file: Option<PathBuf>,

    /// Looks only whether everything works, in seconds: two rounds of small blocks, 1 and 2 shards, 1000 accounts, where
    /// other options do not say otherwise. Default: no.
    #[arg(long)]
    pub quick: bool,

    /// Prints the result on standard output as tables (text) or as exactly one JSON object (json). Everything else goes
    /// to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,

    /// Writes a page with figures into this file as well, for a browser; it needs no network. Default: no page.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// Whether transactions are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signatures {
    /// They are, and the ledger verifies them.
    Signed,
    /// They are not, and the ledger does not look.
    Unsigned,
}

impl Signatures {
    /// Whether they are.
    pub fn signed(self) -> bool {
        self == Signatures::Signed
    }
}

fn parse_workload(text: &str) -> Result<WorkloadName, String> {
    let names = || WorkloadName::ALL.map(WorkloadName::name).join(", ");
    WorkloadName::ALL
        .into_iter()
        .find(|it| it.name() == text)
        .ok_or_else(|| format!("give one of {}", names()))
}

fn parse_executor(text: &str) -> Result<ExecutorName, String> {
    let names = || ExecutorName::ALL.map(ExecutorName::name).join(", ");
    ExecutorName::ALL
        .into_iter()
        .find(|it| it.name() == text)
        .ok_or_else(|| format!("give one of {}", names()))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("give a number from 0 to 86400".to_owned()),
    }
}

fn parse_payload(text: &str) -> Result<Payload, String> {
    let sizes = || Payload::ALL.map(|payload| payload.bytes().to_string()).join(", ");
    let payload = text.parse().ok().and_then(Payload::of_bytes);
    payload.ok_or_else(|| format!("give one of {}", sizes()))
}

fn parse_transport(text: &str) -> Result<TransportName, String> {
    let names = || TransportName::ALL.map(TransportName::name).join(", ");
    let transport = TransportName::ALL.into_iter().find(|transport| transport.name() == text);
    match transport {
        Some(transport) if transport.is_built_in() => Ok(transport),
        Some(_) => Err("it was not built in; build with the feature peers".to_owned()),
        None => Err(format!("give one of {}", names())),
    }
}
