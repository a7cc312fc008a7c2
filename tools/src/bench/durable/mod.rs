//! `phalanx bench durable`: what durable state costs.

mod cold;
mod measure;
mod recover;
mod rows;

use crate::bench::{DurableArguments, progress};
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::print_error;
use crate::run::RunError;
use phalanx_bench::report::BenchReport;
use rows::{DurableRow, table};

/// Runs the command.
pub fn command(arguments: &DurableArguments) -> Exit {
    phalanx::telemetry::log_to_stderr(&crate::logging::filter(0));
    match rows(arguments) {
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

fn rows(arguments: &DurableArguments) -> Result<Vec<DurableRow>, RunError> {
    let home = tempfile::Builder::new().prefix("phalanx-bench-durable-").tempdir_in(&arguments.directory)?;
    let mut rows = measure::run(arguments, &home.path().join("throughput"))?;
    rows.push(cold::run(arguments, &home.path().join("cold"))?);
    if arguments.recovery_blocks > 0 {
        rows.push(recover::run(arguments, &home.path().join("recovery"))?);
    }
    Ok(rows)
}
