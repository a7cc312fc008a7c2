//! Transactions that are in some batch already: the mempool leaves them out.

use crate::quorum_store::{BatchKey, Micros, TxnHash, TxnSummary};
use crate::vm::ledger::Address;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Held {
    txns: Arc<[TxnSummary]>,
    until: Micros,
}

/// Batches in progress, and how many of them each transaction is in.
#[derive(Clone, Debug, Default)]
pub struct InProgress {
    batches: HashMap<BatchKey, Held>,
    by_hash: HashMap<TxnHash, u32>,
    by_sequence: HashMap<(Address, u64), u32>,
    expirations: BTreeSet<(Micros, BatchKey)>,
}

impl InProgress {
    /// Holds a batch's transactions until a moment. A batch that is held already stays as it is, and false is returned.
    pub fn insert(&mut self, key: BatchKey, until: Micros, txns: Arc<[TxnSummary]>) -> bool {
        let Entry::Vacant(entry) = self.batches.entry(key) else { return false };
        for txn in txns.iter() {
            *self.by_hash.entry(txn.hash).or_default() += 1;
            *self.by_sequence.entry((txn.sender, txn.sequence)).or_default() += 1;
        }
        entry.insert(Held { txns, until });
        self.expirations.insert((until, key));
        true
    }

    /// Lets a batch go; false if it is not held.
    pub fn remove(&mut self, key: BatchKey) -> bool {
        let Some(held) = self.batches.remove(&key) else { return false };
        self.expirations.remove(&(held.until, key));
        for txn in held.txns.iter() {
            release(&mut self.by_hash, txn.hash);
            release(&mut self.by_sequence, (txn.sender, txn.sequence));
        }
        true
    }

    /// Lets go what is held until `now` or less; returns how many batches.
    pub fn expire(&mut self, now: Micros) -> usize {
        let mut expired = 0;
        while let Some(&(_, key)) = self.expirations.first().filter(|&&(until, _)| until <= now) {
            self.remove(key);
            expired += 1;
        }
        expired
    }

    /// Whether a transaction is in some batch.
    #[must_use]
    pub fn contains(&self, hash: &TxnHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// Whether a transaction with this sender and sequence number is in some batch.
    #[must_use]
    pub fn contains_sequence(&self, sender: Address, sequence: u64) -> bool {
        self.by_sequence.contains_key(&(sender, sequence))
    }

    /// In how many batches a transaction is.
    #[must_use]
    pub fn count(&self, hash: &TxnHash) -> u32 {
        self.by_hash.get(hash).copied().unwrap_or(0)
    }

    /// Whether a batch is held.
    #[must_use]
    pub fn holds(&self, key: BatchKey) -> bool {
        self.batches.contains_key(&key)
    }

    /// Distinct transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Every batch that is held, with its transactions and until when.
    pub fn batches(&self) -> impl Iterator<Item = (BatchKey, &[TxnSummary], Micros)> {
        self.batches.iter().map(|(&key, held)| (key, &*held.txns, held.until))
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() = entry.get().saturating_sub(1);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
