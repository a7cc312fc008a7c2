//! The batches that a validator has: by digest, within quotas, until some time after they expired.

use crate::quorum_store::commit_log::{Admission, CommitStep, Cursor};
use crate::quorum_store::disk::{Disk, DiskError};
use crate::quorum_store::quota::{Quota, Storage};
use crate::quorum_store::{
    Batch, BatchDigest, BatchInfo, BatchKey, Micros, PooledTxn, ProofOfStore, QuorumStoreConfig, Refusal,
    TxnSummary, ValidatorId,
};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What persisting a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// It is new.
    New,
    /// It is there, and expires no earlier.
    Known,
    /// It was there, and would have expired earlier.
    Extended,
}

#[derive(Clone, Debug)]
struct Row {
    info: BatchInfo,
    storage: Storage,
    payload: Option<Arc<Batch>>,
    proof: Option<ProofOfStore>,
    /// Committed up to the cursor: on disk for slow peers, and for nobody else.
    committed: bool,
}

#[derive(Debug, Default)]
struct Rows {
    rows: HashMap<BatchDigest, Row>,
    keys: HashMap<BatchKey, BatchDigest>,
    expirations: BTreeSet<(Micros, BatchDigest)>,
    quotas: HashMap<ValidatorId, Quota>,
    cursor: Cursor,
}

/// The store. Not a task: shared by all of them, and there as long as the validator is.
#[derive(Debug)]
pub struct BatchStore {
    disk: Arc<dyn Disk>,
    config: QuorumStoreConfig,
    /// Held while the disk is written, so that it is written in the order of the rows' changes.
    writer: Mutex<()>,
    rows: Mutex<Rows>,
}

/// A batch that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBatch {
    /// What is said of it.
    pub info: BatchInfo,
    /// What its transactions' order depends on.
    pub summaries: Arc<[TxnSummary]>,
    /// Its proof, if that is known here.
    pub proof: Option<ProofOfStore>,
}

