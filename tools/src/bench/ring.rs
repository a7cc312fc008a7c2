//! `phalanx bench ring`: the rings beside their peers.

use crate::bench::RingArguments;
use crate::bench::page_file::PageFile;
use crate::bench::progress::{self, bar};
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::print_error;
use phalanx_bench::report::BenchReport;
use phalanx_bench::ring::{RingOptions, TransportName, matrix, matrix_table, page, run, table};
use phalanx_ipc::allowed_cores;

/// Runs the command.
pub fn command(arguments: &RingArguments) -> Exit {
    if arguments.matrix {
        return pairs_of_cores(arguments);
    }
    let file = match arguments.report.as_deref().map(PageFile::create).transpose() {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let options = options(arguments);
    let bar = bar();
    let rows = run(&options, |step| {
        let what = format!("{} {} B", step.job.transport, step.job.payload.bytes());
        progress::show(&bar, step.done, step.total, what);
    });
    bar.finish_and_clear();
    let report = BenchReport::new(rows);
    if let Some(Err(exit)) = file.map(|file| file.write(&page(&report))) {
        return exit;
    }
    progress::publish(match arguments.format {
        Format::Text => Ok(table(&report)),
        Format::Json => report.json().map_err(std::io::Error::from),
    })
}

/// The ring between every two cores.
fn pairs_of_cores(arguments: &RingArguments) -> Exit {
    let cores: Vec<usize> = match &arguments.cores {
        Some(cores) => cores.iter().filter_map(|core| usize::try_from(core).ok()).collect(),
        None => allowed_cores().unwrap_or_default(),
    };
    if cores.len() < 2 {
        print_error("a matrix needs two cores; give more with --cores, or allow more to this process");
        return Exit::Usage;
    }
    let bar = bar();
    let rows = matrix(&cores, arguments.rounds, arguments.millis, |step| {
        let what = format!("core {} to {}", step.cores.near, step.cores.far);
        progress::show(&bar, step.done, step.total, what);
    });
    bar.finish_and_clear();
    let report = BenchReport::new(rows);
    progress::publish(match arguments.format {
        Format::Text => Ok(matrix_table(&report)),
        Format::Json => report.json().map_err(std::io::Error::from),
    })
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
