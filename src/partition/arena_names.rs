//! The keys of a block arena: those that the block declares, and those that turn up while it executes.
//!
//! Shards read the arena's keys while a round runs. What turns up then gets its id at once, but comes into the arena when they are
//! quiet.

use crate::partition::arena::ArenaError;
use crate::partition::arena_writer::{ArenaWriter, u32_of};
use crate::types::{KeyId, KeyRecord, KeyTable, index_slots, link};

/// Keys that are taken in between two looks at the clock.
const PIECE: usize = 1 << 12;

impl ArenaWriter {
    /// Number of keys known so far.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys_in_place() + self.ahead.len()
    }

    /// Number of keys in the arena itself: those of the present plan, while a round runs.
    #[must_use]
    pub fn keys_in_place(&self) -> usize {
        self.header.keys as usize
    }

    /// The id of a key that the block did not declare, given now if it had none. Shards must be quiet, and
    /// [`take_in_ahead`](Self::take_in_ahead) have been called since they are.
    ///
    /// # Errors
    /// [`ArenaError::BlockTooLarge`] when there is no room for another key.
    pub fn intern(&mut self, hash: u64, key: &[u8]) -> Result<KeyId, ArenaError> {
        debug_assert_eq!(self.ahead.len(), 0, "keys that were named ahead have their ids already");
        if let Some(found) = self.key_table()?.find(hash, key) {
            return Ok(found);
        }
        self.check_room(key)?;
        let offset = u32_of("bytes of keys", self.key_bytes, self.limits.key_bytes)?;
        let bytes = u32_of("bytes of one key", key.len(), self.limits.key_bytes)?;
        self.copy_in(self.sections.key_bytes + self.key_bytes, key)?;
        self.key_bytes += key.len();
        self.append_records(&[KeyRecord { hash, offset: 0, bytes }], offset)?;
        Ok(KeyId(self.header.keys - 1))
    }

    /// As [`intern`](Self::intern), while shards read the arena: nothing that they see changes.
    ///
    /// # Errors
    /// [`ArenaError::BlockTooLarge`] when there is no room for another key.
    pub fn intern_ahead(&mut self, hash: u64, key: &[u8]) -> Result<KeyId, ArenaError> {
        if let Some(found) = self.find(hash, key) {
            return Ok(found);
        }
        self.check_room(key)?;
        let (needed, limit) = (self.keys() + 1, self.limits.keys);
        let no_room = ArenaError::BlockTooLarge { what: "distinct keys", needed, limit };
        let place = self.ahead.intern(hash, key).ok_or(no_room)?;
        Ok(KeyId(self.header.keys + place.0))
    }

    /// Brings the keys that were given ids ahead into the arena, under these ids. Shards must be quiet. `look` is called now and
    /// then and may end it: then nothing can be asked of the arena before another block is loaded.
    ///
    /// # Errors
    /// [`ArenaError::Region`]; what `look` says.
    pub fn take_in_ahead<E: From<ArenaError>>(
        &mut self,
        mut look: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.ahead.len() == 0 {
            return Ok(());
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        let KeyTable { keys: new, bytes, .. } = ahead.table();
        let offset = u32_of("bytes of keys", self.key_bytes, self.limits.key_bytes)?;
        self.copy_in(self.sections.key_bytes + self.key_bytes, bytes)?;
        self.key_bytes += bytes.len();
        for piece in new.chunks(PIECE) {
            look()?;
            self.append_records(piece, offset)?;
        }
        ahead.truncate(0);
        self.ahead = ahead;
        Ok(())
    }

    /// Appends keys whose bytes are in place, with offsets counted from `offset`.
    fn append_records(&mut self, new: &[KeyRecord], offset: u32) -> Result<(), ArenaError> {
        let (first, known) = (self.header.keys, self.keys_in_place());
        let end = known + new.len();
        let records = self.region.slice_mut::<KeyRecord>(self.sections.keys, end)?;
        for (record, new) in records[known..].iter_mut().zip(new) {
            *record = KeyRecord { offset: new.offset + offset, ..*new };
        }
        self.header.keys = u32_of("distinct keys", end, self.limits.keys)?;
        let (log2, wanted) = (self.header.key_index_log2, index_slots(end).trailing_zeros());
        if wanted > log2 {
            return self.grow_key_index(wanted);
        }
        let index = self.region.slice_mut::<u32>(self.sections.key_index, 1 << log2)?;
        (first..).zip(new).for_each(|(id, new)| link(index, new.hash, KeyId(id)));
        Ok(())
    }

    fn check_room(&self, key: &[u8]) -> Result<(), ArenaError> {
        let fits = |what, needed, limit| {
            if needed > limit { Err(ArenaError::BlockTooLarge { what, needed, limit }) } else { Ok(()) }
        };
        fits("distinct keys", self.keys() + 1, self.limits.keys)?;
        let bytes = self.key_bytes + self.ahead.table().bytes.len() + key.len();
        fits("bytes of keys", bytes, self.limits.key_bytes)
    }

    fn grow_key_index(&mut self, log2: u32) -> Result<(), ArenaError> {
        self.header.key_index_log2 = log2;
        let hashes: Vec<u64> = self
            .region
            .slice::<KeyRecord>(self.sections.keys, self.keys_in_place())?
            .iter()
            .map(|key| key.hash)
            .collect();
        let index = self.region.slice_mut::<u32>(self.sections.key_index, 1 << log2)?;
        index.fill(0);
        for (id, hash) in (0_u32..).zip(hashes) {
            link(index, hash, KeyId(id));
        }
        Ok(())
    }

    /// The keys in the arena itself.
    fn key_table(&self) -> Result<KeyTable<'_>, ArenaError> {
        Ok(KeyTable {
            index: self.region.slice(self.sections.key_index, 1 << self.header.key_index_log2)?,
            keys: self.region.slice(self.sections.keys, self.keys_in_place())?,
            bytes: self.region.slice(self.sections.key_bytes, self.key_bytes)?,
        })
    }

    /// Hash and bytes of a known key.
    ///
    /// # Errors
    /// [`ArenaError::Damaged`] for an id that was never given.
    pub fn key(&self, id: KeyId) -> Result<(u64, &[u8]), ArenaError> {
        let known = match id.0.checked_sub(self.header.keys) {
            None => self.key_table()?.key(id),
            Some(place) => self.ahead.table().key(KeyId(place)),
        };
        known.ok_or(ArenaError::Damaged { field: "key id", value: u64::from(id.0) })
    }

    /// Records and bytes of all keys in the arena.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn all_keys(&self) -> Result<(&[KeyRecord], &[u8]), ArenaError> {
        let table = self.key_table()?;
        Ok((table.keys, table.bytes))
    }

    /// The id of a key, if it has one.
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<KeyId> {
        if let Some(found) = self.key_table().ok()?.find(hash, key) {
            return Some(found);
        }
        if self.ahead.len() == 0 {
            return None;
        }
        self.ahead.table().find(hash, key).map(|place| KeyId(self.header.keys + place.0))
    }
}
