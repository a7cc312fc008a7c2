//! What the coordinator writes to: one record per block, before anything else changes.

use crate::durable::appender::{AppendError, Appender};
use crate::durable::applier::RecordReader;
use crate::durable::cold::{ColdOrder, ColdStore};
use crate::durable::directory::DirectoryLock;
use crate::durable::error::DurableError;
use crate::durable::log_scan::RecordPlace;
use crate::durable::progress::{DurableProgress, Shared};
use crate::durable::record::{BlockMark, outcomes};
use crate::durable::step::{Step, Steps};
use crate::durable::store::Store;
use crate::state::{Backlog, CacheStats, StateDigest};
use crate::types::{BlockHash, StatusCode};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The journal of a durable state. Dropping it makes all durable, brings into the store what it can in about a second, and
/// lets the directory go.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) appender: Appender,
    pub(super) store: Arc<Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: RecordReader,
    /// The last block that was appended, or that the directory was opened with.
    pub(super) last: Option<(u64, BlockHash)>,
    pub(super) backlog_bytes: u64,
    /// If the base state is a cache: what it does not hold, and where other processes find that.
    pub(super) cold: Option<(ColdStore, ColdOrder)>,
    pub(super) steps: Steps,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Last: the directory is free when the threads are gone.
    pub(super) _lock: DirectoryLock,
}

/// A block that was executed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub(crate) digest: StateDigest,
    /// Status and gas of each transaction.
    pub(crate) outcomes: Vec<(StatusCode, u64)>,
}

/// Answers how far blocks have come, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct JournalWatch(Arc<Shared>);

impl JournalWatch {
    pub(crate) fn progress(&self) -> DurableProgress {
        self.0.progress()
    }

    pub(crate) fn await_durable(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        self.0.await_durable(height, deadline)
    }

    pub(crate) fn await_stored(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        self.0.await_stored(height, deadline)
    }
}

impl Journal {
    pub(crate) fn watch(&self) -> JournalWatch {
        JournalWatch(Arc::clone(&self.shared))
    }

    /// What the base state does not hold; `None` if it holds everything.
    pub(crate) fn cold(&self) -> Option<&ColdStore> {
        self.cold.as_ref().map(|(cold, _)| cold)
    }

    /// Where shards find that.
    pub(crate) fn cold_order(&self) -> Option<&ColdOrder> {
        self.cold.as_ref().map(|(_, order)| order)
    }

    /// Which blocks the store lacks.
    pub(crate) fn backlog(&self) -> Backlog {
        self.shared.backlog()
    }

    /// The store is to take in what it lacks without waiting for more.
    pub(crate) fn hurry(&self) {
        self.shared.hurry_all();
    }

    /// What is to be said of the base state as a cache.
    pub(crate) fn note_cache(&self, stats: CacheStats) {
        self.shared.note_cache(stats);
    }

    /// Readers of the store have died: their slots are to be freed as soon as the kernel says so.
    pub(crate) fn readers_died(&self) {
        if self.cold.is_some() {
            self.shared.readers_died();
        }
    }

    /// What the block at `height` came to, if it was executed before; `None` if its height is still to come.
    ///
    /// # Errors
    /// `OtherBlock`, `Passed`; `Failed`, `Io`, `Damaged`, `Store`.
    pub(crate) fn recall(&mut self, height: u64, hash: BlockHash) -> Result<Option<Recalled>, DurableError> {
        self.shared.check()?;
        let Some((last, _)) = self.last.filter(|&(last, _)| height <= last) else { return Ok(None) };
        let (mark, place) = self.find(height)?.ok_or(DurableError::Passed { height, last })?;
        if mark.hash != hash {
            return Err(DurableError::OtherBlock { height, committed: mark.hash, submitted: hash });
        }
        let (header, body) = self.reader.read(place)?;
        Ok(Some(Recalled { digest: mark.digest, outcomes: outcomes(&header, body).collect() }))
    }

    fn find(&self, height: u64) -> Result<Option<(BlockMark, RecordPlace)>, DurableError> {
        match self.shared.pending_at(height) {
            Some(block) => Ok(Some((block.mark, block.place))),
            None => self.store.block(height),
        }
    }

    /// Begins the record of a block.
    pub(crate) fn begin(&mut self) {
        self.appender.begin();
    }

    /// Adds what a transaction came to; all of them before the first write.
    pub(crate) fn outcome(&mut self, status: StatusCode, gas_used: u64) {
        self.appender.record().outcome(status, gas_used);
    }

    /// Adds a key that the block changes; `None` removes it.
    pub(crate) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.appender.record().write(key, value);
    }

    /// Appends the record that was begun, and returns its sequence. Waits, as long as `go_on` says so, if the disk is too far
    /// behind.
    ///
    /// # Errors
    /// `Io`, `Backlog`: the log is as it was, and the block may be tried again. `Failed`.
    pub(crate) fn append(
        &mut self,
        height: u64,
        hash: BlockHash,
        digest: StateDigest,
        go_on: &dyn Fn() -> bool,
    ) -> Result<u64, DurableError> {
        let roll = self.appender.is_full(self.shared.synced_sequence());
        // A segment is begun when the one before is durable to its end.
        self.shared.await_room(self.backlog_bytes, roll, go_on)?;
        let synced = self.shared.synced_sequence();
        match self.appender.append(BlockMark { height, hash, digest }, synced, roll) {
            Ok(appended) => {
                let sequence = appended.block.sequence;
                self.shared.appended(appended);
                self.last = Some((height, hash));
                Ok(sequence)
            }
            Err(AppendError::Clean(error)) => Err(error),
            Err(AppendError::Broken(error)) => {
                self.shared.fail(&error);
                Err(error)
            }
        }
    }

    /// Passes a step between log and base state.
    ///
    /// # Errors
    /// Only in tests.
    pub(crate) fn pass(&self, step: Step) -> Result<(), std::io::Error> {
        self.steps.pass(step)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the durable state panicked");
            }
        }
    }
}