impl BatchStore {
    /// The store that the disk holds. What expired more than the buffer before `committed` is removed.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: QuorumStoreConfig,
        committed: Micros,
    ) -> Result<BatchStore, DiskError> {
        let mut rows = Rows::default();
        let (floor, mut dead) = (committed.minus(config.expiration_buffer), Vec::new());
        disk.for_each_batch(&mut |batch| {
            let info = batch.info;
            let quota = rows.quotas.entry(info.author).or_insert_with(|| Quota::new(config.quota));
            match (info.expiration <= floor, quota.take(info.bytes)) {
                (false, Ok(storage)) => rows.insert(Arc::new(batch), storage),
                // Quotas were lowered meanwhile.
                (false, Err(_)) => dead.push(info.digest),
                (true, Ok(storage)) => {
                    quota.give_back(info.bytes, storage);
                    dead.push(info.digest);
                }
                (true, Err(_)) => dead.push(info.digest),
            }
        })?;
        disk.remove_batches(&dead)?;
        Ok(BatchStore { disk, config, writer: Mutex::default(), rows: Mutex::new(rows) })
    }

    /// Persists batches, all in one write. One whose digest is there already is replaced only if it expires later. Blocks for
    /// the disk.
    ///
    /// Each is refused with `Expired`, `KeyCollision`, `BatchQuota`, `DbQuota` or `Storage`.
    pub fn persist(&self, batches: &[Arc<Batch>]) -> Vec<Result<Persisted, Refusal>> {
        let _writer = self.writer.lock();
        let mut results = Vec::with_capacity(batches.len());
        let (mut new, mut before) = (Vec::new(), Vec::new());
        {
            let mut rows = self.rows.lock();
            for batch in batches {
                let admitted = rows.admit(&batch.info, &self.config);
                if let Ok((_, Some((storage, replaced)))) = admitted.clone() {
                    before.push((batch.info.digest, replaced));
                    rows.insert(Arc::clone(batch), storage);
                    new.push(Arc::clone(batch));
                }
                results.push(admitted.map(|(persisted, _)| persisted));
            }
        }
        let mut unwritten = Unwritten { store: self, before };
        if new.is_empty() {
            return results;
        }
        if let Err(error) = self.disk.put_batches(&new) {
            tracing::warn!(%error, batches = new.len(), "batches could not be persisted and are refused");
            let lost: HashSet<BatchDigest> = new.iter().map(|batch| batch.info.digest).collect();
            let of_lost =
                batches.iter().zip(&mut results).filter(|(batch, _)| lost.contains(&batch.info.digest));
            of_lost
                .filter(|(_, result)| result.is_ok())
                .for_each(|(_, result)| *result = Err(Refusal::Storage));
        } else {
            unwritten.before.clear();
        }
        results
    }

    /// A batch with its transactions; `None` if it is not there. May block for the disk.
    #[must_use]
    pub fn get(&self, digest: &BatchDigest) -> Option<Arc<Batch>> {
        {
            let rows = self.rows.lock();
            let row = rows.rows.get(digest)?;
            if let Some(payload) = &row.payload {
                return Some(Arc::clone(payload));
            }
        }
        match self.disk.batch(digest) {
            Ok(batch) => batch.map(Arc::new),
            Err(error) => {
                tracing::warn!(%error, %digest, "a batch cannot be read");
                None
            }
        }
    }

    /// What is said of a batch; `None` if it is not there.
    #[must_use]
    pub fn info(&self, digest: &BatchDigest) -> Option<BatchInfo> {
        self.rows.lock().rows.get(digest).map(|row| row.info)
    }

    /// Remembers the proof of a batch, for components that start again.
    pub fn note_proof(&self, proof: &ProofOfStore) {
        if let Some(row) =
            self.rows.lock().rows.get_mut(&proof.info.digest).filter(|row| row.info == proof.info)
        {
            row.proof = Some(*proof);
        }
    }

    /// Every batch that is not committed and has not expired, by `now` or by the time of commits, in the order of their infos. For
    /// components that start again: the commit log tells them of the others. May block for the disk.
    #[must_use]
    pub fn live(&self, now: Micros) -> Vec<LiveBatch> {
        self.live_if(now, |_| true)
    }

    /// As [`live`](Self::live), of one author.
    #[must_use]
    pub fn live_of(&self, author: ValidatorId, now: Micros) -> Vec<LiveBatch> {
        self.live_if(now, |info| info.author == author)
    }

    fn live_if(&self, now: Micros, wanted: impl Fn(&BatchInfo) -> bool) -> Vec<LiveBatch> {
        let rows = self.rows.lock();
        let time = rows.cursor.time().max(now);
        let open = rows.rows.values().filter(|row| !row.committed && row.info.expiration > time);
        let alive = open.filter(|row| wanted(&row.info));
        let mut alive: Vec<(BatchInfo, Option<ProofOfStore>)> =
            alive.map(|row| (row.info, row.proof)).collect();
        drop(rows);
        alive.sort_unstable_by_key(|&(info, _)| info);
        let with_summaries = alive.into_iter().filter_map(|(info, proof)| {
            let batch = self.get(&info.digest)?;
            Some(LiveBatch { info, summaries: summaries_of(&batch)?, proof })
        });
        with_summaries.collect()
    }

    /// Applies a step of the commit log: what it commits goes from memory, what expired longer than the buffer ago from the disk,
    /// too. True if the step was the next one.
    pub fn apply(&self, step: &CommitStep) -> bool {
        let _writer = self.writer.lock();
        let dead = {
            let mut rows = self.rows.lock();
            if rows.cursor.admit(step) != Admission::Apply {
                return false;
            }
            step.batches().iter().for_each(|info| rows.commit(info));
            let floor = rows.cursor.time().minus(self.config.expiration_buffer);
            rows.expire(floor)
        };
        if !dead.is_empty()
            && let Err(error) = self.disk.remove_batches(&dead)
        {
            tracing::warn!(%error, batches = dead.len(), "expired batches stay on disk until the next start");
        }
        true
    }

    /// How far it has come in the commit log.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.rows.lock().cursor
    }

    /// What an author has left.
    #[must_use]
    pub fn quota_left(&self, author: ValidatorId) -> crate::quorum_store::config::QuotaConfig {
        let rows = self.rows.lock();
        rows.quotas.get(&author).map_or(self.config.quota, Quota::left)
    }

    /// Number of batches, and bytes of those in memory, of an author.
    #[must_use]
    pub fn held(&self, author: ValidatorId) -> (u64, u64) {
        let rows = self.rows.lock();
        let own = rows.rows.values().filter(|row| row.info.author == author);
        own.fold((0, 0), |(count, bytes), row| {
            (count + 1, bytes + if row.storage == Storage::MemoryAndDisk { row.info.bytes } else { 0 })
        })
    }

    /// Number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.lock().rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.lock().rows.is_empty()
    }

    /// Nothing is written any more when this returns.
    pub fn close(&self) {
        let _writer = self.writer.lock();
        self.disk.close();
    }
}

