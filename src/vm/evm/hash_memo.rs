//! Hashes of 64 bytes within one block: where the entries of mappings stand. Transactions of a block ask for the same ones
//! again and again, and working one out takes ten times as long as finding it.

use revm::primitives::{B256, keccak256};

/// Hashes remembered, as a power of two. One that comes to the place of another replaces it.
const PLACES_LOG2: u32 = 11;

/// Bytes of what is hashed: a key and the place of its mapping.
pub(super) const HASHED_BYTES: usize = 64;

#[derive(Clone, Debug)]
struct Remembered {
    block: u64,
    hashed: [u8; HASHED_BYTES],
    hash: B256,
}

/// After so many questions of one block fewer than every [`WORTH`]th of which found something, the rest is worked out without
/// looking: to remember takes time and room in the processor's cache.
const TRIED: u32 = 512;
const WORTH: u32 = 8;

/// Remembers hashes until the block ends.
#[derive(Clone, Debug, Default)]
pub(super) struct HashMemo {
    places: Vec<Remembered>,
    block: u64,
    asked: u32,
    found: u32,
}

impl HashMemo {
    /// Forgets everything.
    pub(super) fn begin_block(&mut self) {
        self.block += 1;
        (self.asked, self.found) = (0, 0);
    }

    /// Whether transactions of this block ask for the same hashes often enough.
    pub(super) fn is_worth_asking(&self) -> bool {
        self.asked < TRIED || self.found >= self.asked / WORTH
    }

    /// Keccak-256 of these bytes.
    pub(super) fn keccak256(&mut self, bytes: &[u8; HASHED_BYTES]) -> B256 {
        if self.places.is_empty() {
            let nothing = Remembered { block: 0, hashed: [0; HASHED_BYTES], hash: B256::ZERO };
            self.places.resize(1 << PLACES_LOG2, nothing);
        }
        let place = &mut self.places[place_of(bytes)];
        self.asked = self.asked.saturating_add(1);
        if place.block == self.block && place.hashed == *bytes {
            self.found = self.found.saturating_add(1);
        } else {
            *place = Remembered { block: self.block, hashed: *bytes, hash: keccak256(bytes) };
        }
        place.hash
    }
}

/// By the last bytes of both words: addresses and small numbers differ there.
fn place_of(bytes: &[u8; HASHED_BYTES]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let mixed = u64::from_le_bytes(words[3]) ^ u64::from_le_bytes(words[7]).rotate_left(29);
    let spread = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES_LOG2);
    usize::try_from(spread).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! What would break: a hash given out for bytes that only share its place, or one kept from before the first block; a memo that
    //! is given up although it finds things, or asked for ever although it finds nothing.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_hash_is_that_of_its_bytes(words in prop::collection::vec((0_u8..3, 0_u8..3, any::<u8>()), 1..200)) {
            let mut memo = HashMemo::default();
            memo.begin_block();
            for (low, high, other) in words {
                let mut bytes = [0; HASHED_BYTES];
                (bytes[31], bytes[63], bytes[5]) = (low, high, other);
                prop_assert_eq!(memo.keccak256(&bytes), keccak256(bytes));
                if other == 0 {
                    memo.begin_block();
                }
            }
        }
    }

    #[test]
    fn a_block_that_never_asks_twice_stops_asking_and_the_next_one_begins_anew() {
        let mut memo = HashMemo::default();
        let ask = |memo: &mut HashMemo, number: u32| {
            let mut bytes = [0; HASHED_BYTES];
            bytes[24..28].copy_from_slice(&number.to_le_bytes());
            memo.keccak256(&bytes);
        };
        memo.begin_block();
        (0..TRIED).for_each(|number| ask(&mut memo, number));
        assert!(!memo.is_worth_asking());
        memo.begin_block();
        assert!(memo.is_worth_asking());
        (0..4 * TRIED).for_each(|number| ask(&mut memo, number % 16));
        assert!(memo.is_worth_asking());
    }
}
