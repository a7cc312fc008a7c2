//! Keys numbered in the order in which they were first met, found again by their hash.

use crate::types::KeyId;

/// Slots of a fresh index.
const FIRST_SLOTS: usize = 64;

/// Numbers keys from 0. Buffers are kept.
#[derive(Debug, Default)]
pub(super) struct KeyNumbers {
    hashes: Vec<u64>,
    /// Where each key ends in `bytes`; it starts where the one before ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
    /// Open addressing over number + 1; 0 is empty. A power of two, at most half full.
    index: Vec<u32>,
}

impl KeyNumbers {
    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        if self.hashes.is_empty() {
            return;
        }
        self.hashes.clear();
        self.ends.clear();
        self.bytes.clear();
        self.index.clear();
    }

    /// Hash and bytes of the key with this number.
    pub(super) fn key(&self, number: usize) -> Option<(u64, &[u8])> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        Some((*self.hashes.get(number)?, self.bytes.get(start..*self.ends.get(number)?)?))
    }

    /// The number of a key with this hash, and whether it is new.
    pub(super) fn number(&mut self, hash: u64, key: &[u8]) -> (usize, bool) {
        if self.hashes.len() * 2 >= self.index.len() {
            self.grow();
        }
        let mask = self.index.len() - 1;
        let mut slot = home_of(hash, mask);
        while let Some(number) = (self.index[slot] as usize).checked_sub(1) {
            if self.key(number) == Some((hash, key)) {
                return (number, false);
            }
            slot = (slot + 1) & mask;
        }
        let number = self.hashes.len();
        self.hashes.push(hash);
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        // Far fewer keys than 2^32 fit into a round's memory.
        self.index[slot] = u32::try_from(number + 1).unwrap_or(KeyId::UNKNOWN.0);
        (number, true)
    }

    fn grow(&mut self) {
        let slots = (self.index.len() * 2).max(FIRST_SLOTS);
        self.index.clear();
        self.index.resize(slots, 0);
        for (above, &hash) in (1_u32..).zip(&self.hashes) {
            let mut slot = home_of(hash, slots - 1);
            while self.index[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.index[slot] = above;
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the mask keeps only low bits")]
fn home_of(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

#[cfg(test)]
mod tests {
    //! What would break: a key with two numbers, or two keys with one, above all when their hashes are the same. The oracle
    //! is a map.

    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn every_key_has_one_number_also_among_keys_of_one_hash(
            keys in prop::collection::vec((0_u64..4, 0_u16..300), 0..900)
        ) {
            let mut numbers = KeyNumbers::default();
            for _ in 0..2 {
                numbers.clear();
                let mut known = HashMap::new();
                for (hash, key) in &keys {
                    let bytes = key.to_le_bytes();
                    let next = known.len();
                    let expected = *known.entry((*hash, *key)).or_insert(next);
                    prop_assert_eq!(numbers.number(*hash, &bytes), (expected, expected == next));
                    prop_assert_eq!(numbers.key(expected), Some((*hash, &bytes[..])));
                }
            }
        }
    }
}
