//! Why a run of tests ends early.

use crate::exit::Exit;
use std::path::PathBuf;
use thiserror::Error;

/// Why a run of tests ends early.
#[derive(Debug, Error)]
pub enum ConformanceError {
    /// A path that was given cannot be read.
    #[error("{path} cannot be read: {source}; give files or folders with BlockchainTests", path = path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing to do.
    #[error("no file ending in .json was found; give files or folders with BlockchainTests")]
    NoFiles,
    /// Memory, threads or processes cannot be had.
    #[error("an executor cannot start: {0}; fewer --jobs or --shards need less")]
    Start(String),
}

impl ConformanceError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            ConformanceError::Unreadable { .. } | ConformanceError::NoFiles => Exit::Workload,
            ConformanceError::Start(_) => Exit::Start,
        }
    }
}
