//! Single entries of the state as the store has them, for whoever does not find them in the table.

use crate::durable::error::DurableError;
use crate::durable::store::{Entries, Store};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a process finds the store, to open it beside its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColdOrder {
    directory: PathBuf,
    bytes: u64,
}

/// The store, open for reading.
#[derive(Clone, Debug)]
pub(crate) struct ColdStore(Arc<Store>);

impl ColdStore {
    pub(super) fn of_owner(store: &Arc<Store>) -> ColdStore {
        ColdStore(Arc::clone(store))
    }

    /// Opens it in a process of its own.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(crate) fn open(order: &ColdOrder) -> Result<ColdStore, DurableError> {
        Ok(ColdStore(Arc::new(Store::open_beside(&order.directory, order.bytes)?)))
    }

    /// For another process.
    pub(super) fn order(&self, bytes: u64) -> ColdOrder {
        ColdOrder { directory: self.0.directory().to_owned(), bytes }
    }

    /// Takes this thread's slot among LMDB's readers, so that no later read waits for a lock that a stopped process may
    /// hold.
    pub(crate) fn take_seat(&self) {
        if let Err(error) = self.reads().get(&[]) {
            // Shows again when something is needed.
            tracing::warn!(%error, "store cannot be read");
        }
    }

    /// Reads for one round, or between two rounds: nothing is opened before the first one.
    pub(crate) fn reads(&self) -> ColdReads<'_> {
        ColdReads { store: &self.0, entries: None }
    }
}

/// Reads of one round: all see the store as it is at the first of them. The thread must have no others open.
pub(crate) struct ColdReads<'s> {
    store: &'s Store,
    entries: Option<Entries<'s>>,
}

impl fmt::Debug for ColdReads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdReads").field("open", &self.entries.is_some()).finish_non_exhaustive()
    }
}

impl ColdReads<'_> {
    /// The value of a key; `None` if it has none.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>, DurableError> {
        let entries = match self.entries.take() {
            Some(entries) => entries,
            None => self.store.read_entries()?,
        };
        self.entries.insert(entries).get(key)
    }
}
