//! What each key of a block holds after the transactions looked at so far.

use crate::partition::ArenaWriter;
use crate::state::BaseState;
use crate::types::{Delta, KeyId, NumberWidth, Observed, Origin, Write, number_of};

/// A key's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Held {
    /// As in the base state.
    Base,
    /// Absent.
    Absent,
    /// A sum.
    Number { number: u128, width: NumberWidth },
    /// Bytes of a collected output.
    Bytes { buffer: u32, start: u32, length: u32 },
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct KeyState {
    /// The latest write.
    pub(super) latest: Origin,
    pub(super) held: Held,
    /// Whether deltas were added to the value: its origin alone then does not tell it.
    pub(super) summed: bool,
}

pub(super) const UNTOUCHED: KeyState = KeyState { latest: Origin::BASE, held: Held::Base, summed: false };

/// Where the bytes behind key states are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backing<'a> {
    pub(super) base: &'a BaseState,
    pub(super) arena: &'a ArenaWriter,
    pub(super) buffers: &'a [Vec<u8>],
}

impl<'a> Backing<'a> {
    /// The value that a state stands for. `buffer` holds the encoding of a sum.
    pub(super) fn value<'b>(&self, key: KeyId, state: &KeyState, buffer: &'b mut [u8; 32]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        match state.held {
            Held::Base => self.base_value(key),
            Held::Absent | Held::Number { .. } | Held::Bytes { .. } => value_in(self.buffers, state, buffer),
        }
    }

    fn base_value(&self, key: KeyId) -> Option<&'a [u8]> {
        let (hash, bytes) = self.arena.key(key).ok()?;
        self.base.get(hash, bytes)
    }

    /// The value as a number, if it is one.
    pub(super) fn number(&self, key: KeyId, state: &KeyState) -> Option<u128> {
        if let Held::Number { number, .. } = state.held {
            return Some(number);
        }
        number_of(self.value(key, state, &mut [0; 32]))
    }

    /// Rule V2: a read is valid if its origin is the latest write, or the bytes are equal.
    pub(super) fn read_holds(
        &self,
        key: KeyId,
        state: &KeyState,
        origin: Origin,
        observed: Observed<'_>,
    ) -> bool {
        if origin == state.latest && !state.summed {
            return true;
        }
        let mut buffer = [0; 32];
        match (self.value(key, state, &mut buffer), observed) {
            (None, Observed::Absent) => true,
            (Some(value), Observed::Value(seen)) => value == seen,
            (_, Observed::Long) | (None, Observed::Value(_)) | (Some(_), Observed::Absent) => false,
        }
    }

    /// Rule V3: the state after a delta, or `None` if the accumulated value lies outside its interval.
    pub(super) fn sum(
        &self,
        key: KeyId,
        state: &KeyState,
        delta: &Delta,
        origin: Origin,
    ) -> Option<KeyState> {
        let number = delta.apply(self.number(key, state)?)?;
        if delta.amount == 0 {
            return Some(*state);
        }
        Some(KeyState { latest: origin, held: Held::Number { number, width: delta.width }, summed: true })
    }

    /// The state after a plain write whose bytes lie in collected buffer `buffer`.
    pub(super) fn written(&self, write: &Write<'_>, origin: Origin, buffer: u32) -> Option<KeyState> {
        let held = match write {
            Write::Delete => Held::Absent,
            Write::Add(_) => return None,
            Write::Set(value) => {
                let bytes = self.buffers.get(buffer as usize)?;
                let start = (value.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
                Held::Bytes {
                    buffer,
                    start: u32::try_from(start).ok()?,
                    length: u32::try_from(value.len()).ok()?,
                }
            }
        };
        Some(KeyState { latest: origin, held, summed: false })
    }
}

/// The value of a state that does not stand in the base state; `None` if it is absent (or stands there).
pub(super) fn value_in<'b>(
    buffers: &'b [Vec<u8>],
    state: &KeyState,
    buffer: &'b mut [u8; 32],
) -> Option<&'b [u8]> {
    match state.held {
        Held::Absent | Held::Base => None,
        Held::Number { number, width } => Some(width.encode(number, buffer)),
        Held::Bytes { buffer, start, length } => {
            let bytes = buffers.get(buffer as usize)?;
            bytes.get(start as usize..start as usize + length as usize)
        }
    }
}
