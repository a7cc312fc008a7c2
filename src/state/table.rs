//! The table: open addressing with linear probing, one cache line per slot, short entries inline.
//!
//! The region holds a header page, two slot areas and a heap. Growth copies the slots into the other area at twice the
//! size and gives the old one back, so that nothing is ever remapped. A slot's home is given by the top bits of its
//! hash; removal shifts followers back, so there are no tombstones. Source: Knuth, TAOCP 3, 6.4, algorithms L and R.

use crate::state::StateDigest;
use crate::state::heap::{Heap, same_class};
use crate::types::{KeyHasher, OutOfRange};
use bytemuck::{Pod, Zeroable, bytes_of, bytes_of_mut, cast_slice};
use phalanx_ipc::{Region, RegionError, RegionReader};
use std::os::fd::OwnedFd;
use thiserror::Error;

const HEADER_BYTES: usize = 4096;
/// Entries whose key and value together are this long lie inside their slot.
const INLINE_BYTES: usize = 48;
const FLAG_HEAP: u16 = 1;
const SLOT_BYTES: usize = 64;

/// First bytes of the region.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Header {
    /// Byte offset of the active slot area.
    area_offset: u64,
    /// Number of slots of the active area, as a power of two.
    slots_log2: u64,
    /// Number of entries.
    entries: u64,
    /// Seed of the hasher.
    seed: u64,
}

impl Header {
    /// Byte offset of the slot where the look-up of a hash begins.
    fn line_of(&self, hash: u64) -> usize {
        to_usize(self.area_offset) + home_of(hash, self.slots_log2) * SLOT_BYTES
    }
}

/// Where an entry stood, and how long its value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    index: usize,
    value_bytes: u32,
    /// The table's count of moves then.
    moves: u32,
}

/// One entry. `hash` 0 means empty. The payload is key then value, or (with `FLAG_HEAP`) the byte offset of both.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Slot {
    hash: u64,
    value_bytes: u32,
    key_bytes: u16,
    flags: u16,
    payload: [u64; 6],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES && size_of::<Header>() <= HEADER_BYTES);

/// Sizes of a base state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// Most entries, at least; 1 ..= 2^34, rounded up to two thirds of a power of two and to 682. Address space is
    /// reserved for 144 to 288 bytes each in slots, memory is taken as it is touched.
    pub max_entries: u64,
    /// Address space for entries longer than 48 bytes; 0 ..= 2^45.
    pub heap_bytes: u64,
}

impl StateConfig {
    /// Whether a state can be made with these sizes.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("state.max_entries", self.max_entries, 1..=1 << 34)?;
        OutOfRange::check("state.heap_bytes", self.heap_bytes, 0..=1 << 45)
    }
}

impl Default for StateConfig {
    fn default() -> StateConfig {
        StateConfig { max_entries: 1 << 26, heap_bytes: 16 << 30 }
    }
}

/// A base state that cannot be made, read or changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// A size that no state can have.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The region could not be made or mapped.
    #[error("base state: {0}")]
    Region(#[from] RegionError),
    /// The table holds as many entries as it was made for.
    #[error(
        "base state is full: {entries} entries and {more} to come, the limit is {limit}; raise max_entries"
    )]
    Full {
        /// Entries present.
        entries: u64,
        /// Entries about to be added.
        more: u64,
        /// Most entries.
        limit: u64,
    },
    /// The heap for long entries is used up.
    #[error("base state's heap is full: {used} bytes used of {limit}; raise heap_bytes")]
    HeapFull {
        /// Bytes handed out.
        used: u64,
        /// Size of the heap.
        limit: u64,
    },
}

/// Room that a set of changes needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    entries: usize,
    long_entries: usize,
    long_bytes: usize,
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

/// Where everything lies; derived from the configuration alone.
#[derive(Clone, Copy, Debug)]
struct Layout {
    max_log2: u64,
    heap_start: u64,
    end: u64,
}

