//! What an execution rests on: the read set, with an interval in the place of a value for commutative writes.

use crate::executor::block_stm::key_cell::Seen;
use crate::executor::block_stm::version::Content;
use crate::types::{Delta, Origin, TxnIndex, number_of};

/// A value, as far as it is compared: long ones are told by their origin alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fingerprint {
    Absent,
    Short { length: u8, bits: u128 },
    Long,
}

impl Fingerprint {
    pub(super) fn of(value: Option<&[u8]>) -> Fingerprint {
        let Some(bytes) = value else { return Fingerprint::Absent };
        match (number_of(value), u8::try_from(bytes.len())) {
            // A number of at most 16 significant bytes and its length are the value.
            (Some(bits), Ok(length)) => Fingerprint::Short { length, bits },
            _ => Fingerprint::Long,
        }
    }
}

/// What must hold for one key.
#[derive(Clone, Copy, Debug)]
enum Claim {
    /// The value is this one.
    Exact(Fingerprint),
    /// The value is a number in this closed interval.
    Within { least: u128, most: u128 },
}

/// One key that an execution looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// Which key.
    pub(super) key: u32,
    /// Who wrote what was seen, unless it was a sum: its origin does not tell it. The claim held then.
    origin: Option<Origin>,
    claim: Claim,
}

impl Observation {
    /// A read of this value; `origin` unless it was a sum.
    pub(super) fn exact(key: u32, origin: Option<Origin>, value: Option<&[u8]>) -> Observation {
        Observation { key, origin, claim: Claim::Exact(Fingerprint::of(value)) }
    }

    /// A delta, computed from a value that lay in its interval.
    pub(super) fn within(key: u32, origin: Option<Origin>, delta: &Delta) -> Observation {
        let (least, most) = bounds(delta);
        Observation { key, origin, claim: Claim::Within { least, most } }
    }

    /// Whether the observation holds for what stands there now. `base` gives the value in the base state.
    pub(super) fn holds<'b>(&self, seen: &Seen, base: impl Fn() -> Option<&'b [u8]>) -> bool {
        match seen {
            Seen::Blocked(_) => false,
            Seen::Base => self.origin == Some(Origin::BASE) || self.holds_for(base()),
            Seen::Whole { origin, .. } if self.origin == Some(*origin) => true,
            Seen::Whole { content, .. } => match content {
                Content::Absent => self.holds_for(None),
                Content::Short { length, bytes } => self.holds_for(bytes.get(..usize::from(*length))),
                Content::Long(bytes) => self.holds_for(Some(bytes)),
                Content::Expected | Content::Sum { .. } => false,
            },
            Seen::Sum { number, width, from_number, .. } => match self.claim {
                Claim::Exact(fingerprint) => {
                    fingerprint == Fingerprint::of(Some(width.encode(*number, &mut [0; 32])))
                }
                Claim::Within { least, most } => *from_number && (least..=most).contains(number),
            },
        }
    }

    fn holds_for(&self, value: Option<&[u8]>) -> bool {
        match self.claim {
            Claim::Exact(Fingerprint::Long) => false,
            Claim::Exact(fingerprint) => fingerprint == Fingerprint::of(value),
            Claim::Within { least, most } => {
                number_of(value).is_some_and(|number| (least..=most).contains(&number))
            }
        }
    }
}

/// The closed interval of pre-values that a delta can be applied to: its own, less those whose sum leaves the width.
/// Empty if the first bound is the greater one.
fn bounds(delta: &Delta) -> (u128, u128) {
    let greatest = delta.width.max();
    if delta.negative {
        (delta.at_least.max(delta.amount), delta.at_most.min(greatest.saturating_add(delta.amount)))
    } else {
        match greatest.checked_sub(delta.amount) {
            Some(most) => (delta.at_least, delta.at_most.min(most)),
            None => (1, 0),
        }
    }
}

/// The origin by which an observation is told, if it is.
pub(super) fn telling_origin(seen: &Seen) -> Option<Origin> {
    match seen {
        Seen::Base => Some(Origin::BASE),
        Seen::Whole { origin, .. } => Some(*origin),
        Seen::Sum { .. } | Seen::Blocked(_) => None,
    }
}

/// Nobody reads before the first transaction: the end of the block, as a reader.
pub(super) const END: TxnIndex = TxnIndex(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NumberWidth;
    use proptest::prelude::*;

    fn near() -> impl Strategy<Value = u128> {
        let edge = prop_oneof![Just(0_u128), Just(u128::from(u64::MAX)), Just(u128::MAX), Just(1_000)];
        (edge, 0_u128..4, any::<bool>())
            .prop_map(|(edge, off, up)| if up { edge.saturating_add(off) } else { edge.saturating_sub(off) })
    }

    proptest! {
        #[test]
        fn the_bounds_of_a_delta_are_the_numbers_it_can_be_applied_to(
            amount in near(), negative: bool, wide: bool, at_least in near(), at_most in near(), before in near()
        ) {
            let width = if wide { NumberWidth::Sixteen } else { NumberWidth::Eight };
            let delta = Delta { amount, negative, width, at_least, at_most };
            let (least, most) = bounds(&delta);
            prop_assert_eq!((least..=most).contains(&before), delta.apply(before).is_some());
        }
    }
}
