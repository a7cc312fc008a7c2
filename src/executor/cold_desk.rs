//! What a shard fetches from the store in one round, because the base state is a cache and does not hold it.

use crate::durable::{ColdReads, ColdStore};
use crate::executor::local::LocalStore;
use crate::types::{KeyId, OBSERVED_BYTES_MAX, OutputWriter};

/// A value that was fetched and that the coordinator has not been told yet.
#[derive(Clone, Copy, Debug)]
struct Fetched {
    /// The shard's number of the key.
    key: u32,
    start: usize,
    /// `None`: the state has no such key.
    bytes: Option<usize>,
}

/// Fetches for one round.
#[derive(Debug, Default)]
pub(super) struct ColdDesk<'c> {
    reads: Option<ColdReads<'c>>,
    key: Vec<u8>,
    fetched: Vec<Fetched>,
    values: Vec<u8>,
    failed: Option<String>,
}

impl<'c> ColdDesk<'c> {
    /// Over a store; without one everything must be in the base state.
    pub(super) fn over(store: Option<&'c ColdStore>) -> ColdDesk<'c> {
        ColdDesk { reads: store.map(ColdStore::reads), ..ColdDesk::default() }
    }

    /// Names the key that [`fetch`](Self::fetch) asks for.
    pub(super) fn ask(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
    }

    /// Puts the value of the key last asked for where base values are, and keeps it for the coordinator if it is short.
    pub(super) fn fetch(&mut self, number: u32, local: &mut LocalStore) {
        let answer = match &mut self.reads {
            Some(reads) => reads.get(&self.key).map_err(|error| error.to_string()),
            None => Err("the base state does not hold a key, and there is no store".to_owned()),
        };
        match answer {
            Ok(value) => {
                local.put_fetched(number, value);
                let (start, bytes) = (self.values.len(), value.map(<[u8]>::len));
                if bytes.is_none_or(|bytes| bytes <= OBSERVED_BYTES_MAX) {
                    self.values.extend_from_slice(value.unwrap_or(&[]));
                    self.fetched.push(Fetched { key: number, start, bytes });
                }
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                local.put_fetched(number, None);
            }
        }
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.fetched.is_empty()
    }

    /// Tells the coordinator what was fetched since the last time, in an output; `key_of` has id and bytes of a key.
    pub(super) fn tell<'k>(
        &mut self,
        output: &mut OutputWriter,
        key_of: impl Fn(u32) -> Option<(KeyId, &'k [u8])>,
    ) {
        for Fetched { key, start, bytes } in self.fetched.drain(..) {
            let value = bytes.and_then(|bytes| self.values.get(start..start + bytes));
            if let Some((id, name)) = key_of(key) {
                output.push_cold(id, name, value);
            }
        }
        self.values.clear();
    }

    /// Why the store did not answer, if it did not: what was computed since is made up.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}
