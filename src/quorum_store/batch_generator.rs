//! Makes batches of what the mempool has: pulled by a timer, cut by gas price buckets, persisted, then told to everyone.

use crate::quorum_store::batch_store::BatchStore;
use crate::quorum_store::commit_log::{Admission, CommitStep, Cursor};
use crate::quorum_store::disk::Disk;
use crate::quorum_store::effect::{Effect, GeneratorNews, Outbox, ProofNews, QueueNews};
use crate::quorum_store::gate::Gate;
use crate::quorum_store::in_progress::InProgress;
use crate::quorum_store::mempool::TxnSource;
use crate::quorum_store::pull_rate::{BackPressure, PullRate};
use crate::quorum_store::{
    Batch, BatchId, BatchInfo, BatchKey, Epoch, Keys, Message, Micros, PooledTxn, QuorumStoreConfig,
    SignedBatchInfo, TxnSummary, ValidatorId,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// So many batch ids are taken from the disk at once; what is left of them at the end is never used.
const IDS_AT_ONCE: u64 = 1_000;

/// A new batch, and what its transactions' order depends on.
pub(super) type MadeBatch = (Arc<Batch>, Arc<[TxnSummary]>);

/// What the generator did, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeneratorCounts {
    /// Batches made.
    pub batches: u64,
    /// Transactions in them.
    pub txns: u64,
    /// Transactions longer than any batch, each time they were left out.
    pub oversized: u64,
    /// Transactions that were pulled and found no place; they are pulled again.
    pub overflown: u64,
    /// Batches that could not be persisted.
    pub not_persisted: u64,
    /// Pulls refused because a component lagged.
    pub gated: u64,
    /// Ticks without an id from the disk.
    pub without_ids: u64,
}

impl GeneratorCounts {
    /// Adds those of another count.
    pub fn add(&mut self, other: &GeneratorCounts) {
        let GeneratorCounts { batches, txns, oversized, overflown, not_persisted, gated, without_ids } =
            *other;
        self.batches += batches;
        self.txns += txns;
        self.oversized += oversized;
        self.overflown += overflown;
        self.not_persisted += not_persisted;
        self.gated += gated;
        self.without_ids += without_ids;
    }
}

/// Whom a generator works for, and with what.
#[derive(Clone, Debug)]
pub struct GeneratorSeat {
    /// The validator.
    pub validator: ValidatorId,
    /// The epoch.
    pub epoch: Epoch,
    /// Signs.
    pub keys: Arc<dyn Keys>,
    /// Where batches go.
    pub store: Arc<BatchStore>,
    /// Where batch ids come from.
    pub disk: Arc<dyn Disk>,
    /// Limits.
    pub config: Arc<QuorumStoreConfig>,
}

/// The batch generator.
#[derive(Debug)]
pub struct BatchGenerator {
    seat: GeneratorSeat,
    in_progress: InProgress,
    rate: PullRate,
    pressure: BackPressure,
    pulled: Micros,
    ids: VecDeque<BatchId>,
    cursor: Cursor,
    counts: GeneratorCounts,
}

impl BatchGenerator {
    /// A generator that goes on with what the store has of its own batches. Those without a proof are told again: the one before
    /// may have died between store and network. It must then be led through the commit log from its first step on.
    #[must_use]
    pub fn rebuild(seat: GeneratorSeat, now: Micros, out: &mut Outbox) -> BatchGenerator {
        let mut in_progress = InProgress::default();
        let mut again: Vec<MadeBatch> = Vec::new();
        for live in seat.store.live_of(seat.validator, now) {
            let unproven = if live.proof.is_none() { seat.store.get(&live.info.digest) } else { None };
            again.extend(unproven.map(|batch| (batch, Arc::clone(&live.summaries))));
            in_progress.insert(live.info.key(), live.info.expiration, live.summaries);
        }
        tell(&seat, again, out);
        let rate = PullRate::new(seat.config.back_pressure);
        BatchGenerator {
            seat,
            in_progress,
            rate,
            pressure: BackPressure::default(),
            pulled: now,
            ids: VecDeque::new(),
            cursor: Cursor::default(),
            counts: GeneratorCounts::default(),
        }
    }

    /// One tick of the timer.
    pub fn tick(&mut self, now: Micros, gate: Gate, mempool: &impl TxnSource, out: &mut Outbox) {
        // Also while nothing is committed.
        self.in_progress.expire(now);
        self.rate.tick(now, self.pressure);
        let elapsed = now.since(self.pulled).min(self.seat.config.max_pull_interval);
        let due = elapsed == self.seat.config.max_pull_interval
            || (!self.pressure.proofs && elapsed >= self.seat.config.min_pull_interval);
        if !due {
            return;
        }
        if let Gate::Closed { .. } = gate {
            self.counts.gated += 1;
            return;
        }
        if !self.has_ids(now) {
            self.counts.without_ids += 1;
            return;
        }
        let sender = self.seat.config.sender;
        let most = self.pull_size(elapsed).min(sender.total_txns);
        let txns = mempool.pull(now, most, sender.total_bytes, &self.in_progress);
        if txns.is_empty() {
            return;
        }
        self.pulled = now;
        self.publish(now, txns, out);
    }

    fn pull_size(&self, elapsed: Duration) -> u64 {
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        (self.rate.per_s().saturating_mul(elapsed_us) / 1_000_000).max(1)
    }

