//! What an output shows of a transaction's accesses, for the plan of its next execution and of those behind it.

use super::{Acceptance, view_in};
use crate::executor::key_states::Backing;
use crate::executor::validate_error::ValidateError;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::BaseState;
use crate::types::{AccessMode, KeyId, TransactionAccess, TxnIndex, Write, WriteRecord};

/// Most accesses that are learned from one output: more would cost more to learn than to guess wrong.
const LEARNED_MAX: usize = 1 << 12;

/// What was learned and is not in the plan yet. Buffers are kept.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Those of all transactions, one after the other.
    accesses: Vec<TransactionAccess>,
    /// Transactions, and where their accesses end; they start where those of the one before end.
    ends: Vec<(TxnIndex, usize)>,
    /// Where those of the present transaction start.
    start: usize,
    /// By key: one above the place of its access among those of the present transaction; 0 if it has none.
    places: Vec<u32>,
}

impl Learned {
    /// Begins with a transaction; keys below `keys` may come.
    fn begin(&mut self, keys: usize) {
        for access in &self.accesses[self.start..] {
            self.places[access.key.index()] = 0;
        }
        self.start = self.accesses.len();
        self.places.resize(keys.max(self.places.len()), 0);
    }

    fn read(&mut self, key: KeyId) {
        self.push(key, AccessMode::Read);
    }

    /// A key that has been read is read and written.
    fn write(&mut self, key: KeyId, mode: AccessMode) {
        match self.places[key.index()].checked_sub(1) {
            Some(place) => self.accesses[self.start + place as usize].mode = AccessMode::ReadWrite as u32,
            None => self.push(key, mode),
        }
    }

    fn push(&mut self, key: KeyId, mode: AccessMode) {
        self.accesses.push(TransactionAccess { key, mode: mode as u32 });
        if self.places[key.index()] == 0 {
            // Far fewer than 2^32 are learned.
            self.places[key.index()] = u32::try_from(self.accesses.len() - self.start).unwrap_or(0);
        }
    }

    /// The accesses of the present transaction.
    pub(super) fn last(&self) -> &[TransactionAccess] {
        &self.accesses[self.start..]
    }

    /// Has the plan expect of transactions what was learned, and forgets it. Shards must be quiet.
    pub(super) fn teach(&mut self, arena: &mut ArenaWriter, watch: &Watch<'_>) -> Result<(), ValidateError> {
        let mut start = 0;
        for (place, &(txn, end)) in self.ends.iter().enumerate() {
            watch.look_at(place)?;
            arena.learn(txn, &self.accesses[start..end])?;
            start = end;
        }
        self.clear();
        Ok(())
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.begin(0);
        self.accesses.clear();
        self.ends.clear();
        self.start = 0;
    }
}

impl Acceptance {
    /// Learns a transaction's accesses from its output, which was rejected: everything that it drew from is waited for next time. False if
    /// there is nothing to be learned.
    pub(super) fn learn(&mut self, arena: &ArenaWriter, base: &BaseState, txn: TxnIndex) -> bool {
        let record = self.records[txn.index()];
        let Acceptance { places, buffers, learned, .. } = &mut *self;
        let view = view_in(buffers, record.place).ok().filter(|view| {
            let accesses = view.header().reads.saturating_add(view.header().writes);
            accesses as usize <= LEARNED_MAX
        });
        let Some(view) = view else { return false };
        // Keys of an output have ids below the arena's number of keys, or none.
        learned.begin(arena.keys());
        let backing = Backing { base, places, arena, buffers };
        for read in view.reads().map_while(Result::ok) {
            if let Ok(Some(key)) = backing.key_of(read.key_id, read.key) {
                learned.read(key);
            }
        }
        for WriteRecord { key_id, key, write } in view.writes().map_while(Result::ok) {
            if let Ok(Some(key)) = backing.key_of(key_id, key) {
                learned.write(key, learned_mode(&write));
            }
        }
        learned.ends.push((txn, learned.accesses.len()));
        true
    }
}

/// How a transaction that wrote this, and was rejected, is planned next time.
fn learned_mode(write: &Write<'_>) -> AccessMode {
    match write {
        Write::Set(_) | Write::Delete => AccessMode::Write,
        Write::Add(delta) if delta.at_least == delta.at_most || delta.at_least > 0 || delta.amount == 0 => {
            AccessMode::ReadWrite
        }
        Write::Add(_) => AccessMode::Add,
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a key that is taken for another one, or for read although that was another transaction. Negative control
    //! run: with a `begin` that leaves the places it fails.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_learned_is_what_a_search_finds(
            transactions in prop::collection::vec(
                (prop::collection::vec(0..9_u32, 0..9), prop::collection::vec(0..9_u32, 0..9)), 1..9
            )
        ) {
            let mut learned = Learned::default();
            for (reads, writes) in transactions {
                learned.begin(9);
                let mut expected: Vec<(u32, AccessMode)> =
                    reads.iter().map(|&key| (key, AccessMode::Read)).collect();
                reads.iter().for_each(|&key| learned.read(KeyId(key)));
                for key in writes {
                    learned.write(KeyId(key), AccessMode::Write);
                    match expected.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, mode)) => *mode = AccessMode::ReadWrite,
                        None => expected.push((key, AccessMode::Write)),
                    }
                }
                let found = learned.last().iter().map(|access| (access.key.0, access.access_mode()));
                prop_assert_eq!(found.collect::<Vec<_>>(), expected);
            }
        }
    }
}
