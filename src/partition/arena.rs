//! A block arena: one region that holds a block's transactions, its keys and the plan of its present round. This file
//! says what lies where; `arena_writer` and `arena_reader` are the two ends.
//!
//! The coordinator writes while no shard looks; shards read. Every section has a fixed place, sparse up to its limit,
//! so that offsets follow from the limits alone. `docs/layout.md` has the byte table.

use crate::MAX_SHARDS;
use crate::types::{
    Incarnation, KeyId, KeyRecord, OutOfRange, PreparedTransaction, RoundId, TransactionAccess, TxnIndex,
    index_slots,
};
use bytemuck::{Pod, Zeroable};
use phalanx_ipc::RegionError;
use thiserror::Error;

/// No transaction follows.
pub const NO_TXN: TxnIndex = TxnIndex(u32::MAX);
/// No edge follows.
pub const NO_EDGE: u32 = u32::MAX;

/// The most that one block may hold. Address space is reserved for it, memory is taken as it is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaLimits {
    /// Transactions; 1 ..= 2^28.
    pub transactions: usize,
    /// Bytes of all encoded transactions; 1 ..= 2^32 - 2.
    pub transaction_bytes: usize,
    /// Declared or learned accesses, and writes that one overlay shows; 1 ..= 2^32 - 2.
    pub accesses: usize,
    /// Distinct keys; 1 ..= 2^30.
    pub keys: usize,
    /// Bytes of all declared keys, and of those learned in later rounds; 1 ..= 2^32 - 2.
    pub key_bytes: usize,
    /// Cross-shard edges of one round; beyond it readers go without and are validated as ever. 0 ..= 2^32 - 2.
    pub edges: usize,
}

/// Places in sections are 32-bit numbers, of which the last says "none".
const PLACES_MAX: u64 = u32::MAX as u64 - 1;

impl ArenaLimits {
    /// Size of an arena's region; of valid limits only.
    pub(crate) fn region_bytes(&self) -> u64 {
        Sections::new(self).end as u64
    }

    /// Whether an arena can be made with these limits.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let ArenaLimits { transactions, transaction_bytes, accesses, keys, key_bytes, edges } = *self;
        OutOfRange::check("arena.transactions", transactions as u64, 1..=1 << 28)?;
        OutOfRange::check("arena.transaction_bytes", transaction_bytes as u64, 1..=PLACES_MAX)?;
        OutOfRange::check("arena.accesses", accesses as u64, 1..=PLACES_MAX)?;
        OutOfRange::check("arena.keys", keys as u64, 1..=1 << 30)?;
        OutOfRange::check("arena.key_bytes", key_bytes as u64, 1..=PLACES_MAX)?;
        OutOfRange::check("arena.edges", edges as u64, 0..=PLACES_MAX)
    }
}

impl Default for ArenaLimits {
    fn default() -> ArenaLimits {
        ArenaLimits {
            transactions: 1 << 20,
            transaction_bytes: 1 << 30,
            accesses: 1 << 24,
            keys: 1 << 23,
            key_bytes: 1 << 30,
            edges: 1 << 22,
        }
    }
}

/// A block that does not fit its arena, or an arena that cannot be made or read.
#[derive(Debug, Error)]
pub enum ArenaError {
    /// A limit that no arena can have.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The region could not be made, mapped or sliced.
    #[error("block arena: {0}")]
    Region(#[from] RegionError),
    /// The block is larger than the arena was made for.
    #[error("block needs {needed} {what}, the arena holds {limit}; raise the limit or split the block")]
    BlockTooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much the block needs.
        needed: usize,
        /// How much fits.
        limit: usize,
    },
    /// The arena's words are not those of a plan: memory was damaged.
    #[error("block arena holds {value} as its {field}")]
    Damaged {
        /// Which word.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// First bytes of an arena: the block and its present round.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RoundHeader {
    /// The round that this plan is for.
    pub round: RoundId,
    /// Seed of the key hasher.
    pub seed: u64,
    /// Transactions in the block.
    pub transactions: u32,
    /// Keys known so far.
    pub keys: u32,
    /// Cross-shard edges of this round.
    pub edges: u32,
    /// 1 if the overlay holds outputs of earlier rounds of this block.
    pub has_overlay: u32,
    /// Bytes of the encoded block header.
    pub header_bytes: u32,
    /// Slots of the key index, as a power of two.
    pub key_index_log2: u32,
}

/// What a shard needs to know of one transaction that it executes this round.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PlannedTransaction {
    /// The next transaction of the same shard, or [`NO_TXN`].
    pub next: TxnIndex,
    /// Which execution this is.
    pub incarnation: Incarnation,
    /// First required edge.
    pub required_start: u32,
    /// Number of required edges: they follow each other.
    pub required_count: u32,
    /// First dependent edge, or [`NO_EDGE`].
    pub dependent: u32,
    /// Who may execute it: [`TIED`], [`FREE`] or [`FREE_FIRST`].
    pub freedom: u32,
}

