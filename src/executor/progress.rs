//! A shard's progress word: how many transactions of which round are done.

use crate::executor::shard::counter;
use crate::types::RoundId;
use phalanx_ipc::ChildSlot;
use std::sync::atomic::Ordering;

/// The lower 32 bits of the round, and the count: a word left over from another round counts as nothing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) round: RoundId,
    pub(crate) count: u32,
}

impl Progress {
    /// Publishes: the outputs counted are whole. For the shard only.
    pub(crate) fn publish(self, slot: &ChildSlot) {
        slot.progress.store(self.round.0 << 32 | u64::from(self.count), Ordering::Release);
    }

    /// How many transactions of `round` the shard has done.
    pub(crate) fn of(slot: &ChildSlot, round: RoundId) -> u32 {
        let word = slot.progress.load(Ordering::Acquire);
        if word >> 32 == round.0 & 0xffff_ffff { u32::try_from(word & 0xffff_ffff).unwrap_or(0) } else { 0 }
    }
}

/// The words by which a shard shows that it moves in a round.
pub(crate) fn motion_of(slot: &ChildSlot) -> [u64; 3] {
    let words = [&slot.progress, &slot.current, &slot.counters[counter::EXAMINED]];
    words.map(|word| word.load(Ordering::Relaxed))
}
