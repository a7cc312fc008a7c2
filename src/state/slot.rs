//! One slot of the table, a cache line, and how a key is found among the slots.

use crate::state::layout::{Header, Layout, home_of, to_usize};
use crate::types::same_bytes;
use bytemuck::{Pod, Zeroable, cast_slice};
use phalanx_ipc::{Region, RegionReader};

/// Entries whose key and value together are this long lie inside their slot.
pub(super) const INLINE_BYTES: usize = 48;
pub(super) const SLOT_BYTES: usize = 64;

/// Key and value lie on the heap.
pub(super) const FLAG_HEAP: u16 = 1;
/// The key is known to be absent. Only in a cache: without this the store would be asked.
pub(super) const FLAG_ABSENT: u16 = 2;
/// Somebody needed the entry since the clock's hand last passed.
pub(super) const FLAG_USED: u16 = 4;
/// The flags above these bits are the low bits of the sequence of the block that changed the entry last.
pub(super) const STAMP_SHIFT: u32 = 3;

/// One entry. `hash` 0 means empty. The payload is key then value, or (with `FLAG_HEAP`) the byte offset of both.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) value_bytes: u32,
    pub(super) key_bytes: u16,
    pub(super) flags: u16,
    pub(super) payload: [u64; 6],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

impl Slot {
    pub(super) fn is_absent(&self) -> bool {
        self.flags & FLAG_ABSENT != 0
    }

    /// Length of key and value.
    pub(super) fn bytes(&self) -> usize {
        usize::from(self.key_bytes) + self.value_bytes as usize
    }
}

/// Where an entry stood, and how long its value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) index: usize,
    pub(super) value_bytes: u32,
    /// The table's count of moves then.
    pub(super) moves: u32,
}

/// A slot that holds a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) index: usize,
    pub(super) slot: &'a Slot,
}

/// Either end's mapping, for the look-up that both share.
pub(super) enum Source<'a> {
    Writer(&'a Region),
    Reader(&'a RegionReader),
}

impl<'a> Source<'a> {
    pub(super) fn slots(&self, header: &Header) -> &'a [Slot] {
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
    pub(super) fn entry(&self, slot: &'a Slot) -> Option<(&'a [u8], &'a [u8])> {
        let both = if slot.flags & FLAG_HEAP != 0 {
            self.bytes(slot.payload[0], slot.bytes())?
        } else {
            cast_slice::<u64, u8>(&slot.payload).get(..slot.bytes())?
        };
        Some(both.split_at(usize::from(slot.key_bytes)))
    }

    /// Whether a slot holds this key.
    #[inline]
    fn holds(&self, slot: &'a Slot, key: &[u8]) -> bool {
        let found = if slot.flags & FLAG_HEAP != 0 {
            self.bytes(slot.payload[0], usize::from(slot.key_bytes))
        } else {
            cast_slice::<u64, u8>(&slot.payload).get(..usize::from(slot.key_bytes))
        };
        found.is_some_and(|found| same_bytes(found, key))
    }

    /// The value in a slot; `None` if its key is known to be absent.
    #[inline]
    pub(super) fn value(&self, slot: &'a Slot) -> Option<&'a [u8]> {
        if slot.is_absent() {
            return None;
        }
        self.entry(slot).map(|(_, value)| value)
    }

    /// What a place holds, if `key` stands there.
    pub(super) fn at(&self, header: &Header, index: usize, key: &[u8]) -> Option<Found<'a>> {
        let slot = self.slots(header).get(index)?;
        (slot.hash != 0 && self.holds(slot, key)).then_some(Found { index, slot })
    }

    pub(super) fn find(&self, header: &Header, hash: u64, key: &[u8]) -> Option<Found<'a>> {
        self.find_among(self.slots(header), header.slots_log2, hash, key)
    }

    /// As [`find`](Self::find), among slots that are known already.
    #[inline]
    pub(super) fn find_among(
        &self,
        slots: &'a [Slot],
        slots_log2: u64,
        hash: u64,
        key: &[u8],
    ) -> Option<Found<'a>> {
        let mask = slots.len().checked_sub(1)?;
        let home = home_of(hash, slots_log2);
        for step in 0..=mask {
            let index = (home + step) & mask;
            let slot = slots.get(index)?;
            if slot.hash == 0 {
                return None;
            }
            if slot.hash == hash && self.holds(slot, key) {
                return Some(Found { index, slot });
            }
        }
        None
    }
}

/// Where key and value lie that a hash leads to first, if that is on the heap.
pub(super) fn heap_of(slots: &[Slot], slots_log2: u64, hash: u64) -> Option<usize> {
    let slot = slots.get(home_of(hash, slots_log2))?;
    (slot.hash == hash && slot.flags & FLAG_HEAP != 0).then_some(to_usize(slot.payload[0]))
}