/// The transaction waits for others of its round, or others for it: only the shard that it is planned for executes it.
pub const TIED: u32 = 0;
/// Nobody waits for it and it waits for nobody: whichever shard claims it executes it.
pub const FREE: u32 = 1;
/// Free, and its shard begins with it: it is long and would keep everybody waiting if it were begun late, or it is the first in line.
pub const FREE_FIRST: u32 = 2;

/// A value that crosses from the shard of its writer to the shard of a reader.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Edge {
    /// Which key.
    pub key: KeyId,
    /// The transaction after which the value is sent.
    pub writer: TxnIndex,
    /// The next dependent edge of the same writer, or [`NO_EDGE`].
    pub next_dependent: u32,
    /// The shard that waits for the value.
    pub to_shard: u32,
}

/// One shard's part of a round.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SubBlock {
    /// Its first transaction, or [`NO_TXN`].
    pub first: TxnIndex,
    /// How many transactions it has.
    pub count: u32,
    /// How many of them are free. They are claimed by position: those that the shard begins with, then the others, both in
    /// block order.
    pub free: u32,
    /// With how many of these the shard begins.
    pub free_first: u32,
    /// Most free transactions that are claimed at once.
    pub grain: u32,
    /// Whether it leaves all other free ones until it has executed those that are not: 0 or 1.
    pub tied_first: u32,
}

impl SubBlock {
    /// Nothing to do.
    pub const EMPTY: SubBlock =
        SubBlock { first: NO_TXN, count: 0, free: 0, free_first: 0, grain: 1, tied_first: 0 };
}

// Whoever changes one of these changes the version in `supervisor::protocol`.
const _: () = assert!(size_of::<PreparedTransaction>() == 24 && size_of::<TransactionAccess>() == 8);
const _: () = assert!(size_of::<SubBlock>() == 24);
const _: () = assert!(size_of::<RoundHeader>() == 40 && size_of::<KeyRecord>() == 16);
const _: () = assert!(size_of::<PlannedTransaction>() == 24 && size_of::<Edge>() == 16);

const PAGE: usize = 4096;
/// Room for the encoded block header.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;

/// Byte offset of every section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections {
    pub(super) sub_blocks: usize,
    pub(super) header: usize,
    pub(super) transactions: usize,
    pub(super) transaction_bytes: usize,
    pub(super) accesses: usize,
    pub(super) keys: usize,
    pub(super) key_bytes: usize,
    pub(super) key_index: usize,
    pub(super) planned: usize,
    pub(super) edges: usize,
    pub(super) end: usize,
}

impl Sections {
    pub(super) fn new(limits: &ArenaLimits) -> Sections {
        let mut at = PAGE;
        let mut section = |bytes: usize| {
            let start = at;
            at += bytes.next_multiple_of(PAGE);
            start
        };
        Sections {
            sub_blocks: section(MAX_SHARDS * size_of::<SubBlock>()),
            header: section(HEADER_BYTES_MAX),
            transactions: section(limits.transactions * size_of::<PreparedTransaction>()),
            transaction_bytes: section(limits.transaction_bytes),
            accesses: section(limits.accesses * size_of::<TransactionAccess>()),
            keys: section(limits.keys * size_of::<KeyRecord>()),
            key_bytes: section(limits.key_bytes),
            key_index: section(index_slots(limits.keys) * size_of::<u32>()),
            planned: section(limits.transactions * size_of::<PlannedTransaction>()),
            edges: section(limits.edges * size_of::<Edge>()),
            end: at,
        }
    }
}
