//! Why outputs are not judged to the end.

use crate::durable::DurableError;
use crate::executor::watch::Stop;
use crate::partition::ArenaError;
use crate::state::StateError;
use crate::types::{OutputError, TxnIndex};
use phalanx_ipc::RegionError;

/// An output that cannot be used because its bytes make no sense: the shard's memory was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) txn: TxnIndex,
    /// The buffer that holds it, by order of collection.
    pub(super) buffer: usize,
    pub(super) error: OutputError,
}

/// Why validation itself cannot go on.
#[derive(Debug)]
pub(super) enum ValidateError {
    /// A shard's output makes no sense.
    Damaged(Damaged),
    /// The hardware has lost memory in which a shard's outputs lay.
    LostPage,
    /// The arena or the overlay has no room for what was learned.
    Arena(ArenaError),
    /// The base state has no room for what was fetched.
    State(StateError),
    /// The store did not answer.
    Store(DurableError),
    /// The caller's patience is over.
    Stopped(Stop),
}

impl From<StateError> for ValidateError {
    fn from(error: StateError) -> ValidateError {
        ValidateError::State(error)
    }
}

impl From<ArenaError> for ValidateError {
    fn from(error: ArenaError) -> ValidateError {
        ValidateError::Arena(error)
    }
}

impl From<RegionError> for ValidateError {
    fn from(error: RegionError) -> ValidateError {
        if matches!(error, RegionError::LostPage { .. }) {
            ValidateError::LostPage
        } else {
            ValidateError::Arena(error.into())
        }
    }
}

impl From<Stop> for ValidateError {
    fn from(stop: Stop) -> ValidateError {
        ValidateError::Stopped(stop)
    }
}
