//! The table as a cache of the store: what it holds, what it lets go, and when.
//!
//! One rule: a key is in the table, or its last change is in the store. So an entry may go only when the store has the block
//! that changed it last, and a removed key stays, marked absent, as long. Each slot has the low bits of the sequence of
//! that block: compared modulo 2^13 they can err only towards keeping.

use crate::state::layout::{Layout, room_of, to_usize};
use crate::state::slot::{FLAG_USED, SLOT_BYTES, STAMP_SHIFT, Source};
use crate::state::table::BaseState;
use crate::state::{Room, StateDigest, StateError};

const STAMPS: u64 = 1 << (u16::BITS - STAMP_SHIFT);
/// Bytes of the smallest table.
const MIN_BYTES: u64 = (SLOT_BYTES as u64) << Layout::MIN_LOG2;
/// Times that the hand may come round in one sweep: the first turn takes the marks of use away, the second one evicts.
const TURNS: u64 = 2;

/// What a state that is a cache of the store holds, and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Keys in memory.
    pub held: u64,
    /// Keys that were read from the store.
    pub filled: u64,
    /// Keys that were let go.
    pub evicted: u64,
    /// Whether every key of the state is in memory: nothing is ever read from the store.
    pub whole: bool,
}

/// What a table has that is a cache.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    budget: u64,
    /// The next slot to be looked at.
    hand: u64,
    /// Entries at the end of the last trim.
    settled: u64,
    /// Mark of entries that are as the store has them.
    stored_mark: u16,
    stats: CacheStats,
}

/// The flags of an entry that the block of this sequence changed.
#[allow(clippy::cast_possible_truncation, reason = "13 bits, shifted by three")]
fn mark_of(sequence: u64) -> u16 {
    ((sequence % STAMPS) as u16) << STAMP_SHIFT
}

/// Which blocks the store lacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// Sequence of the last block that changed the table.
    pub(crate) applied: u64,
    /// Sequence of the last block that the store has.
    pub(crate) stored: u64,
}

impl Backlog {
    /// Whether the store may lack the last change of an entry with these flags.
    fn may_lack(&self, flags: u16) -> bool {
        let stamp = u64::from(flags >> STAMP_SHIFT);
        let age = (self.applied % STAMPS + STAMPS - stamp) % STAMPS;
        age < self.applied.saturating_sub(self.stored)
    }
}

impl BaseState {
    /// This empty state as a cache of at most about `budget` bytes, over a store that stands at block `sequence` and holds
    /// `entries`. All are counted into the digest; the first of them are kept, as many as fit.
    pub(crate) fn filled_as_cache<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        self,
        budget: u64,
        sequence: u64,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<BaseState, StateError> {
        let mut state = self;
        let stored_mark = mark_of(sequence);
        state.mark = stored_mark;
        state.cache = Some(Cache { budget, hand: 0, settled: 0, stored_mark, stats: CacheStats::default() });
        let mut digest = StateDigest::default();
        for (key, value) in entries {
            let (key, value) = (key.as_ref(), value.as_ref());
            digest.insert(key, value);
            if !state.is_whole() {
                continue;
            }
            // Some room is left: a table that is filled to the brim would be trimmed at once.
            let wanted = state.header.entries + 1;
            let mut room = Room::default();
            room.count(key, None, Some(value));
            if wanted + wanted / 8 > state.admitted() || state.reserve(room).is_err() {
                state.header.whole = 0;
                state.publish_header()?;
            } else {
                state.insert(state.hasher().hash(key), key, value)?;
            }
        }
        state.digest = digest;
        if let Some(cache) = &mut state.cache {
            cache.settled = state.header.entries;
        }
        state.settle();
        Ok(state)
    }

