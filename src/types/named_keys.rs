//! Keys that were given their ids before the block that names them is prepared.

use crate::types::key_list::KeyList;
use crate::types::{KeyHasher, KeyId, KeyTable, MAX_KEY_BYTES};
use std::sync::Arc;

/// Distinct keys, hashed and numbered as a block numbers its own: what a list of accesses that came with a block is decoded into. A
/// block [with them](crate::types::PreparedBlock::with_keys) shares them.
#[derive(Clone, Debug, Default)]
pub struct NamedKeys(Arc<KeyList>);

impl NamedKeys {
    /// The key's id, given now if it had none: ids are dense from 0. `None` for a key over [`MAX_KEY_BYTES`] (it cannot exist), and
    /// when there is no room for another one.
    pub fn name(&mut self, key: &[u8]) -> Option<KeyId> {
        let hash = || KeyHasher::of_process().hash(key);
        if key.len() > MAX_KEY_BYTES { None } else { Arc::make_mut(&mut self.0).intern(hash(), key) }
    }
}

/// The keys of a block: its own, or those of a list that others share until the block names another one.
#[derive(Clone, Debug)]
pub(super) enum BlockKeys {
    Own(KeyList),
    Named(NamedKeys),
}

impl BlockKeys {
    fn list(&self) -> &KeyList {
        match self {
            BlockKeys::Own(list) => list,
            BlockKeys::Named(NamedKeys(list)) => list,
        }
    }

    fn list_mut(&mut self) -> &mut KeyList {
        match self {
            BlockKeys::Own(list) => list,
            BlockKeys::Named(NamedKeys(list)) => Arc::make_mut(list),
        }
    }

    /// As [`KeyList::intern`].
    pub(super) fn intern(&mut self, hash: u64, key: &[u8]) -> Option<KeyId> {
        match self {
            BlockKeys::Own(list) => list.intern(hash, key),
            BlockKeys::Named(_) => self.table().find(hash, key).or_else(|| self.list_mut().intern(hash, key)),
        }
    }

    /// As [`KeyList::truncate`].
    pub(super) fn truncate(&mut self, keys: usize) {
        if keys < self.len() {
            self.list_mut().truncate(keys);
        }
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.list().len()
    }

    /// Index, records and bytes.
    pub(super) fn table(&self) -> KeyTable<'_> {
        self.list().table()
    }
}
