//! Where the state in the store stands, and the rows that tell it.

use crate::durable::log_scan::{LoggedBlock, RecordPlace};
use crate::durable::record::BlockMark;
use crate::durable::segment::DirectoryId;
use crate::state::StateDigest;
use crate::types::BlockHash;
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

/// Version of the store's databases.
pub(super) const STORE_VERSION: u32 = 1;

/// Where a durable state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height and hash of the last block; `None` before the first.
    pub block: Option<(u64, BlockHash)>,
    /// Digest of all entries.
    pub digest: StateDigest,
    /// Sequence of the last log record in it.
    pub(super) sequence: u64,
    /// Digest of the first state.
    pub(super) genesis: StateDigest,
    pub(super) directory: DirectoryId,
}

impl Head {
    /// Height of the last block; `None` before the first.
    #[must_use]
    pub fn height(&self) -> Option<u64> {
        self.block.map(|(height, _)| height)
    }

    /// The head after one more block.
    pub(super) fn after(self, block: &LoggedBlock) -> Head {
        let BlockMark { height, hash, digest } = block.mark;
        Head { block: Some((height, hash)), digest, sequence: block.sequence, ..self }
    }
}

/// The row that holds the head.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct HeadRow {
    version: u32,
    has_block: u32,
    sequence: u64,
    height: u64,
    hash: [u8; 32],
    digest: [u8; 16],
    genesis: [u8; 16],
    directory: DirectoryId,
    reserved: u32,
    /// CRC-32 of all before it.
    crc: u32,
}

const HEAD_BYTES: usize = size_of::<HeadRow>();
const _: () = assert!(HEAD_BYTES == 112);

/// A head row that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    Version(u32),
    Damaged,
}

impl HeadRow {
    pub(super) fn of(head: &Head) -> HeadRow {
        let (height, hash) = head.block.unwrap_or_default();
        let mut row = HeadRow {
            version: STORE_VERSION,
            has_block: u32::from(head.block.is_some()),
            sequence: head.sequence,
            height,
            hash: hash.0,
            digest: head.digest.0.to_le_bytes(),
            genesis: head.genesis.0.to_le_bytes(),
            directory: head.directory,
            reserved: 0,
            crc: 0,
        };
        row.crc = row.checksum();
        row
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(bytes_of(self).get(..HEAD_BYTES - 4).unwrap_or(&[]))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Head, BadHead> {
        // The version comes first in every version.
        let version = bytes.get(..4).map(pod_read_unaligned::<u32>).ok_or(BadHead::Damaged)?;
        if version != STORE_VERSION {
            return Err(BadHead::Version(version));
        }
        if bytes.len() != HEAD_BYTES {
            return Err(BadHead::Damaged);
        }
        let row: HeadRow = pod_read_unaligned(bytes);
        if row.crc != row.checksum() {
            return Err(BadHead::Damaged);
        }
        Ok(Head {
            block: (row.has_block == 1).then_some((row.height, BlockHash(row.hash))),
            digest: StateDigest(u128::from_le_bytes(row.digest)),
            sequence: row.sequence,
            genesis: StateDigest(u128::from_le_bytes(row.genesis)),
            directory: row.directory,
        })
    }
}

/// The row of a block, under its height.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockRow {
    hash: [u8; 32],
    digest: [u8; 16],
    sequence: u64,
    segment: u64,
    offset: u64,
}

const _: () = assert!(size_of::<BlockRow>() == 72);

impl BlockRow {
    pub(super) fn of(block: &LoggedBlock) -> BlockRow {
        BlockRow {
            hash: block.mark.hash.0,
            digest: block.mark.digest.0.to_le_bytes(),
            sequence: block.sequence,
            segment: block.place.segment,
            offset: block.place.offset,
        }
    }

    /// `None` if the row has another length.
    pub(super) fn parse(height: u64, bytes: &[u8]) -> Option<(BlockMark, RecordPlace)> {
        let row: BlockRow = (bytes.len() == size_of::<BlockRow>()).then(|| pod_read_unaligned(bytes))?;
        let digest = StateDigest(u128::from_le_bytes(row.digest));
        let place = RecordPlace { segment: row.segment, offset: row.offset };
        Some((BlockMark { height, hash: BlockHash(row.hash), digest }, place))
    }
}