/// Rows that are shown and not written yet. What is left in it is taken back: also after a panic a row stands for what is on disk.
struct Unwritten<'a> {
    store: &'a BatchStore,
    before: Vec<(BatchDigest, Option<Row>)>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if self.before.is_empty() {
            return;
        }
        let mut rows = self.store.rows.lock();
        for (digest, replaced) in self.before.drain(..).rev() {
            rows.take_back(digest, replaced);
        }
    }
}

/// What admitting a batch came to: with storage and the row that it takes the place of, if it is to be written.
type Admitted = (Persisted, Option<(Storage, Option<Row>)>);

impl Rows {
    fn admit(&mut self, info: &BatchInfo, config: &QuorumStoreConfig) -> Result<Admitted, Refusal> {
        if info.expiration <= self.cursor.time() {
            return Err(Refusal::Expired);
        }
        // An author that uses a number twice gets nothing for the second batch: two proofs would stand for one number.
        let namesake = self.keys.get(&info.key()).and_then(|digest| self.rows.get(digest));
        if namesake.is_some_and(|row| row.info != *info) {
            return Err(Refusal::KeyCollision);
        }
        let old = self.rows.get(&info.digest).cloned();
        if old.as_ref().is_some_and(|old| old.info.expiration >= info.expiration) {
            return Ok((Persisted::Known, None));
        }
        let quota = self.quotas.entry(info.author).or_insert_with(|| Quota::new(config.quota));
        // The old one's share first: extending a batch needs no more than it has.
        if let Some(old) = &old {
            quota.give_back(old.info.bytes, old.storage);
        }
        match quota.take(info.bytes) {
            Ok(storage) => {
                let persisted = if old.is_some() { Persisted::Extended } else { Persisted::New };
                Ok((persisted, Some((storage, old))))
            }
            Err(refusal) => {
                if let Some(old) = &old {
                    quota.take_again(old.info.bytes, old.storage);
                }
                Err(refusal)
            }
        }
    }

    fn insert(&mut self, batch: Arc<Batch>, storage: Storage) {
        let info = batch.info;
        let payload = (storage == Storage::MemoryAndDisk).then_some(batch);
        let row = Row { info, storage, payload, proof: None, committed: false };
        if let Some(old) = self.rows.insert(info.digest, row) {
            self.keys.remove(&old.info.key());
            self.expirations.remove(&(old.info.expiration, info.digest));
        }
        self.keys.insert(info.key(), info.digest);
        self.expirations.insert((info.expiration, info.digest));
    }

    /// Undoes an insert whose write failed.
    fn take_back(&mut self, digest: BatchDigest, replaced: Option<Row>) {
        self.remove(digest);
        let Some(row) = replaced else { return };
        if let Some(quota) = self.quotas.get_mut(&row.info.author) {
            quota.take_again(row.info.bytes, row.storage);
        }
        self.expirations.insert((row.info.expiration, digest));
        self.keys.insert(row.info.key(), digest);
        self.rows.insert(digest, row);
    }

    /// A batch is in a block: whoever still asks for it is a peer, and served from the disk.
    fn commit(&mut self, info: &BatchInfo) {
        let Some(row) = self.rows.get_mut(&info.digest).filter(|row| row.info.key() == info.key()) else {
            return;
        };
        (row.committed, row.payload) = (true, None);
        match std::mem::replace(&mut row.storage, Storage::DiskOnly) {
            Storage::MemoryAndDisk => {
                if let Some(quota) = self.quotas.get_mut(&row.info.author) {
                    quota.leave_memory(row.info.bytes);
                }
            }
            Storage::DiskOnly => {}
        }
    }

    fn remove(&mut self, digest: BatchDigest) {
        let Some(row) = self.rows.remove(&digest) else { return };
        self.keys.remove(&row.info.key());
        self.expirations.remove(&(row.info.expiration, digest));
        if let Some(quota) = self.quotas.get_mut(&row.info.author) {
            quota.give_back(row.info.bytes, row.storage);
        }
    }

    fn expire(&mut self, floor: Micros) -> Vec<BatchDigest> {
        let mut dead = Vec::new();
        while let Some(&(_, digest)) =
            self.expirations.first().filter(|&&(expiration, _)| expiration <= floor)
        {
            self.remove(digest);
            dead.push(digest);
        }
        dead
    }
}

/// Summaries of a batch's transactions; `None` if one does not decode.
#[must_use]
pub fn summaries_of(batch: &Batch) -> Option<Arc<[TxnSummary]>> {
    let read = batch.txns.iter().map(|bytes| PooledTxn::read(bytes.clone()).ok().map(|txn| txn.summary));
    read.collect()
}
