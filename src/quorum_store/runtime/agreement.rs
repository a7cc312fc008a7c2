//! Stands for consensus among the validators of one process: the order of blocks, and what their execution came to, told by the
//! one validator that executes and taken over by the others.

use crate::quorum_store::{BatchKey, Micros, OrderedBlock, Orderer, TxnException, ValidatorId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

/// Blocks that are kept for a validator that is behind; one that is further behind goes on after them without having seen them.
const KEPT_BLOCKS: u64 = 2_000;

/// Two validators had different blocks at the same height.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "validators {first} and {second} have different blocks at height {height}; their directories are not of one network, restore those of one"
)]
pub struct Disagreement {
    /// Where.
    pub height: u64,
    /// One of them.
    pub first: ValidatorId,
    /// The other.
    pub second: ValidatorId,
}

/// Whose turn it is to propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The block that is proposed.
    pub height: u64,
    /// How many turns there were at this height before.
    pub attempt: u64,
    /// Who proposes.
    pub proposer: ValidatorId,
    /// How long it has been its turn.
    pub waited: Duration,
}

/// What became of a validator's wish for its next block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextBlock {
    /// There it is.
    Ordered(Arc<OrderedBlock>),
    /// It is not ordered yet.
    NotYet,
    /// It is kept no more: go on behind this height and time.
    TooLate(u64, Micros),
}

#[derive(Debug)]
struct Known {
    block: Arc<OrderedBlock>,
    /// From whom, for the message if somebody else has another one.
    from: ValidatorId,
    exceptions: Option<Arc<[TxnException]>>,
}

#[derive(Debug)]
struct Inner {
    attempt: u64,
    since: Instant,
    known: BTreeMap<u64, Known>,
    /// Height and time of the last block that is no longer kept.
    floor: (u64, Micros),
    heads: Vec<u64>,
}

/// The agreement. One for all validators of a process.
pub struct Agreement {
    orderer: Arc<dyn Orderer>,
    ahead: u64,
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreement").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Inner {
    fn head(&self) -> u64 {
        self.known.last_key_value().map_or(self.floor.0, |(&height, _)| height)
    }

    /// The height that a quorum has committed.
    fn quorum_head(&self) -> u64 {
        let mut heads = self.heads.clone();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        heads.get(self.heads.len() * 2 / 3).copied().unwrap_or(0)
    }

    fn forget(&mut self) {
        let slowest = self.heads.iter().copied().min().unwrap_or(0);
        let least = self.head().saturating_sub(KEPT_BLOCKS);
        while let Some(first) = self.known.first_entry().filter(|first| *first.key() <= slowest.max(least)) {
            let (height, known) = first.remove_entry();
            self.floor = (height, self.floor.1.max(known.block.timestamp));
        }
    }
}

