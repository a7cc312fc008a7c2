//! Where a shard's transaction finds its values: own writes and received values, the overlay, the base state.

use crate::executor::cold_desk::ColdDesk;
use crate::executor::key_numbers::KeyNumbers;
use crate::executor::local::{FoldInto, Known, LocalStore};
use crate::executor::overlay::Versions;
use crate::executor::view::{LocalKey, ValueSource, ViewBuffers};
use crate::partition::RoundPlan;
use crate::state::{BaseValue, StateTable};
use crate::types::{
    Incarnation, KeyId, Origin, OutputWriter, PendingWrite, TransactionAccess, TxnIndex, same_bytes,
};
use crate::vm::Content;

/// The values that one transaction of a round sees.
#[derive(Debug)]
pub(super) struct ShardSource<'a, 'c> {
    pub(super) plan: &'a RoundPlan<'a>,
    pub(super) base: StateTable<'a>,
    pub(super) overlay: Versions<'a>,
    pub(super) local: &'a mut LocalStore,
    /// Keys that the plan does not know, numbered behind those that it knows.
    pub(super) extra: &'a mut KeyNumbers,
    pub(super) cold: &'a mut ColdDesk<'c>,
    /// Expected accesses of the transaction: keys are looked for here first, in order.
    pub(super) expected: &'a [TransactionAccess],
    pub(super) cursor: usize,
    pub(super) txn: TxnIndex,
}

/// With more expected accesses than this, a key out of order is looked up by its hash.
const SCAN_MAX: usize = 8;
/// How many accesses ahead entries of the base state are asked for, and those of their values that lie elsewhere: long enough
/// before for the memory to answer.
const AHEAD: usize = 10;
const HEAP_AHEAD: usize = 5;

impl ShardSource<'_, '_> {
    /// Brings what is known of `key` up to all visible writes below `below`.
    #[inline]
    pub(super) fn bring_up(&mut self, key: u32, below: TxnIndex) {
        let is_up = match self.local.as_of(key) {
            Some(as_of) if as_of < below => !self.overlay.has_any_of(KeyId(key)),
            known => known == Some(below),
        };
        if !is_up {
            self.look_up(key, below);
        }
    }

    /// As [`bring_up`](Self::bring_up), of a key of which something is missing.
    fn look_up(&mut self, key: u32, below: TxnIndex) {
        self.local.turn_back(key, below);
        let from = match self.local.as_of(key) {
            Some(as_of) => as_of,
            None => {
                match self.key_of(key).map(|(hash, bytes)| self.base.get(hash, bytes)) {
                    Some(BaseValue::Here(value)) => self.local.put_base(key, Some(value)),
                    Some(BaseValue::Absent) | None => self.local.put_base(key, None),
                    Some(BaseValue::Cold) => self.fetch(key),
                }
                TxnIndex(0)
            }
        };
        if from < below && self.overlay.has_any_of(KeyId(key)) {
            self.overlay.fold(KeyId(key), from, below, &mut FoldInto { store: self.local, key });
            self.local.advance(key, below);
        }
    }

    /// Asks the store.
    #[cold]
    fn fetch(&mut self, key: u32) {
        let ShardSource { plan, extra, cold, local, .. } = self;
        if let Some((_, bytes)) = key_in(plan, extra, key) {
            cold.ask(bytes);
            cold.fetch(key, local);
        }
    }

    /// The value of `key` as last brought up.
    pub(super) fn known(&self, key: u32) -> (Option<&[u8]>, Origin) {
        match self.local.get(key) {
            Some((Known::Here(value), origin)) => (value, origin),
            Some((Known::InBase, origin)) => {
                (self.key_of(key).and_then(|(hash, bytes)| self.base.get(hash, bytes).here()), origin)
            }
            None => (None, Origin::BASE),
        }
    }

