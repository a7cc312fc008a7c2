//! Why recovery could not be measured.

use crate::exit::Exit;
use crate::run::RunError;
use phalanx_ipc::{ControlError, HandleError};
use std::time::Duration;
use thiserror::Error;

/// Why recovery could not be measured.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The blocks or the family could not be had, or a block failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The family's control segment cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A shard cannot be signalled to.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// A thread, a directory or a limit could not be had.
    #[error("cannot start: {0}; raise the limits of this session (ulimit -a shows them)")]
    Resource(#[from] std::io::Error),
    /// No shard got as far as a kill needs.
    #[error(
        "no shard was at work with {wanted_mib} MiB touched within {waited:?} (the most was {most_mib} MiB); lower --state-mib"
    )]
    NotTouched {
        /// Mebibytes wanted.
        wanted_mib: u64,
        /// The most seen.
        most_mib: u64,
        /// For how long it was waited.
        waited: Duration,
    },
    /// A thread of this process is gone.
    #[error("the thread that kills panicked; report it")]
    Panicked,
}

impl RecoveryError {
    /// How the command ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            RecoveryError::Run(error) => error.exit(),
            RecoveryError::Resource(_) => Exit::Start,
            RecoveryError::Control(_)
            | RecoveryError::Handle(_)
            | RecoveryError::NotTouched { .. }
            | RecoveryError::Panicked => Exit::Failed,
        }
    }
}