    /// Enough for one pull.
    pub(super) fn has_ids(&mut self, now: Micros) -> bool {
        if self.ids.len() >= self.seat.config.sender.batches {
            return true;
        }
        match self.seat.disk.reserve_ids(self.seat.epoch, IDS_AT_ONCE, now) {
            Ok(first) => {
                let ids = (0..IDS_AT_ONCE).map(|more| BatchId { number: first.number + more, ..first });
                self.ids.extend(ids);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "no batch ids can be had; no batches are made");
                false
            }
        }
    }

    pub(super) fn count_gated(&mut self) {
        self.counts.gated += 1;
    }

    pub(super) fn expire(&mut self, now: Micros) {
        self.in_progress.expire(now);
    }

    /// Batches of transactions, persisted and held.
    pub(super) fn make_batches(&mut self, now: Micros, txns: Vec<Arc<PooledTxn>>) -> Vec<MadeBatch> {
        let mut made = self.cut(now, txns);
        let batches: Vec<Arc<Batch>> = made.iter().map(|(batch, _)| Arc::clone(batch)).collect();
        let mut persisted = self.seat.store.persist(&batches).into_iter();
        made.retain(|(batch, summaries)| {
            let info = batch.info;
            if let Some(Err(refusal)) = persisted.next() {
                tracing::debug!(batch = %info.key(), %refusal, "own batch is not persisted; its transactions are pulled again");
                self.counts.not_persisted += 1;
                return false;
            }
            self.in_progress.insert(info.key(), info.expiration, Arc::clone(summaries));
            self.counts.batches += 1;
            self.counts.txns += info.txns;
            true
        });
        made
    }

    /// Persists first: who hears of a batch may ask for it, and who signs it must find it here.
    fn publish(&mut self, now: Micros, txns: Vec<Arc<PooledTxn>>, out: &mut Outbox) {
        let made = self.make_batches(now, txns);
        tell(&self.seat, made, out);
    }

    /// Cuts transactions into batches: the highest bucket first, each within its limits, as many as one message may have.
    fn cut(&mut self, now: Micros, mut txns: Vec<Arc<PooledTxn>>) -> Vec<MadeBatch> {
        let config = Arc::clone(&self.seat.config);
        let limits = config.sender;
        let before = txns.len();
        txns.retain(|txn| txn.len() <= limits.batch_bytes);
        self.counts.oversized += (before - txns.len()) as u64;
        txns.sort_by_key(|txn| std::cmp::Reverse(txn.gas_price));
        let (mut made, mut rest) = (Vec::new(), txns.as_slice());
        while let Some(first) = rest.first().filter(|_| made.len() < limits.batches) {
            let bucket = config.bucket_of(first.gas_price);
            let mut bytes = 0;
            let fits = rest.iter().take(usize::try_from(limits.batch_txns).unwrap_or(usize::MAX)).take_while(
                |txn| {
                    bytes += txn.len();
                    bytes <= limits.batch_bytes && config.bucket_of(txn.gas_price) == bucket
                },
            );
            let count = fits.count();
            let (batch, after) = rest.split_at(count);
            rest = after;
            made.extend(self.make(now, bucket, batch));
        }
        self.counts.overflown += rest.len() as u64;
        made
    }

    fn make(&mut self, now: Micros, bucket: u64, txns: &[Arc<PooledTxn>]) -> Option<MadeBatch> {
        let info = BatchInfo {
            author: self.seat.validator,
            id: self.ids.pop_front()?,
            epoch: self.seat.epoch,
            expiration: now.plus(self.seat.config.batch_expiry),
            gas_bucket: bucket,
            ..BatchInfo::default()
        };
        let batch = Batch::new(info, txns.iter().map(|txn| txn.bytes.clone()).collect());
        Some((Arc::new(batch), txns.iter().map(|txn| txn.summary).collect()))
    }

    /// News of other components.
    pub fn hear(&mut self, now: Micros, news: GeneratorNews) {
        match news {
            GeneratorNews::RemoteBatch(key, txns) if key.author != self.seat.validator => {
                self.in_progress.insert(key, now.plus(self.seat.config.remote_exclusion), txns);
            }
            GeneratorNews::RemoteBatch(..) => {}
            GeneratorNews::ProofsTimedOut(keys) => {
                keys.iter().for_each(|&key| _ = self.in_progress.remove(key));
            }
            GeneratorNews::BackPressure(pressure) => self.pressure = pressure,
        }
    }

    /// Applies a step of the commit log. True if it was the next one.
    pub fn apply(&mut self, step: &CommitStep) -> bool {
        if self.cursor.admit(step) != Admission::Apply {
            return false;
        }
        for info in step.batches() {
            self.in_progress.remove(info.key());
        }
        self.in_progress.expire(self.cursor.time());
        true
    }

    /// How far it has come in the commit log.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Transactions that are in some batch.
    #[must_use]
    pub fn in_progress(&self) -> &InProgress {
        &self.in_progress
    }

    /// What it did.
    #[must_use]
    pub fn counts(&self) -> GeneratorCounts {
        self.counts
    }

    /// Transactions that it pulls per second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate.per_s()
    }

    /// Whether a batch of its own is in progress.
    #[must_use]
    pub fn holds(&self, key: BatchKey) -> bool {
        self.in_progress.holds(key)
    }
}

/// Signs batches, and tells them to everyone.
fn tell(seat: &GeneratorSeat, made: Vec<MadeBatch>, out: &mut Outbox) {
    if made.is_empty() {
        return;
    }
    let (mut told, mut queued, mut signed) = (Vec::new(), Vec::new(), Vec::new());
    for (batch, summaries) in made {
        let info = batch.info;
        let signature = seat.keys.sign(&info.signing_bytes());
        signed.push(SignedBatchInfo { info, signer: seat.validator, signature });
        queued.push((info, summaries));
        told.push(Batch::clone(&batch));
    }
    out.push(Effect::Queue(QueueNews::Batches(queued)));
    out.push(Effect::Proofs(ProofNews::Signatures(seat.validator, signed)));
    out.extend(Message::of_batches(told, &seat.config.sender).into_iter().map(Effect::Broadcast));
}
