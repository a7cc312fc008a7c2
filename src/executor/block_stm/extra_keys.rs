//! Keys that nobody declared, numbered behind those that somebody did.

use crate::executor::block_stm::key_cell::KeyCell;
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Maps to spread the threads over.
const SHARDS: usize = 64;
/// Keys in the first segment, as a power of two; each further one has twice as many.
const FIRST_LOG2: u32 = 10;
/// Segments: enough for 2^32 keys.
const SEGMENTS: usize = 22;

/// A key that nobody declared.
#[derive(Debug, Default)]
pub(super) struct ExtraKey {
    name: OnceLock<(u64, Arc<[u8]>)>,
    pub(super) cell: KeyCell,
}

impl ExtraKey {
    /// Hash and bytes.
    pub(super) fn name(&self) -> (u64, &[u8]) {
        self.name.get().map_or((1, &[]), |(hash, name)| (*hash, name))
    }
}

type Numbers = CachePadded<Mutex<HashMap<Arc<[u8]>, u32>>>;

/// Found by their bytes in maps, by their numbers in segments that never move.
#[derive(Debug)]
pub(super) struct ExtraKeys {
    numbers: Vec<Numbers>,
    segments: [OnceLock<Box<[ExtraKey]>>; SEGMENTS],
    count: AtomicUsize,
}

impl Default for ExtraKeys {
    fn default() -> ExtraKeys {
        ExtraKeys {
            numbers: (0..SHARDS).map(|_| Numbers::default()).collect(),
            segments: Default::default(),
            count: AtomicUsize::new(0),
        }
    }
}

/// Segment and place in it.
fn place_of(number: usize) -> (usize, usize) {
    let above = number + (1 << FIRST_LOG2);
    let log2 = above.ilog2();
    ((log2 - FIRST_LOG2) as usize, above - (1 << log2))
}

impl ExtraKeys {
    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        let count = std::mem::take(self.count.get_mut());
        if count == 0 {
            return;
        }
        self.numbers.iter_mut().for_each(|numbers| numbers.get_mut().clear());
        for number in 0..count {
            let (segment, place) = place_of(number);
            let keys = self.segments.get_mut(segment).and_then(OnceLock::get_mut);
            if let Some(key) = keys.and_then(|keys| keys.get_mut(place)) {
                key.name.take();
            }
        }
    }

    /// The number of a key, from 0; given now if it has none.
    pub(super) fn number(&self, hash: u64, name: &[u8]) -> u32 {
        // The low bits place keys in other tables.
        let shard = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        let mut numbers = self.numbers[shard].lock();
        if let Some(&number) = numbers.get(name) {
            return number;
        }
        let place = self.count.fetch_add(1, Ordering::Relaxed);
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let name: Arc<[u8]> = Arc::from(name);
        if let Some(key) = self.get_or_make(place) {
            // Set before its number is known to anyone.
            let _ = key.name.set((hash, Arc::clone(&name)));
        }
        numbers.insert(name, number);
        number
    }

    /// The key with this number.
    pub(super) fn get(&self, number: u32) -> Option<&ExtraKey> {
        let (segment, place) = place_of(number as usize);
        self.segments.get(segment)?.get()?.get(place)
    }

    fn get_or_make(&self, number: usize) -> Option<&ExtraKey> {
        let (segment, place) = place_of(number);
        let make = || (0..1_usize << (FIRST_LOG2 as usize + segment)).map(|_| ExtraKey::default()).collect();
        self.segments.get(segment)?.get_or_init(make).get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_number_and_every_number_one_key() {
        let mut extra = ExtraKeys::default();
        for _ in 0..3 {
            let all = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(|| {
                            (0..5_000_u64)
                                .map(|k| extra.number(k << 30, &k.to_le_bytes()))
                                .collect::<Vec<_>>()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
            let mut numbers = all[0].clone();
            for (key, &number) in (0_u64..).zip(&numbers) {
                assert_eq!(extra.get(number).unwrap().name(), (key << 30, &key.to_le_bytes()[..]));
            }
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..5_000));
            extra.clear();
        }
    }
}
