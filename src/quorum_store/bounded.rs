//! Decoding of sequences whose length a peer claims: never more is kept, or allocated ahead, than the limit says.

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Decodes a sequence of at most `MAX` elements.
///
/// # Errors
/// For a longer one, as soon as its length is known.
pub(super) fn vec<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: u64>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

/// Elements allocated ahead at most: the rest grows with what is really there.
const AHEAD: usize = 64;

struct Bounded<T, const MAX: u64>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: u64> Visitor<'de> for Bounded<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let claimed = sequence.size_hint().unwrap_or(0);
        if claimed as u64 > MAX {
            return Err(A::Error::invalid_length(claimed, &self));
        }
        let mut kept = Vec::with_capacity(claimed.min(AHEAD));
        while let Some(element) = sequence.next_element()? {
            if kept.len() as u64 >= MAX {
                return Err(A::Error::invalid_length(kept.len(), &self));
            }
            kept.push(element);
        }
        Ok(kept)
    }
}