    /// Whether every entry of the state is in the table: what it does not hold is absent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.header.whole != 0
    }

    /// Whether the table is a cache.
    pub(crate) fn is_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// What the table holds, and has done as a cache.
    pub(crate) fn cache_stats(&self) -> CacheStats {
        let stats = self.cache.as_ref().map_or_else(CacheStats::default, |cache| cache.stats);
        CacheStats { held: self.header.entries, whole: self.is_whole(), ..stats }
    }

    /// What is changed from now on is changed by the block of this sequence.
    pub(crate) fn begin_changes(&mut self, sequence: u64) {
        if self.cache.is_some() {
            self.mark = mark_of(sequence) | FLAG_USED;
        }
    }

    /// Whether the table holds this key, or knows that it is absent; if so, it is kept a while longer.
    pub(crate) fn touch(&mut self, hash: u64, key: &[u8]) -> Result<bool, StateError> {
        let found = Source::Writer(&self.region).find(&self.header, hash, key);
        let Some(index) = found.map(|found| found.index) else { return Ok(self.is_whole()) };
        self.slots_mut()?[index].flags |= FLAG_USED;
        Ok(true)
    }

    /// Puts in what the store has for a key that the table does not hold. True if entries have moved.
    ///
    /// # Errors
    /// [`StateError`] when there is no room; the table is as it was.
    pub(crate) fn fill(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) -> Result<bool, StateError> {
        let Some(cache) = &mut self.cache else { return Ok(false) };
        cache.stats.filled += 1;
        let (size, stored_mark) = (self.header.slots_log2, cache.stored_mark);
        let mark = std::mem::replace(&mut self.mark, stored_mark);
        let filled = self.insert(hash, key, value.unwrap_or(&[])).and_then(|()| {
            if value.is_some() {
                return Ok(());
            }
            let found = Source::Writer(&self.region).find(&self.header, hash, key);
            found.map(|found| found.index).map_or(Ok(()), |index| self.bury(index, key, 0))
        });
        self.mark = mark;
        filled?;
        Ok(self.header.slots_log2 != size)
    }

    /// Lets entries go until the budget holds, with room for as many new ones as came since the last time; only such as the
    /// store has. Readers must be quiet. False if it does not hold: the store lags too far behind.
    ///
    /// # Errors
    /// [`StateError::Region`].
    pub(crate) fn trim(&mut self, backlog: Backlog) -> Result<bool, StateError> {
        let Some(cache) = &mut self.cache else { return Ok(true) };
        cache.stored_mark = mark_of(backlog.stored);
        let slack = self.header.entries.saturating_sub(cache.settled);
        if self.header.entries + slack > self.admitted() {
            // Knowing that a key is absent is worth nothing in a table that holds all others.
            if self.is_whole() {
                self.sweep(backlog, 2 * slack, true)?;
            }
            self.sweep(backlog, 2 * slack, false)?;
        }
        self.shrink(2 * slack)?;
        let fits = self.header.entries <= self.admitted();
        if let Some(cache) = &mut self.cache {
            cache.settled = self.header.entries;
        }
        Ok(fits)
    }

    /// Moves the hand on until there is room for `slack` more entries, or it came round often enough.
    fn sweep(&mut self, backlog: Backlog, slack: u64, only_absent: bool) -> Result<(), StateError> {
        let slots = 1_u64 << self.header.slots_log2;
        let (mut hand, mut evicted) = (self.cache.as_ref().map_or(0, |cache| cache.hand), 0);
        let end = hand + slots * if only_absent { 1 } else { TURNS };
        let mut swept = Ok(());
        while swept.is_ok() && hand < end && !self.admits(slack) {
            let index = to_usize(hand % slots);
            let slot = &mut self.slots_mut()?[index];
            let wanted = slot.hash != 0 && (slot.is_absent() || !only_absent);
            if !wanted || backlog.may_lack(slot.flags) {
                hand += 1;
            } else if slot.flags & FLAG_USED != 0 && !only_absent {
                slot.flags &= !FLAG_USED;
                hand += 1;
            } else {
                if !slot.is_absent() {
                    self.header.whole = 0;
                }
                evicted += 1;
                // Another entry may have moved here: the hand stays.
                swept = self.remove(index);
            }
        }
        if let Some(cache) = &mut self.cache {
            cache.hand = hand;
            cache.stats.evicted += evicted;
        }
        swept
    }

    /// Gives memory back that the budget does not allow any more.
    fn shrink(&mut self, slack: u64) -> Result<(), StateError> {
        while self.header.slots_log2 > self.admitted_log2() {
            let smaller = self.header.slots_log2 - 1;
            if self.header.entries.saturating_add(slack) > room_of(smaller) {
                break;
            }
            self.rehash(smaller)?;
        }
        Ok(())
    }

    fn admits(&self, slack: u64) -> bool {
        // A small budget and a great block: what is left over is at least something.
        let most = self.admitted();
        self.header.entries + slack.min(most / 2) <= most
    }

    /// Entries that the budget allows.
    fn admitted(&self) -> u64 {
        room_of(self.admitted_log2())
    }

    /// The greatest size of the slots that the budget allows beside the heap, as a power of two.
    fn admitted_log2(&self) -> u64 {
        let budget = self.cache.as_ref().map_or(u64::MAX, |cache| cache.budget);
        let left = budget.saturating_sub(self.heap.live()).max(MIN_BYTES);
        u64::from((left / SLOT_BYTES as u64).ilog2()).min(self.layout.max_log2)
    }
}

#[cfg(test)]
mod tests;
