//! Claims on a list of positions from both ends: its owner takes from the front, whoever has nothing to do from the back.
//!
//! One word says which list it is and what is left of it, so that a claim is one compare-and-swap and nobody ever waits:
//! a process killed at any instruction leaves the word whole. Claims say who does the work, never what it is: list and work are published
//! by other means. Work stealing after Blumofe and Leiserson, "Scheduling Multithreaded Computations by Work Stealing", 1999,
//! with the list laid out beforehand.
//!
//! | bits of the word | |
//! |---|---|
//! | 63..40 | tag of the list |
//! | 39..20 | first position that is left |
//! | 19..0 | end of what is left |

use crate::sync::{AtomicU64, Ordering};
use std::ops::Range;

const POSITION_BITS: u32 = 20;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
const TAG_MASK: u64 = (1 << 24) - 1;

/// Most positions of one list.
pub const CLAIMS_MAX: u32 = (1 << POSITION_BITS) - 1;

/// What is left to claim of one list. All zero bytes is an empty list with tag 0.
#[derive(Debug)]
#[repr(transparent)]
pub struct Claims(AtomicU64);

impl Default for Claims {
    fn default() -> Claims {
        Claims(AtomicU64::new(0))
    }
}

/// Which end of the list.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

impl Claims {
    /// Lays out a list of `count` positions, [`CLAIMS_MAX`] at most: more are not to be claimed. Only the lower 24 bits of
    /// `tag` count. Whoever claims must learn of the list by something that is published afterwards.
    pub fn lay_out(&self, tag: u64, count: u32) {
        let end = u64::from(count.min(CLAIMS_MAX));
        self.0.store((tag & TAG_MASK) << (2 * POSITION_BITS) | end, Ordering::Relaxed);
    }

    /// Claims from the front of the list with this tag: `at_most` positions (at least one), and no more than half of what is left.
    /// `None` if nothing is left, or another list is laid out.
    pub fn take_front(&self, tag: u64, at_most: u32) -> Option<Range<u32>> {
        self.take(tag, at_most, End::Front)
    }

    /// As [`take_front`](Self::take_front), from the back.
    pub fn take_back(&self, tag: u64, at_most: u32) -> Option<Range<u32>> {
        self.take(tag, at_most, End::Back)
    }

    fn take(&self, tag: u64, at_most: u32, end: End) -> Option<Range<u32>> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (left, tag_there) = (left_in(word), word >> (2 * POSITION_BITS));
            if left.is_empty() || tag_there != tag & TAG_MASK {
                return None;
            }
            let count = at_most.max(1).min((left.end - left.start).div_ceil(2));
            let (taken, rest) = match end {
                End::Front => (left.start..left.start + count, left.start + count..left.end),
                End::Back => (left.end - count..left.end, left.start..left.end - count),
            };
            let next = tag_there << (2 * POSITION_BITS)
                | u64::from(rest.start) << POSITION_BITS
                | u64::from(rest.end);
            match self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(taken),
                Err(now) => word = now,
            }
        }
    }
}

fn left_in(word: u64) -> Range<u32> {
    let position = |bits: u64| u32::try_from(bits & POSITION_MASK).unwrap_or(CLAIMS_MAX);
    position(word >> POSITION_BITS)..position(word)
}

#[cfg(all(test, not(loom)))]
mod tests {
    //! What would break: a position claimed twice or by nobody (see the models in `tests/loom.rs` too), a claim on a list that
    //! is no longer laid out, a damaged word whose ends are crossed that hands out any.

    use super::*;

    #[test]
    fn owner_and_thieves_share_a_list_and_nobody_gets_more_than_half_of_what_is_left() {
        let claims = Claims::default();
        claims.lay_out(7, 10);
        assert_eq!(claims.take_front(7, 2), Some(0..2));
        assert_eq!(claims.take_back(7, 100), Some(6..10));
        assert_eq!(claims.take_back(7, 0), Some(5..6));
        assert_eq!(claims.take_front(7, 100), Some(2..4));
        assert_eq!(claims.take_front(7, 100), Some(4..5));
        assert_eq!((claims.take_front(7, 1), claims.take_back(7, 1)), (None, None));
    }

    #[test]
    fn a_list_is_claimed_under_its_own_tag_only() {
        let claims = Claims::default();
        claims.lay_out(7, 4);
        assert_eq!((claims.take_front(6, 1), claims.take_back(8, 1)), (None, None));
        claims.lay_out(8, 4);
        assert_eq!((claims.take_front(7, 1), claims.take_front(8, 1)), (None, Some(0..1)));
        // Tags are compared by their lower 24 bits.
        assert_eq!(claims.take_front(8 | 1 << 40, 1), Some(1..2));
    }

    #[test]
    fn a_list_longer_than_can_be_claimed_is_cut_and_a_word_with_crossed_ends_hands_out_nothing() {
        let claims = Claims::default();
        claims.lay_out(1, u32::MAX);
        assert_eq!(claims.take_back(1, 1), Some(CLAIMS_MAX - 1..CLAIMS_MAX));
        // First position behind the end.
        let damaged = Claims(AtomicU64::new(1 << 40 | 9 << 20 | 3));
        assert_eq!((damaged.take_front(1, 1), damaged.take_back(1, 1)), (None, None));
    }

    #[test]
    fn eight_threads_claim_every_position_once() {
        const POSITIONS: u32 = 100_000;
        let claims = Claims::default();
        claims.lay_out(3, POSITIONS);
        let claimed = |thread: u32| {
            let take = || if thread == 0 { claims.take_front(3, 3) } else { claims.take_back(3, thread) };
            std::iter::from_fn(take).flatten().collect::<Vec<u32>>()
        };
        let mut all: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || claimed(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(0..POSITIONS));
    }
}
