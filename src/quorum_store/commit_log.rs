//! The commit log of a validator: what was committed, in order. Appending to it is the one act that makes a commit known:
//! nobody is sent anything, everybody reads from a cursor of their own.

use crate::quorum_store::disk::{Disk, DiskError};
use crate::quorum_store::{BatchInfo, Micros, TxnHash, TxnOutcome};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A transaction of a committed block that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnException {
    /// Which.
    pub hash: TxnHash,
    /// What became of it.
    pub outcome: TxnOutcome,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Committed {
    /// A block.
    Block {
        /// Its height.
        height: u64,
        /// Its batches.
        batches: Vec<BatchInfo>,
        /// Transactions in them that did not succeed.
        exceptions: Vec<TxnException>,
    },
    /// A range of blocks that was taken over from others: which batches they had is not known.
    Synced {
        /// Height of the last one.
        height: u64,
    },
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitEntry {
    /// Its place, from 1, without gaps.
    pub sequence: u64,
    /// Time of the block. May be less than that of the entry before.
    pub timestamp: Micros,
    /// What was committed.
    pub content: Committed,
}

/// What a reader of the log applies next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitStep {
    /// An entry.
    Entry(Arc<CommitEntry>),
    /// Entries so old that every batch in them has expired: only the time counts.
    Collapsed {
        /// The last of them.
        through: u64,
        /// The latest time in them.
        timestamp: Micros,
    },
}

impl CommitStep {
    /// Sequence of the last entry in it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            CommitStep::Entry(entry) => entry.sequence,
            CommitStep::Collapsed { through, .. } => *through,
        }
    }

    /// Latest time in it.
    #[must_use]
    pub fn timestamp(&self) -> Micros {
        match self {
            CommitStep::Entry(entry) => entry.timestamp,
            CommitStep::Collapsed { timestamp, .. } => *timestamp,
        }
    }

    /// Batches that it commits.
    #[must_use]
    pub fn batches(&self) -> &[BatchInfo] {
        match self {
            CommitStep::Entry(entry) => match &entry.content {
                Committed::Block { batches, .. } => batches,
                Committed::Synced { .. } => &[],
            },
            CommitStep::Collapsed { .. } => &[],
        }
    }

    /// Those of its batches whose transactions were executed: a batch that had expired by the block's time is void.
    pub fn executed_batches(&self) -> impl Iterator<Item = &BatchInfo> {
        self.batches().iter().filter(|info| info.is_executed_at(self.timestamp()))
    }

    /// Transactions in them that did not succeed.
    #[must_use]
    pub fn exceptions(&self) -> &[TxnException] {
        match self {
            CommitStep::Entry(entry) => match &entry.content {
                Committed::Block { exceptions, .. } => exceptions,
                Committed::Synced { .. } => &[],
            },
            CommitStep::Collapsed { .. } => &[],
        }
    }
}

/// How far a component has come in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    applied: u64,
    time: Micros,
}

/// Whether a step is the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is: apply it.
    Apply,
    /// It was applied before.
    Duplicate,
    /// Something before it is missing: read the log from the cursor.
    Gap,
}

impl Cursor {
    /// The cursor of a reader that begins after an entry.
    #[must_use]
    pub fn at(applied: u64) -> Cursor {
        Cursor { applied, time: Micros(0) }
    }

    /// Sequence of the last entry that was applied; 0 before the first.
    #[must_use]
    pub fn applied(self) -> u64 {
        self.applied
    }

    /// The latest time of all that was applied.
    #[must_use]
    pub fn time(self) -> Micros {
        self.time
    }

    /// Moves on if the step is the next one.
    pub fn admit(&mut self, step: &CommitStep) -> Admission {
        let sequence = step.sequence();
        if sequence <= self.applied {
            return Admission::Duplicate;
        }
        let next = match step {
            CommitStep::Entry(_) => sequence == self.applied + 1,
            CommitStep::Collapsed { .. } => true,
        };
        if !next {
            return Admission::Gap;
        }
        self.applied = sequence;
        self.time = self.time.max(step.timestamp());
        Admission::Apply
    }
}