impl Agreement {
    /// Nothing is ordered yet. `ahead` blocks may be ordered and not yet committed by a quorum of so many validators.
    #[must_use]
    pub fn new(orderer: Arc<dyn Orderer>, validators: u16, ahead: u64) -> Agreement {
        let inner = Inner {
            attempt: 0,
            since: Instant::now(),
            known: BTreeMap::new(),
            floor: (0, Micros(0)),
            heads: vec![0; usize::from(validators)],
        };
        Agreement { orderer, ahead, inner: Mutex::new(inner), changes: watch::Sender::new(0) }
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Tells of every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What a validator that starts says: where it stands, and blocks that it knows, with what they came to if it knows that. All
    /// validators say it, and then the agreement [begins](Self::begin).
    ///
    /// # Errors
    /// [`Disagreement`].
    pub fn join(
        &self,
        validator: ValidatorId,
        head: (u64, Micros),
        blocks: impl IntoIterator<Item = (OrderedBlock, Option<Arc<[TxnException]>>)>,
    ) -> Result<(), Disagreement> {
        let mut inner = self.inner.lock();
        if let Some(own) = inner.heads.get_mut(validator.index()) {
            *own = head.0;
        }
        inner.floor = inner.floor.max(head);
        for (block, exceptions) in blocks {
            let (height, block) = (block.height, Arc::new(block));
            let new = || Known { block: Arc::clone(&block), from: validator, exceptions: None };
            let known = inner.known.entry(height).or_insert_with(new);
            if known.block != block {
                return Err(Disagreement { height, first: known.from, second: validator });
            }
            known.exceptions = known.exceptions.take().or(exceptions);
        }
        Ok(())
    }

    /// All validators have joined: goes on behind the last block that any of them knows.
    pub fn begin(&self) {
        let mut inner = self.inner.lock();
        let (committed, time) = inner.floor;
        inner.known.retain(|&height, _| height <= committed + 1);
        // Blocks without gaps up to the last one; what is before a gap is of no use to anybody.
        let mut first = committed + 1;
        while first > 1 && inner.known.contains_key(&(first - 1)) {
            first -= 1;
        }
        inner.known.retain(|&height, _| height >= first);
        let before_first = inner.known.get(&first).map_or(time, |known| known.block.timestamp);
        inner.floor = (first - 1, before_first);
        inner.since = Instant::now();
        inner.forget();
        drop(inner);
        self.tell();
    }

    /// Whose turn it is; `None` while too many blocks are ordered and not yet committed.
    #[must_use]
    pub fn turn(&self) -> Option<Turn> {
        let inner = self.inner.lock();
        let (height, attempt) = (inner.head() + 1, inner.attempt);
        let proposer = self.orderer.proposer(height, attempt);
        let turn = Turn { height, attempt, proposer, waited: inner.since.elapsed() };
        (height <= inner.quorum_head().saturating_add(self.ahead)).then_some(turn)
    }

    /// Orders a block; false if it is no longer that turn.
    pub fn propose(&self, turn: Turn, block: OrderedBlock) -> bool {
        let mut inner = self.inner.lock();
        let is_turn = (inner.head() + 1, inner.attempt) == (turn.height, turn.attempt);
        if !is_turn || block.height != turn.height {
            return false;
        }
        let known = Known { block: Arc::new(block), from: turn.proposer, exceptions: None };
        inner.known.insert(turn.height, known);
        (inner.attempt, inner.since) = (0, Instant::now());
        drop(inner);
        self.tell();
        true
    }

    /// Gives a turn to the next one, if it is still that turn.
    pub fn pass(&self, turn: Turn) {
        let mut inner = self.inner.lock();
        if (inner.head() + 1, inner.attempt) == (turn.height, turn.attempt) {
            inner.attempt += 1;
            inner.since = Instant::now();
            drop(inner);
            self.tell();
        }
    }

    /// The block after `head`.
    #[must_use]
    pub fn next(&self, head: u64) -> NextBlock {
        let inner = self.inner.lock();
        if head < inner.floor.0 {
            return NextBlock::TooLate(inner.floor.0, inner.floor.1);
        }
        match inner.known.get(&(head + 1)) {
            Some(known) => NextBlock::Ordered(Arc::clone(&known.block)),
            None => NextBlock::NotYet,
        }
    }

    /// Batches of ordered blocks above `applied`; `None` if not all of them are kept.
    #[must_use]
    pub fn under_way(&self, applied: u64) -> Option<HashSet<BatchKey>> {
        let inner = self.inner.lock();
        if applied < inner.floor.0 {
            return None;
        }
        let above = inner.known.range(applied + 1..).map(|(_, known)| &known.block.batches);
        Some(above.flatten().map(crate::quorum_store::BatchInfo::key).collect())
    }

    /// The executing validator tells what a block came to.
    pub fn executed(&self, height: u64, exceptions: Arc<[TxnException]>) {
        if let Some(known) = self.inner.lock().known.get_mut(&height) {
            known.exceptions = Some(exceptions);
        }
        self.tell();
    }

    /// What a block came to, if it is known.
    #[must_use]
    pub fn exceptions(&self, height: u64) -> Option<Arc<[TxnException]>> {
        self.inner.lock().known.get(&height).and_then(|known| known.exceptions.clone())
    }

    /// A validator has committed up to this height.
    pub fn committed(&self, validator: ValidatorId, height: u64) {
        let mut inner = self.inner.lock();
        if let Some(head) = inner.heads.get_mut(validator.index()) {
            *head = height.max(*head);
        }
        inner.forget();
        drop(inner);
        self.tell();
    }

    /// Height of the last ordered block.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.inner.lock().head()
    }
}
