//! `phalanx conformance`: Ethereum's own tests of the whole protocol, executed over shards and judged by state roots.

mod engine;
mod error;
mod options;
mod progress;
mod report;
mod search;
mod test_file;
mod verdict;
mod workers;

use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use error::ConformanceError;
use phalanx::topology::Host;
use report::Report;
use std::time::Instant;

pub use options::ConformanceOptions;

/// Runs the command.
pub fn command(options: &ConformanceOptions) -> Exit {
    let filter = crate::logging::filter(options.verbose);
    phalanx::telemetry::log_to_stderr(&filter);
    let report = match run(options, &filter) {
        Ok(report) => report,
        Err(error) => {
            print_error(&error);
            return error.exit();
        }
    };
    let text = match options.format {
        Format::Text => Ok(report.text(options.reasons)),
        Format::Json => serde_json::to_string(&report).map(|line| line + "\n").map_err(std::io::Error::from),
    };
    if let Err(error) = text.and_then(|text| print(&text)) {
        print_error(format!("the report cannot be written: {error}"));
        return Exit::Failed;
    }
    match (report.failed, report.failures.iter().all(|failure| failure.broken)) {
        (0, _) => Exit::Ok,
        (_, true) => Exit::Workload,
        (_, false) => Exit::Mismatch,
    }
}

fn run(options: &ConformanceOptions, filter: &str) -> Result<Report, ConformanceError> {
    let begun = Instant::now();
    let files = search::find_files(&options.paths)?;
    let cores = Host::detect().map_err(|error| ConformanceError::Start(error.to_string()))?.cores();
    let jobs = options.jobs.unwrap_or(cores).min(files.len());
    let mut report = workers::run_files(options, &files, jobs, filter)?;
    report.took(begun.elapsed());
    Ok(report)
}
