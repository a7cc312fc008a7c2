//! What several blocks change, settled before it is brought into the store.

use crate::durable::log_scan::LoggedBlock;

/// Keys of the state begin with this byte: LMDB has no empty keys.
pub(super) const KEY_TAG: u8 = 1;

/// Changes of several blocks, the later ones over the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    writes: Vec<BatchWrite>,
    blocks: Vec<LoggedBlock>,
}

/// A write in a batch: tag, key and value lie together.
#[derive(Clone, Copy, Debug)]
struct BatchWrite {
    /// First bytes of the key, as a number in the order of keys: most comparisons need no look at the key itself, which is
    /// in nobody's cache by then.
    prefix: u64,
    start: usize,
    value: usize,
    end: usize,
    deleted: bool,
}

impl Batch {
    /// Empties it; its memory stays.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
        self.blocks.clear();
    }

    /// The next block; its writes come after those of the blocks before.
    pub(super) fn block(&mut self, block: &LoggedBlock) {
        self.blocks.push(*block);
    }

    /// A write of the present block: a value, or that the key is deleted.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.push(KEY_TAG);
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or(&[]));
        let (end, deleted) = (self.bytes.len(), value.is_none());
        self.writes.push(BatchWrite { prefix: prefix_of(key), start, value: middle, end, deleted });
    }

    /// The last write of each key, in the order of the keys: neighbours share pages.
    pub(super) fn settle(&mut self) {
        let bytes = &self.bytes;
        let key = |write: &BatchWrite| bytes.get(write.start..write.value).unwrap_or(&[]);
        let in_order = |left: &BatchWrite, right: &BatchWrite| {
            left.prefix.cmp(&right.prefix).then_with(|| key(left).cmp(key(right)))
        };
        // Of writes with the same key the latest comes first, and stays.
        self.writes.sort_unstable_by(|left, right| in_order(left, right).then(right.start.cmp(&left.start)));
        self.writes.dedup_by(|later, first| later.prefix == first.prefix && key(later) == key(first));
    }

    /// What is to be written: each key, tag in front, with its value, or `None` if it is deleted.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|write| {
            let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or(&[]);
            (part(write.start, write.value), (!write.deleted).then(|| part(write.value, write.end)))
        })
    }

    /// The blocks, in order.
    pub(super) fn blocks(&self) -> &[LoggedBlock] {
        &self.blocks
    }
}

/// The first bytes of a key as a number. A smaller number is of a smaller key; keys with the same number may differ.
fn prefix_of(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.iter_mut().zip(key).for_each(|(to, &from)| *to = from);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    //! What would break: an earlier write wins over a later one, a key that begins like another is taken for it, or writes are out of
    //! order. Negative control run: without the look at the key itself, in the order as well as in what is dropped, the test
    //! fails.

    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_last_write_of_each_key_stays_in_the_order_of_keys(
            // Keys that share their first bytes, shorter and longer than a prefix, with zeros at the end.
            writes in vec((vec(prop_oneof![3 => Just(0_u8), 1 => 0..3_u8], 0..12), prop::option::of(vec(0..9_u8, 0..4))), 0..200),
        ) {
            let (mut batch, mut expected) = (Batch::default(), BTreeMap::new());
            for (key, value) in &writes {
                batch.write(key, value.as_deref());
                expected.insert([&[KEY_TAG], key.as_slice()].concat(), value.clone());
            }
            batch.settle();
            let settled: Vec<_> = batch.writes().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(settled, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
