//! `phalanx bench executor`: the executors beside each other.

use crate::bench::ExecutorArguments;
use crate::bench::page_file::PageFile;
use crate::bench::progress::{self, bar};
use crate::cli::Format;
use crate::exit::Exit;
use crate::output::print_error;
use phalanx_bench::WorkloadError;
use phalanx_bench::executor::{
    BenchError, ExecutorName, ExecutorOptions, OneBlock, WorkloadName, one_block, page, run, table,
};
use phalanx_bench::report::BenchReport;
use phalanx_bench::report::page::Figure;
use std::time::Duration;

/// Runs the command.
pub fn command(arguments: &ExecutorArguments) -> Exit {
    phalanx::telemetry::log_to_stderr(&crate::logging::filter(0));
    let file = match arguments.report.as_deref().map(PageFile::create).transpose() {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let options = options(arguments);
    let bar = bar();
    let rows = run(&options, |step| progress::show(&bar, step.done, step.total, step.what));
    bar.finish_and_clear();
    match rows {
        Ok(rows) => {
            let report = BenchReport::new(rows);
            let page_of = |file: PageFile| file.write(&page(&report, timeline(&options).as_ref()));
            if let Some(Err(exit)) = file.map(page_of) {
                return exit;
            }
            progress::publish(match arguments.format {
                Format::Text => Ok(table(&report)),
                Format::Json => report.json().map_err(std::io::Error::from),
            })
        }
        Err(error) => {
            print_error(&error);
            exit_of(&error)
        }
    }
}

/// One block over as many shards as have a core each; a page without it is better than none.
fn timeline(options: &ExecutorOptions) -> Option<Figure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let fitting = options.shards.iter().copied().filter(|&shards| shards <= cores).max();
    let shards = fitting.or(options.shards.first().copied())?;
    let signed = options.signatures.first().copied()?;
    let block_size = options.reference_block_size()?;
    let drawn = one_block(OneBlock { shards, signed, block_size, accounts: options.accounts });
    drawn.inspect_err(|error| tracing::warn!(%error, "the page has no timeline")).ok()
}

/// Everything once and in the order of the tables; what was not given by its default.
fn options(arguments: &ExecutorArguments) -> ExecutorOptions {
    let quick = arguments.quick;
    let numbers = |given: &Vec<usize>, usual: &[usize], least: &[usize]| {
        let mut numbers = match (given.as_slice(), quick) {
            ([], false) => usual.to_vec(),
            ([], true) => least.to_vec(),
            (given, _) => given.to_vec(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let (workloads, executors) = (&arguments.workloads, &arguments.executors);
    let signatures: Vec<bool> = arguments.signatures.iter().map(|choice| choice.signed()).collect();
    ExecutorOptions {
        workloads: WorkloadName::ALL
            .into_iter()
            .filter(|it| workloads.is_empty() || workloads.contains(it))
            .collect(),
        executors: ExecutorName::ALL
            .into_iter()
            .filter(|it| executors.is_empty() || executors.contains(it))
            .collect(),
        shards: numbers(&arguments.shards, &usual_shards(), &[1, 2]),
        block_sizes: numbers(&arguments.block_sizes, &[1_000, 10_000, 50_000], &[200]),
        signatures: [false, true]
            .into_iter()
            .filter(|it| signatures.is_empty() || signatures.contains(it))
            .collect(),
        rounds: arguments.rounds.unwrap_or(if quick { 2 } else { 12 }),
        budget: Duration::from_secs_f64(arguments.seconds),
        accounts: arguments.accounts.unwrap_or(if quick { 1_000 } else { 100_000 }),
        trace: arguments.trace_file.clone(),
        quick,
    }
}

/// 1, 2, 4 and so on, up to twice the cores.
fn usual_shards() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (2 * cores).min(phalanx::MAX_SHARDS);
    let powers = std::iter::successors(Some(1), |shards| Some(shards * 2)).take_while(|&it| it < most);
    powers.chain([most]).collect()
}

fn exit_of(error: &BenchError) -> Exit {
    match error {
        BenchError::Mismatch { .. } => Exit::Mismatch,
        BenchError::Sequential { .. } | BenchError::Prepare(_) => Exit::Failed,
        BenchError::Genesis(_) | BenchError::State(_) => Exit::Start,
        BenchError::Workload(error) => exit_of_workload(error),
    }
}

fn exit_of_workload(error: &WorkloadError) -> Exit {
    match error {
        WorkloadError::TraceUnreadable { .. }
        | WorkloadError::TraceRow { .. }
        | WorkloadError::TraceEmpty { .. } => Exit::Workload,
        WorkloadError::TooFewAccounts { .. }
        | WorkloadError::TooManyAccounts { .. }
        | WorkloadError::EmptyBlocks
        | WorkloadError::BadSkew { .. } => Exit::Usage,
        WorkloadError::Genesis(_) => Exit::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_up_to_twice_the_cores() {
        let (shards, cores) = (usual_shards(), std::thread::available_parallelism().unwrap().get());
        assert_eq!((shards.first(), shards.last()), (Some(&1), Some(&(2 * cores).min(384))));
        assert!(shards.is_sorted_by(|left, right| left < right), "{shards:?}");
    }
}
