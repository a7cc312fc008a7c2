//! Percentiles of times, in memory of fixed size: a node may run for months.

use serde::Serialize;
use std::time::Duration;

/// Steps within each power of two: a value is known to 1.6 %.
const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;
/// Powers of two of microseconds: the last is 12 days.
const POWERS: u32 = 40;
const BUCKETS: usize = ((POWERS - STEP_BITS + 1) << STEP_BITS) as usize;

/// Counts of times by their length.
#[derive(Clone, Debug)]
pub struct Latencies {
    buckets: Box<[u64]>,
    count: u64,
    max: Duration,
}

/// What is told of them, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// 99 of 100 are not above.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, max: Duration::ZERO }
    }
}

impl Latencies {
    /// Counts one in.
    pub fn count(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min((1 << POWERS) - 1);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(time);
    }

    /// Median, 99th percentile and the longest; `None` before the first.
    pub fn told(&self) -> Option<LatencyMs> {
        let max = self.max.as_secs_f64() * 1e3;
        let at = |percent: u64| {
            let rank = (self.count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let bucket = self.buckets.iter().position(|&bucket| {
                seen += bucket;
                seen >= rank
            })?;
            // The upper end of a bucket may be beyond the longest time in it.
            Some((upper_end(bucket) as f64 / 1e3).min(max))
        };
        let told = LatencyMs { p50: at(50)?, p99: at(99)?, max };
        Some(LatencyMs { p50: to_micros(told.p50), p99: to_micros(told.p99), max: to_micros(told.max) })
    }
}

fn to_micros(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// The bucket of a time: exact below [`STEPS`], then so many per power of two.
fn bucket_of(micros: u64) -> usize {
    let power = micros.max(1).ilog2();
    let index = match power.checked_sub(STEP_BITS) {
        None => micros,
        Some(shift) => u64::from(shift) * STEPS + (micros >> shift),
    };
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// The greatest time of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_bucket_that_ends_at_most_a_64th_above_it() {
        let mut times: Vec<u64> = (0..40).map(|power| (1_u64 << power) - 1).collect();
        times.extend((0..40).map(|power| 1_u64 << power));
        times.extend([63, 64, 65, 127, 128, 1_000, 1_023, 999_999]);
        for time in times {
            let end = upper_end(bucket_of(time));
            assert!(end >= time && end - time <= time / STEPS + 1, "{time}: {end}");
            assert!(bucket_of(time) < BUCKETS, "{time}");
            assert_ne!(bucket_of(end + 1), bucket_of(time), "{time}: the bucket ends at {end}");
        }
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_series_within_the_width_of_a_bucket() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.told(), None);
        (1..=1_000).rev().for_each(|ms| latencies.count(Duration::from_millis(ms)));
        let told = latencies.told().unwrap();
        for (told, exact) in [(told.p50, 500.0), (told.p99, 990.0), (told.max, 1_000.0)] {
            assert!(told >= exact && told <= exact * 1.02, "{told} for {exact}");
        }
    }
}
