//! `phalanx bench`: measurements, each a report of its own.

mod options;
mod recovery;
mod ring;

use crate::exit::Exit;
pub use options::{BenchOptions, Benchmark, RecoveryArguments, RecoverySignal, RingArguments};

/// Runs the benchmark that was asked for.
pub fn command(options: BenchOptions) -> Exit {
    match options.benchmark {
        Benchmark::Ring(arguments) => ring::command(&arguments),
        Benchmark::Recovery(arguments) => recovery::command(&arguments),
    }
}
