//! Transactions that wait to be put into a batch: per sender in the order of their sequence numbers, among senders by what
//! they pay.

use crate::quorum_store::batch_store::BatchStore;
use crate::quorum_store::commit_log::{Admission, CommitStep, Cursor};
use crate::quorum_store::config::MempoolConfig;
use crate::quorum_store::in_progress::InProgress;
use crate::quorum_store::{Micros, PooledTxn, Refusal, RefusalCounts, TxnHash, TxnOutcome, TxnSummary};
use crate::vm::ledger::Address;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What became of a transaction that left the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// A block has it, and no later one will.
    Committed {
        /// Height of the block.
        height: u64,
        /// What became of it there.
        outcome: TxnOutcome,
    },
    /// It was not committed in time.
    Expired,
    /// Another one with its sequence number pays more, or was committed.
    Replaced,
}

#[derive(Clone, Debug)]
struct Waiting {
    txn: Arc<PooledTxn>,
    arrival: u64,
    until: Micros,
}

/// Place in the order of pulls: highest price first, then first come.
type Rank = (Reverse<u64>, u64);

/// The mempool. Not a task: shared, and there as long as the validator is.
#[derive(Debug)]
pub struct Mempool {
    config: MempoolConfig,
    senders: HashMap<Address, BTreeMap<u64, Waiting>>,
    hashes: HashMap<TxnHash, (Address, u64)>,
    ranks: BTreeMap<Rank, (Address, u64)>,
    expirations: BTreeSet<(Micros, TxnHash)>,
    /// Next sequence number of every sender that ever committed one.
    next: HashMap<Address, u64>,
    bytes: u64,
    arrivals: u64,
    cursor: Cursor,
    refusals: RefusalCounts,
    departures: Vec<(TxnHash, Departure)>,
}

impl Mempool {
    /// An empty one, for accounts with these next sequence numbers; those that are not named begin with 0.
    #[must_use]
    pub fn new(config: MempoolConfig, next: HashMap<Address, u64>) -> Mempool {
        Mempool {
            config,
            senders: HashMap::new(),
            hashes: HashMap::new(),
            ranks: BTreeMap::new(),
            expirations: BTreeSet::new(),
            next,
            bytes: 0,
            arrivals: 0,
            cursor: Cursor::default(),
            refusals: RefusalCounts::default(),
            departures: Vec::new(),
        }
    }

    /// Takes a transaction in.
    ///
    /// # Errors
    /// `Known`, `Expired`, `SequenceTooOld`, `SequenceTooFar`, `SenderFull`, `MempoolFull`, `Underpriced`; each is counted.
    pub fn submit(&mut self, now: Micros, txn: PooledTxn) -> Result<(), Refusal> {
        let taken = self.take_in(now, txn);
        if let Err(refusal) = taken {
            self.refusals.count(refusal);
        }
        taken
    }

    fn take_in(&mut self, now: Micros, txn: PooledTxn) -> Result<(), Refusal> {
        let summary = txn.summary;
        if self.hashes.contains_key(&summary.hash) {
            return Err(Refusal::Known);
        }
        if summary.expiration <= now {
            return Err(Refusal::Expired);
        }
        let next = self.next_of(summary.sender);
        let waiting = self.senders.get(&summary.sender);
        let ahead = summary.sequence.checked_sub(next).ok_or(Refusal::SequenceTooOld)?;
        if ahead >= self.config.per_sender as u64 {
            return Err(Refusal::SequenceTooFar);
        }
        let rival = waiting.and_then(|waiting| waiting.get(&summary.sequence));
        if let Some(rival) = rival {
            if rival.txn.gas_price >= txn.gas_price {
                return Err(Refusal::Underpriced);
            }
            let hash = rival.txn.summary.hash;
            self.remove(&hash, Departure::Replaced);
        } else if waiting.is_some_and(|waiting| waiting.len() >= self.config.per_sender) {
            return Err(Refusal::SenderFull);
        }
        if self.hashes.len() >= self.config.capacity || self.bytes + txn.len() > self.config.capacity_bytes {
            return Err(Refusal::MempoolFull);
        }
        let until = summary.expiration.min(now.plus(self.config.ttl));
        self.arrivals += 1;
        self.insert(Waiting { txn: Arc::new(txn), arrival: self.arrivals, until });
        Ok(())
    }

