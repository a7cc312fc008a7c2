//! Finds a key's dense id by its hash: open addressing over `id + 1`, 0 is empty.

use crate::types::{KeyId, same_bytes};
use bytemuck::{Pod, Zeroable};

/// A known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KeyRecord {
    /// Hash under the arena's seed.
    pub hash: u64,
    /// Start in the key bytes.
    pub offset: u32,
    /// Length.
    pub bytes: u32,
}

/// A view of index, records and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyTable<'a> {
    pub(crate) index: &'a [u32],
    pub(crate) keys: &'a [KeyRecord],
    pub(crate) bytes: &'a [u8],
}

impl<'a> KeyTable<'a> {
    /// Hash and bytes of a key.
    pub(crate) fn key(&self, id: KeyId) -> Option<(u64, &'a [u8])> {
        let record = self.keys.get(id.index())?;
        let start = record.offset as usize;
        Some((record.hash, self.bytes.get(start..start + record.bytes as usize)?))
    }

    /// Hash of a key.
    pub(crate) fn hash(&self, id: KeyId) -> Option<u64> {
        self.keys.get(id.index()).map(|record| record.hash)
    }

    /// The id of the key with these bytes.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<KeyId> {
        let mask = self.index.len().checked_sub(1)?;
        let home = home_of(hash, mask);
        for step in 0..=mask {
            let above = *self.index.get((home + step) & mask)?;
            let id = KeyId(above.checked_sub(1)?);
            if self.keys.get(id.index()).is_some_and(|record| record.hash == hash)
                && self.key(id).is_some_and(|(_, bytes)| same_bytes(bytes, key))
            {
                return Some(id);
            }
        }
        None
    }
}

/// Slots for an index of `keys` keys: a power of two, at most half full.
pub(crate) fn index_slots(keys: usize) -> usize {
    (keys.max(32) * 2).next_power_of_two()
}

/// Enters a key that is not in the index yet. The index must have an empty slot.
pub(crate) fn link(index: &mut [u32], hash: u64, id: KeyId) {
    let Some(mask) = index.len().checked_sub(1) else { return };
    let home = home_of(hash, mask);
    if let Some(free) = (0..=mask).map(|step| (home + step) & mask).find(|&slot| index[slot] == 0) {
        index[free] = id.0 + 1;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the mask keeps only low bits")]
fn home_of(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}