impl Layout {
    const MIN_LOG2: u64 = 10;
    const MAX_LOG2: u64 = 35;

    fn new(config: StateConfig) -> Layout {
        // Filled to at most two thirds.
        let wanted = config.max_entries.saturating_add(config.max_entries / 2).max(2);
        let log2 = u64::from(wanted.next_power_of_two().trailing_zeros());
        let max_log2 = log2.clamp(Self::MIN_LOG2, Self::MAX_LOG2);
        // Area 0 holds the largest table or every second size below it, area 1 the sizes between: half as much.
        let heap_start =
            HEADER_BYTES as u64 + (SLOT_BYTES as u64) * ((1 << max_log2) + (1 << (max_log2 - 1)));
        Layout { max_log2, heap_start, end: heap_start + config.heap_bytes }
    }

    /// Byte offset of the area for tables of this size: sizes alternate.
    fn area(&self, slots_log2: u64) -> u64 {
        if (self.max_log2 - slots_log2).is_multiple_of(2) {
            HEADER_BYTES as u64
        } else {
            HEADER_BYTES as u64 + ((SLOT_BYTES as u64) << self.max_log2)
        }
    }
}

/// The one writer of a base state.
#[derive(Debug)]
pub struct BaseState {
    region: Region,
    layout: Layout,
    header: Header,
    digest: StateDigest,
    heap: Heap,
    hasher: KeyHasher,
    /// How often entries were moved or removed, or a value got another length: a [`Place`] is true as long as none were.
    moves: u32,
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
        };
        let heap = Heap::new(layout.heap_start, layout.end);
        let digest = StateDigest::default();
        let mut state = BaseState { region, layout, header, digest, heap, hasher, moves: 0 };
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
        let mut state = BaseState::create(config)?;
        for (key, value) in entries {
            let (key, value) = (key.as_ref(), value.as_ref());
            let mut room = Room::default();
            room.count(key, None, Some(value));
            state.reserve(room)?;
            state.put(state.hasher.hash(key), key, Some(value))?;
        }
        state.settle();
        Ok(state)
    }

    /// Puts what is there onto huge pages, where the kernel has some. Takes about half a millisecond per MiB.
    fn settle(&self) {
        let slots = SLOT_BYTES << self.header.slots_log2;
        let areas = [
            (to_usize(self.header.area_offset), slots),
            (to_usize(self.layout.heap_start), to_usize(self.heap.used())),
        ];
        for (offset, bytes) in areas {
            if let Err(error) = self.region.collapse(offset, bytes) {
                tracing::debug!(%error, "base state stays on small pages");
            }
        }
    }

    /// The region, to hand a read-only descriptor to readers.
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

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.entries
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.entries == 0
    }

    /// The value of `key`, whose hash under [`hasher`](Self::hasher) is `hash`.
    #[must_use]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let source = Source::Writer(&self.region);
        source.find(&self.header, hash, key).map(|(_, value)| value)
    }

    /// Fetches the cache line where the look-up of a key with this hash begins.
    pub fn prefetch(&self, hash: u64) {
        self.region.prefetch(self.header.line_of(hash));
    }

    /// The place and the value of `key`, or `None` if it is absent. A place gets useless when entries are added or removed.
    #[must_use]
    pub fn locate(&self, hash: u64, key: &[u8]) -> Option<(Place, &[u8])> {
        let source = Source::Writer(&self.region);
        source.find(&self.header, hash, key).map(|(index, value)| {
            let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
            (Place { index, value_bytes, moves: self.moves }, value)
        })
    }

    /// Fetches the cache line of an entry that is about to change.
    pub fn prefetch_place(&self, place: Place) {
        self.region.prefetch_to_write(to_usize(self.header.area_offset) + place.index * SLOT_BYTES);
    }

    /// The value at a place, if `key` stands there.
    #[must_use]
    pub fn value_at(&self, place: Place, key: &[u8]) -> Option<&[u8]> {
        Source::Writer(&self.region).value_at(&self.header, place.index, key)
    }

    /// Calls `each` with every entry, in table order.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let source = Source::Writer(&self.region);
        for slot in source.slots(&self.header).iter().filter(|slot| slot.hash != 0) {
            if let Some((key, value)) = source.entry(slot) {
                each(key, value);
            }
        }
    }

    /// Makes sure that changes which need this room can be put without an error.
    ///
    /// # Errors
    /// [`StateError::Full`] or [`StateError::HeapFull`]; nothing has changed then.
    pub fn reserve(&mut self, room: Room) -> Result<(), StateError> {
        let wanted = self.header.entries + room.entries as u64;
        let limit = (2_u64 << self.layout.max_log2) / 3;
        if wanted > limit {
            return Err(StateError::Full { entries: self.header.entries, more: room.entries as u64, limit });
        }
        if !self.heap.fits(room.long_entries, room.long_bytes) {
            let limit = self.layout.end - self.layout.heap_start;
            return Err(StateError::HeapFull { used: self.heap.used(), limit });
        }
        while wanted * 3 > (2_u64 << self.header.slots_log2) {
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
            Source::Writer(&self.region).value_at(&self.header, place.index, key).map(<[u8]>::len),
            Some(value.len()),
            "a place is true as long as the table did not count a move"
        );
        let Some(slot) = self.slots_mut().ok().and_then(|slots| slots.get_mut(place.index)) else {
            return false;
        };
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
        let known =
            place.and_then(|Place { index, .. }| Some((index, source.value_at(&self.header, index, key)?)));
        let found = known.or_else(|| source.find(&self.header, hash, key));
        let old = found.map(|(_, old)| old);
        if old == value {
            return Ok(());
        }
        count(&mut self.digest, old, value);
        match (found, value) {
            (None, None) => Ok(()),
            (None, Some(new)) => self.insert(hash, key, new),
            (Some((index, old)), Some(new)) => {
                let old_bytes = old.len();
                self.overwrite(index, key, old_bytes, new)
            }
            (Some((index, _)), None) => self.remove(index),
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        if (self.header.entries + 1) * 3 > (2_u64 << self.header.slots_log2) {
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
            let payload: &mut [u8] = bytes_of_mut(&mut self.slots_mut()?[index].payload);
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
            slot.flags &= !FLAG_HEAP;
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
        slot.flags |= FLAG_HEAP;
        slot.payload[0] = place;
        Ok(slot)
    }

    fn count_move(&mut self) {
        self.moves = self.moves.wrapping_add(1);
    }

    fn remove(&mut self, index: usize) -> Result<(), StateError> {
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
            let bytes = usize::from(removed.key_bytes) + removed.value_bytes as usize;
            self.heap.release(removed.payload[0], bytes);
        }
        self.header.entries -= 1;
        self.publish_header()
    }

    /// Copies all slots into the other area at twice the size and gives the old area back.
    fn grow(&mut self) -> Result<(), StateError> {
        self.count_move();
        let old = self.header;
        let log2 = old.slots_log2 + 1;
        if log2 > self.layout.max_log2 {
            let limit = (2_u64 << self.layout.max_log2) / 3;
            return Err(StateError::Full { entries: old.entries, more: 1, limit });
        }
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

    fn slots_mut(&mut self) -> Result<&mut [Slot], StateError> {
        let (offset, count) = (to_usize(self.header.area_offset), 1_usize << self.header.slots_log2);
        Ok(self.region.slice_mut::<Slot>(offset, count)?)
    }

    fn publish_header(&mut self) -> Result<(), StateError> {
        let bytes = self.region.slice_mut::<u8>(0, size_of::<Header>())?;
        bytes.copy_from_slice(bytes_of(&self.header));
        Ok(())
    }
}

/// A reader of a base state; may be asked only while the writer keeps quiet.
#[derive(Debug)]
pub struct StateReader {
    region: RegionReader,
}

impl StateReader {
    /// Reads the state in `region`.
    #[must_use]
    pub fn new(region: RegionReader) -> StateReader {
        StateReader { region }
    }

    /// The value of `key`, whose hash under the writer's hasher is `hash`.
    #[must_use]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let header = self.region.slice::<Header>(0, 1).ok()?.first()?;
        Source::Reader(&self.region).find(header, hash, key).map(|(_, value)| value)
    }

    /// Fetches the cache line where the look-up of a key with this hash begins.
    pub fn prefetch(&self, hash: u64) {
        if let Ok([header]) = self.region.slice::<Header>(0, 1) {
            self.region.prefetch(header.line_of(hash));
        }
    }
}