    /// Makes the pending writes of the transaction just executed visible to its successors on this shard.
    pub(super) fn keep_writes(
        &mut self,
        ViewBuffers { output, written, sums, .. }: &ViewBuffers,
        incarnation: Incarnation,
    ) {
        let origin = Origin::written_by(self.txn, incarnation);
        for (place, (&LocalKey(key), &sum)) in written.iter().zip(sums).enumerate() {
            match output.write(place) {
                Some(PendingWrite::Set { start, bytes }) => {
                    self.local.put_written(key, Some(output.value(start, bytes)), origin, self.txn);
                }
                Some(PendingWrite::Delete) => self.local.put_written(key, None, origin, self.txn),
                Some(PendingWrite::Add(delta)) if delta.amount != 0 => {
                    let mut buffer = [0; 32];
                    let sum = delta.width.encode(sum, &mut buffer);
                    self.local.put_written(key, Some(sum), origin, self.txn);
                }
                Some(PendingWrite::Add(_)) | None => {}
            }
        }
    }

    fn key_of(&self, key: u32) -> Option<(u64, &[u8])> {
        key_in(self.plan, self.extra, key)
    }

    fn is(&self, place: usize, key: &[u8]) -> Option<u32> {
        let id = self.expected.get(place)?.key;
        self.plan.key(id).filter(|&(_, bytes)| same_bytes(bytes, key)).map(|_| id.0)
    }

    /// Fetches what the transaction will read of the base state soon.
    fn fetch_ahead(&self) {
        let hash_at = |place: usize| self.plan.hash_of(self.expected.get(place)?.key);
        if let Some(hash) = hash_at(self.cursor + AHEAD) {
            self.base.prefetch(hash);
        }
        if let Some(hash) = hash_at(self.cursor + HEAP_AHEAD) {
            self.base.prefetch_heap(hash);
        }
    }

    fn number_extra(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (place, new) = self.extra.number(hash, key);
        let number = u32::try_from(self.plan.keys() + place).unwrap_or(u32::MAX);
        if new {
            self.local.make_room(number as usize + 1);
        }
        number
    }
}

impl ValueSource for ShardSource<'_, '_> {
    fn locate(&mut self, key: &[u8]) -> LocalKey {
        // The next one, or the last one again.
        for place in [self.cursor, self.cursor.wrapping_sub(1)] {
            if let Some(id) = self.is(place, key) {
                self.cursor = place + 1;
                self.fetch_ahead();
                return LocalKey(id);
            }
        }
        if self.expected.len() <= SCAN_MAX {
            for place in 0..self.expected.len() {
                if let Some(id) = self.is(place, key) {
                    self.cursor = place + 1;
                    return LocalKey(id);
                }
            }
        }
        let hash = self.plan.hasher().hash(key);
        // It arrives while the key is looked for.
        self.base.prefetch(hash);
        match self.plan.find_key(hash, key) {
            Some(id) => LocalKey(id.0),
            None => LocalKey(self.number_extra(hash, key)),
        }
    }

    fn public_id(&self, key: LocalKey) -> KeyId {
        if (key.0 as usize) < self.plan.keys() { KeyId(key.0) } else { KeyId::UNKNOWN }
    }

    fn leave(&mut self, output: &mut OutputWriter) {
        let ShardSource { plan, extra, cold, .. } = self;
        if cold.has_news() {
            cold.tell(output, |key| {
                let id = if (key as usize) < plan.keys() { KeyId(key) } else { KeyId::UNKNOWN };
                key_in(plan, extra, key).map(|(_, bytes)| (id, bytes))
            });
        }
    }

    fn content(&mut self, local: LocalKey, key: &[u8], output: &mut OutputWriter) -> Option<Content<'_>> {
        let id = self.public_id(local);
        let (value, origin) = self.value(local);
        output.push_content(id, key, origin, value);
        value.map(|bytes| Content { bytes, is_settled: origin == Origin::BASE })
    }

    fn value(&mut self, key: LocalKey) -> (Option<&[u8]>, Origin) {
        self.bring_up(key.0, self.txn);
        self.known(key.0)
    }
}

/// Hash and bytes of a key by its number.
fn key_in<'k>(plan: &'k RoundPlan<'_>, extra: &'k KeyNumbers, key: u32) -> Option<(u64, &'k [u8])> {
    match (key as usize).checked_sub(plan.keys()) {
        Some(place) => extra.key(place),
        None => plan.key(KeyId(key)),
    }
}
