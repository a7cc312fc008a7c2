//! Why a base state cannot be made, read or changed.

use crate::types::OutOfRange;
use phalanx_ipc::RegionError;
use thiserror::Error;

/// A base state that cannot be made, read or changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// A size that no state can have.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The region could not be made or mapped.
    #[error("base state: {0}")]
    Region(#[from] RegionError),
    /// The table holds as many entries as it was made for.
    #[error(
        "base state is full: {entries} entries and {more} to come, the limit is {limit}; raise max_entries"
    )]
    Full {
        /// Entries present.
        entries: u64,
        /// Entries about to be added.
        more: u64,
        /// Most entries.
        limit: u64,
    },
    /// The heap for long entries is used up.
    #[error("base state's heap is full: {used} bytes used of {limit}; raise heap_bytes")]
    HeapFull {
        /// Bytes handed out.
        used: u64,
        /// Size of the heap.
        limit: u64,
    },
}
