//! Blocks as they come in, and blocks prepared for planning: flat arrays with every declared key hashed once.

use crate::types::key_list::KeyList;
use crate::types::named_keys::BlockKeys;
use crate::types::{
    BlockHash, HintWriter, KeyHasher, KeyId, KeyRecord, KeyTable, MAX_KEY_BYTES, MAX_VALUE_BYTES, NamedKeys,
    TransactionAccess, TxnIndex,
};
use bytemuck::{Pod, Zeroable};
use phalanx_ipc::prefetch_start;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use thiserror::Error;

/// What all transactions of a block see alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Height of the block in its ledger.
    pub height: u64,
    /// Block time in seconds since the Unix epoch; expirations are checked against it.
    pub timestamp_s: u64,
    /// Account that receives the fees.
    pub beneficiary: [u8; 32],
    /// Further context that only the virtual machine understands.
    #[serde(with = "serde_bytes")]
    pub extra: Vec<u8>,
}

/// A block: header and encoded transactions in their final order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What all transactions see alike.
    pub header: BlockHeader,
    /// The encoded transactions. Any bytes are allowed; what does not decode gets a status of its own.
    pub transactions: Vec<Vec<u8>>,
}

/// How far ahead transactions are asked of memory, in places, and how much of each: where a block comes from, each one lies elsewhere.
const FETCHED_AHEAD: usize = 4;
const FETCHED_BYTES: usize = 256;
const LINE_BYTES: usize = 64;

impl Block {
    /// The encoded transactions in order. Those behind the present one are on their way from memory meanwhile.
    pub fn fetched(&self) -> impl Iterator<Item = &[u8]> {
        self.transactions.iter().enumerate().map(|(place, transaction)| {
            if let Some(ahead) = self.transactions.get(place + FETCHED_AHEAD) {
                let begin = ahead.get(..FETCHED_BYTES).unwrap_or(ahead);
                begin.chunks(LINE_BYTES).for_each(prefetch_start);
            }
            transaction.as_slice()
        })
    }
}

/// Where one transaction's parts lie in the flat arrays of a [`PreparedBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PreparedTransaction {
    /// Start of the encoded transaction in the block's transaction bytes.
    pub offset: u32,
    /// Length of the encoded transaction.
    pub bytes: u32,
    /// First declared access.
    pub access_start: u32,
    /// Number of declared accesses; 0 means that the hint is missing.
    pub access_count: u32,
    /// Expected execution time in nanoseconds.
    pub cost_ns: u32,
    /// How much of it needs no values: a shard can do it while it would wait for them.
    pub ahead_ns: u32,
}

impl PreparedTransaction {
    /// Its declared accesses among those of all transactions; none if they are not there.
    pub(crate) fn accesses_in<'a>(&self, accesses: &'a [TransactionAccess]) -> &'a [TransactionAccess] {
        let first = self.access_start as usize;
        accesses.get(first..first + self.access_count as usize).unwrap_or(&[])
    }
}

/// Cost assumed for a transaction that declares none, in nanoseconds.
const DEFAULT_COST_NS: u32 = 1_000;

/// Accesses of a transaction, and keys that no transaction before it named, for which room is made.
const USUAL_ACCESSES: usize = 8;
const USUAL_KEYS: usize = 4;
/// Transactions for which such room is made: of a larger block it is not known whether it needs gigabytes.
const ROOM_MAX: usize = 1 << 16;

/// A block made ready for planning. The hints in it are never trusted: wrong ones cost time only.
#[derive(Clone, Debug)]
pub struct PreparedBlock {
    header: BlockHeader,
    hasher: KeyHasher,
    transactions: Vec<PreparedTransaction>,
    transaction_bytes: Vec<u8>,
    accesses: Vec<TransactionAccess>,
    keys: BlockKeys,
    foreseen: Vec<Foreseen>,
    foreseen_bytes: Vec<u8>,
    /// Whether all that the transactions change is foreseen.
    foreseen_whole: bool,
    hash: OnceLock<BlockHash>,
}

/// A foreseen write; key and value lie in the foreseen bytes.
#[derive(Clone, Copy, Debug)]
struct Foreseen {
    txn: TxnIndex,
    key: ForeseenKey,
    value_start: u32,
    value_bytes: Option<u32>,
}

/// A key of which something is foreseen. Writes of one key that come in a row have it in common.
#[derive(Clone, Copy, Debug)]
struct ForeseenKey {
    hash: u64,
    start: u32,
    bytes: u32,
}

/// What a transaction is foreseen to leave under a key. A hint like a declared access: a wrong one costs time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeseenWrite<'a> {
    /// The transaction.
    pub txn: TxnIndex,
    /// Hash of the key under the block's hasher.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value after it; `None` if the key is absent then.
    pub value: Option<&'a [u8]>,
}

