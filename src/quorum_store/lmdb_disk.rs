//! A validator's disk in one LMDB environment. The bytes are in `docs/layout.md`.

use crate::durable::open_environment;
use crate::quorum_store::disk::{Disk, DiskError, KeptCommits, OrderedBlock};
use crate::quorum_store::{Batch, BatchDigest, BatchId, CommitEntry, Epoch, Micros};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, RwTxn, WithTls};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Table<'e> = Database<'e, Bytes, Bytes>;

const BATCHES: &str = "batches";
const IDS: &str = "ids";
const STAGED: &str = "staged";
const COMMITS: &str = "commits";
/// Key of the row that says what is no longer kept of the log: before every sequence.
const COLLAPSED: [u8; 8] = [0; 8];

#[derive(Clone, Copy)]
struct Tables<'e> {
    batches: Table<'e>,
    ids: Table<'e>,
    staged: Table<'e>,
    commits: Table<'e>,
}

/// The disk. Every write is durable when it returns.
#[derive(Debug)]
pub struct LmdbDisk {
    env: Env<WithTls>,
    directory: PathBuf,
    /// Whether it is closed; held while something is written.
    closed: Mutex<bool>,
}

impl LmdbDisk {
    /// Opens the quorum store in `directory`, of at most so many bytes; makes it if it is not there.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(directory: &Path, bytes: u64) -> Result<LmdbDisk, DiskError> {
        let failed = |step| {
            let directory = directory.to_owned();
            move |cause| DiskError::Lmdb { step, directory, cause }
        };
        std::fs::create_dir_all(directory)
            .map_err(|cause| failed("make the directory of")(heed::Error::Io(cause)))?;
        let env = open_environment(directory, bytes, 4).map_err(failed("open"))?;
        make_tables(&env).map_err(failed("make the databases of"))?;
        Ok(LmdbDisk { env, directory: directory.to_owned(), closed: Mutex::new(false) })
    }

    fn tables(&self) -> Result<Tables<'_>, heed::Error> {
        let txn = self.env.read_txn()?;
        let opened = self.env.open_databases_and_commit(txn, |opener, txn| {
            let open = |name| opener.open_database::<Bytes, Bytes>(txn, Some(name));
            Ok::<_, heed::Error>(match (open(BATCHES)?, open(IDS)?, open(STAGED)?, open(COMMITS)?) {
                (Some(batches), Some(ids), Some(staged), Some(commits)) => {
                    CommitOrAbort::Commit((batches, ids, staged, commits))
                }
                (_, _, _, _) => CommitOrAbort::Abort(()),
            })
        })?;
        let missing = heed::Error::Mdb(heed::MdbError::NotFound);
        let (batches, ids, staged, commits) = opened.commit().ok_or(missing)?;
        Ok(Tables { batches, ids, staged, commits })
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(heed::Error) -> DiskError + use<> {
        let directory = self.directory.clone();
        move |cause| DiskError::Lmdb { step, directory, cause }
    }

    fn damaged(&self, table: &'static str) -> DiskError {
        DiskError::Damaged { table, directory: self.directory.clone() }
    }

    fn decode<T: DeserializeOwned>(&self, table: &'static str, row: &[u8]) -> Result<T, DiskError> {
        bcs::from_bytes(row).map_err(|_| self.damaged(table))
    }

    fn write<T>(
        &self,
        step: &'static str,
        write: impl FnOnce(&mut RwTxn<'_>, &Tables<'_>) -> Result<T, heed::Error>,
    ) -> Result<T, DiskError> {
        let closed = self.closed.lock();
        if *closed {
            return Err(DiskError::Closed);
        }
        let written = || {
            let tables = self.tables()?;
            let mut txn = self.env.write_txn()?;
            let value = write(&mut txn, &tables)?;
            txn.commit()?;
            Ok(value)
        };
        written().map_err(self.failed(step))
    }
}

