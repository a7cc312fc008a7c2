//! Medians, percentiles, spreads, and ratios of two series that were measured in turns.

use serde::Serialize;

/// Resamples behind an interval.
const RESAMPLES: usize = 2_000;

/// Median, least and greatest of a few values, such as one per round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        Some(Spread { median: median(values)?, min, max })
    }
}

/// The middle value; the mean of the middle two of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The value that `share` (0 to 1) of a sorted series do not exceed.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is at least 1 and at most the length"
    )]
    sorted.get(rank as usize - 1).copied()
}

/// The median of `over / under`, pair by pair, and its 95 % bootstrap interval: low, median, high.
///
/// The pairs are those of one round each, so that what changes from round to round cancels out. With fewer than six
/// pairs the interval says little; with one it is that pair.
pub fn median_ratio(over: &[f64], under: &[f64]) -> Option<(f64, f64, f64)> {
    let ratios: Vec<f64> = over.iter().zip(under).map(|(over, under)| over / under).collect();
    let middle = median(&ratios)?;
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    let mut medians = Vec::with_capacity(RESAMPLES);
    let mut resample = Vec::with_capacity(ratios.len());
    for _ in 0..RESAMPLES {
        resample.clear();
        resample.extend((0..ratios.len()).filter_map(|_| ratios.get(random.below(ratios.len()))));
        medians.extend(median(&resample));
    }
    medians.sort_by(f64::total_cmp);
    let (low, high) = (medians.get(RESAMPLES / 40)?, medians.get(RESAMPLES - RESAMPLES / 40 - 1)?);
    Some((*low, middle, *high))
}

/// Good enough to draw rounds from a dozen.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    }

    #[test]
    fn a_percentile_is_a_value_of_the_series() {
        let series: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&series, 0.5), Some(100));
        assert_eq!(percentile(&series, 0.99), Some(198));
        assert_eq!((percentile(&series, 0.0), percentile(&series, 1.0)), (Some(1), Some(200)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_ratio_lies_in_its_interval_and_cancels_what_both_share() {
        let under = [10.0, 20.0, 40.0, 80.0, 5.0, 7.0];
        let over = under.map(|value| value * 2.0);
        assert_eq!(median_ratio(&over, &under), Some((2.0, 2.0, 2.0)));
        let (low, middle, high) = median_ratio(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1.0; 7]).unwrap();
        assert!(low < middle && middle < high && (low, high) != (1.0, 7.0), "{low} {middle} {high}");
        assert_eq!(median_ratio(&[], &[]), None);
    }
}
