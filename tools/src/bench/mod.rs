//! `phalanx bench`: measurements, each a report of its own.

mod durable;
mod executor;
mod options;
mod page_file;
mod progress;
mod quorum;
mod recovery;
mod ring;

use crate::exit::Exit;
pub use options::{
    BenchOptions, Benchmark, DurableArguments, ExecutorArguments, QuorumArguments, RecoveryArguments,
    RecoverySignal, RingArguments,
};

/// Runs the benchmark that was asked for.
pub fn command(options: BenchOptions) -> Exit {
    match options.benchmark {
        Benchmark::Ring(arguments) => ring::command(&arguments),
        Benchmark::Recovery(arguments) => recovery::command(&arguments),
        Benchmark::Executor(arguments) => executor::command(&arguments),
        Benchmark::Durable(arguments) => durable::command(&arguments),
        Benchmark::Quorum(arguments) => quorum::command(&arguments),
    }
}
