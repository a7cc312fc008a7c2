//! What an execution rests on: the read set, with an interval in the place of a value for commutative writes.

use crate::executor::block_stm::key_cell::Seen;
use crate::executor::block_stm::version::Content;
use crate::types::{Delta, Origin, TxnIndex, number_of};
use smallvec::SmallVec;

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

/// How the words of an observation are to be read.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Absent,
    Short {
        length: u8,
    },
    /// As `Short`; the word is a place among the wide numbers.
    ShortWide {
        length: u8,
    },
    Long,
    Within,
    /// As `Within`; the first word is a place among the wide numbers.
    WithinWide,
}

/// One key that an execution looked at, packed: it is written by one thread and read by another.
#[derive(Clone, Copy, Debug)]
struct Observation {
    /// Who wrote what was seen, unless it was a sum: its origin does not tell it. The claim held then.
    origin: Origin,
    words: [u64; 2],
    key: u32,
    kind: Kind,
}

const _: () = assert!(size_of::<Observation>() == 32);

/// Stands for no origin.
const UNTOLD: Origin = Origin(u64::MAX);

/// What one execution rests on.
#[derive(Debug, Default)]
pub(super) struct Observations {
    packed: SmallVec<[Observation; 6]>,
    /// Pairs of numbers of more than 64 bits.
    wide: Vec<[u128; 2]>,
}

/// One observation, unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    pub(super) key: u32,
    origin: Origin,
    claim: Claim,
}

impl Observations {
    pub(super) fn clear(&mut self) {
        self.packed.clear();
        self.wide.clear();
    }

    /// Notes a read of this value; `origin` unless it was a sum.
    pub(super) fn note_exact(&mut self, key: u32, origin: Option<Origin>, value: Option<&[u8]>) {
        let (kind, words) = match Fingerprint::of(value) {
            Fingerprint::Absent => (Kind::Absent, [0; 2]),
            Fingerprint::Long => (Kind::Long, [0; 2]),
            Fingerprint::Short { length, bits } => match u64::try_from(bits) {
                Ok(word) => (Kind::Short { length }, [word, 0]),
                Err(_) => (Kind::ShortWide { length }, [self.keep([bits, 0]), 0]),
            },
        };
        self.packed.push(Observation { origin: origin.unwrap_or(UNTOLD), words, key, kind });
    }

    /// Notes a delta, computed from a value that lay in its interval.
    pub(super) fn note_within(&mut self, key: u32, origin: Option<Origin>, delta: &Delta) {
        let (least, most) = bounds(delta);
        let (kind, words) = match (u64::try_from(least), u64::try_from(most)) {
            (Ok(least), Ok(most)) => (Kind::Within, [least, most]),
            _ => (Kind::WithinWide, [self.keep([least, most]), 0]),
        };
        self.packed.push(Observation { origin: origin.unwrap_or(UNTOLD), words, key, kind });
    }

    fn keep(&mut self, pair: [u128; 2]) -> u64 {
        self.wide.push(pair);
        self.wide.len() as u64 - 1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Observed> {
        self.packed.iter().map(|packed| {
            let [first, second] = packed.words;
            // Every place was given by `keep`.
            let wide = |place: u64| usize::try_from(place).ok().and_then(|p| self.wide.get(p)).copied();
            let [wide_first, wide_second] = match packed.kind {
                Kind::ShortWide { .. } | Kind::WithinWide => wide(first).unwrap_or_default(),
                Kind::Absent | Kind::Short { .. } | Kind::Long | Kind::Within => [0; 2],
            };
            let claim = match packed.kind {
                Kind::Absent => Claim::Exact(Fingerprint::Absent),
                Kind::Long => Claim::Exact(Fingerprint::Long),
                Kind::Short { length } => Claim::Exact(Fingerprint::Short { length, bits: first.into() }),
                Kind::ShortWide { length } => Claim::Exact(Fingerprint::Short { length, bits: wide_first }),
                Kind::Within => Claim::Within { least: first.into(), most: second.into() },
                Kind::WithinWide => Claim::Within { least: wide_first, most: wide_second },
            };
            Observed { key: packed.key, origin: packed.origin, claim }
        })
    }
}

impl Observed {
    /// Whether the observation holds for what stands there now. `base` gives the value in the base state.
    pub(super) fn holds<'b>(&self, seen: &Seen, base: impl Fn() -> Option<&'b [u8]>) -> bool {
        match seen {
            Seen::Blocked(_) => false,
            Seen::Base => self.origin == Origin::BASE || self.holds_for(base()),
            Seen::Whole { origin, .. } if self.origin == *origin => true,
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

/// The end of the block, as a reader.
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