/// A block that cannot be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrepareError {
    /// The block's encoded transactions or declared keys exceed what 32-bit offsets can address.
    #[error("block has {bytes} bytes of {what}, the limit is {limit}; split the block")]
    TooLarge {
        /// Which part is too large.
        what: &'static str,
        /// Its size so far.
        bytes: u64,
        /// The most that is allowed.
        limit: u64,
    },
}

impl PreparedBlock {
    /// An empty block to [`push`](Self::push) transactions to.
    #[must_use]
    pub fn new(header: BlockHeader) -> PreparedBlock {
        PreparedBlock {
            header,
            hasher: KeyHasher::of_process(),
            transactions: Vec::new(),
            transaction_bytes: Vec::new(),
            accesses: Vec::new(),
            keys: BlockKeys::Own(KeyList::default()),
            foreseen: Vec::new(),
            foreseen_bytes: Vec::new(),
            foreseen_whole: false,
            hash: OnceLock::new(),
        }
    }

    /// An empty block with the header of `block`, and room for its transactions and what they usually declare.
    #[must_use]
    pub fn with_room(block: &Block) -> PreparedBlock {
        let mut keys = KeyList::default();
        keys.reserve(block.transactions.len().min(ROOM_MAX) * USUAL_KEYS);
        PreparedBlock::with_room_and(block, BlockKeys::Own(keys))
    }

    /// As [`with_room`](Self::with_room), and these keys have the ids that they have already.
    #[must_use]
    pub fn with_keys(block: &Block, keys: &NamedKeys) -> PreparedBlock {
        PreparedBlock::with_room_and(block, BlockKeys::Named(keys.clone()))
    }

    fn with_room_and(block: &Block, keys: BlockKeys) -> PreparedBlock {
        let mut prepared = PreparedBlock { keys, ..PreparedBlock::new(block.header.clone()) };
        prepared.transactions.reserve(block.transactions.len());
        prepared.transaction_bytes.reserve(block.transactions.iter().map(Vec::len).sum());
        prepared.accesses.reserve(block.transactions.len().min(ROOM_MAX) * USUAL_ACCESSES);
        prepared
    }

    /// Appends one transaction; `declare` receives the writer of its hint and may leave it empty.
    ///
    /// # Errors
    /// [`PrepareError::TooLarge`]; the transaction is then not part of the block.
    pub fn push(
        &mut self,
        transaction: &[u8],
        declare: impl FnOnce(&mut HintWriter<'_>),
    ) -> Result<(), PrepareError> {
        let offset = addressable("transactions", self.transaction_bytes.len(), transaction.len())?;
        let access_start = addressable("declared accesses", self.accesses.len(), 0)?;
        let keys_before = self.keys.len();
        let mut hint = HintWriter {
            hasher: self.hasher,
            accesses: &mut self.accesses,
            keys: &mut self.keys,
            overflown: false,
            cost_ns: DEFAULT_COST_NS,
            ahead_ns: 0,
        };
        declare(&mut hint);
        let (cost_ns, ahead_ns, overflown) = (hint.cost_ns, hint.ahead_ns, hint.overflown);
        // Keys that found no room end where 32 bits do.
        let keys_end = if overflown { usize::MAX } else { self.keys.table().bytes.len() };
        let access_end = match addressable("declared keys", keys_end, 0)
            .and_then(|_| addressable("declared accesses", self.accesses.len(), 0))
        {
            Ok(end) => end,
            Err(error) => {
                self.accesses.truncate(access_start as usize);
                self.keys.truncate(keys_before);
                return Err(error);
            }
        };
        self.hash.take();
        self.transaction_bytes.extend_from_slice(transaction);
        let bytes = addressable("one transaction", transaction.len(), 0)?;
        self.transactions.push(PreparedTransaction {
            offset,
            bytes,
            access_start,
            access_count: access_end - access_start,
            cost_ns,
            ahead_ns,
        });
        Ok(())
    }

    /// Foresees what `txn` leaves under `key`. Executors with shards show it to the first round, so that nobody waits for a value
    /// of this key; every value is validated as ever. Call in block order for each key. A key or value over its limit is left
    /// out (it cannot exist).
    ///
    /// # Errors
    /// [`PrepareError::TooLarge`]; the write is then not foreseen.
    pub fn foresee(&mut self, txn: TxnIndex, key: &[u8], value: Option<&[u8]>) -> Result<(), PrepareError> {
        if key.len() > MAX_KEY_BYTES || value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
            return Ok(());
        }
        let value_bytes = value.map(|value| addressable("one foreseen write", value.len(), 0)).transpose()?;
        let key = match self.foreseen.last() {
            Some(last) if self.foreseen_key(&last.key) == key => last.key,
            Some(_) | None => self.new_foreseen_key(key)?,
        };
        let value = value.unwrap_or_default();
        let value_start = addressable("foreseen writes", self.foreseen_bytes.len(), value.len())?;
        self.foreseen_bytes.extend_from_slice(value);
        self.foreseen.push(Foreseen { txn, key, value_start, value_bytes });
        Ok(())
    }

