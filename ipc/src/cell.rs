//! Cells: what a ring carries, and how one is copied in and out.
//!
//! Cells are copied by atomic words: a peer that breaks the rules and writes a cell that is being read causes a wrong
//! value, never undefined behaviour. Copying by 16 bytes measured no faster.

use bytemuck::{Pod, Zeroable};

use crate::sync::{AtomicU64, Ordering};

/// Words of a cell.
pub const CELL_WORDS: usize = 8;
/// Words of a cell that are really moved: a model checks two, which is enough to see one torn.
const MOVED_WORDS: usize = if cfg!(loom) { 2 } else { CELL_WORDS };

/// A message: one cache line, any bits.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Cell(pub [u64; CELL_WORDS]);

/// Storage of one cell.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct CellSpace {
    words: [AtomicU64; MOVED_WORDS],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Cell>() == 64 && align_of::<Cell>() == 64);
    assert!(size_of::<CellSpace>() == 64 && align_of::<CellSpace>() == 64);
};

impl CellSpace {
    /// Copies a cell in, word by word.
    #[inline]
    pub(crate) fn store(&self, cell: Cell) {
        for (target, word) in self.words.iter().zip(cell.0) {
            target.store(word, Ordering::Relaxed);
        }
    }

    /// Copies a cell out, word by word.
    #[inline]
    pub(crate) fn load(&self) -> Cell {
        let mut cell = Cell([0; CELL_WORDS]);
        for (word, source) in cell.0.iter_mut().zip(&self.words) {
            *word = source.load(Ordering::Relaxed);
        }
        cell
    }

    /// Asks the processor for the line, to write it: a hint, which never waits or faults.
    #[inline]
    pub(crate) fn fetch_for_writing(&self) {
        // The library's own hint asks for the line to read it, unless the target has a feature that not all hosts have;
        // and a line that is there to be read makes the write slower.
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        // SAFETY: the instruction changes nothing that a program can read and never faults; processors that lack it do
        // nothing.
        unsafe {
            std::arch::asm!(
                "prefetchw [{line}]",
                line = in(reg) self.words.as_ptr(),
                options(nostack, preserves_flags, readonly),
            );
        }
    }
}
