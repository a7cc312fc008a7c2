//! A shard's end of a base state.

use crate::state::layout::Header;
use crate::state::slot::{Slot, Source, heap_of};
use bytemuck::Zeroable;
use phalanx_ipc::RegionReader;

/// What the table knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseValue<'a> {
    /// Its value.
    Here(&'a [u8]),
    /// The state has no such key.
    Absent,
    /// The table is a cache and does not hold it: the store knows.
    Cold,
}

impl<'a> BaseValue<'a> {
    /// The value, if it is here.
    #[must_use]
    pub fn here(self) -> Option<&'a [u8]> {
        match self {
            BaseValue::Here(value) => Some(value),
            BaseValue::Absent | BaseValue::Cold => None,
        }
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

    /// The table as it stands, until the writer writes again: take it anew then.
    #[must_use]
    pub fn table(&self) -> StateTable<'_> {
        let header = self.region.slice::<Header>(0, 1).map_or(Header::zeroed(), |headers| headers[0]);
        StateTable { region: &self.region, header, slots: Source::Reader(&self.region).slots(&header) }
    }
}

/// The table of a base state while its writer keeps quiet.
#[derive(Clone, Copy)]
pub struct StateTable<'a> {
    region: &'a RegionReader,
    header: Header,
    slots: &'a [Slot],
}

impl std::fmt::Debug for StateTable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateTable").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'a> StateTable<'a> {
    /// What the table knows of `key`, whose hash under the writer's hasher is `hash`.
    #[must_use]
    pub fn get(&self, hash: u64, key: &[u8]) -> BaseValue<'a> {
        let source = Source::Reader(self.region);
        match source.find_among(self.slots, self.header.slots_log2, hash, key) {
            Some(found) => source.value(found.slot).map_or(BaseValue::Absent, BaseValue::Here),
            None if self.header.whole != 0 => BaseValue::Absent,
            None => BaseValue::Cold,
        }
    }

    /// Fetches key and value of the entry where the look-up of a key with this hash begins, if they do not lie in its line.
    /// Useful some time after [`prefetch`](Self::prefetch).
    pub fn prefetch_heap(&self, hash: u64) {
        if let Some(offset) = heap_of(self.slots, self.header.slots_log2, hash) {
            self.region.prefetch(offset);
        }
    }

    /// Fetches the cache line where the look-up of a key with this hash begins.
    pub fn prefetch(&self, hash: u64) {
        self.region.prefetch(self.header.line_of(hash));
    }
}
