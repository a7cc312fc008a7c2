//! `phalanx bench quorum`: what each step of the quorum store costs, one after the other on one thread.

mod error;
mod line;
mod rows;

use crate::bench::{QuorumArguments, progress};
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::print_error;
use phalanx_bench::report::BenchReport;
use rows::table;

/// Runs the command.
pub fn command(arguments: &QuorumArguments) -> Exit {
    phalanx::telemetry::log_to_stderr(&crate::logging::filter(0));
    match line::run(arguments) {
        Ok(rows) => {
            let report = BenchReport::new(rows);
            progress::publish(match arguments.format {
                Format::Text => Ok(table(&report)),
                Format::Json => report.json().map_err(std::io::Error::from),
            })
        }
        Err(error) => {
            print_error(&error);
            error.exit()
        }
    }
}
