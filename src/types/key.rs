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
