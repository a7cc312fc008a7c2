//! Sizes of a base state.

use crate::state::layout::Layout;
use crate::types::OutOfRange;

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
    /// Size of the region.
    pub(crate) fn region_bytes(&self) -> u64 {
        Layout::new(*self).end
    }

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