    fn new_foreseen_key(&mut self, key: &[u8]) -> Result<ForeseenKey, PrepareError> {
        let start = addressable("foreseen writes", self.foreseen_bytes.len(), key.len())?;
        let bytes = addressable("one foreseen write", key.len(), 0)?;
        self.foreseen_bytes.extend_from_slice(key);
        Ok(ForeseenKey { hash: self.hasher.hash(key), start, bytes })
    }

    fn foreseen_key(&self, key: &ForeseenKey) -> &[u8] {
        self.foreseen_bytes.get(key.start as usize..(key.start + key.bytes) as usize).unwrap_or(&[])
    }

    /// All that the transactions change is foreseen: in the first round nobody waits for anybody.
    pub fn foresee_no_more(&mut self) {
        self.foreseen_whole = true;
    }

    /// Whether nobody waits for anybody in the first round.
    #[must_use]
    pub fn is_foreseen_whole(&self) -> bool {
        self.foreseen_whole
    }

    /// Whether anything is foreseen.
    #[must_use]
    pub fn has_foreseen(&self) -> bool {
        !self.foreseen.is_empty()
    }

    /// All foreseen writes. Those of one key that were foreseen in a row have the same slice as their key.
    pub fn foreseen(&self) -> impl Iterator<Item = ForeseenWrite<'_>> {
        self.foreseen.iter().map(|one| {
            let value = one.value_bytes.map(|bytes| {
                let start = one.value_start as usize;
                self.foreseen_bytes.get(start..start + bytes as usize).unwrap_or(&[])
            });
            ForeseenWrite { txn: one.txn, hash: one.key.hash, key: self.foreseen_key(&one.key), value }
        })
    }

    /// The block's header.
    #[must_use]
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// What names the block: BLAKE3 of header and transactions. Computed when it is asked for first, at about a gigabyte
    /// per second.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        *self.hash.get_or_init(|| {
            let mut hasher = blake3::Hasher::new_derive_key("phalanx block 1");
            let BlockHeader { height, timestamp_s, beneficiary, extra } = &self.header;
            hasher.update(&height.to_le_bytes()).update(&timestamp_s.to_le_bytes()).update(beneficiary);
            hasher.update(&(extra.len() as u64).to_le_bytes()).update(extra);
            hasher.update(&(self.transactions.len() as u64).to_le_bytes());
            // Lengths first: what they add up to is the rest, so that no two blocks give the same bytes.
            for transaction in &self.transactions {
                hasher.update(&transaction.bytes.to_le_bytes());
            }
            hasher.update(&self.transaction_bytes);
            BlockHash(*hasher.finalize().as_bytes())
        })
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether the block has no transactions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The encoded transaction at `index`, or `None` past the end.
    #[must_use]
    pub fn transaction(&self, index: TxnIndex) -> Option<&[u8]> {
        let entry = self.transactions.get(index.index())?;
        self.transaction_bytes.get(entry.offset as usize..entry.offset as usize + entry.bytes as usize)
    }

    /// Entries of all transactions, in order.
    #[must_use]
    pub fn transactions(&self) -> &[PreparedTransaction] {
        &self.transactions
    }

    /// All encoded transactions, one after the other.
    #[must_use]
    pub fn transaction_bytes(&self) -> &[u8] {
        &self.transaction_bytes
    }

    /// All declared accesses, transaction by transaction.
    #[must_use]
    pub fn accesses(&self) -> &[TransactionAccess] {
        &self.accesses
    }

    /// The declared accesses of one transaction; none past the end.
    #[must_use]
    pub fn accesses_of(&self, txn: TxnIndex) -> &[TransactionAccess] {
        self.transactions.get(txn.index()).map_or(&[], |entry| entry.accesses_in(&self.accesses))
    }

    /// All distinct declared keys; a key's id is its place.
    #[must_use]
    pub fn keys(&self) -> &[KeyRecord] {
        self.keys.table().keys
    }

    /// Hash and bytes of a declared key, or `None` for an id that is none's.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<(u64, &[u8])> {
        self.keys.table().key(id)
    }

    /// Bytes of all distinct declared keys.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        self.keys.table().bytes
    }

    /// Index over the declared keys, records and bytes.
    pub(crate) fn key_table(&self) -> KeyTable<'_> {
        self.keys.table()
    }

    /// The hasher under which the keys were hashed.
    #[must_use]
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }
}

/// `start` as a 32-bit offset, provided that `start + more` is addressable as well.
fn addressable(what: &'static str, start: usize, more: usize) -> Result<u32, PrepareError> {
    let end = start as u64 + more as u64;
    if end >= u64::from(u32::MAX) {
        return Err(PrepareError::TooLarge { what, bytes: end, limit: u64::from(u32::MAX) - 1 });
    }
    u32::try_from(start).map_err(|_| PrepareError::TooLarge {
        what,
        bytes: end,
        limit: u64::from(u32::MAX) - 1,
    })
}
