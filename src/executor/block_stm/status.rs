//! Where one transaction stands: one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number of the block that a word belongs to, from 1: words of earlier blocks count as untouched, so that nothing has
/// to be reset between blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(pub(super) u32);

/// The n-th attempt at one transaction, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt(pub(super) u32);

/// What is being done with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next attempt may begin.
    Ready,
    /// Somebody executes it.
    Executing,
    /// It waits for another transaction.
    Suspended,
    /// Its writes are there for others to read.
    Executed,
    /// It was found wrong; its writes are being marked.
    Aborting,
}

/// Bit of a word: other transactions wait for this one.
const AWAITED: u64 = 1 << 7;
const PHASE_MASK: u64 = 7;
const ATTEMPT_SHIFT: u32 = 8;
const ATTEMPT_MASK: u64 = (1 << 24) - 1;
const STAMP_SHIFT: u32 = 32;

/// Word layout: `stamp << 32 | attempt << 8 | awaited << 7 | phase`.
///
/// Every access is sequentially consistent: finishing and waiting, and finishing and passing over, each look at what
/// the other side has just written.
#[derive(Debug, Default)]
pub(super) struct Status(AtomicU64);

fn encode(stamp: Stamp, attempt: Attempt, phase: Phase) -> u64 {
    u64::from(stamp.0) << STAMP_SHIFT
        | (u64::from(attempt.0) & ATTEMPT_MASK) << ATTEMPT_SHIFT
        | match phase {
            Phase::Ready => 0,
            Phase::Executing => 1,
            Phase::Suspended => 2,
            Phase::Executed => 3,
            Phase::Aborting => 4,
        }
}

fn decode(stamp: Stamp, word: u64) -> (Attempt, Phase) {
    if word >> STAMP_SHIFT != u64::from(stamp.0) {
        return (Attempt(0), Phase::Ready);
    }
    let phase = match word & PHASE_MASK {
        0 => Phase::Ready,
        1 => Phase::Executing,
        2 => Phase::Suspended,
        3 => Phase::Executed,
        _ => Phase::Aborting,
    };
    (Attempt(u32::try_from(word >> ATTEMPT_SHIFT & ATTEMPT_MASK).unwrap_or(0)), phase)
}

fn awaited(stamp: Stamp, word: u64) -> u64 {
    if word >> STAMP_SHIFT == u64::from(stamp.0) { word & AWAITED } else { 0 }
}

impl Status {
    /// The present attempt and phase. Stale at once, except `Executed` and `Aborting` of an attempt that the caller holds.
    pub(super) fn load(&self, stamp: Stamp) -> (Attempt, Phase) {
        decode(stamp, self.0.load(Ordering::SeqCst))
    }

    /// Goes from one phase to another, if it is still in the first; whoever waits goes on waiting.
    pub(super) fn pass(&self, stamp: Stamp, from: (Attempt, Phase), to: (Attempt, Phase)) -> bool {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                (decode(stamp, word) == from).then(|| encode(stamp, to.0, to.1) | awaited(stamp, word))
            })
            .is_ok()
    }

    /// The attempt is executed. True if somebody waits: nobody can begin to from now on.
    pub(super) fn finish(&self, stamp: Stamp, attempt: Attempt) -> bool {
        let before = self.0.swap(encode(stamp, attempt, Phase::Executed), Ordering::SeqCst);
        awaited(stamp, before) != 0
    }

    /// Announces that somebody is about to wait; false if the transaction is executed.
    pub(super) fn await_end(&self, stamp: Stamp) -> bool {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                let (attempt, phase) = decode(stamp, word);
                (phase != Phase::Executed).then(|| encode(stamp, attempt, phase) | AWAITED)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_earlier_blocks_count_as_untouched() {
        let status = Status::default();
        let (now, later) = (Stamp(1), Stamp(2));
        assert_eq!(status.load(now), (Attempt(0), Phase::Ready));
        assert!(status.pass(now, (Attempt(0), Phase::Ready), (Attempt(0), Phase::Executing)));
        assert!(status.await_end(now));
        assert_eq!(status.load(later), (Attempt(0), Phase::Ready));
        assert!(status.pass(later, (Attempt(0), Phase::Ready), (Attempt(0), Phase::Executing)));
        assert!(!status.finish(later, Attempt(0)), "nobody waits in the later block");
    }

    #[test]
    fn who_waits_is_not_forgotten_on_the_way_and_nobody_waits_for_what_is_executed() {
        let (status, now) = (Status::default(), Stamp(9));
        let first = Attempt(0);
        assert!(status.await_end(now), "before it has begun");
        assert!(status.pass(now, (first, Phase::Ready), (first, Phase::Executing)));
        assert!(!status.pass(now, (first, Phase::Ready), (first, Phase::Executing)), "twice");
        assert!(status.finish(now, first));
        assert!(!status.await_end(now));
        assert!(status.pass(now, (first, Phase::Executed), (first, Phase::Aborting)));
        assert!(status.await_end(now));
        assert!(status.pass(now, (first, Phase::Aborting), (Attempt(1), Phase::Ready)));
        assert!(status.pass(now, (Attempt(1), Phase::Ready), (Attempt(1), Phase::Executing)));
        assert!(status.finish(now, Attempt(1)));
    }
}
