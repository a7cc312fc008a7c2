//! Copying a block into its arena, piece by piece: whoever loads one looks at deaths and at the clock in between.

use crate::partition::arena::{ArenaError, HEADER_BYTES_MAX, RoundHeader};
use crate::partition::arena_writer::{ArenaWriter, u32_of};
use crate::types::{BlockHeader, PreparedBlock, RoundId, index_slots};
use bytemuck::Pod;

/// Bytes copied or cleared in one piece: well under a millisecond, with all pages touched for the first time.
const PIECE_BYTES: usize = 256 * 1024;

/// Up to which item a block has been copied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loading {
    Transactions(usize),
    TransactionBytes(usize),
    Accesses(usize),
    Keys(usize),
    KeyBytes(usize),
    /// Slots of the index over the keys.
    KeyIndex(usize),
    Done,
}

fn fits(what: &'static str, needed: usize, limit: usize) -> Result<(), ArenaError> {
    if needed > limit { Err(ArenaError::BlockTooLarge { what, needed, limit }) } else { Ok(()) }
}

impl ArenaWriter {
    /// Whether the arena is large enough for a block, as far as its sizes tell.
    ///
    /// # Errors
    /// [`ArenaError::BlockTooLarge`].
    pub fn admits(&self, block: &PreparedBlock) -> Result<(), ArenaError> {
        let limits = &self.limits;
        fits("transactions", block.len(), limits.transactions)?;
        fits("bytes of transactions", block.transaction_bytes().len(), limits.transaction_bytes)?;
        fits("declared accesses", block.accesses().len(), limits.accesses)?;
        fits("distinct keys", block.keys().len(), limits.keys)?;
        fits("bytes of declared keys", block.key_bytes().len(), limits.key_bytes)?;
        fits("bytes of block header", block.header().extra.len(), HEADER_BYTES_MAX)
    }

    /// Starts to load a block and forgets the one before. Nothing can be asked of it until
    /// [`load_step`](Self::load_step) is done with it; the declared keys have the ids then that the block gave them.
    ///
    /// # Errors
    /// [`ArenaError::BlockTooLarge`] before anything is written.
    pub fn begin_load(&mut self, block: &PreparedBlock) -> Result<(), ArenaError> {
        self.admits(block)?;
        let encoded = encode_header(block.header())?;
        fits("bytes of block header", encoded.len(), HEADER_BYTES_MAX)?;
        self.header = RoundHeader {
            round: RoundId(0),
            seed: block.hasher().seed(),
            transactions: u32_of("transactions", block.len(), self.limits.transactions)?,
            keys: u32_of("distinct keys", block.keys().len(), self.limits.keys)?,
            edges: 0,
            has_overlay: 0,
            header_bytes: u32_of("bytes of block header", encoded.len(), HEADER_BYTES_MAX)?,
            key_index_log2: index_slots(block.keys().len()).trailing_zeros(),
        };
        self.copy_in(self.sections.header, &encoded)?;
        self.key_bytes = block.key_bytes().len();
        self.ahead.truncate(0);
        self.accesses = block.accesses().len();
        self.loading = Loading::Transactions(0);
        Ok(())
    }

    /// Copies one more piece of `block`, which must be the one that the load began with. True when all is there.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn load_step(&mut self, block: &PreparedBlock) -> Result<bool, ArenaError> {
        let s = self.sections;
        self.loading = match self.loading {
            Loading::Transactions(from) => self
                .copy_piece(s.transactions, block.transactions(), from)?
                .map_or(Loading::TransactionBytes(0), Loading::Transactions),
            Loading::TransactionBytes(from) => self
                .copy_piece(s.transaction_bytes, block.transaction_bytes(), from)?
                .map_or(Loading::Accesses(0), Loading::TransactionBytes),
            Loading::Accesses(from) => self
                .copy_piece(s.accesses, block.accesses(), from)?
                .map_or(Loading::Keys(0), Loading::Accesses),
            Loading::Keys(from) => {
                self.copy_piece(s.keys, block.keys(), from)?.map_or(Loading::KeyBytes(0), Loading::Keys)
            }
            Loading::KeyBytes(from) => self
                .copy_piece(s.key_bytes, block.key_bytes(), from)?
                .map_or(Loading::KeyIndex(0), Loading::KeyBytes),
            Loading::KeyIndex(from) => {
                let index = block.key_table().index;
                if index.is_empty() {
                    // Nothing is declared, but keys may be learned.
                    self.region.slice_mut::<u32>(s.key_index, index_slots(0))?.fill(0);
                }
                self.copy_piece(s.key_index, index, from)?.map_or(Loading::Done, Loading::KeyIndex)
            }
            Loading::Done => Loading::Done,
        };
        Ok(self.loading == Loading::Done)
    }

    /// Copies the next items from place `from` on; where to go on, or `None` when all are there.
    fn copy_piece<T: Pod>(
        &mut self,
        offset: usize,
        items: &[T],
        from: usize,
    ) -> Result<Option<usize>, ArenaError> {
        let end = items.len().min(from + PIECE_BYTES / size_of::<T>());
        self.copy_in(offset + from * size_of::<T>(), items.get(from..end).unwrap_or(&[]))?;
        Ok((end < items.len()).then_some(end))
    }
}

fn encode_header(header: &BlockHeader) -> Result<Vec<u8>, ArenaError> {
    let needed = header.extra.len();
    bcs::to_bytes(header).map_err(|_| ArenaError::BlockTooLarge {
        what: "bytes of block header",
        needed,
        limit: HEADER_BYTES_MAX,
    })
}
