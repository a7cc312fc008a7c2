//! What a shard knows of values in the present round: its own writes, received values, values read from the base.

use crate::executor::overlay::ValueFold;
use crate::types::{Origin, RoundId, TxnIndex, number_of};

/// Values up to this length lie in the entry itself: every number and every word of a contract.
const INLINE_BYTES: usize = 32;

/// Bytes of long values in one round, beyond which none is kept any more.
const POOL_MAX: usize = u32::MAX as usize;

/// How an entry holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Absent,
    Inline,
    /// In the store's pool; the entry holds where.
    Pool,
    /// Too long to copy, and unchanged: ask the base state.
    InBase,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The round that the entry belongs to; older ones count as unknown.
    round: RoundId,
    origin: Origin,
    /// All writes known to the shard by transactions below this index are in the value.
    as_of: TxnIndex,
    /// One above the newest transaction of this round whose write is in the value; 0 if there is none.
    written: TxnIndex,
    length: u32,
    held: Held,
    inline: [u8; INLINE_BYTES],
}

const _: () = assert!(size_of::<Entry>() == 64);

const UNKNOWN: Entry = Entry {
    round: RoundId(0),
    origin: Origin::BASE,
    as_of: TxnIndex(0),
    written: TxnIndex(0),
    length: 0,
    held: Held::Absent,
    inline: [0; INLINE_BYTES],
};

/// Values by local key number.
#[derive(Debug, Default)]
pub(super) struct LocalStore {
    round: RoundId,
    entries: Vec<Entry>,
    /// Long values of this round.
    pool: Vec<u8>,
}

/// A known value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// The value, or that the key is absent.
    Here(Option<&'a [u8]>),
    /// It stands in the base state.
    InBase,
}

impl LocalStore {
    /// Forgets everything; `keys` numbers are in use.
    pub(super) fn start_round(&mut self, round: RoundId, keys: usize) {
        self.round = round;
        self.pool.clear();
        self.make_room(keys);
    }

    /// Makes the numbers below `keys` usable.
    pub(super) fn make_room(&mut self, keys: usize) {
        if self.entries.len() < keys {
            self.entries.resize(keys.next_multiple_of(1024), UNKNOWN);
        }
    }

    /// Up to where the value of `key` is known, or `None` if nothing is.
    pub(super) fn as_of(&self, key: u32) -> Option<TxnIndex> {
        self.entry(key).map(|entry| entry.as_of)
    }

    /// The value and who wrote it.
    pub(super) fn get(&self, key: u32) -> Option<(Known<'_>, Origin)> {
        let entry = self.entry(key)?;
        let length = entry.length as usize;
        let known = match entry.held {
            Held::Absent => Known::Here(None),
            Held::Inline => Known::Here(entry.inline.get(..length)),
            Held::Pool => {
                let start = u64::from_ne_bytes(entry.inline.as_chunks::<8>().0[0]);
                let rest = usize::try_from(start).ok().and_then(|start| self.pool.get(start..));
                Known::Here(rest.and_then(|rest| rest.get(..length)))
            }
            Held::InBase => Known::InBase,
        };
        Some((known, entry.origin))
    }

    /// Forgets what is known of `key` if that may hold writes by transactions from `below` on: one before those is executed
    /// out of turn.
    pub(super) fn turn_back(&mut self, key: u32, below: TxnIndex) {
        if let Some(entry) = self.entries.get_mut(key as usize)
            && entry.as_of > below
        {
            *entry = UNKNOWN;
        }
    }

    /// Whether the value of `key` holds a write of this round by `writer` or a later transaction.
    pub(super) fn is_written_since(&self, key: u32, writer: TxnIndex) -> bool {
        self.entry(key).is_some_and(|entry| entry.written > writer)
    }

    /// Notes what `writer`, a transaction of this round, left.
    pub(super) fn put_written(&mut self, key: u32, value: Option<&[u8]>, origin: Origin, writer: TxnIndex) {
        let after = TxnIndex(writer.0 + 1);
        self.put(key, value, origin, after);
        if let Some(entry) = self.entries.get_mut(key as usize) {
            entry.written = after;
        }
    }

