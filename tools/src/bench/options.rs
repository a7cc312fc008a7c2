//! The command line of `phalanx bench`.

use crate::cli::Format;
use clap::{Args, Subcommand};
use phalanx_bench::ring::{Payload, TransportName};

/// The longest measurement: a minute, in milliseconds.
const MILLIS_LIMIT: u64 = 60_000;

/// The table of `--help`.
const EXIT_CODES: &str = "\
Exit codes:
    0  everything was measured, whatever the verdicts
    1  the report could not be written
    2  the options make no sense";

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
    #[command(after_help = EXIT_CODES)]
    Ring(RingArguments),
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
    /// rtrb, rtrb-paced (its reader keeps a distance), crossbeam, iceoryx2, unix-socket, pipe, tonic, ping-pong-1,
    /// ping-pong-2 (cache lines), futex. Default: all that were built in.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_transport)]
    pub transport: Vec<TransportName>,

    /// Prints the result on standard output as tables (text) or as exactly one JSON object (json). Everything else goes
    /// to standard error. Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
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
