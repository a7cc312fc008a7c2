//! What executing a block gives: every transaction's public output, the state digest, and how it went.

use crate::durable::Recalled;
use crate::state::StateDigest;
use crate::types::{
    Event, Incarnation, KeyId, KeyRecord, Outcome, OutputError, OutputView, OutputWriter, PreparedBlock,
    StatusCode, TxnIndex, Write,
};
use std::sync::Arc;
use std::time::Duration;

/// How the execution of one block went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Time to plan, over all rounds.
    pub plan: Duration,
    /// Time in which shards worked, over all rounds.
    pub execute: Duration,
    /// Time in which shards waited for a value, summed over shards and rounds: part of `execute` times the shards. As they
    /// tell it themselves.
    pub waited: Duration,
    /// Time to collect and validate outputs, over all rounds; what was done while a round ran is part of `execute` as well.
    pub validate: Duration,
    /// Time to apply the writes to the base state.
    pub commit: Duration,
    /// Rounds.
    pub rounds: u64,
    /// Rounds that did not run to their end.
    pub rounds_cut_short: u64,
    /// Executions beyond one per transaction.
    pub reexecuted: u64,
    /// Outputs that were judged while their round still ran, or provisional ones of earlier rounds again.
    pub judged_ahead: u64,
    /// Shards ended because what they left made no sense.
    pub damaged: u64,
    /// Cross-shard edges, over all rounds.
    pub cross_shard_edges: u64,
    /// Shards that executed the first round.
    pub shards_used: u32,
}

impl BlockStats {
    /// Adds the figures of another block; of the shards used the greatest number stays.
    pub fn add(&mut self, other: &BlockStats) {
        self.plan += other.plan;
        self.execute += other.execute;
        self.waited += other.waited;
        self.validate += other.validate;
        self.commit += other.commit;
        self.rounds += other.rounds;
        self.rounds_cut_short += other.rounds_cut_short;
        self.reexecuted += other.reexecuted;
        self.judged_ahead += other.judged_ahead;
        self.damaged += other.damaged;
        self.cross_shard_edges += other.cross_shard_edges;
        self.shards_used = self.shards_used.max(other.shards_used);
    }
}

/// Where keys that outputs name by id are spelled out.
#[derive(Clone, Debug, Default)]
pub(crate) enum KeyDirectory {
    /// No output names a key by an id.
    #[default]
    None,
    /// The block was executed before; no output names a key.
    Recalled,
    /// Ids were given by the plan.
    Planned {
        block: Arc<PreparedBlock>,
        records: Vec<KeyRecord>,
        /// Bytes of keys that the block did not declare; they are numbered behind the declared ones.
        learned: Vec<u8>,
    },
    /// Ids are those that the block gave to the keys it declares.
    Declared(Arc<PreparedBlock>),
}

impl KeyDirectory {
    fn key(&self, id: KeyId) -> Option<&[u8]> {
        match self {
            KeyDirectory::None | KeyDirectory::Recalled => None,
            KeyDirectory::Planned { block, records, learned } => {
                let record = records.get(id.index())?;
                let (start, length) = (record.offset as usize, record.bytes as usize);
                let declared = block.key_bytes();
                match start.checked_sub(declared.len()) {
                    None => declared.get(start..start + length),
                    Some(start) => learned.get(start..start + length),
                }
            }
            KeyDirectory::Declared(block) => block.key(id).map(|(_, name)| name),
        }
    }
}

/// Where an output lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputPlace {
    pub(crate) buffer: u32,
    pub(crate) start: u32,
}

/// The output of a block.
#[derive(Debug)]
pub struct BlockOutput {
    pub(crate) height: u64,
    pub(crate) places: Vec<OutputPlace>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) keys: KeyDirectory,
    pub(crate) digest: StateDigest,
    pub(crate) stats: BlockStats,
}

impl BlockOutput {
    /// The block's height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether the block had no transactions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Digest of the state after the block.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// The output of a block that was executed before.
    pub(crate) fn recalled(height: u64, recalled: &Recalled) -> BlockOutput {
        let (mut places, mut bytes) = (Vec::with_capacity(recalled.outcomes.len()), Vec::new());
        let mut writer = OutputWriter::default();
        for (txn, &(status, gas_used)) in (0_u32..).map(TxnIndex).zip(&recalled.outcomes) {
            // At 40 bytes each, as many as a block may have fit.
            places.push(OutputPlace { buffer: 0, start: u32::try_from(bytes.len()).unwrap_or(u32::MAX) });
            writer.clear();
            bytes.extend_from_slice(writer.finish(txn, Incarnation(1), Outcome { status, gas_used }));
        }
        let (keys, stats) = (KeyDirectory::Recalled, BlockStats::default());
        BlockOutput { height, places, buffers: vec![bytes], keys, digest: recalled.digest, stats }
    }

