//! Why a trial could not be held. What it finds is no error but part of its report.

use crate::exit::Exit;
use crate::run::RunError;
use phalanx_bench::ethereum::InputError;
use phalanx_ipc::ControlError;
use thiserror::Error;

/// Why a trial could not be held.
#[derive(Debug, Error)]
pub enum ChaosError {
    /// The blocks or the family could not be had, or a block could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file of a block is broken or incomplete.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The monkey could not be started, or ended early.
    #[error("the process that injects faults failed: {0}; run again with -v for more")]
    Monkey(String),
    /// The family's control segment cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A thread or a limit could not be had.
    #[error("cannot start: {0}; raise the limits of this session (ulimit -a shows them)")]
    Resource(#[from] std::io::Error),
}

impl ChaosError {
    /// How the command ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            ChaosError::Run(error) => error.exit(),
            ChaosError::Input(_) => Exit::Workload,
            ChaosError::Monkey(_) | ChaosError::Control(_) => Exit::Failed,
            ChaosError::Resource(_) => Exit::Start,
        }
    }
}
