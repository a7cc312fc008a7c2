//! The coordinator's end of a block arena.

use crate::MAX_SHARDS;
use crate::partition::arena::{
    ArenaError, ArenaLimits, Edge, PlannedTransaction, RoundHeader, Sections, SubBlock,
};
use crate::partition::arena_load::Loading;
use crate::types::{
    Incarnation, KeyList, PreparedTransaction, RoundId, ShardId, TransactionAccess, TxnIndex,
};
use bytemuck::{Pod, Zeroable};
use phalanx_ipc::Region;
use std::os::fd::OwnedFd;

/// The coordinator's end of an arena.
#[derive(Debug)]
pub struct ArenaWriter {
    pub(super) region: Region,
    pub(super) limits: ArenaLimits,
    pub(super) sections: Sections,
    pub(super) header: RoundHeader,
    pub(super) key_bytes: usize,
    pub(super) accesses: usize,
    pub(super) loading: Loading,
    /// Keys that are given ids while shards read those that they know.
    pub(super) ahead: KeyList,
}

impl ArenaWriter {
    /// An empty arena.
    ///
    /// # Errors
    /// [`ArenaError::OutOfRange`], [`ArenaError::Region`].
    pub fn create(name: &str, limits: ArenaLimits) -> Result<ArenaWriter, ArenaError> {
        limits.check()?;
        let sections = Sections::new(&limits);
        let region = Region::create(name, sections.end)?;
        Ok(ArenaWriter {
            region,
            limits,
            sections,
            header: RoundHeader::zeroed(),
            key_bytes: 0,
            accesses: 0,
            loading: Loading::Done,
            ahead: KeyList::default(),
        })
    }

    /// The region, to seal it.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The limits that it was made with.
    #[must_use]
    pub fn limits(&self) -> ArenaLimits {
        self.limits
    }

    pub(super) fn copy_in<T: Pod>(&mut self, offset: usize, items: &[T]) -> Result<(), ArenaError> {
        self.region.slice_mut::<T>(offset, items.len())?.copy_from_slice(items);
        Ok(())
    }

