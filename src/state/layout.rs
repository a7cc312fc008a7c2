//! Where everything lies in the region of a base state.
//!
//! A header page, two slot areas and a heap. A table of one size lies in one area, the next greater and the next smaller in
//! the other one.

use crate::state::StateConfig;
use crate::state::slot::SLOT_BYTES;
use bytemuck::{Pod, Zeroable};

pub(super) const HEADER_BYTES: usize = 4096;

/// First bytes of the region.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    /// Byte offset of the active slot area.
    pub(super) area_offset: u64,
    /// Number of slots of the active area, as a power of two.
    pub(super) slots_log2: u64,
    /// Number of slots in use.
    pub(super) entries: u64,
    /// Seed of the hasher.
    pub(super) seed: u64,
    /// 1 if every entry of the state is in the table; else one that is not may be in the store.
    pub(super) whole: u64,
}

const _: () = assert!(size_of::<Header>() <= HEADER_BYTES);

impl Header {
    /// Byte offset of the slot where the look-up of a hash begins.
    pub(super) fn line_of(&self, hash: u64) -> usize {
        to_usize(self.area_offset) + home_of(hash, self.slots_log2) * SLOT_BYTES
    }
}

/// Where everything lies; derived from the configuration alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) max_log2: u64,
    pub(super) heap_start: u64,
    pub(super) end: u64,
}

impl Layout {
    pub(super) const MIN_LOG2: u64 = 10;
    pub(super) const MAX_LOG2: u64 = 35;

    pub(super) fn new(config: StateConfig) -> Layout {
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
    pub(super) fn area(&self, slots_log2: u64) -> u64 {
        if (self.max_log2 - slots_log2).is_multiple_of(2) {
            HEADER_BYTES as u64
        } else {
            HEADER_BYTES as u64 + ((SLOT_BYTES as u64) << self.max_log2)
        }
    }
}

/// Whether a table of this size may have so many slots in use.
pub(super) fn fits(entries: u64, slots_log2: u64) -> bool {
    entries * 3 <= 2 << slots_log2
}

/// Most slots that a table of this size has in use: two thirds.
pub(super) fn room_of(slots_log2: u64) -> u64 {
    (2 << slots_log2) / 3
}

pub(super) fn home_of(hash: u64, slots_log2: u64) -> usize {
    to_usize(hash >> (64 - slots_log2.clamp(1, 63)))
}

/// Offsets inside a mapped region fit the address width.
#[allow(clippy::cast_possible_truncation, reason = "phalanx builds for 64-bit targets only, see lib.rs")]
pub(super) const fn to_usize(offset: u64) -> usize {
    offset as usize
}
