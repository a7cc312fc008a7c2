//! Random numbers of the tests themselves: SplitMix64 (Steele, Lea, Flood 2014).

use std::hash::{BuildHasher, RandomState};

/// The seed of a test run: `PHALANX_SEED` if it is set, otherwise a new one. Put it into every message of failure.
pub fn seed() -> u64 {
    match std::env::var("PHALANX_SEED") {
        Ok(seed) => seed.parse().expect("PHALANX_SEED is a decimal number"),
        Err(_) => RandomState::new().hash_one("seed") >> 16,
    }
}

/// A stream of random numbers.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
