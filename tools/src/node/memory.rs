//! How much memory the node takes, over time.

use crate::proc::Status;
use serde::Serialize;

/// Samples that are kept; then every second one is dropped, and only every second one taken from there on.
const SAMPLES_MAX: usize = 1_024;

/// Looks that are told.
const SERIES: usize = 13;
/// Memory is level if the last third has at most this part more than the second, and this.
const GROWTH_PART: u64 = 4;
const GROWTH_BYTES: u64 = 16 << 20;

/// Memory of this process over time.
#[derive(Debug, Default)]
pub struct Samples {
    kept: Vec<Memory>,
    /// One of so many is kept.
    stride: usize,
    seen: usize,
}

/// Memory of this process at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub rss: u64,
    /// What is its own: without shared memory and mapped files.
    pub anonymous: u64,
}

/// What is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// At the first look.
    pub start: Memory,
    /// The middle of the looks in the second third of the time.
    pub middle: Memory,
    /// The middle of those in the last third.
    pub end: Memory,
    /// The most of each.
    pub max: Memory,
    /// Looks at even distances, the first and the last one among them.
    pub series: Vec<Memory>,
}

impl MemoryReport {
    /// By how much too much grew between the second and the last third, in words. For runs whose second third begins when all
    /// that is kept for a time is there.
    pub fn growth(&self) -> Option<String> {
        let (before, after) = (self.middle.anonymous, self.end.anonymous);
        let most = before + before / GROWTH_PART + GROWTH_BYTES;
        (after > most).then(|| {
            format!("memory is not level: {after} bytes in the last third, {before} in the second, at most {most} would be")
        })
    }
}

impl Memory {
    /// This process's, now.
    pub fn now() -> Memory {
        let status = i32::try_from(std::process::id()).ok().and_then(Status::of);
        let bytes = |name: &str| status.as_ref().and_then(|status| status.bytes(name)).unwrap_or(0);
        Memory { rss: bytes("VmRSS"), anonymous: bytes("RssAnon") }
    }
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, memory: Memory) {
        if self.seen.is_multiple_of(self.stride.max(1)) {
            self.kept.push(memory);
        }
        self.seen += 1;
        if self.kept.len() == SAMPLES_MAX {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    fn series(&self) -> Vec<Memory> {
        let last = self.kept.len().saturating_sub(1);
        let mut places: Vec<usize> = (0..SERIES).map(|place| last * place / (SERIES - 1)).collect();
        places.dedup();
        places.into_iter().filter_map(|place| self.kept.get(place).copied()).collect()
    }

    /// What they come to.
    pub fn report(&self) -> MemoryReport {
        let (count, third) = (self.kept.len(), self.kept.len() / 3);
        let middle = |from: usize, to: usize| {
            let of = |what: fn(&Memory) -> u64| {
                let mut series: Vec<u64> = self.kept[from..to].iter().map(what).collect();
                series.sort_unstable();
                series.get(series.len() / 2).copied().unwrap_or(0)
            };
            Memory { rss: of(|memory| memory.rss), anonymous: of(|memory| memory.anonymous) }
        };
        let most = |what: fn(&Memory) -> u64| self.kept.iter().map(what).max().unwrap_or(0);
        MemoryReport {
            start: self.kept.first().copied().unwrap_or_default(),
            middle: middle(third, count - third),
            end: middle(count - third.max(1).min(count), count),
            max: Memory { rss: most(|memory| memory.rss), anonymous: most(|memory| memory.anonymous) },
            series: self.series(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_any_number_are_bounded_and_keep_their_shape() {
        let mut samples = Samples::default();
        assert_eq!(samples.report(), MemoryReport::default());
        for second in 0..10_000_u64 {
            samples.add(Memory { rss: second, anonymous: 7 });
            assert!(samples.kept.len() < SAMPLES_MAX);
        }
        let report = samples.report();
        assert_eq!((report.start.rss, report.max.anonymous), (0, 7));
        assert!((4_900..5_100).contains(&report.middle.rss), "{report:?}");
        assert!((8_200..8_500).contains(&report.end.rss), "{report:?}");
    }

    #[test]
    fn memory_that_grows_on_is_told_and_what_comes_up_to_its_level_is_not() {
        let report = |of: fn(u64) -> u64| {
            let mut samples = Samples::default();
            (0..60).for_each(|second| samples.add(Memory { rss: 0, anonymous: of(second) << 20 }));
            samples.report()
        };
        assert_eq!(report(|second| 60 + second.min(25) * 3).growth(), None);
        let grows = report(|second| 60 + second * 3);
        assert!(grows.growth().is_some_and(|words| words.contains("not level")));
        let series: Vec<u64> = grows.series.iter().map(|one| one.anonymous >> 20).collect();
        assert_eq!((series.len(), series[0], series[12]), (13, 60, 60 + 59 * 3));
        assert!(series.is_sorted());
    }

    #[test]
    fn this_process_has_memory() {
        let now = Memory::now();
        assert!(now.rss >= now.anonymous && now.anonymous > 1 << 16, "{now:?}");
    }
}
