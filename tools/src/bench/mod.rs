//! `phalanx bench`: measurements, each a report of its own.

mod options;
mod page_file;
mod ring;

use crate::exit::Exit;
pub use options::{BenchOptions, Benchmark, RingArguments};

/// Runs the benchmark that was asked for.
pub fn command(options: BenchOptions) -> Exit {
    match options.benchmark {
        Benchmark::Ring(arguments) => ring::command(&arguments),
    }
}
