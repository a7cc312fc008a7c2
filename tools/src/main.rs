//! The command `phalanx`.
#![deny(unsafe_code)]

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
    phalanx::supervisor_entry();
    let cli = Cli::parse();
    let exit = match cli.command {
        Command::Run(options) => run::command(options),
    };
    exit.into()
}
