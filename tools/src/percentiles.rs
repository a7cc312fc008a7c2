//! Percentiles of times.

use serde::Serialize;
use std::fmt;

/// Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many times there are.
    pub count: usize,
    /// The median.
    pub p50: u64,
    /// 99 of 100 are not above.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Percentiles {
    /// Of a series in any order; `None` if it is empty.
    pub fn of(series: &[u64]) -> Option<Percentiles> {
        let mut sorted = series.to_vec();
        sorted.sort_unstable();
        let at =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Percentiles { count: sorted.len(), p50: at(50)?, p99: at(99)?, max: *sorted.last()? })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { count, p50, p99, max } = self;
        write!(f, "p50 {p50} us, p99 {p99} us, max {max} us, of {count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_series() {
        let series: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(Percentiles::of(&series), Some(Percentiles { count: 200, p50: 100, p99: 198, max: 200 }));
        assert_eq!(Percentiles::of(&[7]), Some(Percentiles { count: 1, p50: 7, p99: 7, max: 7 }));
        assert_eq!(Percentiles::of(&[]), None);
    }
}
