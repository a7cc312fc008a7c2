//! Limits of keys and values, and the seeded hash of keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longest state key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest state value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Longest encoded output of one transaction, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// Whether two keys are the same. They are compared word by word where they stand: too short to call anybody for it.
#[inline]
pub(crate) fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    words.iter().zip(others).all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
        && match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
            // The last word may overlap the one before.
            (Some(last), Some(other)) => u64::from_ne_bytes(*last) == u64::from_ne_bytes(*other),
            _ => rest == other_rest,
        }
}

/// A transaction asked for more than one transaction may write. It is a rule of execution, the same in every executor:
/// the virtual machine turns it into a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitExceeded {
    /// A key is longer than [`MAX_KEY_BYTES`].
    #[error("key of {bytes} bytes is over the limit of {MAX_KEY_BYTES}")]
    Key {
        /// The key's length.
        bytes: usize,
    },
    /// A value is longer than [`MAX_VALUE_BYTES`].
    #[error("value of {bytes} bytes is over the limit of {MAX_VALUE_BYTES}")]
    Value {
        /// The value's length.
        bytes: usize,
    },
    /// All writes and events of the transaction together are longer than [`MAX_OUTPUT_BYTES`].
    #[error("output of {bytes} bytes is over the limit of {MAX_OUTPUT_BYTES}")]
    Output {
        /// The length reached.
        bytes: usize,
    },
    /// A delta was recorded with an interval that does not hold the value just read, or that is empty, or its sum
    /// leaves the number's width: a fault of the virtual machine.
    #[error("delta does not fit the value {value} it was computed from")]
    Interval {
        /// The number that was read.
        value: u128,
    },
    /// A delta was recorded on a value that is no number of at most 16 significant bytes.
    #[error("delta on a value that is no number")]
    NotANumber,
}

/// Hashes state keys for in-memory tables. Seeded once per process, so that nobody outside can choose keys that
/// collide; never used for anything that leaves the process family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// The hasher of this process; the coordinator hands its seed to the shards.
    #[must_use]
    pub fn of_process() -> KeyHasher {
        static SEED: OnceLock<u64> = OnceLock::new();
        KeyHasher { seed: *SEED.get_or_init(|| RandomState::new().hash_one(0x7068_616c_616e_7821_u64)) }
    }

    /// A hasher with a seed read from shared memory.
    #[must_use]
    pub const fn with_seed(seed: u64) -> KeyHasher {
        KeyHasher { seed }
    }

    /// The seed to hand on.
    #[must_use]
    pub const fn seed(self) -> u64 {
        self.seed
    }

    /// The key's hash; never 0, which marks an empty table slot.
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed).max(1)
    }
}

#[cfg(test)]
mod tests {
    //! What would break: two keys taken for one, or one for two. The oracle is the comparison of slices. Negative control run: without
    //! the last word it fails.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_the_same_if_all_their_bytes_are(
            key in prop::collection::vec(any::<u8>(), 0..70), place: prop::sample::Index, changed: u8, shorter: bool,
        ) {
            prop_assert!(same_bytes(&key, &key.clone()));
            let mut other = key.clone();
            if !other.is_empty() {
                *place.get_mut(&mut other) = changed;
            }
            prop_assert_eq!(same_bytes(&key, &other), key == other);
            if shorter && other.pop().is_some() {
                prop_assert!(!same_bytes(&key, &other));
            }
        }
    }
}
