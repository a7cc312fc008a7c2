//! Why a node did not start, or could not tell how it ended.

use crate::exit::Exit;
use crate::run::RunError;
use phalanx::durable::DurableError;
use phalanx::quorum_store::{CommitteeError, StartError};
use phalanx::state::StateError;
use phalanx::supervisor::LaunchError;
use phalanx::vm::ledger::GenesisError;
use phalanx_bench::WorkloadError;
use phalanx_ipc::ControlError;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why a node did not start, or could not tell how it ended.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The accounts are impossible.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The first state is impossible.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The ledger's state directory cannot be opened.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Shards, or the oracle's state, cannot be had.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file or directory of the node cannot be had.
    #[error("cannot {step} {}: {cause}; give another --state-dir, or mend this one", path.display())]
    Home {
        /// What was tried, as a verb.
        step: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The directory is of a node with other options.
    #[error("{} was made with {kept}, this node has {given}; give the same options, or another directory", directory.display())]
    OtherNode {
        /// The directory.
        directory: PathBuf,
        /// What it was made with.
        kept: String,
        /// What was given.
        given: String,
    },
    /// What the directory was made with cannot be read.
    #[error("{} does not say what the directory was made with; remove it if you know that the options are the same", path.display())]
    NodeFile {
        /// The file.
        path: PathBuf,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {cause}; choose another --listen, port 0 is any free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// The validators did not start.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The control segment of the shards cannot be read.
    #[error("cannot find the shards to kill: {0}; leave --kill-shards-every out")]
    Victims(#[from] ControlError),
    /// Signals cannot be watched, or no thread can be started.
    #[error("cannot start: {0}; raise the limits of this session (ulimit -a shows them)")]
    Resource(#[from] std::io::Error),
    /// The report could not be written.
    #[error("cannot write the report: {0}; give standard output another place to go")]
    Report(std::io::Error),
}

impl From<StateError> for NodeError {
    fn from(error: StateError) -> NodeError {
        NodeError::Run(error.into())
    }
}

impl From<LaunchError> for NodeError {
    fn from(error: LaunchError) -> NodeError {
        NodeError::Run(error.into())
    }
}

impl NodeError {
    /// How the command ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            NodeError::Workload(_) => Exit::Usage,
            NodeError::Durable(_)
            | NodeError::Home { .. }
            | NodeError::OtherNode { .. }
            | NodeError::NodeFile { .. } => Exit::State,
            NodeError::Committee(error) => exit_of_committee(error),
            NodeError::Run(error) => error.exit(),
            NodeError::Genesis(_)
            | NodeError::Listen { .. }
            | NodeError::Victims(_)
            | NodeError::Resource(_) => Exit::Start,
            NodeError::Report(_) => Exit::Failed,
        }
    }
}

fn exit_of_committee(error: &CommitteeError) -> Exit {
    match error {
        CommitteeError::Disk(_)
        | CommitteeError::Disagreement(_)
        | CommitteeError::Start(StartError::Disk(_)) => Exit::State,
        CommitteeError::Option(_) | CommitteeError::Start(StartError::Option(_)) => Exit::Usage,
        CommitteeError::Keys(_) => Exit::Start,
    }
}
