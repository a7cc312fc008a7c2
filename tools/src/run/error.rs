//! Why a run ended early.

use crate::exit::Exit;
use phalanx::durable::DurableError;
use phalanx::executor::{Difference, ExecuteError};
use phalanx::state::StateError;
use phalanx::supervisor::LaunchError;
use phalanx::types::PrepareError;
use phalanx::vm::ledger::GenesisError;
use phalanx_bench::WorkloadError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum RunError {
    /// There are no blocks to execute.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The first state cannot be made.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The first state has no room.
    #[error("cannot make the first state: {0}; lower --accounts")]
    State(#[from] StateError),
    /// Shard processes cannot be had.
    #[error("{0}; lower --shards, or run again with -v for more")]
    Launch(#[from] LaunchError),
    /// Threads of this process cannot be had.
    #[error("cannot start the shard threads: {0}; lower --shards")]
    Threads(ExecuteError),
    /// Signals cannot be watched, or no thread can be started.
    #[error("cannot start: {0}; raise the limits of this session (ulimit -a shows them)")]
    Resource(#[from] std::io::Error),
    /// A block is too large for any executor.
    #[error("block {height}: {cause}; lower --block-size")]
    Prepare {
        /// The block.
        height: u64,
        /// What is wrong with it.
        cause: PrepareError,
    },
    /// A block was not executed.
    #[error("block {height} was not executed: {cause}; {}", next_move(cause))]
    Execute {
        /// The block.
        height: u64,
        /// Why.
        cause: ExecuteError,
    },
    /// A block was executed, but not by the sequential executor that verifies.
    #[error("block {height} cannot be verified: {cause}; run with --executor sequential to look into it")]
    Verify {
        /// The block.
        height: u64,
        /// Why.
        cause: ExecuteError,
    },
    /// A block was executed wrongly.
    #[error(
        "block {height} differs from sequential execution in {difference}; run it again with the same --seed and -vv, and report it"
    )]
    Mismatch {
        /// The block.
        height: u64,
        /// In what.
        difference: Difference,
    },
    /// The state directory cannot be opened.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The state directory has blocks of another workload.
    #[error(
        "{} was made with {kept}, this run has {given}; give the options that it was made with, or another directory",
        directory.display()
    )]
    OtherWorkload {
        /// The directory.
        directory: PathBuf,
        /// The option that it was made with.
        kept: String,
        /// The option now.
        given: String,
    },
    /// What says which workload a state directory has cannot be understood.
    #[error("{} cannot be understood; remove it if you know that the options are those of the last run", path.display())]
    WorkloadFile {
        /// The file.
        path: PathBuf,
    },
    /// Only shard processes have a state directory.
    #[error(
        "only the processes executor has a state directory; leave --state-dir out or take --executor processes"
    )]
    NothingDurable,
    /// The trace could not be written.
    #[error("cannot write the trace {}: {cause}; name a file in a writable folder with --trace", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// There is nothing to trace.
    #[error(
        "the sequential executor and block-stm have no timeline; leave --trace out or take --executor threads or processes"
    )]
    NothingToTrace,
    /// The kernel does not tell where pages are.
    #[error("cannot look where pages are: {0}; leave --placement-report out")]
    Places(ExecuteError),
    /// The report could not be written.
    #[error("cannot write the report: {0}; give standard output another place to go")]
    Report(std::io::Error),
    /// The run was told to end.
    #[error("the run was told to end; start it again")]
    Stopped,
    /// The thread that runs the blocks is gone.
    #[error("the run's thread panicked; report it with the lines above")]
    Panicked,
}

impl RunError {
    /// How the command ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            RunError::Workload(error) => exit_of_workload(error),
            RunError::Genesis(_)
            | RunError::State(_)
            | RunError::Launch(_)
            | RunError::Threads(_)
            | RunError::Resource(_) => Exit::Start,
            RunError::Mismatch { .. } => Exit::Mismatch,
            RunError::Durable(_)
            | RunError::OtherWorkload { .. }
            | RunError::WorkloadFile { .. }
            | RunError::Execute { cause: ExecuteError::Durable(_), .. } => Exit::State,
            RunError::NothingToTrace | RunError::NothingDurable => Exit::Usage,
            RunError::Prepare { .. }
            | RunError::Execute { .. }
            | RunError::Verify { .. }
            | RunError::Places(_)
            | RunError::Report(_)
            | RunError::Trace { .. }
            | RunError::Stopped
            | RunError::Panicked => Exit::Failed,
        }
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

fn next_move(cause: &ExecuteError) -> &'static str {
    match cause {
        ExecuteError::DeadlineExceeded { .. } => "raise --deadline-ms or lower --block-size",
        ExecuteError::ShardDied(_) => "run with --on-death resume to go on after a death",
        ExecuteError::Arena(_) => "lower --block-size",
        ExecuteError::State(_) => "lower --accounts",
        ExecuteError::NoProgress { .. } | ExecuteError::NoShards(_) => {
            "find out who ends the shards, -v shows each death"
        }
        ExecuteError::Busy { .. }
        | ExecuteError::OutOfRange(_)
        | ExecuteError::Cancelled { .. }
        | ExecuteError::PoisonTransaction { .. }
        | ExecuteError::StatePoisoned { .. }
        | ExecuteError::MemoryLost { .. }
        | ExecuteError::SupplyChanged { .. }
        | ExecuteError::Durable(_)
        | ExecuteError::Topology(_)
        | ExecuteError::Stopped
        | ExecuteError::System(_) => "run again with -v for more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_never_a_success() {
        let difference = Difference { txn: None, what: "state digest" };
        let error = RunError::Mismatch { height: 3, difference };
        assert_eq!(error.exit().code(), 3);
        let text = error.to_string();
        assert!(text.starts_with("block 3 differs from sequential execution in state digest; "), "{text}");
    }

    #[test]
    fn a_failed_block_names_the_option_that_helps() {
        let cause = ExecuteError::DeadlineExceeded { accepted: 1, transactions: 9, last_death: None };
        let error = RunError::Execute { height: 1, cause };
        assert_eq!(error.exit().code(), 1);
        assert!(error.to_string().contains("--deadline-ms"), "{error}");
    }
}
