//! The command `phalanx`.
#![deny(unsafe_code)]

mod bench;
mod cli;
mod exit;
mod logging;
mod output;
mod run;
mod signals;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    // First: the supervisor of the shards is this very program, started again.
    phalanx_bench::executor::supervisor_entry();
    // And so is the far end of a ring that is measured between two processes.
    if let Some(exit) = phalanx_bench::ring::far_end_entry() {
        return exit;
    }
    let cli = Cli::parse();
    let exit = match cli.command {
        Command::Run(options) => run::command(options),
        Command::Bench(options) => bench::command(options),
    };
    exit.into()
}
