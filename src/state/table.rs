//! The table: open addressing with linear probing, one cache line per slot, short entries inline.
//!
//! Growth copies the slots into the other area at twice the size and gives the old one back, so that nothing is ever
//! remapped. A slot's home is given by the top bits of its hash; removal shifts followers back, so that no dead slots
//! gather. Source: Knuth, TAOCP 3, 6.4, algorithms L and R.

use crate::state::cache::Cache;
use crate::state::heap::{Heap, same_class};
use crate::state::layout::{Header, Layout, fits, home_of, room_of, to_usize};
use crate::state::slot::{FLAG_ABSENT, FLAG_HEAP, INLINE_BYTES, Place, SLOT_BYTES, Slot, Source};
use crate::state::{Room, StateConfig, StateDigest, StateError};
use crate::types::KeyHasher;
use bytemuck::{Zeroable, bytes_of, bytes_of_mut};
use phalanx_ipc::Region;
use std::os::fd::OwnedFd;

/// The one writer of a base state.
#[derive(Debug)]
pub struct BaseState {
    pub(super) region: Region,
    pub(super) layout: Layout,
    pub(super) header: Header,
    pub(super) digest: StateDigest,
    pub(super) heap: Heap,
    hasher: KeyHasher,
    /// How often entries were moved or removed, or a value got another length: a [`Place`] is true as long as none were.
    moves: u32,
    /// Flags of entries that are written now, beside the one that says where they lie.
    pub(super) mark: u16,
    /// If the table is a cache.
    pub(super) cache: Option<Cache>,
}

impl BaseState {
    /// An empty state in a region of its own.
    ///
    /// # Errors
    /// [`StateError::OutOfRange`], [`StateError::Region`].
    pub fn create(config: StateConfig) -> Result<BaseState, StateError> {
        config.check()?;
        let layout = Layout::new(config);
        let region = Region::create("phalanx-base", to_usize(layout.end))?;
        let hasher = KeyHasher::of_process();
        let header = Header {
            area_offset: layout.area(Layout::MIN_LOG2),
            slots_log2: Layout::MIN_LOG2,
            entries: 0,
            seed: hasher.seed(),
            whole: 1,
        };
        let heap = Heap::new(layout.heap_start, layout.end);
        let digest = StateDigest::default();
        let mut state =
            BaseState { region, layout, header, digest, heap, hasher, moves: 0, mark: 0, cache: None };
        state.publish_header()?;
        Ok(state)
    }

