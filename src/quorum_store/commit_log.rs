//! The commit log of a validator: what was committed, in order. Appending to it is the one act that makes a commit known:
//! nobody is sent anything, everybody reads from a cursor of their own.

use crate::quorum_store::disk::{Disk, DiskError};
use crate::quorum_store::{BatchInfo, Micros, TxnHash};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A transaction of a committed block that changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithoutEffect {
    /// Which.
    pub hash: TxnHash,
    /// Whether it may have an effect in a later block: its sequence number was ahead of its sender's.
    pub again: bool,
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
        /// Transactions in them that changed nothing.
        without_effect: Vec<WithoutEffect>,
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

    /// Transactions in them that changed nothing.
    #[must_use]
    pub fn without_effect(&self) -> &[WithoutEffect] {
        match self {
            CommitStep::Entry(entry) => match &entry.content {
                Committed::Block { without_effect, .. } => without_effect,
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
        let head = self.head();
        if entry.sequence <= head {
            return Ok(());
        }
        if entry.sequence != head + 1 {
            return Err(AppendError::OutOfOrder { sequence: entry.sequence, head });
        }
        let latest = self.latest.max(entry.timestamp);
        let floor = latest.minus(self.window);
        let old = self.entries.iter().take_while(|entry| entry.timestamp < floor);
        let collapsed =
            old.fold(self.collapsed, |(_, time), entry| (entry.sequence, time.max(entry.timestamp)));
        self.disk.append_commit(&entry, collapsed)?;
        self.latest = latest;
        self.collapsed = collapsed;
        self.entries.push_back(Arc::new(entry));
        while self.entries.front().is_some_and(|entry| entry.sequence <= collapsed.0) {
            self.entries.pop_front();
        }
        Ok(())
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
