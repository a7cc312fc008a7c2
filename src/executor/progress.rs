//! A shard's progress word: how many transactions of which round are done.

use crate::executor::shard::counter;
use crate::types::RoundId;
use phalanx_ipc::ChildSlot;
use std::sync::atomic::Ordering;

/// Set in the count of a shard that has left the round with some of its work undone.
const PARTIAL: u32 = 1 << 31;

/// The lower 32 bits of the round, and the count: a word left over from another round counts as nothing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    round: RoundId,
    pub(crate) count: u32,
    /// Whether the shard leaves with work undone.
    pub(crate) is_partial: bool,
}

impl Progress {
    /// `count` transactions of `round` are done.
    pub(crate) fn done(round: RoundId, count: u32) -> Progress {
        Progress { round, count, is_partial: false }
    }

    /// `count` transactions of `round` are done, and this shard does no more.
    pub(crate) fn partial(round: RoundId, count: u32) -> Progress {
        Progress { round, count, is_partial: true }
    }

    /// Publishes: the outputs counted are whole. For the shard only.
    pub(crate) fn publish(self, slot: &ChildSlot) {
        let count = self.count & !PARTIAL | if self.is_partial { PARTIAL } else { 0 };
        slot.progress.store(self.round.0 << 32 | u64::from(count), Ordering::Release);
    }

    /// How far the shard is in `round`.
    pub(crate) fn of(slot: &ChildSlot, round: RoundId) -> Progress {
        let word = slot.progress.load(Ordering::Acquire);
        if word >> 32 != round.0 & 0xffff_ffff {
            return Progress::done(round, 0);
        }
        let count = u32::try_from(word & 0xffff_ffff).unwrap_or(0);
        Progress { round, count: count & !PARTIAL, is_partial: count & PARTIAL != 0 }
    }
}

/// The words by which a shard shows that it moves in a round.
pub(crate) fn motion_of(slot: &ChildSlot) -> [u64; 3] {
    let words = [&slot.progress, &slot.current, &slot.counters[counter::EXAMINED]];
    words.map(|word| word.load(Ordering::Relaxed))
}
