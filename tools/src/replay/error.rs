//! Why a replay ends early.

use crate::exit::Exit;
use crate::signals::StopSignal;
use phalanx::durable::DurableError;
use phalanx::executor::ExecuteError;
use phalanx::state::StateError;
use phalanx::supervisor::LaunchError;
use phalanx::types::PrepareError;
use phalanx_bench::ethereum::{InputError, ReferenceError};
use std::path::PathBuf;
use thiserror::Error;

/// Why a replay ends early.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A file is broken or incomplete.
    #[error(transparent)]
    Input(#[from] InputError),
    /// revm alone cannot execute the block: the block or the state before it is not what it should be.
    #[error("block {block}: {cause}; look at its block.json, prestate.json and block_hashes.json")]
    Reference {
        /// The block's number.
        block: u64,
        /// What revm says.
        cause: ReferenceError,
    },
    /// The sidecar lacks a block.
    #[error("{file}: expected the access sets of block {block} with {items} items, found {found}; write them with --write-access", file = file.display())]
    NoAccess {
        /// The sidecar.
        file: PathBuf,
        /// The block's number.
        block: u64,
        /// How many access sets it needs.
        items: usize,
        /// How many are there.
        found: usize,
    },
    /// No file has the access list of a block.
    #[error("{file}: expected the access list of block {block}, found none; give --access", file = file.display())]
    NoList {
        /// The file that was looked at.
        file: PathBuf,
        /// The block's number.
        block: u64,
    },
    /// The state directory of a block is of no use.
    #[error("block {block} cannot be made durable: {cause}")]
    Durable {
        /// The block's number.
        block: u64,
        /// Why.
        cause: DurableError,
    },
    /// The directory for those of the blocks cannot be made.
    #[error("cannot make {}: {cause}; make the directory above it, or name another one", directory.display())]
    Directory {
        /// Which one.
        directory: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A state directory is asked for where there is none.
    #[error(
        "only the processes executor has a state directory; leave --state-dir out or take --executor processes"
    )]
    NothingDurable,
    /// Memory, threads or processes cannot be had.
    #[error("the executor cannot start: {0}")]
    Start(String),
    /// A block cannot be prepared or executed.
    #[error("block {block}: {cause}")]
    Execute {
        /// The block's number.
        block: u64,
        /// Why.
        cause: String,
    },
    /// Somebody asked for the end.
    #[error("ended by {0}")]
    Stopped(StopSignal),
    /// Signals cannot be watched, or no thread can be started.
    #[error("signals cannot be watched: {0}")]
    Signals(std::io::Error),
    /// The sidecar cannot be written.
    #[error("{file} cannot be written: {source}", file = file.display())]
    Sidecar {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ReplayError {
    /// A block that cannot be executed.
    pub fn execute(block: u64, cause: impl ToString) -> ReplayError {
        ReplayError::Execute { block, cause: cause.to_string() }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            ReplayError::Input(_)
            | ReplayError::Reference { .. }
            | ReplayError::NoAccess { .. }
            | ReplayError::NoList { .. } => Exit::Workload,
            ReplayError::Durable { .. } | ReplayError::Directory { .. } => Exit::State,
            ReplayError::NothingDurable => Exit::Usage,
            ReplayError::Start(_) | ReplayError::Signals(_) => Exit::Start,
            ReplayError::Stopped(signal) => signal.exit(),
            ReplayError::Execute { .. } | ReplayError::Sidecar { .. } => Exit::Failed,
        }
    }
}

impl From<StateError> for ReplayError {
    fn from(error: StateError) -> ReplayError {
        ReplayError::Start(error.to_string())
    }
}

impl From<LaunchError> for ReplayError {
    fn from(error: LaunchError) -> ReplayError {
        ReplayError::Start(error.to_string())
    }
}

impl From<ExecuteError> for ReplayError {
    fn from(error: ExecuteError) -> ReplayError {
        ReplayError::Start(error.to_string())
    }
}

impl From<PrepareError> for ReplayError {
    fn from(error: PrepareError) -> ReplayError {
        ReplayError::Start(error.to_string())
    }
}
