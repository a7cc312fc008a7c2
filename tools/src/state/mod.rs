//! `phalanx state`: looks at state directories, and snapshots of them.

mod options;
mod report;
mod snapshot_file;

use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use indicatif::{ProgressBar, ProgressStyle};
pub use options::{StateCommand, StateOptions};
use phalanx::durable::{DurableConfig, DurableError, inspect, verify};
use report::{SnapshotReport, StateReport};
use std::io::{IsTerminal, stderr};

const TEMPLATE: &str = "{wide_bar} {pos}/{len} entries, {elapsed}";
/// Entries between two looks of the bar.
const SHOW_EVERY: u64 = 1 << 12;

/// Runs the command.
pub fn command(options: StateOptions) -> Exit {
    phalanx::telemetry::log_to_stderr(&crate::logging::filter(0));
    match options.command {
        StateCommand::Export(arguments) => {
            let result =
                with_bar(|show| snapshot_file::export_to(&arguments.directory, &arguments.file, show));
            // On standard output is the snapshot itself.
            let silent = snapshot_file::is_stream(&arguments.file);
            finish(result.map(|head| if silent { String::new() } else { SnapshotReport::of(&head).table() }))
        }
        StateCommand::Import(arguments) => {
            let config = DurableConfig::new(arguments.directory);
            let result = with_bar(|show| snapshot_file::import_from(&config, &arguments.file, show));
            finish(result.map(|head| SnapshotReport::of(&head).table()))
        }
        StateCommand::Verify(arguments) => {
            let result = with_bar(|show| verify(&arguments.directory, show));
            finish_report(result.map(|report| StateReport::of(&report, true)), arguments.format)
        }
        StateCommand::Stat(arguments) => {
            let result = inspect(&arguments.directory);
            finish_report(result.map(|report| StateReport::of(&report, false)), arguments.format)
        }
    }
}

/// Shows on standard error how far it is, when that is a terminal.
fn with_bar<T>(work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> T) -> T {
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let result = work(&mut |done, all| {
        if done.is_multiple_of(SHOW_EVERY) {
            bar.set_length(all);
            bar.set_position(done);
        }
    });
    bar.finish_and_clear();
    result
}

fn finish_report(report: Result<StateReport, DurableError>, format: Format) -> Exit {
    match (report, format) {
        (Ok(report), Format::Text) => finish(Ok(report.table())),
        (Ok(report), Format::Json) => match report.json() {
            Ok(text) => finish(Ok(text)),
            Err(error) => {
                print_error(format_args!("cannot write the report: {error}; report it"));
                Exit::Failed
            }
        },
        (Err(error), Format::Text | Format::Json) => finish(Err(error)),
    }
}

fn finish(text: Result<String, DurableError>) -> Exit {
    match text {
        Ok(text) => match print(&text) {
            Ok(()) => Exit::Ok,
            Err(error) => {
                print_error(format_args!(
                    "cannot write the report: {error}; give standard output another place to go"
                ));
                Exit::Failed
            }
        },
        Err(error) => {
            print_error(&error);
            Exit::State
        }
    }
}