    /// Whether the block had been executed and committed before, perhaps by another process, and was not executed again.
    /// Digest, statuses and gas are as they were then; writes and events are not kept and seem to be none.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        matches!(self.keys, KeyDirectory::Recalled)
    }

    /// How it went.
    #[must_use]
    pub fn stats(&self) -> &BlockStats {
        &self.stats
    }

    /// The output of one transaction; `None` past the end.
    #[must_use]
    pub fn transaction(&self, txn: TxnIndex) -> Option<TransactionOutput<'_>> {
        let place = self.places.get(txn.index())?;
        let bytes = self.buffers.get(place.buffer as usize)?.get(place.start as usize..)?;
        Some(TransactionOutput { view: OutputView::parse(bytes).ok()?, keys: &self.keys })
    }

    /// All outputs, in block order.
    pub fn transactions(&self) -> impl Iterator<Item = TransactionOutput<'_>> {
        (0_u32..).map_while(|index| self.transaction(TxnIndex(index)))
    }

    /// The first thing in which two outputs of the same block differ; `None` if they are equal in every transaction's
    /// status, gas, writes and events, in order, and in the state digest.
    #[must_use]
    pub fn first_difference(&self, other: &BlockOutput) -> Option<Difference> {
        if self.len() != other.len() {
            return Some(Difference { txn: None, what: "number of transactions" });
        }
        let mut index = 0_u32;
        for (left, right) in self.transactions().zip(other.transactions()) {
            if let Some(what) = left.difference(&right) {
                return Some(Difference { txn: Some(TxnIndex(index)), what });
            }
            index += 1;
        }
        if index as usize != self.len() {
            return Some(Difference { txn: Some(TxnIndex(index)), what: "readability" });
        }
        (self.digest != other.digest).then_some(Difference { txn: None, what: "state digest" })
    }
}

/// Where two outputs of one block differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which transaction, unless it concerns the whole block.
    pub txn: Option<TxnIndex>,
    /// In what.
    pub what: &'static str,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.txn {
            Some(txn) => write!(f, "{} of transaction {txn}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// The output of one transaction.
#[derive(Clone, Copy, Debug)]
pub struct TransactionOutput<'a> {
    view: OutputView<'a>,
    keys: &'a KeyDirectory,
}

impl<'a> TransactionOutput<'a> {
    /// The transaction's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.view.status()
    }

    /// Gas used.
    #[must_use]
    pub fn gas_used(&self) -> u64 {
        self.view.gas_used()
    }

    /// Keys and writes, in the order in which the transaction first wrote them.
    pub fn writes(&self) -> impl Iterator<Item = Result<(&'a [u8], Write<'a>), OutputError>> + use<'a> {
        let keys = self.keys;
        self.view.writes().map(move |record| {
            let record = record?;
            let key =
                if record.key_id == KeyId::UNKNOWN { Some(record.key) } else { keys.key(record.key_id) };
            let unknown = OutputError::BadField { field: "key id", value: record.key_id.0.into(), at: 0 };
            Ok((key.ok_or(unknown)?, record.write))
        })
    }

    /// Keys that the transaction read, in order; one may come twice. Executors that validate while they execute keep none,
    /// and none is compared.
    pub fn reads(&self) -> impl Iterator<Item = Result<&'a [u8], OutputError>> + use<'a> {
        let keys = self.keys;
        self.view.reads().map(move |record| {
            let record = record?;
            let key =
                if record.key_id == KeyId::UNKNOWN { Some(record.key) } else { keys.key(record.key_id) };
            key.ok_or(OutputError::BadField { field: "key id", value: record.key_id.0.into(), at: 0 })
        })
    }

    /// Events, in order.
    pub fn events(&self) -> impl Iterator<Item = Result<Event<'a>, OutputError>> + use<'a> {
        self.view.events()
    }

    fn difference(&self, other: &TransactionOutput<'_>) -> Option<&'static str> {
        if self.status() != other.status() {
            return Some("status");
        }
        if self.gas_used() != other.gas_used() {
            return Some("gas");
        }
        if !same(self.writes(), other.writes()) {
            return Some("write set");
        }
        (!same(self.events(), other.events())).then_some("events")
    }
}

/// Whether two sequences are equal and free of errors.
fn same<T: PartialEq<U>, U>(
    mut left: impl Iterator<Item = Result<T, OutputError>>,
    mut right: impl Iterator<Item = Result<U, OutputError>>,
) -> bool {
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(Ok(left)), Some(Ok(right))) if left == right => {}
            _ => return false,
        }
    }
}
