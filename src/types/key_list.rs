//! The distinct keys that a block declares, each with a dense id: what a block arena starts with.

use crate::types::KeyId;
use crate::types::key_table::{self, KeyRecord, KeyTable};

/// Bytes of a key for which room is made.
const USUAL_BYTES: usize = 32;

/// Keys in the order in which they were first named, and an index over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyList {
    records: Vec<KeyRecord>,
    bytes: Vec<u8>,
    index: Vec<u32>,
}

impl KeyList {
    /// The key's id, given now if it had none. None when there is no room for another one: 32 bits address all.
    pub(crate) fn intern(&mut self, hash: u64, key: &[u8]) -> Option<KeyId> {
        if let Some(found) = self.table().find(hash, key) {
            return Some(found);
        }
        let id = KeyId(u32::try_from(self.records.len()).ok().filter(|&id| id < u32::MAX - 1)?);
        let (offset, bytes) = (u32::try_from(self.bytes.len()).ok()?, u32::try_from(key.len()).ok()?);
        self.bytes.extend_from_slice(key);
        self.records.push(KeyRecord { hash, offset, bytes });
        if key_table::index_slots(self.records.len()) > self.index.len() {
            self.rebuild_index();
        } else {
            key_table::link(&mut self.index, hash, id);
        }
        Some(id)
    }

    /// Makes room for so many keys.
    pub(super) fn reserve(&mut self, keys: usize) {
        self.records.reserve(keys);
        self.bytes.reserve(keys * USUAL_BYTES);
    }

    /// Forgets all keys but the first `keys`.
    pub(crate) fn truncate(&mut self, keys: usize) {
        if let Some(record) = self.records.get(keys) {
            self.bytes.truncate(record.offset as usize);
            self.records.truncate(keys);
            self.rebuild_index();
        }
    }

    fn rebuild_index(&mut self) {
        self.index.clear();
        self.index.resize(key_table::index_slots(self.records.len()), 0);
        for (id, record) in (0_u32..).zip(&self.records) {
            key_table::link(&mut self.index, record.hash, KeyId(id));
        }
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Index, records and bytes.
    pub(crate) fn table(&self) -> KeyTable<'_> {
        KeyTable { index: &self.index, keys: &self.records, bytes: &self.bytes }
    }
}

#[cfg(test)]
mod tests {
    //! What would break it: two ids for one key, one id for two, a key that is lost when others are forgotten. Without rebuilding the
    //! index in `truncate` the tests still pass: keys are found then by searching all of it, which is slow but right.

    use super::*;
    use crate::types::KeyHasher;
    use std::collections::HashMap;

    fn key(number: u32) -> Vec<u8> {
        number.to_le_bytes()[..1 + number as usize % 4].to_vec()
    }

    #[test]
    fn every_key_has_one_id_in_the_order_of_first_mention() {
        let (mut list, hasher, mut oracle) = (KeyList::default(), KeyHasher::with_seed(3), HashMap::new());
        for number in (0..3_000_u32).map(|number| number.wrapping_mul(2_654_435_761) >> 20) {
            let (key, next) = (key(number), u32::try_from(oracle.len()).unwrap());
            let expected = *oracle.entry(key.clone()).or_insert(next);
            assert_eq!(list.intern(hasher.hash(&key), &key), Some(KeyId(expected)));
        }
        for (key, &id) in &oracle {
            assert_eq!(list.table().find(hasher.hash(key), key), Some(KeyId(id)));
            assert_eq!(list.table().key(KeyId(id)), Some((hasher.hash(key), key.as_slice())));
        }
        assert_eq!(list.len(), oracle.len());
    }

    #[test]
    fn keys_that_were_forgotten_are_unknown_and_the_others_keep_their_ids() {
        let (mut list, hasher) = (KeyList::default(), KeyHasher::with_seed(4));
        let intern = |list: &mut KeyList, number: u32| {
            let key = (number * 256 + 3).to_le_bytes();
            list.intern(hasher.hash(&key), &key)
        };
        // More keys are forgotten in all than the index has slots.
        for round in 0..20 {
            for number in (0..40).chain(100 * round + 40..100 * round + 100) {
                intern(&mut list, number);
            }
            list.truncate(40);
            assert_eq!(list.len(), 40);
        }
        for number in 0..100_u32 {
            assert_eq!(intern(&mut list, number), Some(KeyId(number)), "named once");
            assert_eq!(intern(&mut list, number), Some(KeyId(number)), "named again");
        }
    }
}