/// A read-only descriptor of the state for [`StateReader`].
impl BaseState {
    /// Re-opens the region read-only.
    ///
    /// # Errors
    /// [`StateError::Region`].
    pub fn reader_fd(&self) -> Result<OwnedFd, StateError> {
        Ok(self.region.reader_fd()?)
    }
}

/// Either end's mapping, for the look-up that both share.
enum Source<'a> {
    Writer(&'a Region),
    Reader(&'a RegionReader),
}

impl<'a> Source<'a> {
    fn slots(&self, header: &Header) -> &'a [Slot] {
        let (offset, count) =
            (to_usize(header.area_offset), 1_usize << header.slots_log2.min(Layout::MAX_LOG2));
        match self {
            Source::Writer(region) => region.slice(offset, count),
            Source::Reader(region) => region.slice(offset, count),
        }
        .unwrap_or(&[])
    }

    fn bytes(&self, offset: u64, bytes: usize) -> Option<&'a [u8]> {
        match self {
            Source::Writer(region) => region.slice(to_usize(offset), bytes),
            Source::Reader(region) => region.slice(to_usize(offset), bytes),
        }
        .ok()
    }

    /// Key and value of a slot.
    fn entry(&self, slot: &'a Slot) -> Option<(&'a [u8], &'a [u8])> {
        let (key_bytes, value_bytes) = (usize::from(slot.key_bytes), slot.value_bytes as usize);
        let both = if slot.flags & FLAG_HEAP != 0 {
            self.bytes(slot.payload[0], key_bytes + value_bytes)?
        } else {
            cast_slice::<u64, u8>(&slot.payload).get(..key_bytes + value_bytes)?
        };
        Some(both.split_at(key_bytes))
    }

    fn value_at(&self, header: &Header, index: usize, key: &[u8]) -> Option<&'a [u8]> {
        let slot = self.slots(header).get(index).filter(|slot| slot.hash != 0)?;
        self.entry(slot).filter(|&(found, _)| found == key).map(|(_, value)| value)
    }

    fn find(&self, header: &Header, hash: u64, key: &[u8]) -> Option<(usize, &'a [u8])> {
        let slots = self.slots(header);
        let mask = slots.len().checked_sub(1)?;
        let home = home_of(hash, header.slots_log2);
        for step in 0..=mask {
            let index = (home + step) & mask;
            let slot = slots.get(index)?;
            if slot.hash == 0 {
                return None;
            }
            if slot.hash == hash
                && let Some((found, value)) = self.entry(slot)
                && found == key
            {
                return Some((index, value));
            }
        }
        None
    }
}

fn home_of(hash: u64, slots_log2: u64) -> usize {
    to_usize(hash >> (64 - slots_log2.clamp(1, 63)))
}

/// Offsets inside a mapped region fit the address width.
#[allow(clippy::cast_possible_truncation, reason = "phalanx builds for 64-bit targets only, see lib.rs")]
const fn to_usize(offset: u64) -> usize {
    offset as usize
}

#[cfg(test)]
mod tests;