    /// A state filled with `entries`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn with_entries<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        config: StateConfig,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<BaseState, StateError> {
        BaseState::create(config)?.filled(entries)
    }

    /// This empty state with `entries`.
    pub(crate) fn filled<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        mut self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<BaseState, StateError> {
        for (key, value) in entries {
            let (key, value) = (key.as_ref(), value.as_ref());
            let mut room = Room::default();
            room.count(key, None, Some(value));
            self.reserve(room)?;
            self.put(self.hasher.hash(key), key, Some(value))?;
        }
        self.settle();
        Ok(self)
    }

    /// Puts what is there onto huge pages, where the kernel has some. Takes about half a millisecond per MiB.
    pub(super) fn settle(&self) {
        let slots = SLOT_BYTES << self.header.slots_log2;
        let areas = [
            (to_usize(self.header.area_offset), slots),
            (to_usize(self.layout.heap_start), to_usize(self.heap.used())),
        ];
        for (offset, bytes) in areas {
            if let Err(error) = self.region.collapse(offset, bytes) {
                tracing::info!(%error, "part of the base state stays on small pages, which costs shards a few per cent; \
                                        free memory in one piece (`vm.compact_memory`) before the start helps");
            }
        }
    }

    /// The region, to say where its pages go and to hand a read-only descriptor to readers.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The hasher of this table's keys.
    #[must_use]
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Digest of all entries.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// Number of entries that the table holds; in a cache also of keys that it knows to be absent.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.entries
    }

    /// Whether the table holds no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.entries == 0
    }

    /// The value of `key`, whose hash under [`hasher`](Self::hasher) is `hash`. Of a cache only what it holds.
    #[must_use]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let source = Source::Writer(&self.region);
        source.value(source.find(&self.header, hash, key)?.slot)
    }

    /// Fetches the cache line where the look-up of a key with this hash begins.
    pub fn prefetch(&self, hash: u64) {
        self.region.prefetch(self.header.line_of(hash));
    }

    /// The place and the value of `key`, or `None` if it is absent. A place gets useless when entries are added or removed.
    #[must_use]
    pub fn locate(&self, hash: u64, key: &[u8]) -> Option<(Place, &[u8])> {
        let source = Source::Writer(&self.region);
        let found = source.find(&self.header, hash, key)?;
        let value = source.value(found.slot)?;
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        Some((Place { index: found.index, value_bytes, moves: self.moves }, value))
    }

    /// Fetches the cache line of an entry that is about to change.
    pub fn prefetch_place(&self, place: Place) {
        self.region.prefetch_to_write(to_usize(self.header.area_offset) + place.index * SLOT_BYTES);
    }

    /// The value at a place, if `key` stands there.
    #[must_use]
    pub fn value_at(&self, place: Place, key: &[u8]) -> Option<&[u8]> {
        let source = Source::Writer(&self.region);
        source.value(source.at(&self.header, place.index, key)?.slot)
    }

    /// Calls `each` with every entry that the table holds, in table order.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let source = Source::Writer(&self.region);
        for slot in source.slots(&self.header).iter().filter(|slot| slot.hash != 0 && !slot.is_absent()) {
            if let Some((key, value)) = source.entry(slot) {
                each(key, value);
            }
        }
    }

    /// Makes sure that changes which need this room can be put without an error.
    ///
    /// # Errors
    /// [`StateError::Full`] or [`StateError::HeapFull`]; nothing has changed then.
    #[inline]
    pub fn reserve(&mut self, room: Room) -> Result<(), StateError> {
        let wanted = self.header.entries + room.entries as u64;
        if !fits(wanted, self.layout.max_log2) {
            let limit = room_of(self.layout.max_log2);
            return Err(StateError::Full { entries: self.header.entries, more: room.entries as u64, limit });
        }
        if !self.heap.fits(room.long_entries, room.long_bytes) {
            let limit = self.layout.end - self.layout.heap_start;
            return Err(StateError::HeapFull { used: self.heap.used(), limit });
        }
        while !fits(wanted, self.header.slots_log2) {
            self.grow()?;
        }
        Ok(())
    }

    /// Sets or removes one entry and keeps the digest. Call [`reserve`](Self::reserve) first.
    ///
    /// # Errors
    /// [`StateError`] when room was not reserved.
    pub fn put(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.put_at(None, hash, key, value)
    }

    /// As [`put`](Self::put), with the place where `key` stood lately: it is looked for there first.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_at(
        &mut self,
        place: Option<Place>,
        hash: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        self.change(place, hash, key, value, |digest, old, new| {
            if let Some(old) = old {
                digest.remove(key, old);
            }
            if let Some(new) = new {
                digest.insert(key, new);
            }
        })
    }

    /// As [`put_at`](Self::put_at), but leaves the digest as it is: for callers that count all their changes with
    /// [`count`](Self::count).
    pub(crate) fn put_uncounted(
        &mut self,
        place: Option<Place>,
        hash: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        if let (Some(place), Some(value)) = (place, value)
            && self.overwrite_at(place, key, value)
        {
            return Ok(());
        }
        self.change(place, hash, key, value, |_, _, _| {})
    }

    /// Overwrites a value in its slot, without a look at the slot: its line need not be there yet. False, and nothing done, if
    /// the place may be true no more, or the new value has another length or does not lie in the slot.
    fn overwrite_at(&mut self, place: Place, key: &[u8], value: &[u8]) -> bool {
        let (start, end) = (key.len(), key.len() + value.len());
        if place.moves != self.moves || place.value_bytes as usize != value.len() || end > INLINE_BYTES {
            return false;
        }
        debug_assert_eq!(
            self.value_at(place, key).map(<[u8]>::len),
            Some(value.len()),
            "a place is true as long as the table did not count a move"
        );
        let mark = self.mark;
        let Some(slot) = self.slots_mut().ok().and_then(|slots| slots.get_mut(place.index)) else {
            return false;
        };
        slot.flags = mark;
        let payload: &mut [u8] = bytes_of_mut(&mut slot.payload);
        payload[start..end].copy_from_slice(value);
        true
    }

    /// Counts changes into the digest: the sum of their [`StateDigest`]s from nothing.
    pub(crate) fn count(&mut self, changes: StateDigest) {
        self.digest.merge(changes);
    }

    fn change(
        &mut self,
        place: Option<Place>,
        hash: u64,
        key: &[u8],
        value: Option<&[u8]>,
        count: impl Fn(&mut StateDigest, Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), StateError> {
        let source = Source::Writer(&self.region);
        let known = place.and_then(|place| source.at(&self.header, place.index, key));
        let found = known.or_else(|| source.find(&self.header, hash, key));
        let old = found.and_then(|found| source.value(found.slot));
        if old == value {
            return Ok(());
        }
        count(&mut self.digest, old, value);
        match (found.map(|found| (found.index, found.slot.value_bytes as usize)), value) {
            (None, None) => Ok(()),
            (None, Some(new)) => self.insert(hash, key, new),
            (Some((index, old_bytes)), Some(new)) => self.overwrite(index, key, old_bytes, new),
            (Some((index, old_bytes)), None) if self.cache.is_some() => self.bury(index, key, old_bytes),
            (Some((index, _)), None) => self.remove(index),
        }
    }

    /// Keeps the key, as one that is absent.
    pub(super) fn bury(&mut self, index: usize, key: &[u8], old_bytes: usize) -> Result<(), StateError> {
        self.overwrite(index, key, old_bytes, &[])?;
        self.slots_mut()?[index].flags |= FLAG_ABSENT;
        Ok(())
    }

    pub(super) fn insert(&mut self, hash: u64, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        if !fits(self.header.entries + 1, self.header.slots_log2) {
            self.grow()?;
        }
        let slot = self.write_entry(Slot { hash, ..Slot::zeroed() }, key, value, None)?;
        let mask = (1_usize << self.header.slots_log2) - 1;
        let home = home_of(hash, self.header.slots_log2);
        let slots = self.slots_mut()?;
        let free = (0..=mask).map(|step| (home + step) & mask).find(|&index| slots[index].hash == 0);
        if let Some(index) = free {
            slots[index] = slot;
            self.header.entries += 1;
        }
        self.publish_header()
    }

    fn overwrite(
        &mut self,
        index: usize,
        key: &[u8],
        old_bytes: usize,
        value: &[u8],
    ) -> Result<(), StateError> {
        let old = self.slots_mut()?[index];
        if old.flags & FLAG_HEAP == 0 && value.len() == old_bytes {
            // The common case: a number changes in its slot.
            let mark = self.mark;
            let slot = &mut self.slots_mut()?[index];
            slot.flags = mark;
            let payload: &mut [u8] = bytes_of_mut(&mut slot.payload);
            payload[key.len()..key.len() + value.len()].copy_from_slice(value);
            return Ok(());
        }
        self.count_move();
        let place = (old.flags & FLAG_HEAP != 0).then_some((old.payload[0], key.len() + old_bytes));
        let slot = self.write_entry(old, key, value, place)?;
        self.slots_mut()?[index] = slot;
        Ok(())
    }

    /// Fills `slot` with key and value, using or giving back the heap place that the entry had.
    fn write_entry(
        &mut self,
        mut slot: Slot,
        key: &[u8],
        value: &[u8],
        place: Option<(u64, usize)>,
    ) -> Result<Slot, StateError> {
        let bytes = key.len() + value.len();
        let inline = bytes <= INLINE_BYTES;
        let kept = place.filter(|&(_, had)| !inline && same_class(had, bytes));
        if let (Some((place, had)), None) = (place, kept) {
            self.heap.release(place, had);
        }
        slot.key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        slot.value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        slot.payload = [0; 6];
        if inline {
            slot.flags = self.mark;
            let payload: &mut [u8] = bytes_of_mut(&mut slot.payload);
            payload[..key.len()].copy_from_slice(key);
            payload[key.len()..bytes].copy_from_slice(value);
            return Ok(slot);
        }
        let full =
            StateError::HeapFull { used: self.heap.used(), limit: self.layout.end - self.layout.heap_start };
        let place = kept.map(|(place, _)| place).or_else(|| self.heap.allocate(bytes)).ok_or(full)?;
        let target = self.region.slice_mut::<u8>(to_usize(place), bytes)?;
        target[..key.len()].copy_from_slice(key);
        target[key.len()..].copy_from_slice(value);
        slot.flags = self.mark | FLAG_HEAP;
        slot.payload[0] = place;
        Ok(slot)
    }

    fn count_move(&mut self) {
        self.moves = self.moves.wrapping_add(1);
    }

    pub(super) fn remove(&mut self, index: usize) -> Result<(), StateError> {
        self.count_move();
        let log2 = self.header.slots_log2;
        let mask = (1_usize << log2) - 1;
        let slots = self.slots_mut()?;
        let removed = slots[index];
        let (mut hole, mut next) = (index, (index + 1) & mask);
        while slots[next].hash != 0 {
            let home = home_of(slots[next].hash, log2);
            // The follower may move into the hole unless its home lies behind the hole.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                slots[hole] = slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        slots[hole] = Slot::zeroed();
        if removed.flags & FLAG_HEAP != 0 {
            self.heap.release(removed.payload[0], removed.bytes());
        }
        self.header.entries -= 1;
        self.publish_header()
    }

    fn grow(&mut self) -> Result<(), StateError> {
        if self.header.slots_log2 >= self.layout.max_log2 {
            let limit = room_of(self.layout.max_log2);
            return Err(StateError::Full { entries: self.header.entries, more: 1, limit });
        }
        self.rehash(self.header.slots_log2 + 1)
    }

    /// Copies all slots into the other area, at twice or half the size, and gives the old area back.
    pub(super) fn rehash(&mut self, log2: u64) -> Result<(), StateError> {
        self.count_move();
        let old = self.header;
        let area = self.layout.area(log2);
        let (old_start, old_count) = (to_usize(old.area_offset), 1_usize << old.slots_log2);
        let mask = (1_usize << log2) - 1;
        for index in 0..old_count {
            let slot = self.region.slice::<Slot>(old_start, old_count)?[index];
            if slot.hash == 0 {
                continue;
            }
            let target = self.region.slice_mut::<Slot>(to_usize(area), mask + 1)?;
            let mut place = home_of(slot.hash, log2);
            while target[place].hash != 0 {
                place = (place + 1) & mask;
            }
            target[place] = slot;
        }
        self.header.area_offset = area;
        self.header.slots_log2 = log2;
        self.publish_header()?;
        // The old area must be empty when the table comes back to it, whether or not the kernel takes the pages.
        self.region.slice_mut::<Slot>(old_start, old_count)?.fill(Slot::zeroed());
        if let Err(error) = self.region.discard(old_start, old_count * SLOT_BYTES) {
            tracing::debug!(%error, "pages of the outgrown table were not given back");
        }
        Ok(())
    }

    pub(super) fn slots_mut(&mut self) -> Result<&mut [Slot], StateError> {
        let (offset, count) = (to_usize(self.header.area_offset), 1_usize << self.header.slots_log2);
        Ok(self.region.slice_mut::<Slot>(offset, count)?)
    }

    pub(super) fn publish_header(&mut self) -> Result<(), StateError> {
        let bytes = self.region.slice_mut::<u8>(0, size_of::<Header>())?;
        bytes.copy_from_slice(bytes_of(&self.header));
        Ok(())
    }
}

/// A read-only descriptor of the state for [`StateReader`](crate::state::StateReader).
impl BaseState {
    /// Re-opens the region read-only.
    ///
    /// # Errors
    /// [`StateError::Region`].
    pub fn reader_fd(&self) -> Result<OwnedFd, StateError> {
        Ok(self.region.reader_fd()?)
    }
}

#[cfg(test)]
mod tests;
