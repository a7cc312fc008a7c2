//! Room that a set of changes needs.

use crate::state::slot::INLINE_BYTES;

/// Room that a set of changes needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub(super) entries: usize,
    pub(super) long_entries: usize,
    pub(super) long_bytes: usize,
}

impl Room {
    /// Counts in a change of `key` from `old` to `new`.
    pub fn count(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let Some(new) = new else { return };
        self.entries += usize::from(old.is_none());
        let bytes = key.len() + new.len();
        if bytes > INLINE_BYTES {
            self.long_entries += 1;
            self.long_bytes += bytes;
        }
    }

    /// Counts in the changes that another one counted.
    pub fn merge(&mut self, other: Room) {
        self.entries += other.entries;
        self.long_entries += other.long_entries;
        self.long_bytes += other.long_bytes;
    }
}
