//! The command `phalanx`.
#![deny(unsafe_code)]

mod bench;
mod chaos;
mod cli;
mod conformance;
mod doctor;
mod evm_executor;
mod exit;
mod idle_options;
mod kept_file;
mod logging;
mod node;
mod output;
mod percentiles;
mod placement_options;
mod proc;
mod replay;
mod run;
mod service;
mod signals;
mod state;
mod time;
mod topology;
mod victims;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    // First: the supervisor of the shards is this very program, started again.
    phalanx_bench::supervisor_entry();
    // And so is the far end of a ring that is measured between two processes.
    if let Some(exit) = phalanx_bench::ring::far_end_entry() {
        return exit;
    }
    // And so are the process that injects faults, and planted violations.
    if let Some(exit) = chaos::entry() {
        return exit.into();
    }
    let cli = Cli::parse();
    let exit = match cli.command {
        Command::Run(options) => run::command(options),
        Command::Node(options) => node::command(&options),
        Command::Bench(options) => bench::command(options),
        Command::Replay(options) => replay::command(&options),
        Command::Conformance(options) => conformance::command(&options),
        Command::Chaos(options) => chaos::command(&options),
        Command::State(options) => state::command(options),
        Command::Topology(options) => topology::command(&options),
        Command::Doctor(options) => doctor::command(&options),
    };
    exit.into()
}