/// What is wrong with an append.
#[derive(Debug, Error)]
pub enum AppendError {
    /// Not the next entry.
    #[error("commit {sequence} does not follow commit {head}; append in order")]
    OutOfOrder {
        /// The entry's place.
        sequence: u64,
        /// The last one in the log.
        head: u64,
    },
    /// The disk refused; the log is as it was.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An append that is decided, and not written yet.
#[derive(Debug)]
pub struct PlannedAppend {
    entry: CommitEntry,
    collapsed: (u64, Micros),
    latest: Micros,
}

impl PlannedAppend {
    /// Writes it; it is durable when this returns. Blocks for the disk.
    ///
    /// # Errors
    /// [`DiskError`]; nothing is written.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        disk.append_commit(&self.entry, self.collapsed)
    }
}

/// The log. Keeps entries as long as a batch in them may be alive.
#[derive(Debug)]
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    window: Duration,
    entries: VecDeque<Arc<CommitEntry>>,
    /// The last entry that is no longer kept, and the latest time up to it.
    collapsed: (u64, Micros),
    latest: Micros,
}

impl CommitLog {
    /// The log that the disk holds. An entry is kept until the log's time is `window` past it, which must be longer than a
    /// batch can live.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(disk: Arc<dyn Disk>, window: Duration) -> Result<CommitLog, DiskError> {
        let kept = disk.commits()?;
        let first = kept.entries.first().map_or(kept.collapsed.0, |entry| entry.sequence - 1);
        let latest = kept.entries.iter().map(|entry| entry.timestamp).fold(kept.collapsed.1, Micros::max);
        let entries = kept.entries.into_iter().map(Arc::new).collect();
        Ok(CommitLog { disk, window, entries, collapsed: (first, kept.collapsed.1), latest })
    }

    /// Sequence of the last entry; 0 for an empty log.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.entries.back().map_or(self.collapsed.0, |entry| entry.sequence)
    }

    /// The latest time in it.
    #[must_use]
    pub fn time(&self) -> Micros {
        self.latest
    }

    /// Number of entries that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends an entry; it is durable when this returns. One that is in the log already does nothing. Blocks for the disk.
    ///
    /// # Errors
    /// [`AppendError`]; the log is as it was.
    pub fn append(&mut self, entry: CommitEntry) -> Result<(), AppendError> {
        if let Some(append) = self.plan(entry)? {
            append.write(&*Arc::clone(&self.disk))?;
            self.install(append);
        }
        Ok(())
    }

    /// What appending an entry would be; `None` if it is in the log already. Changes nothing: the append is then written, and
    /// installed, with no other append in between.
    ///
    /// # Errors
    /// `OutOfOrder`.
    pub fn plan(&self, entry: CommitEntry) -> Result<Option<PlannedAppend>, AppendError> {
        let head = self.head();
        if entry.sequence <= head {
            return Ok(None);
        }
        if entry.sequence != head + 1 {
            return Err(AppendError::OutOfOrder { sequence: entry.sequence, head });
        }
        let latest = self.latest.max(entry.timestamp);
        let floor = latest.minus(self.window);
        let old = self.entries.iter().take_while(|entry| entry.timestamp < floor);
        let collapsed =
            old.fold(self.collapsed, |(_, time), entry| (entry.sequence, time.max(entry.timestamp)));
        Ok(Some(PlannedAppend { entry, collapsed, latest }))
    }

    /// Shows an append that was written.
    pub fn install(&mut self, append: PlannedAppend) {
        let PlannedAppend { entry, collapsed, latest } = append;
        self.latest = latest;
        self.collapsed = collapsed;
        self.entries.push_back(Arc::new(entry));
        while self.entries.front().is_some_and(|entry| entry.sequence <= collapsed.0) {
            self.entries.pop_front();
        }
    }

    /// Goes on behind an entry of others, which nobody here will ever see: readers get one step that only moves time. On disk with
    /// the next entry. Does nothing if the log has that entry.
    pub fn take_over(&mut self, through: u64, timestamp: Micros) {
        if through > self.head() {
            self.latest = self.latest.max(timestamp);
            self.entries.clear();
            self.collapsed = (through, self.latest);
        }
    }

    /// The disk that it is written to.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// What a reader at `cursor` applies next; `None` at the end.
    #[must_use]
    pub fn next(&self, cursor: Cursor) -> Option<CommitStep> {
        let applied = cursor.applied();
        if applied < self.collapsed.0 {
            return Some(CommitStep::Collapsed { through: self.collapsed.0, timestamp: self.collapsed.1 });
        }
        let index = usize::try_from(applied - self.collapsed.0).ok()?;
        self.entries.get(index).map(|entry| CommitStep::Entry(Arc::clone(entry)))
    }
}
