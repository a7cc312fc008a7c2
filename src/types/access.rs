//! Declared access sets. A declaration is a hint: it steers the plan and costs time when it is wrong, nothing else.

use crate::types::named_keys::BlockKeys;
use crate::types::{KeyHasher, KeyId, MAX_KEY_BYTES};
use bytemuck::{Pod, Zeroable};

/// How a transaction is expected to touch a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccessMode {
    /// Reads the value; does not write it.
    Read = 0,
    /// Writes the value without reading it.
    Write = 1,
    /// Reads and writes the value, or depends on it through a narrow interval (a sequence number).
    ReadWrite = 2,
    /// Adds to the value commutatively; any order with other adds gives the same result.
    Add = 3,
    /// Touches the key's surroundings in ways that nobody foresees: the transaction is better placed with others near the
    /// same key, which costs nobody a wait.
    Near = 4,
    /// Checks that the number under the key lies within bounds that it hardly ever leaves. Nobody waits for it.
    Check = 5,
}

impl AccessMode {
    /// The mode of a stored byte; an unknown byte is the most careful mode.
    #[must_use]
    pub const fn from_byte(byte: u8) -> AccessMode {
        match byte {
            0 => AccessMode::Read,
            1 => AccessMode::Write,
            3 => AccessMode::Add,
            4 => AccessMode::Near,
            5 => AccessMode::Check,
            _ => AccessMode::ReadWrite,
        }
    }

    /// Whether the transaction wants the value that its predecessors leave.
    #[must_use]
    pub const fn wants_value(self) -> bool {
        matches!(self, AccessMode::Read | AccessMode::ReadWrite)
    }

    /// Whether successors may see a change made by this access.
    #[must_use]
    pub const fn changes_value(self) -> bool {
        matches!(self, AccessMode::Write | AccessMode::ReadWrite | AccessMode::Add)
    }
}

/// One expected access of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TransactionAccess {
    /// Which key.
    pub key: KeyId,
    /// An [`AccessMode`] as its byte.
    pub mode: u32,
}

impl TransactionAccess {
    /// The mode; an unknown one is the most careful mode.
    #[must_use]
    pub fn access_mode(&self) -> AccessMode {
        AccessMode::from_byte(u8::try_from(self.mode).unwrap_or(u8::MAX))
    }
}

/// Receives one transaction's declared access set and cost estimate.
#[derive(Debug)]
pub struct HintWriter<'a> {
    pub(super) hasher: KeyHasher,
    pub(super) accesses: &'a mut Vec<TransactionAccess>,
    pub(super) keys: &'a mut BlockKeys,
    /// Whether the block has no room for what was declared.
    pub(super) overflown: bool,
    pub(super) cost_ns: u32,
    pub(super) ahead_ns: u32,
}

impl HintWriter<'_> {
    /// Declares one access. Declare in the order in which execution touches the keys: look-ups are then fastest. A key
    /// over [`MAX_KEY_BYTES`] is left out (it cannot exist).
    pub fn access(&mut self, key: &[u8], mode: AccessMode) {
        if key.len() > MAX_KEY_BYTES {
            return;
        }
        match self.keys.intern(self.hasher.hash(key), key) {
            Some(key) => self.accesses.push(TransactionAccess { key, mode: mode as u32 }),
            None => self.overflown = true,
        }
    }

    /// Declares accesses to the [`NamedKeys`](crate::types::NamedKeys) that the block was made with: in another one the ids mean
    /// other keys. Those past its last key are left out.
    pub fn named(&mut self, accesses: &[TransactionAccess]) {
        let keys = self.keys.len();
        self.accesses.extend(accesses.iter().filter(|access| access.key.index() < keys));
    }

    /// Declares the expected execution time in nanoseconds. Without it a default is assumed.
    pub fn cost_ns(&mut self, cost_ns: u32) {
        self.cost_ns = cost_ns;
    }

    /// Declares how much of the expected time goes to what [`Vm::examine`](crate::vm::Vm::examine) does: it needs no values, so
    /// that transactions that wait for each other are still worth spreading. 0 without it; the time as a whole at most.
    pub fn ahead_ns(&mut self, ahead_ns: u32) {
        self.ahead_ns = ahead_ns;
    }
}
