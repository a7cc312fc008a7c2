//! Where a shard's transaction finds its values: own writes and received values, the overlay, the base state.

use crate::executor::local::{FoldInto, Known, LocalStore};
use crate::executor::overlay::OverlayReader;
use crate::executor::view::{LocalKey, ValueSource};
use crate::partition::RoundPlan;
use crate::state::StateReader;
use crate::types::{
    Incarnation, KeyId, Origin, OutputWriter, PendingWrite, TransactionAccess, TxnIndex, number_of,
};
use std::collections::HashMap;

/// Keys that the plan does not know, numbered behind those that it knows.
#[derive(Debug, Default)]
pub(super) struct ExtraKeys {
    numbers: HashMap<Vec<u8>, u32>,
    keys: Vec<Vec<u8>>,
}

impl ExtraKeys {
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
    }
}

/// The values that one transaction of a round sees.
#[derive(Debug)]
pub(super) struct ShardSource<'a> {
    pub(super) plan: &'a RoundPlan<'a>,
    pub(super) base: &'a StateReader,
    pub(super) overlay: Option<&'a OverlayReader>,
    pub(super) local: &'a mut LocalStore,
    pub(super) extra: &'a mut ExtraKeys,
    /// Expected accesses of the transaction: keys are looked for here first, in order.
    pub(super) expected: &'a [TransactionAccess],
    pub(super) cursor: usize,
    pub(super) txn: TxnIndex,
}

/// With more expected accesses than this, a key out of order is looked up by its hash.
const SCAN_MAX: usize = 16;

impl ShardSource<'_> {
    /// Brings what is known of `key` up to all visible writes below `below`.
    pub(super) fn bring_up(&mut self, key: u32, below: TxnIndex) {
        let from = match self.local.as_of(key) {
            Some(as_of) => as_of,
            None => {
                let value = self.key_of(key).and_then(|(hash, bytes)| self.base.get(hash, bytes));
                self.local.put_base(key, value);
                TxnIndex(0)
            }
        };
        if let Some(overlay) = self.overlay
            && from < below
        {
            overlay.fold(KeyId(key), from, below, &mut FoldInto { store: self.local, key });
            self.local.advance(key, below);
        }
    }

    /// The value of `key` as last brought up.
    pub(super) fn known(&self, key: u32) -> (Option<&[u8]>, Origin) {
        match self.local.get(key) {
            Some((Known::Here(value), origin)) => (value, origin),
            Some((Known::InBase, origin)) => {
                (self.key_of(key).and_then(|(hash, bytes)| self.base.get(hash, bytes)), origin)
            }
            None => (None, Origin::BASE),
        }
    }

    /// Makes the pending writes of the transaction just executed visible to its successors on this shard.
    pub(super) fn keep_writes(
        &mut self,
        output: &OutputWriter,
        written: &[LocalKey],
        incarnation: Incarnation,
    ) {
        let origin = Origin::written_by(self.txn, incarnation);
        for (place, &LocalKey(key)) in written.iter().enumerate() {
            match output.write(place) {
                Some(PendingWrite::Set { start, bytes }) => {
                    self.local.put_written(key, Some(output.value(start, bytes)), origin, self.txn);
                }
                Some(PendingWrite::Delete) => self.local.put_written(key, None, origin, self.txn),
                Some(PendingWrite::Add(delta)) => {
                    self.bring_up(key, self.txn);
                    let before = number_of(self.known(key).0).unwrap_or(0);
                    let sum = delta.apply(before).unwrap_or(before);
                    if delta.amount != 0 {
                        let mut buffer = [0; 32];
                        let sum = delta.width.encode(sum, &mut buffer);
                        self.local.put_written(key, Some(sum), origin, self.txn);
                    }
                }
                None => {}
            }
        }
    }

    fn key_of(&self, key: u32) -> Option<(u64, &[u8])> {
        if let Some(extra) = (key as usize).checked_sub(self.plan.keys()) {
            let bytes = self.extra.keys.get(extra)?.as_slice();
            return Some((self.plan.hasher().hash(bytes), bytes));
        }
        self.plan.key(KeyId(key))
    }

    fn is(&self, place: usize, key: &[u8]) -> Option<u32> {
        let id = self.expected.get(place)?.key;
        self.plan.key(id).filter(|&(_, bytes)| bytes == key).map(|_| id.0)
    }

    fn number_extra(&mut self, key: &[u8]) -> u32 {
        if let Some(&number) = self.extra.numbers.get(key) {
            return number;
        }
        let number = u32::try_from(self.plan.keys() + self.extra.keys.len()).unwrap_or(u32::MAX);
        self.extra.keys.push(key.to_vec());
        self.extra.numbers.insert(key.to_vec(), number);
        self.local.make_room(number as usize + 1);
        number
    }
}

impl ValueSource for ShardSource<'_> {
    fn locate(&mut self, key: &[u8]) -> LocalKey {
        for place in [self.cursor, self.cursor + 1] {
            if let Some(id) = self.is(place, key) {
                self.cursor = place;
                return LocalKey(id);
            }
        }
        if self.expected.len() <= SCAN_MAX {
            for place in 0..self.expected.len() {
                if let Some(id) = self.is(place, key) {
                    self.cursor = place;
                    return LocalKey(id);
                }
            }
        }
        match self.plan.find_key(self.plan.hasher().hash(key), key) {
            Some(id) => LocalKey(id.0),
            None => LocalKey(self.number_extra(key)),
        }
    }

    fn public_id(&self, key: LocalKey) -> KeyId {
        if (key.0 as usize) < self.plan.keys() { KeyId(key.0) } else { KeyId::UNKNOWN }
    }

    fn value(&mut self, key: LocalKey) -> (Option<&[u8]>, Origin) {
        self.bring_up(key.0, self.txn);
        self.known(key.0)
    }
}