    fn insert(&mut self, waiting: Waiting) {
        let summary = waiting.txn.summary;
        let place = (summary.sender, summary.sequence);
        self.bytes += waiting.txn.len();
        self.hashes.insert(summary.hash, place);
        self.ranks.insert((Reverse(waiting.txn.gas_price), waiting.arrival), place);
        self.expirations.insert((waiting.until, summary.hash));
        self.senders.entry(summary.sender).or_default().insert(summary.sequence, waiting);
    }

    /// The best transactions that are in no batch, whose predecessors are committed, in a batch, or among them.
    #[must_use]
    pub fn pull(
        &self,
        now: Micros,
        max_txns: u64,
        max_bytes: u64,
        in_progress: &InProgress,
    ) -> Vec<Arc<PooledTxn>> {
        let mut pull = Pull {
            mempool: self,
            in_progress,
            now,
            max_txns,
            room: max_bytes,
            chosen: Vec::new(),
            sequences: HashSet::new(),
            passed: HashSet::new(),
        };
        for &place in self.ranks.values() {
            if pull.is_full() {
                break;
            }
            pull.look_at(place);
        }
        pull.chosen
    }

    fn waiting(&self, (sender, sequence): (Address, u64)) -> Option<&Waiting> {
        self.senders.get(&sender)?.get(&sequence)
    }

    /// Next sequence number of a sender.
    #[must_use]
    pub fn next_of(&self, sender: Address) -> u64 {
        self.next.get(&sender).copied().unwrap_or(0)
    }

    /// Drops what was not committed in time.
    pub fn expire(&mut self, now: Micros) {
        while let Some(&(_, hash)) = self.expirations.first().filter(|&&(until, _)| until <= now) {
            self.remove(&hash, Departure::Expired);
        }
    }

    /// Applies a step of the commit log; the transactions of its batches are those that `store` has. True if the step was the
    /// next one. May block for the disk.
    pub fn apply(&mut self, step: &CommitStep, store: &BatchStore) -> bool {
        self.apply_txns(step, &CommittedTxn::all_of(step, store))
    }

    /// As [`apply`](Self::apply), with the transactions of the step read beforehand. Never blocks.
    pub fn apply_txns(&mut self, step: &CommitStep, txns: &[CommittedTxn]) -> bool {
        if self.cursor.admit(step) != Admission::Apply {
            return false;
        }
        let height = step.sequence();
        // First all that the block has: a sender's later one may stand in a batch before that of an earlier one, which is then
        // committed, too, and not replaced.
        for &CommittedTxn { summary, outcome } in txns {
            if outcome != (TxnOutcome::WithoutEffect { again: true }) {
                self.remove(&summary.hash, Departure::Committed { height, outcome });
            }
        }
        for CommittedTxn { summary, outcome } in txns {
            match outcome {
                TxnOutcome::WithoutEffect { .. } => {}
                TxnOutcome::Success | TxnOutcome::Failed => self.pass(summary.sender, summary.sequence),
            }
        }
        true
    }

    /// A sequence number of a sender is used: what has it, or an earlier one, cannot come into a block any more.
    fn pass(&mut self, sender: Address, sequence: u64) {
        let next = self.next.entry(sender).or_default();
        *next = (*next).max(sequence.saturating_add(1));
        let next = *next;
        let passed = self.senders.get(&sender).into_iter().flat_map(|waiting| waiting.range(..next));
        let passed: Vec<TxnHash> = passed.map(|(_, waiting)| waiting.txn.summary.hash).collect();
        passed.iter().for_each(|hash| self.remove(hash, Departure::Replaced));
    }

    fn remove(&mut self, hash: &TxnHash, departure: Departure) {
        let Some(place) = self.hashes.remove(hash) else { return };
        let Some(waiting) = self.senders.get_mut(&place.0).and_then(|waiting| waiting.remove(&place.1))
        else {
            return;
        };
        if self.senders.get(&place.0).is_some_and(BTreeMap::is_empty) {
            self.senders.remove(&place.0);
        }
        self.ranks.remove(&(Reverse(waiting.txn.gas_price), waiting.arrival));
        self.expirations.remove(&(waiting.until, *hash));
        self.bytes -= waiting.txn.len();
        self.departures.push((*hash, departure));
    }

    /// The same transactions in fresh tables: nothing that a fault may have left half done is taken over.
    #[must_use]
    pub fn rebuilt(&self) -> Mempool {
        let mut fresh = Mempool {
            arrivals: self.arrivals,
            cursor: self.cursor,
            ..Mempool::new(self.config, self.next.clone())
        };
        fresh.refusals = self.refusals.clone();
        fresh.departures.clone_from(&self.departures);
        for waiting in self.senders.values().flat_map(BTreeMap::values) {
            fresh.insert(waiting.clone());
        }
        fresh
    }

