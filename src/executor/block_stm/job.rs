//! The block being executed and all memory that its threads share. The caller changes it between blocks; while a block
//! runs, all threads look at it side by side. Nothing in it is given back between blocks.

use crate::executor::block_stm::dispenser::Dispenser;
use crate::executor::block_stm::extra_keys::ExtraKeys;
use crate::executor::block_stm::key_cell::KeyCell;
use crate::executor::block_stm::record::Transaction;
use crate::executor::block_stm::scheduler::{Scheduler, Standing, Standings};
use crate::executor::block_stm::status::Stamp;
use crate::state::BaseState;
use crate::types::{KeyId, PreparedBlock, TxnIndex};
use std::sync::Arc;

/// Everything that the threads share while a block runs.
#[derive(Debug)]
pub(super) struct Job {
    /// The block; none between blocks.
    pub(super) block: Option<Arc<PreparedBlock>>,
    pub(super) base: BaseState,
    pub(super) stamp: Stamp,
    pub(super) scheduler: Scheduler,
    /// Hands out transactions to be examined, before the first is executed.
    pub(super) examining: Dispenser,
    /// Hands out transactions whose final values are to be computed, after the last is validated.
    pub(super) settling: Dispenser,
    extra: ExtraKeys,
    /// By the id of a declared key; those that nobody declared are in `extra`.
    cells: Vec<KeyCell>,
    transactions: Vec<Transaction>,
}

impl Standings for Job {
    fn standing(&self, txn: TxnIndex) -> Option<&Standing> {
        self.transactions.get(txn.index()).map(|transaction| &transaction.standing)
    }
}

/// A key with its versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRef<'a> {
    pub(super) hash: u64,
    pub(super) name: &'a [u8],
    pub(super) cell: &'a KeyCell,
}

impl Job {
    pub(super) fn new(base: BaseState) -> Job {
        Job {
            block: None,
            base,
            stamp: Stamp(0),
            scheduler: Scheduler::default(),
            examining: Dispenser::new(0),
            settling: Dispenser::new(0),
            extra: ExtraKeys::default(),
            cells: Vec::new(),
            transactions: Vec::new(),
        }
    }

    /// Starts a block for `threads` threads.
    pub(super) fn start_block(&mut self, block: &Arc<PreparedBlock>, threads: usize) {
        if self.stamp.0 == u32::MAX {
            // Stamps begin again: nothing may be left that carries one.
            (self.cells, self.transactions, self.extra) = (Vec::new(), Vec::new(), ExtraKeys::default());
            self.stamp = Stamp(0);
        }
        self.stamp.0 += 1;
        self.extra.clear();
        if self.cells.len() < block.keys().len() {
            self.cells.resize_with(block.keys().len(), KeyCell::default);
        }
        if self.transactions.len() < block.len() {
            self.transactions.resize_with(block.len(), Transaction::default);
        }
        self.scheduler.start_block(self.stamp, block.len(), threads);
        self.examining = Dispenser::new(block.len());
        self.settling = Dispenser::new(block.len());
        self.block = Some(Arc::clone(block));
    }

    pub(super) fn transaction(&self, txn: TxnIndex) -> Option<&Transaction> {
        self.transactions.get(txn.index())
    }

    /// The number of any key.
    pub(super) fn number_of(&self, block: &PreparedBlock, name: &[u8]) -> u32 {
        let hash = block.hasher().hash(name);
        block.key_table().find(hash, name).map_or_else(
            || {
                let declared = u32::try_from(block.keys().len()).unwrap_or(u32::MAX);
                declared.saturating_add(self.extra.number(hash, name))
            },
            |id| id.0,
        )
    }

    /// The key with this number; `None` for a number that was never given.
    pub(super) fn key<'a>(&'a self, block: &'a PreparedBlock, number: u32) -> Option<KeyRef<'a>> {
        key_of(&self.cells, &self.extra, block, number)
    }

    /// As [`key`](Self::key) for names, with the base state to change.
    pub(super) fn names_and_base(&mut self) -> (Names<'_>, &mut BaseState) {
        (Names { cells: &self.cells, extra: &self.extra }, &mut self.base)
    }
}

/// The keys of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    cells: &'a [KeyCell],
    extra: &'a ExtraKeys,
}

impl<'a> Names<'a> {
    pub(super) fn key(&self, block: &'a PreparedBlock, number: u32) -> Option<KeyRef<'a>> {
        key_of(self.cells, self.extra, block, number)
    }
}

fn key_of<'a>(
    cells: &'a [KeyCell],
    extra: &'a ExtraKeys,
    block: &'a PreparedBlock,
    number: u32,
) -> Option<KeyRef<'a>> {
    match block.key(KeyId(number)) {
        Some((hash, name)) => Some(KeyRef { hash, name, cell: cells.get(number as usize)? }),
        None => {
            let extra = extra.get(number.checked_sub(u32::try_from(block.keys().len()).ok()?)?)?;
            let (hash, name) = extra.name();
            Some(KeyRef { hash, name, cell: &extra.cell })
        }
    }
}