    /// Notes the value of `key` after all known writes below `as_of`.
    fn put(&mut self, key: u32, value: Option<&[u8]>, origin: Origin, as_of: TxnIndex) {
        let Some(entry) = self.entries.get_mut(key as usize) else { return };
        if entry.round != self.round {
            *entry = Entry { round: self.round, ..UNKNOWN };
        }
        (entry.origin, entry.as_of) = (origin, as_of);
        let Some(value) = value else {
            entry.held = Held::Absent;
            return;
        };
        entry.length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        entry.held = Held::Inline;
        // Most values are words of a contract, or balances: copies of a known length.
        if let Some(word) = value.as_array::<INLINE_BYTES>() {
            entry.inline = *word;
        } else if let Some(number) = value.as_array::<16>() {
            entry.inline.as_chunks_mut().0[0] = *number;
        } else if let Some(inline) = entry.inline.get_mut(..value.len()) {
            inline.copy_from_slice(value);
        } else if self.pool.len() > POOL_MAX {
            // A wrong guess, which validation finds.
            entry.held = Held::Absent;
        } else {
            entry.held = Held::Pool;
            entry.inline.as_chunks_mut::<8>().0[0] = (self.pool.len() as u64).to_ne_bytes();
            self.pool.extend_from_slice(value);
        }
    }

    /// Notes a value read from the base state; a long one is not copied.
    pub(super) fn put_base(&mut self, key: u32, value: Option<&[u8]>) {
        if value.is_none_or(|value| value.len() <= INLINE_BYTES) {
            return self.put(key, value, Origin::BASE, TxnIndex(0));
        }
        if let Some(entry) = self.entries.get_mut(key as usize) {
            *entry = Entry { round: self.round, held: Held::InBase, ..UNKNOWN };
        }
    }

    /// Notes a value that stands in the store only; a copy is kept.
    pub(super) fn put_fetched(&mut self, key: u32, value: Option<&[u8]>) {
        self.put(key, value, Origin::BASE, TxnIndex(0));
    }

    /// Notes that nothing that the shard can see changed the key below `as_of`.
    pub(super) fn advance(&mut self, key: u32, as_of: TxnIndex) {
        if let Some(entry) = self.entries.get_mut(key as usize) {
            entry.as_of = as_of;
        }
    }

    fn entry(&self, key: u32) -> Option<&Entry> {
        self.entries.get(key as usize).filter(|entry| entry.round == self.round)
    }
}

/// One entry of a store, as the overlay's writes are folded into it.
pub(super) struct FoldInto<'a> {
    pub(super) store: &'a mut LocalStore,
    pub(super) key: u32,
}

impl ValueFold for FoldInto<'_> {
    fn set(&mut self, value: Option<&[u8]>, origin: Origin) {
        let as_of = self.store.as_of(self.key).unwrap_or_default();
        self.store.put(self.key, value, origin, as_of);
    }

    fn number(&self) -> Option<u128> {
        match self.store.get(self.key)? {
            (Known::Here(value), _) => number_of(value),
            // Longer than any number.
            (Known::InBase, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a transaction executed out of turn that sees what later ones wrote: it might panic on values that
    //! never stand there, and be taken for poison. Negative control run: with a `turn_back` that does nothing this fails. And a value
    //! that is another one when it comes back, with those that lie in the pool begun one byte late.

    use super::*;

    #[test]
    fn what_later_transactions_wrote_is_forgotten_for_an_earlier_one_and_for_no_other() {
        let origin = |txn: u32| Origin::written_by(TxnIndex(txn), crate::types::Incarnation(1));
        let mut store = LocalStore::default();
        store.start_round(RoundId(1), 4);
        store.put_written(0, Some(b"late"), origin(90), TxnIndex(90));
        store.put_written(1, Some(b"early"), origin(5), TxnIndex(5));
        store.put_base(2, Some(b"base"));
        for key in 0..3 {
            store.turn_back(key, TxnIndex(60));
        }
        assert_eq!((store.get(0), store.is_written_since(0, TxnIndex(0))), (None, false));
        assert_eq!(store.get(1), Some((Known::Here(Some(b"early")), origin(5))));
        assert_eq!(store.get(2), Some((Known::Here(Some(b"base")), Origin::BASE)));
        // Its own write, or that of the one just before, is nothing later.
        store.put_written(3, Some(b"own"), origin(59), TxnIndex(59));
        store.turn_back(3, TxnIndex(60));
        assert_eq!(store.get(3), Some((Known::Here(Some(b"own")), origin(59))));
    }

    #[test]
    fn a_value_of_any_length_comes_back_as_it_was_put() {
        let value = |length: u8| -> Vec<u8> { (0..length).map(|byte| byte ^ length).collect() };
        let mut store = LocalStore::default();
        store.start_round(RoundId(1), 80);
        for length in 0..80 {
            store.put_fetched(u32::from(length), Some(&value(79 - length)));
            store.put_fetched(u32::from(length), Some(&value(length)));
        }
        for length in 0..80 {
            let expected = value(length);
            assert_eq!(store.get(u32::from(length)), Some((Known::Here(Some(&expected)), Origin::BASE)));
        }
    }
}
