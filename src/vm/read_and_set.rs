//! A view without commutative writes: every number is read, every delta is a plain write.

use crate::types::{Delta, LimitExceeded, number_of};
use crate::vm::StateView;

/// Turns what a virtual machine does to numbers into ordinary reads and writes, to show what commutative writes bring. The
/// decisions are the same; the outputs hold the sums in the place of the deltas.
pub struct ReadAndSet<'a> {
    view: &'a mut dyn StateView,
}

impl std::fmt::Debug for ReadAndSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadAndSet").finish_non_exhaustive()
    }
}

impl<'a> ReadAndSet<'a> {
    /// Over this view.
    pub fn new(view: &'a mut dyn StateView) -> ReadAndSet<'a> {
        ReadAndSet { view }
    }
}

impl StateView for ReadAndSet<'_> {
    fn read(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.view.read(key)
    }

    fn number(&mut self, key: &[u8]) -> Option<u128> {
        number_of(self.view.read(key))
    }

    fn add(&mut self, key: &[u8], delta: Delta) -> Result<(), LimitExceeded> {
        let value = self.number(key).ok_or(LimitExceeded::NotANumber)?;
        let after = delta.apply(value).ok_or(LimitExceeded::Interval { value })?;
        if delta.amount == 0 {
            return Ok(());
        }
        self.view.set(key, delta.width.encode(after, &mut [0; 32]))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LimitExceeded> {
        self.view.set(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), LimitExceeded> {
        self.view.delete(key)
    }

    fn event(&mut self, kind: u32, data: &[u8]) -> Result<(), LimitExceeded> {
        self.view.event(kind, data)
    }
}