fn make_tables(env: &Env<WithTls>) -> Result<(), heed::Error> {
    let txn = env.write_txn()?;
    env.create_databases_and_commit(txn, |opener, txn| {
        for name in [BATCHES, IDS, STAGED, COMMITS] {
            opener.create_database::<Bytes, Bytes>(txn, Some(name))?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
    })?;
    Ok(())
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, heed::Error> {
    bcs::to_bytes(value).map_err(|error| heed::Error::Encoding(error.into()))
}

impl Disk for LmdbDisk {
    fn put_batches(&self, batches: &[Arc<Batch>]) -> Result<(), DiskError> {
        self.write("keep batches in", |txn, tables| {
            batches
                .iter()
                .try_for_each(|batch| tables.batches.put(txn, &batch.info.digest.0, &encode(&**batch)?))
        })
    }

    fn batch(&self, digest: &BatchDigest) -> Result<Option<Batch>, DiskError> {
        let tables = self.tables().map_err(self.failed("open the databases of"))?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        let row = tables.batches.get(&txn, &digest.0).map_err(self.failed("read a batch of"))?;
        let batch: Option<Batch> = row.map(|row| self.decode(BATCHES, row)).transpose()?;
        let right = batch.as_ref().is_none_or(|batch| batch.info.digest == *digest && batch.holds());
        if right { Ok(batch) } else { Err(self.damaged(BATCHES)) }
    }

    fn remove_batches(&self, digests: &[BatchDigest]) -> Result<(), DiskError> {
        if digests.is_empty() {
            return Ok(());
        }
        self.write("remove batches from", |txn, tables| {
            digests.iter().try_for_each(|digest| tables.batches.delete(txn, &digest.0).map(|_| ()))
        })
    }

    fn for_each_batch(&self, each: &mut dyn FnMut(Batch)) -> Result<(), DiskError> {
        let mut broken = Vec::new();
        {
            let tables = self.tables().map_err(self.failed("open the databases of"))?;
            let txn = self.env.read_txn().map_err(self.failed("read"))?;
            let rows = tables.batches.iter(&txn).map_err(self.failed("read the batches of"))?;
            for row in rows {
                let (key, row) = row.map_err(self.failed("read the batches of"))?;
                match self.decode::<Batch>(BATCHES, row) {
                    Ok(batch) if batch.info.digest.0 == key && batch.holds() => each(batch),
                    Ok(_) | Err(_) => broken.push(key.to_vec()),
                }
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            batches = broken.len(),
            "batches that do not decode, or are not those of their digest, are removed"
        );
        self.write("remove broken batches from", |txn, tables| {
            broken.iter().try_for_each(|key| tables.batches.delete(txn, key).map(|_| ()))
        })
    }

    fn reserve_ids(&self, epoch: Epoch, count: u64, now: Micros) -> Result<BatchId, DiskError> {
        let key = epoch.0.to_be_bytes();
        let (stored, row) = {
            let tables = self.tables().map_err(self.failed("open the databases of"))?;
            let txn = self.env.read_txn().map_err(self.failed("read"))?;
            let last = tables.ids.last(&txn).map_err(self.failed("read the ids of"))?;
            let stored = last.and_then(|(key, _)| <[u8; 8]>::try_from(key).ok()).map(u64::from_be_bytes);
            let row = tables.ids.get(&txn, &key).map_err(self.failed("read the ids of"))?;
            (stored, row.map(|row| self.decode::<BatchId>(IDS, row)).transpose()?)
        };
        if let Some(stored) = stored.filter(|&stored| stored > epoch.0) {
            let directory = self.directory.clone();
            return Err(DiskError::LaterEpoch { directory, stored: Epoch(stored), given: epoch });
        }
        let first = row.unwrap_or(BatchId { nonce: now.0, number: 0 });
        let next = BatchId { number: first.number.saturating_add(count), ..first };
        self.write("take batch ids from", |txn, tables| {
            let older = (Bound::<&[u8]>::Unbounded, Bound::Excluded(key.as_slice()));
            tables.ids.delete_range(txn, &older)?;
            tables.ids.put(txn, &key, &encode(&next)?)
        })?;
        Ok(first)
    }

    fn stage(&self, block: &OrderedBlock) -> Result<(), DiskError> {
        self.write("stage a block in", |txn, tables| {
            tables.staged.put(txn, &block.height.to_be_bytes(), &encode(block)?)
        })
    }

    fn staged(&self) -> Result<Vec<OrderedBlock>, DiskError> {
        let tables = self.tables().map_err(self.failed("open the databases of"))?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        let rows = tables.staged.iter(&txn).map_err(self.failed("read the staged blocks of"))?;
        let mut blocks = Vec::new();
        for row in rows {
            let (_, row) = row.map_err(self.failed("read the staged blocks of"))?;
            blocks.push(self.decode(STAGED, row)?);
        }
        Ok(blocks)
    }

    fn append_commit(&self, entry: &CommitEntry, collapsed: (u64, Micros)) -> Result<(), DiskError> {
        self.write("append a commit to", |txn, tables| {
            let sequence = entry.sequence.to_be_bytes();
            tables.commits.put(txn, &sequence, &encode(entry)?)?;
            if collapsed.0 > 0 {
                let floor = collapsed.0.to_be_bytes();
                let old = (Bound::Excluded(COLLAPSED.as_slice()), Bound::Included(floor.as_slice()));
                tables.commits.delete_range(txn, &old)?;
                tables.commits.put(txn, &COLLAPSED, &encode(&collapsed)?)?;
            }
            let done = (Bound::<&[u8]>::Unbounded, Bound::Included(sequence.as_slice()));
            tables.staged.delete_range(txn, &done).map(|_| ())
        })
    }

    fn commits(&self) -> Result<KeptCommits, DiskError> {
        let tables = self.tables().map_err(self.failed("open the databases of"))?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        let rows = tables.commits.iter(&txn).map_err(self.failed("read the commits of"))?;
        let mut kept = KeptCommits::default();
        for row in rows {
            let (key, row) = row.map_err(self.failed("read the commits of"))?;
            if key == COLLAPSED {
                kept.collapsed = self.decode(COMMITS, row)?;
                continue;
            }
            let entry: CommitEntry = self.decode(COMMITS, row)?;
            let before = kept.entries.last().map_or(kept.collapsed.0, |last| last.sequence);
            if entry.sequence != before + 1 {
                return Err(self.damaged(COMMITS));
            }
            kept.entries.push(entry);
        }
        Ok(kept)
    }

    fn close(&self) {
        *self.closed.lock() = true;
    }
}
