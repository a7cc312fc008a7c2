//! Numbers the declared keys of a block: the number of a key is the place of some access that names it.

use crate::types::{PreparedAccess, PreparedBlock};
use std::sync::atomic::{AtomicU64, Ordering};

/// Open addressing over the hashes that came with the block. Threads enter keys side by side, without locks: a word says
/// which access came first, and the block itself holds the key.
///
/// Word layout: `generation << 48 | bits 32..48 of the hash << 32 | access`. Words of earlier generations count as empty,
/// so that the table is cleared once in 65,535 blocks only.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    words: Vec<AtomicU64>,
    /// Words in use: a power of two, or none.
    size: usize,
    generation: u64,
}

const GENERATION_SHIFT: u32 = 48;
const GENERATIONS: u64 = 1 << 16;
const TAG_MASK: u64 = 0xffff << 32;
const ACCESS_MASK: u64 = 0xffff_ffff;

/// The bytes of a declared key.
pub(super) fn name_of<'b>(block: &'b PreparedBlock, access: &PreparedAccess) -> &'b [u8] {
    let start = access.key_offset as usize;
    block.key_bytes().get(start..start + usize::from(access.key_bytes)).unwrap_or(&[])
}

impl KeyIndex {
    /// Forgets all keys and makes room for those of a block with `accesses` declared accesses.
    pub(super) fn start_block(&mut self, accesses: usize) {
        self.size = (accesses * 2).next_power_of_two();
        self.generation += 1;
        if self.words.len() < self.size {
            self.words.resize_with(self.size, AtomicU64::default);
        }
        if self.generation == GENERATIONS {
            self.generation = 1;
            self.words.iter_mut().for_each(|word| *word.get_mut() = 0);
        }
    }

    /// The number of the key that `access` names; it is the access itself if it is the first of that key.
    pub(super) fn enter(&self, block: &PreparedBlock, access: u32) -> u32 {
        let Some(declared) = block.accesses().get(access as usize) else { return access };
        let name = name_of(block, declared);
        let own = self.generation << GENERATION_SHIFT | declared.hash & TAG_MASK | u64::from(access);
        let mut place = home_of(declared.hash, self.size);
        loop {
            let word = &self.words[place];
            let mut found = word.load(Ordering::Relaxed);
            if found >> GENERATION_SHIFT != self.generation {
                match word.compare_exchange(found, own, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return access,
                    Err(other) => found = other,
                }
            }
            if let Some(number) = matches(block, found, declared.hash, name) {
                return number;
            }
            place = (place + 1) & (self.size - 1);
        }
    }

    /// The number of the key with these bytes, if it is declared. For when all keys are entered.
    pub(super) fn find(&self, block: &PreparedBlock, hash: u64, name: &[u8]) -> Option<u32> {
        let home = home_of(hash, self.size);
        for step in 0..self.size {
            let found = self.words[(home + step) & (self.size - 1)].load(Ordering::Relaxed);
            if found >> GENERATION_SHIFT != self.generation {
                return None;
            }
            if let Some(number) = matches(block, found, hash, name) {
                return Some(number);
            }
        }
        None
    }
}

fn matches(block: &PreparedBlock, word: u64, hash: u64, name: &[u8]) -> Option<u32> {
    if (word ^ hash) & TAG_MASK != 0 {
        return None;
    }
    let number = u32::try_from(word & ACCESS_MASK).ok()?;
    let access = block.accesses().get(number as usize)?;
    (access.hash == hash && name_of(block, access) == name).then_some(number)
}

#[allow(clippy::cast_possible_truncation, reason = "the mask keeps only low bits")]
fn home_of(hash: u64, size: usize) -> usize {
    hash as usize & size.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AccessMode, BlockHeader};
    use std::collections::HashMap;

    #[test]
    fn threads_that_enter_keys_side_by_side_agree_on_their_numbers() {
        let mut index = KeyIndex::default();
        for round in 0..30_u32 {
            let mut block = PreparedBlock::new(BlockHeader::default());
            for number in 0..400_u32 {
                let key = (number * 7 % (20 + round * 9)).to_le_bytes();
                block.push(b"", |hint| hint.access(&key, AccessMode::Read)).unwrap();
            }
            index.start_block(block.accesses().len());
            let enter = || (0..400).map(|access| index.enter(&block, access)).collect::<Vec<u32>>();
            let (left, right) = std::thread::scope(|scope| {
                let other = scope.spawn(enter);
                (enter(), other.join().unwrap())
            });
            assert_eq!(left, right);
            let mut oracle = HashMap::new();
            for (access, &number) in block.accesses().iter().zip(&left) {
                let name = name_of(&block, access);
                assert_eq!(*oracle.entry(name).or_insert(number), number);
                assert_eq!(index.find(&block, access.hash, name), Some(number));
            }
            let unknown = block.hasher().hash(b"unknown");
            assert_eq!(index.find(&block, unknown, b"unknown"), None);
        }
    }
}
