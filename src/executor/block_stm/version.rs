//! One version of one key: what one transaction left there.

use crate::executor::block_stm::status::Attempt;
use crate::types::{Delta, Incarnation, NumberWidth, Origin, TxnIndex, number_of};
use std::sync::Arc;

/// Values up to this length lie in the version itself: every number of 16 bytes does.
const SHORT_BYTES: usize = 22;

/// What a version holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Announced by a hint: the transaction is expected to write here and has not been executed yet.
    Expected,
    /// The key is absent.
    Absent,
    /// A short value.
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    /// A long one.
    Long(Arc<[u8]>),
    /// A change of the number below, modulo 2^128: what is subtracted is added as its complement.
    Sum { low: u64, high: u64, width: NumberWidth },
}

impl Content {
    pub(super) fn of_value(value: &[u8]) -> Content {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..value.len()), u8::try_from(value.len())) {
            (Some(target), Ok(length)) => {
                target.copy_from_slice(value);
                Content::Short { length, bytes }
            }
            _ => Content::Long(Arc::from(value)),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "both halves are kept")]
    pub(super) fn of_delta(delta: &Delta) -> Content {
        let change = if delta.negative { delta.amount.wrapping_neg() } else { delta.amount };
        Content::Sum { low: change as u64, high: (change >> 64) as u64, width: delta.width }
    }

    /// The change that a sum makes; `None` for everything else.
    pub(super) fn change(&self) -> Option<u128> {
        match self {
            Content::Sum { low, high, .. } => Some(u128::from(*low) | u128::from(*high) << 64),
            Content::Expected | Content::Absent | Content::Short { .. } | Content::Long(_) => None,
        }
    }

    /// The number that a whole value stands for, if it is one.
    pub(super) fn number(&self) -> Option<u128> {
        match self {
            Content::Absent => Some(0),
            Content::Short { length, bytes } => number_of(bytes.get(..usize::from(*length))),
            Content::Long(bytes) => number_of(Some(bytes)),
            Content::Expected | Content::Sum { .. } => None,
        }
    }

    /// Whether whoever counted on `self` as a mere sum may go on counting on it with `other` in its place.
    pub(super) fn is_same_sum(&self, other: &Content) -> bool {
        match (self, other) {
            (
                Content::Sum { low, high, width },
                Content::Sum { low: other_low, high: other_high, width: other_width },
            ) => (low, high, width) == (other_low, other_high, other_width),
            _ => false,
        }
    }
}

/// What one transaction left under one key.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) txn: TxnIndex,
    /// The attempt, and in the top bit whether it is only an estimate: the attempt was aborted, and the next one will
    /// probably write here again.
    word: u32,
    pub(super) content: Content,
}

const ESTIMATE: u32 = 1 << 31;

const _: () = assert!(size_of::<Version>() == 32);

impl Version {
    pub(super) fn new(txn: TxnIndex, attempt: Attempt, content: Content) -> Version {
        Version { txn, word: attempt.0 & !ESTIMATE, content }
    }

    /// The version that a hint announces.
    pub(super) fn expected(txn: TxnIndex) -> Version {
        Version { txn, word: ESTIMATE, content: Content::Expected }
    }

    pub(super) fn is_estimate(&self) -> bool {
        self.word & ESTIMATE != 0
    }

    pub(super) fn mark_estimate(&mut self) {
        self.word |= ESTIMATE;
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::written_by(self.txn, Attempt(self.word & !ESTIMATE).incarnation())
    }
}

impl Attempt {
    /// As outputs count: from 1.
    pub(super) fn incarnation(self) -> Incarnation {
        Incarnation(self.0 + 1)
    }
}