    /// Number of transactions of the loaded block.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.header.transactions as usize
    }

    /// The expected accesses of a transaction; none past the end.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn accesses_of(&self, txn: TxnIndex) -> Result<&[TransactionAccess], ArenaError> {
        let count = self.header.transactions as usize;
        let entries = self.region.slice::<PreparedTransaction>(self.sections.transactions, count)?;
        let Some(entry) = entries.get(txn.index()) else { return Ok(&[]) };
        let accesses = self.region.slice(self.sections.accesses, self.accesses)?;
        Ok(entry.accesses_in(accesses))
    }

    /// What a shard has to do in the present plan, unless others take over some of it.
    #[must_use]
    pub fn part_of(&self, shard: ShardId) -> SubBlock {
        let sub_blocks = self.region.slice::<SubBlock>(self.sections.sub_blocks, MAX_SHARDS);
        sub_blocks.ok().and_then(|parts| parts.get(shard.index())).copied().unwrap_or(SubBlock::EMPTY)
    }

    /// The transactions that the present plan gives a shard, in block order.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn sub_block(
        &self,
        shard: ShardId,
    ) -> Result<impl Iterator<Item = (TxnIndex, Incarnation)> + '_, ArenaError> {
        let planned = self
            .region
            .slice::<PlannedTransaction>(self.sections.planned, self.header.transactions as usize)?;
        let part = self.part_of(shard);
        let mut next = part.first;
        Ok((0..part.count).map_while(move |_| {
            let (txn, planned) = (next, planned.get(next.index())?);
            next = planned.next;
            Some((txn, planned.incarnation))
        }))
    }

    /// The transactions' entries, whose access ranges may be replaced by learned ones.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn transactions_mut(&mut self) -> Result<&mut [PreparedTransaction], ArenaError> {
        Ok(self.region.slice_mut(self.sections.transactions, self.header.transactions as usize)?)
    }

    /// Replaces the access set of `txn` by a learned one. Without room the old one is kept: it is only a hint.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn learn(&mut self, txn: TxnIndex, learned: &[TransactionAccess]) -> Result<(), ArenaError> {
        let end = self.accesses + learned.len();
        let (Ok(start), Ok(count)) = (u32::try_from(self.accesses), u32::try_from(learned.len())) else {
            return Ok(());
        };
        if end > self.limits.accesses {
            return Ok(());
        }
        self.accesses = end;
        let accesses = self.region.slice_mut(self.sections.accesses, end)?;
        accesses[start as usize..].copy_from_slice(learned);
        if let Some(entry) = self.transactions_mut()?.get_mut(txn.index()) {
            (entry.access_start, entry.access_count) = (start, count);
        }
        Ok(())
    }

    /// The plan's parts, all at once, for the planner: transactions, accesses, planned transactions, edges (up to the
    /// limit) and sub-blocks.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub(super) fn plan_parts(&mut self) -> Result<PlanParts<'_>, ArenaError> {
        let count = self.header.transactions as usize;
        let (accesses, edges) = (self.accesses, self.limits.edges);
        let s = self.sections;
        // One mutable slice over all, split at the sections' borders: the parts do not overlap.
        let all = self.region.slice_mut::<u8>(0, s.end)?;
        let (head, planned_on) = all.split_at_mut(s.planned);
        let (planned, edges_on) = planned_on.split_at_mut(s.edges - s.planned);
        let (head, accesses_on) = head.split_at_mut(s.accesses);
        let (sub_blocks_on, transactions_on) = head.split_at_mut(s.transactions);
        Ok(PlanParts {
            transactions: part(transactions_on, 0, count)?,
            accesses: part(accesses_on, 0, accesses)?,
            planned: part_mut(planned, count)?,
            edges: part_mut(edges_on, edges)?,
            sub_blocks: part_mut(&mut sub_blocks_on[s.sub_blocks..], MAX_SHARDS)?,
        })
    }

    /// Writes the header of a finished plan.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn seal_round(&mut self, round: RoundId, edges: u32, has_overlay: bool) -> Result<(), ArenaError> {
        self.header.round = round;
        self.header.edges = edges;
        self.header.has_overlay = u32::from(has_overlay);
        let header = self.header;
        self.copy_in(0, &[header])
    }

    /// Re-opens the region read-only.
    ///
    /// # Errors
    /// [`ArenaError::Region`].
    pub fn reader_fd(&self) -> Result<OwnedFd, ArenaError> {
        Ok(self.region.reader_fd()?)
    }
}

/// The parts of an arena that the planner works on.
#[derive(Debug)]
pub(super) struct PlanParts<'a> {
    pub(super) transactions: &'a [PreparedTransaction],
    pub(super) accesses: &'a [TransactionAccess],
    pub(super) planned: &'a mut [PlannedTransaction],
    pub(super) edges: &'a mut [Edge],
    pub(super) sub_blocks: &'a mut [SubBlock],
}

fn part<T: Pod>(bytes: &[u8], start: usize, count: usize) -> Result<&[T], ArenaError> {
    let field = ArenaError::Damaged { field: "section", value: start as u64 };
    let bytes = bytes.get(start..start + count * size_of::<T>()).ok_or(field)?;
    bytemuck::try_cast_slice(bytes).map_err(|_| ArenaError::Damaged { field: "section", value: start as u64 })
}

fn part_mut<T: Pod>(bytes: &mut [u8], count: usize) -> Result<&mut [T], ArenaError> {
    let bytes =
        bytes.get_mut(..count * size_of::<T>()).ok_or(ArenaError::Damaged { field: "section", value: 0 })?;
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| ArenaError::Damaged { field: "section", value: 0 })
}

pub(super) fn u32_of(what: &'static str, value: usize, limit: usize) -> Result<u32, ArenaError> {
    u32::try_from(value).map_err(|_| ArenaError::BlockTooLarge { what, needed: value, limit })
}