    /// What left since the last time.
    pub fn take_departures(&mut self) -> Vec<(TxnHash, Departure)> {
        std::mem::take(&mut self.departures)
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether it has a transaction.
    #[must_use]
    pub fn contains(&self, hash: &TxnHash) -> bool {
        self.hashes.contains_key(hash)
    }

    /// How far it has come in the commit log.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}

/// Where a generator pulls transactions from.
pub trait TxnSource {
    /// As [`Mempool::pull`].
    fn pull(
        &self,
        now: Micros,
        max_txns: u64,
        max_bytes: u64,
        in_progress: &InProgress,
    ) -> Vec<Arc<PooledTxn>>;
}

impl TxnSource for Mempool {
    fn pull(
        &self,
        now: Micros,
        max_txns: u64,
        max_bytes: u64,
        in_progress: &InProgress,
    ) -> Vec<Arc<PooledTxn>> {
        Mempool::pull(self, now, max_txns, max_bytes, in_progress)
    }
}

/// Held only as long as the pull takes.
impl TxnSource for Mutex<Mempool> {
    fn pull(
        &self,
        now: Micros,
        max_txns: u64,
        max_bytes: u64,
        in_progress: &InProgress,
    ) -> Vec<Arc<PooledTxn>> {
        self.lock().pull(now, max_txns, max_bytes, in_progress)
    }
}

/// A transaction of a committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedTxn {
    /// Which.
    pub summary: TxnSummary,
    /// What became of it.
    pub outcome: TxnOutcome,
}

impl CommittedTxn {
    /// All that a step executed, in the order of its batches; those of a batch that `store` does not have are missing. May block
    /// for the disk.
    #[must_use]
    pub fn all_of(step: &CommitStep, store: &BatchStore) -> Vec<CommittedTxn> {
        let exceptions: HashMap<TxnHash, TxnOutcome> =
            step.exceptions().iter().map(|one| (one.hash, one.outcome)).collect();
        let mut all = Vec::new();
        for info in step.executed_batches() {
            let Some(batch) = store.get(&info.digest) else {
                tracing::warn!(batch = %info.key(), "a committed batch is not there; its transactions wait for their expiration");
                continue;
            };
            let txns = batch.txns.iter().filter_map(|bytes| PooledTxn::read(bytes.clone()).ok());
            all.extend(txns.map(|PooledTxn { summary, .. }| {
                let outcome = exceptions.get(&summary.hash).copied().unwrap_or(TxnOutcome::Success);
                CommittedTxn { summary, outcome }
            }));
        }
        all
    }
}

/// A pull under way.
struct Pull<'a> {
    mempool: &'a Mempool,
    in_progress: &'a InProgress,
    now: Micros,
    max_txns: u64,
    room: u64,
    chosen: Vec<Arc<PooledTxn>>,
    sequences: HashSet<(Address, u64)>,
    /// Better paying ones that wait for a predecessor.
    passed: HashSet<(Address, u64)>,
}

impl Pull<'_> {
    fn is_full(&self) -> bool {
        self.chosen.len() as u64 >= self.max_txns
    }

    /// Chooses the transaction at a place if it is ready, and those that waited for it.
    fn look_at(&mut self, place: (Address, u64)) {
        let (sender, mut sequence) = place;
        loop {
            let Some(waiting) = self.mempool.waiting((sender, sequence)) else { return };
            let held = self.in_progress.contains(&waiting.txn.summary.hash);
            if held || waiting.txn.summary.expiration <= self.now {
                return;
            }
            if !self.is_ready(sender, sequence) {
                self.passed.insert((sender, sequence));
                return;
            }
            let Some(room) = self.room.checked_sub(waiting.txn.len()) else { return };
            if self.is_full() {
                return;
            }
            self.room = room;
            self.chosen.push(Arc::clone(&waiting.txn));
            self.sequences.insert((sender, sequence));
            sequence = sequence.saturating_add(1);
            if !self.passed.remove(&(sender, sequence)) {
                return;
            }
        }
    }

    fn is_ready(&self, sender: Address, sequence: u64) -> bool {
        if sequence == self.mempool.next_of(sender) {
            return true;
        }
        let Some(before) = sequence.checked_sub(1) else { return true };
        self.sequences.contains(&(sender, before)) || self.in_progress.contains_sequence(sender, before)
    }
}
