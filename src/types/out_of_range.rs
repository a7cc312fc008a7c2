//! Options outside their ranges.

use std::ops::RangeInclusive;
use thiserror::Error;

/// An option is outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("option {option} is {value}; choose {least} to {most}")]
pub struct OutOfRange {
    /// Which option.
    pub option: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least that is possible.
    pub least: u64,
    /// The most that is possible.
    pub most: u64,
}

impl OutOfRange {
    /// Checks one option.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn check(option: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), OutOfRange> {
        let (least, most) = (*range.start(), *range.end());
        if range.contains(&value) { Ok(()) } else { Err(OutOfRange { option, value, least, most }) }
    }
}
