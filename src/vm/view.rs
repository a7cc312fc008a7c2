//! All that a virtual machine sees of the state.

use crate::types::{Delta, LimitExceeded};

/// Where a view knows a key, so that it need not look for it again. Good for one transaction; the default knows nothing, and
/// the key is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyMark(Option<u32>);

impl KeyMark {
    /// A key that the view knows under this number.
    #[must_use]
    pub(crate) fn of(number: u32) -> KeyMark {
        KeyMark(Some(number))
    }

    /// The view's number for the key.
    pub(crate) fn number(self) -> Option<u32> {
        self.0
    }
}

/// What stands under a key that tells its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// The value.
    pub bytes: &'a [u8],
    /// Whether it is known to stand in the accepted state, where every key tells its value. Anything else may be what a wrong
    /// execution has left in this block. It differs between executors and between executions: it may spare a check, and nothing
    /// else may depend on it.
    pub is_settled: bool,
}

/// One transaction's window on the state as of its place in the block. Reads see the transaction's own writes.
///
/// None of the calls blocks.
pub trait StateView {
    /// The value of `key`, or `None` if it is absent. The read is recorded and validated: the transaction counts only
    /// if this was the right value.
    fn read(&mut self, key: &[u8]) -> Option<&[u8]>;

    /// As [`read`](Self::read), for a key that tells its value, as a hash does: the transaction rests only on whether the value is
    /// there, whoever wrote it. If it is not settled, the caller checks that it is the one that the key tells; if not, he reads it
    /// ([`read`](Self::read)) before he decides anything.
    fn content(&mut self, key: &[u8]) -> Option<Content<'_>> {
        self.read(key).map(|bytes| Content { bytes, is_settled: false })
    }

    /// The best known number under `key` (absent is 0); `None` if the value is no number of at most 16 significant
    /// bytes (that answer is recorded as a read). A number is not recorded: whoever decides by it must record a [`Delta`]
    /// whose interval holds every number for which the decision is the same.
    fn number(&mut self, key: &[u8]) -> Option<u128>;

    /// Adds to a number commutatively, or checks it (amount 0). Several deltas of one transaction on one key merge.
    ///
    /// # Errors
    /// [`LimitExceeded::Interval`] when the present number is outside the delta's interval, `NotANumber` when there is
    /// none: no write is recorded, but the value is as read.
    fn add(&mut self, key: &[u8], delta: Delta) -> Result<(), LimitExceeded>;

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// [`LimitExceeded`] when key, value or output are too long: nothing is recorded.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LimitExceeded>;

    /// Removes `key`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn delete(&mut self, key: &[u8]) -> Result<(), LimitExceeded>;

    /// Marks a key that will be asked for more than once. Nothing is recorded. The default marks nothing, and what follows
    /// looks for the key each time.
    fn mark(&mut self, key: &[u8]) -> KeyMark {
        let _ = key;
        KeyMark::default()
    }

    /// As [`read`](Self::read) of a key that was marked.
    fn read_at(&mut self, mark: KeyMark, key: &[u8]) -> Option<&[u8]> {
        let _ = mark;
        self.read(key)
    }

    /// As [`number`](Self::number) of a key that was marked.
    fn number_at(&mut self, mark: KeyMark, key: &[u8]) -> Option<u128> {
        let _ = mark;
        self.number(key)
    }

    /// As [`add`](Self::add) to a key that was marked.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn add_at(&mut self, mark: KeyMark, key: &[u8], delta: Delta) -> Result<(), LimitExceeded> {
        let _ = mark;
        self.add(key, delta)
    }

    /// As [`set`](Self::set), or [`delete`](Self::delete) without a value, of a key that was marked.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn put_at(&mut self, mark: KeyMark, key: &[u8], value: Option<&[u8]>) -> Result<(), LimitExceeded> {
        let _ = mark;
        match value {
            Some(value) => self.set(key, value),
            None => self.delete(key),
        }
    }

    /// Emits an event.
    ///
    /// # Errors
    /// [`LimitExceeded::Output`]: nothing is recorded.
    fn event(&mut self, kind: u32, data: &[u8]) -> Result<(), LimitExceeded>;
}
