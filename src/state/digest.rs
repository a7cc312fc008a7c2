//! Order-independent, incremental digest of a state.

use serde::{Deserialize, Serialize};
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// Sum, modulo 2^128, of the hashes of all entries (XXH3-128 of key and value, seeded with the key's length).
///
/// Two executors that hold the same entries have the same digest, in whatever order they got there. It finds mistakes;
/// it is no commitment: whoever may choose entries freely can construct a collision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateDigest(pub u128);

impl StateDigest {
    /// Counts an entry in.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(entry_hash(key, value));
    }

    /// Counts an entry out.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(entry_hash(key, value));
    }

    /// Counts in what another digest counted from nothing.
    pub fn merge(&mut self, other: StateDigest) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Entries up to this size are hashed in one call from a buffer on the stack; nearly all are.
const SHORT_BYTES: usize = 64;

fn entry_hash(key: &[u8], value: &[u8]) -> u128 {
    let seed = key.len() as u64;
    let bytes = key.len() + value.len();
    if bytes <= SHORT_BYTES {
        let mut entry = [0_u8; SHORT_BYTES];
        entry[..key.len()].copy_from_slice(key);
        entry[key.len()..bytes].copy_from_slice(value);
        return xxh3_128_with_seed(&entry[..bytes], seed);
    }
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes_insertion() {
        let (mut forward, mut backward) = (StateDigest::default(), StateDigest::default());
        let long = vec![7_u8; 1_000];
        forward.insert(b"a", b"1");
        forward.insert(b"b", &long);
        backward.insert(b"b", &long);
        backward.insert(b"a", b"1");
        assert_eq!(forward, backward);
        forward.remove(b"b", &long);
        assert_ne!(forward, backward, "a removal must show");
        forward.remove(b"a", b"1");
        assert_eq!(forward, StateDigest::default());
    }

    #[test]
    fn the_border_between_key_and_value_counts() {
        let (mut left, mut right) = (StateDigest::default(), StateDigest::default());
        left.insert(b"ab", b"c");
        right.insert(b"a", b"bc");
        assert_ne!(left, right);
    }
}
