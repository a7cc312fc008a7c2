//! `phalanx bench recovery`: from a kill to its notice, and to the successor's readiness, with a large state mapped.

mod error;
mod killer;
mod measure;
mod row;

use crate::bench::RecoveryArguments;
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use phalanx_bench::report::BenchReport;
use row::{RecoveryRow, RecoverySummary, table};
use serde::Serialize;

/// The report, and at its top what all signals came to together.
#[derive(Serialize)]
struct Summarised<'a> {
    #[serde(flatten)]
    report: &'a BenchReport<RecoveryRow>,
    #[serde(flatten)]
    summary: RecoverySummary,
}

fn json(report: &BenchReport<RecoveryRow>, summary: RecoverySummary) -> std::io::Result<String> {
    Ok(serde_json::to_string(&Summarised { report, summary })? + "\n")
}

/// Runs the command.
pub fn command(arguments: &RecoveryArguments) -> Exit {
    phalanx::telemetry::log_to_stderr(&crate::logging::filter_of_chaos(0));
    let rows = match measure::run(arguments) {
        Ok(rows) => rows,
        Err(error) => {
            print_error(&error);
            return error.exit();
        }
    };
    let report = BenchReport::new(rows);
    let text = match arguments.format {
        Format::Text => Ok(table(&report)),
        Format::Json => json(&report, RecoverySummary::of(arguments, &report.rows)),
    };
    match text.and_then(|text| print(&text)) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            print_error(format_args!(
                "cannot write the report: {error}; give standard output another place to go"
            ));
            Exit::Failed
        }
    }
}
