//! Committed blocks for who listens: read from the log with a cursor of one's own, so that none is missed and nobody waits.

use crate::quorum_store::mempool::CommittedTxn;
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::{BatchInfo, CommitStep, Cursor, Micros, TxnHash, TxnOutcome};
use std::collections::HashSet;
use std::sync::Arc;

/// A committed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBlock {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub timestamp: Micros,
    /// Its batches.
    pub batches: Vec<BatchInfo>,
    /// Its transactions, each once, batch by batch, and what became of them. Those of a batch that is no longer kept are missing.
    pub txns: Vec<(TxnHash, TxnOutcome)>,
}

/// Tells committed blocks one after the other.
#[derive(Debug)]
pub struct CommitFeed {
    commons: Arc<Commons>,
    cursor: Cursor,
}

impl CommitFeed {
    pub(in crate::quorum_store) fn after(commons: Arc<Commons>, height: u64) -> CommitFeed {
        CommitFeed { commons, cursor: Cursor::at(height) }
    }

    /// The next committed block; waits for it. A range that is no longer kept is passed over, as is one that was taken over from
    /// others. `None` when the runtime ends.
    pub async fn next(&mut self) -> Option<CommittedBlock> {
        let (step, commons) = (self.next_step().await?, Arc::clone(&self.commons));
        tokio::task::spawn_blocking(move || read(&commons, &step)).await.ok()
    }

    /// As [`next`](Self::next), its height and time only: nothing is read from the disk.
    pub async fn next_head(&mut self) -> Option<(u64, Micros)> {
        self.next_step().await.map(|step| (step.sequence(), step.timestamp()))
    }

    async fn next_step(&mut self) -> Option<CommitStep> {
        let mut head = self.commons.commits.watch();
        loop {
            let Some(step) = self.commons.commits.next(self.cursor) else {
                let applied = self.cursor.applied();
                head.wait_for(|&head| head > applied).await.ok()?;
                continue;
            };
            self.cursor.admit(&step);
            if matches!(step, CommitStep::Entry(_)) {
                return Some(step);
            }
        }
    }
}

/// All committed blocks that are kept.
pub fn kept(commons: &Commons) -> Vec<CommittedBlock> {
    let (mut cursor, mut blocks) = (Cursor::default(), Vec::new());
    while let Some(step) = commons.commits.next(cursor) {
        cursor.admit(&step);
        if matches!(step, CommitStep::Entry(_)) {
            blocks.push(read(commons, &step));
        }
    }
    blocks
}

fn read(commons: &Commons, step: &CommitStep) -> CommittedBlock {
    let mut seen = HashSet::new();
    let all = CommittedTxn::all_of(step, &commons.store).into_iter();
    CommittedBlock {
        height: step.sequence(),
        timestamp: step.timestamp(),
        batches: step.batches().to_vec(),
        txns: all
            .filter(|one| seen.insert(one.summary.hash))
            .map(|one| (one.summary.hash, one.outcome))
            .collect(),
    }
}
