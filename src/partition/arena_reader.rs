//! A shard's end of a block arena.

use crate::MAX_SHARDS;
use crate::partition::arena::{
    ArenaError, ArenaLimits, Edge, HEADER_BYTES_MAX, PlannedTransaction, RoundHeader, Sections, SubBlock,
};
use crate::types::{
    BlockHeader, KeyHasher, KeyId, KeyTable, PreparedTransaction, TransactionAccess, TxnIndex,
};
use phalanx_ipc::{RegionReader, prefetch_start};

/// Lines of an encoded transaction that are fetched ahead: the fields before its input.
const PREFETCHED_LINES: usize = 3;
const LINE_BYTES: usize = 64;

/// A shard's end of an arena; may be asked only between the announcement of a round and parking.
#[derive(Debug)]
pub struct ArenaReader {
    region: RegionReader,
    limits: ArenaLimits,
    sections: Sections,
}

impl ArenaReader {
    /// Reads the arena in `region`, made with the same limits.
    #[must_use]
    pub fn new(region: RegionReader, limits: ArenaLimits) -> ArenaReader {
        ArenaReader { region, limits, sections: Sections::new(&limits) }
    }

    /// The present round as a set of slices.
    ///
    /// # Errors
    /// [`ArenaError::Damaged`] when a count exceeds its limit.
    pub fn round(&self) -> Result<RoundPlan<'_>, ArenaError> {
        let header = self.region.slice::<RoundHeader>(0, 1)?[0];
        let within = |field, value: u32, limit: usize| {
            if value as usize > limit {
                Err(ArenaError::Damaged { field, value: value.into() })
            } else {
                Ok(value as usize)
            }
        };
        let transactions = within("number of transactions", header.transactions, self.limits.transactions)?;
        let keys = within("number of keys", header.keys, self.limits.keys)?;
        let edges = within("number of edges", header.edges, self.limits.edges)?;
        let header_bytes = within("length of block header", header.header_bytes, HEADER_BYTES_MAX)?;
        let log2 = within("size of key index", header.key_index_log2, 31)?;
        let s = &self.sections;
        Ok(RoundPlan {
            header,
            sub_blocks: self.region.slice(s.sub_blocks, MAX_SHARDS)?,
            block_header: self.region.slice(s.header, header_bytes)?,
            transactions: self.region.slice(s.transactions, transactions)?,
            transaction_bytes: self.region.slice(s.transaction_bytes, self.limits.transaction_bytes)?,
            accesses: self.region.slice(s.accesses, self.limits.accesses)?,
            planned: self.region.slice(s.planned, transactions)?,
            edges: self.region.slice(s.edges, edges)?,
            table: KeyTable {
                index: self.region.slice(s.key_index, 1 << log2)?,
                keys: self.region.slice(s.keys, keys)?,
                bytes: self.region.slice(s.key_bytes, self.limits.key_bytes)?,
            },
        })
    }
}

/// A round as a shard sees it.
#[derive(Clone, Copy, Debug)]
pub struct RoundPlan<'a> {
    /// Counts and flags.
    pub header: RoundHeader,
    /// Where each shard's part begins.
    pub sub_blocks: &'a [SubBlock],
    /// The encoded block header.
    block_header: &'a [u8],
    /// All transactions of the block.
    transactions: &'a [PreparedTransaction],
    transaction_bytes: &'a [u8],
    accesses: &'a [TransactionAccess],
    /// What to do with each transaction; only those reached through a sub-block are of this round.
    pub planned: &'a [PlannedTransaction],
    /// Cross-shard edges.
    pub edges: &'a [Edge],
    table: KeyTable<'a>,
}

impl<'a> RoundPlan<'a> {
    /// The block's header.
    ///
    /// # Errors
    /// [`ArenaError::Damaged`] when it does not decode.
    pub fn block_header(&self) -> Result<BlockHeader, ArenaError> {
        let bytes = self.block_header.len() as u64;
        bcs::from_bytes(self.block_header)
            .map_err(|_| ArenaError::Damaged { field: "block header", value: bytes })
    }

    /// The hasher of this block's keys.
    #[must_use]
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher::with_seed(self.header.seed)
    }

    /// Number of keys that have an id.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.table.keys.len()
    }

    /// A transaction's bytes and expected accesses.
    #[must_use]
    pub fn transaction(&self, txn: TxnIndex) -> Option<(&'a [u8], &'a [TransactionAccess])> {
        let entry = self.transactions.get(txn.index())?;
        let start = entry.offset as usize;
        let bytes = self.transaction_bytes.get(start..start + entry.bytes as usize)?;
        let first = entry.access_start as usize;
        Some((bytes, self.accesses.get(first..first + entry.access_count as usize)?))
    }

    /// Hash and bytes of a key.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<(u64, &'a [u8])> {
        self.table.key(id)
    }

    /// Fetches what of the plan a transaction and its first `accesses` need, and calls `each` with the hashes of their keys.
    pub fn prefetch(&self, txn: TxnIndex, accesses: usize, mut each: impl FnMut(u64)) {
        let (bytes, expected) = self.transaction(txn).unwrap_or((&[], &[]));
        bytes.chunks(LINE_BYTES).take(PREFETCHED_LINES).for_each(prefetch_start);
        for access in expected.iter().take(accesses) {
            if let Some((hash, name)) = self.key(access.key) {
                prefetch_start(name);
                each(hash);
            }
        }
    }

    /// Hash of a key.
    #[must_use]
    pub fn hash_of(&self, id: KeyId) -> Option<u64> {
        self.table.hash(id)
    }

    /// The id of a key, if the plan knows it.
    #[must_use]
    pub fn find_key(&self, hash: u64, key: &[u8]) -> Option<KeyId> {
        self.table.find(hash, key)
    }
}
