//! What a validator keeps on disk: batches, the range of batch ids that was ever used, ordered blocks, the commit log.

use crate::quorum_store::{Batch, BatchDigest, BatchId, BatchInfo, CommitEntry, Epoch, Micros};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// The disk refused something, or holds what was never written to it.
#[derive(Debug, Error)]
pub enum DiskError {
    /// LMDB refused.
    #[error("cannot {step} the quorum store in {}: {cause}; look at space and limits there", directory.display())]
    Lmdb {
        /// What was tried, as a verb.
        step: &'static str,
        /// Where.
        directory: PathBuf,
        /// What it said.
        cause: heed::Error,
    },
    /// A row does not decode.
    #[error("a row of {table} in {} is damaged; remove the directory, the validator fetches what it needs", directory.display())]
    Damaged {
        /// Of which table.
        table: &'static str,
        /// Where.
        directory: PathBuf,
    },
    /// It was closed.
    #[error("the quorum store is closed; nothing is written any more")]
    Closed,
    /// A directory of a later epoch.
    #[error("the quorum store in {} is of epoch {stored}, later than {given}; start with that one", directory.display())]
    LaterEpoch {
        /// Where.
        directory: PathBuf,
        /// The directory's.
        stored: Epoch,
        /// The one that was given.
        given: Epoch,
    },
}

/// A block whose order is decided: what is to be executed at its height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBlock {
    /// Its height: also the sequence of its commit.
    pub height: u64,
    /// Its time.
    pub timestamp: Micros,
    /// Its batches, in their order.
    pub batches: Vec<BatchInfo>,
}

/// The commit log as it lies on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptCommits {
    /// The last entry that is no longer kept, and the latest time up to it.
    pub collapsed: (u64, Micros),
    /// The others, in order.
    pub entries: Vec<CommitEntry>,
}

/// What a validator keeps. Writes are there for a later process when they return; ids, ordered blocks and commits also after
/// the death of the machine. All calls may block for the disk.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Keeps batches under their digests.
    ///
    /// # Errors
    /// [`DiskError`]; none of them is kept.
    fn put_batches(&self, batches: &[Arc<Batch>]) -> Result<(), DiskError>;

    /// A batch; `None` if it is not there.
    ///
    /// # Errors
    /// [`DiskError`].
    fn batch(&self, digest: &BatchDigest) -> Result<Option<Batch>, DiskError>;

    /// Removes batches.
    ///
    /// # Errors
    /// [`DiskError`].
    fn remove_batches(&self, digests: &[BatchDigest]) -> Result<(), DiskError>;

    /// Hands out every batch, one after the other. Those that do not decode, or are not those of their digest, are removed.
    ///
    /// # Errors
    /// [`DiskError`].
    fn for_each_batch(&self, each: &mut dyn FnMut(Batch)) -> Result<(), DiskError>;

    /// Takes `count` batch ids of an epoch that nobody ever had or will have; returns the first. `now` names the table of ids
    /// if there is none yet.
    ///
    /// # Errors
    /// [`DiskError`]; `LaterEpoch`.
    fn reserve_ids(&self, epoch: Epoch, count: u64, now: Micros) -> Result<BatchId, DiskError>;

    /// Writes down what is to be executed at a height.
    ///
    /// # Errors
    /// [`DiskError`].
    fn stage(&self, block: &OrderedBlock) -> Result<(), DiskError>;

    /// Blocks that were staged and are not in the commit log, in order.
    ///
    /// # Errors
    /// [`DiskError`].
    fn staged(&self) -> Result<Vec<OrderedBlock>, DiskError>;

    /// Appends to the commit log, forgets entries up to that of `collapsed`, and staged blocks up to this sequence.
    ///
    /// # Errors
    /// [`DiskError`]; the log is as it was.
    fn append_commit(&self, entry: &CommitEntry, collapsed: (u64, Micros)) -> Result<(), DiskError>;

    /// The commit log.
    ///
    /// # Errors
    /// [`DiskError`].
    fn commits(&self) -> Result<KeptCommits, DiskError>;

    /// From now on every write is an error. Returns when a write that is under way is done.
    fn close(&self);
}

/// A disk in memory: for validators whose state need not outlive the process, and for simulations.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    batches: HashMap<BatchDigest, Arc<Batch>>,
    ids: BTreeMap<Epoch, BatchId>,
    staged: BTreeMap<u64, OrderedBlock>,
    commits: KeptCommits,
    closed: bool,
}

impl MemoryDisk {
    /// Opens it again after it was closed.
    pub fn reopen(&self) {
        self.0.lock().closed = false;
    }

    fn open(&self) -> Result<parking_lot::MutexGuard<'_, Memory>, DiskError> {
        let memory = self.0.lock();
        if memory.closed { Err(DiskError::Closed) } else { Ok(memory) }
    }
}

impl Disk for MemoryDisk {
    fn put_batches(&self, batches: &[Arc<Batch>]) -> Result<(), DiskError> {
        let mut memory = self.open()?;
        memory.batches.extend(batches.iter().map(|batch| (batch.info.digest, Arc::clone(batch))));
        Ok(())
    }

    fn batch(&self, digest: &BatchDigest) -> Result<Option<Batch>, DiskError> {
        Ok(self.0.lock().batches.get(digest).map(|batch| Batch::clone(batch)))
    }

    fn remove_batches(&self, digests: &[BatchDigest]) -> Result<(), DiskError> {
        let mut memory = self.open()?;
        digests.iter().for_each(|digest| _ = memory.batches.remove(digest));
        Ok(())
    }

    fn for_each_batch(&self, each: &mut dyn FnMut(Batch)) -> Result<(), DiskError> {
        let mut all: Vec<Arc<Batch>> = self.0.lock().batches.values().cloned().collect();
        all.sort_unstable_by_key(|batch| batch.info);
        all.iter().for_each(|batch| each(Batch::clone(batch)));
        Ok(())
    }

    fn reserve_ids(&self, epoch: Epoch, count: u64, now: Micros) -> Result<BatchId, DiskError> {
        let mut memory = self.open()?;
        if let Some((&stored, _)) = memory.ids.last_key_value().filter(|&(&stored, _)| stored > epoch) {
            return Err(DiskError::LaterEpoch { directory: PathBuf::new(), stored, given: epoch });
        }
        memory.ids.retain(|&stored, _| stored == epoch);
        let next = memory.ids.entry(epoch).or_insert(BatchId { nonce: now.0, number: 0 });
        let first = *next;
        next.number += count;
        Ok(first)
    }

    fn stage(&self, block: &OrderedBlock) -> Result<(), DiskError> {
        self.open()?.staged.insert(block.height, block.clone());
        Ok(())
    }

    fn staged(&self) -> Result<Vec<OrderedBlock>, DiskError> {
        Ok(self.0.lock().staged.values().cloned().collect())
    }

    fn append_commit(&self, entry: &CommitEntry, collapsed: (u64, Micros)) -> Result<(), DiskError> {
        let mut memory = self.open()?;
        memory.commits.entries.push(entry.clone());
        memory.commits.entries.retain(|entry| entry.sequence > collapsed.0);
        memory.commits.collapsed = collapsed;
        memory.staged.retain(|&height, _| height > entry.sequence);
        Ok(())
    }

    fn commits(&self) -> Result<KeptCommits, DiskError> {
        Ok(self.0.lock().commits.clone())
    }

    fn close(&self) {
        self.0.lock().closed = true;
    }
}
