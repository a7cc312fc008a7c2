//! `phalanx bench ring`: the rings beside their peers.

use crate::bench::RingArguments;
use crate::bench::page_file::PageFile;
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use indicatif::{ProgressBar, ProgressStyle};
use phalanx_bench::report::BenchReport;
use phalanx_bench::ring::{RingOptions, Step, TransportName, page, run, table};
use std::io::{IsTerminal, stderr};

const TEMPLATE: &str = "{wide_bar} {pos}/{len}, {elapsed}, {msg}";

/// Runs the command.
pub fn command(arguments: &RingArguments) -> Exit {
    let file = match arguments.report.as_deref().map(PageFile::create).transpose() {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let options = options(arguments);
    let bar = bar();
    let rows = run(&options, |step| show(&bar, &step));
    bar.finish_and_clear();
    let report = BenchReport::new(rows);
    if let Some(Err(exit)) = file.map(|file| file.write(&page(&report))) {
        return exit;
    }
    let text = match arguments.format {
        Format::Text => Ok(table(&report)),
        Format::Json => report.json().map_err(std::io::Error::from),
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

/// Each transport and size once, in the order of the tables.
fn options(arguments: &RingArguments) -> RingOptions {
    let wanted = |transport: &TransportName| {
        transport.is_built_in() && (arguments.transport.is_empty() || arguments.transport.contains(transport))
    };
    let mut payloads = arguments.payload.clone();
    payloads.sort_unstable();
    payloads.dedup();
    RingOptions {
        rounds: arguments.rounds,
        millis: arguments.millis,
        payloads,
        transports: TransportName::ALL.into_iter().filter(wanted).collect(),
    }
}

/// Shown on standard error when that is a terminal.
fn bar() -> ProgressBar {
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, step: &Step) {
    bar.set_length(step.total as u64);
    bar.set_position(step.done as u64);
    bar.set_message(format!("{} {} B", step.job.transport, step.job.payload.bytes()));
}
