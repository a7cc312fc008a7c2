//! What is to happen when: a pure function of seed, mix, rate and duration.

use crate::chaos::fault::FaultKind;
use crate::chaos::mix::Mix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// When, counted from the beginning; whole microseconds.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
    /// Whom, as random bits: the remainder by the number of shards is the first victim.
    pub draw: u64,
}

/// The faults of a trial, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<PlannedFault>);

impl Schedule {
    /// Draws the faults of `duration` at `rate` per second in the mean. The time between two of them is anything from
    /// nothing to twice the mean, so that faults also come while others are being recovered from.
    pub fn draw(seed: u64, mix: &Mix, rate: f64, duration: Duration) -> Schedule {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gap_max = Duration::from_secs_f64(2.0 / rate.max(f64::MIN_POSITIVE).max(1e-3));
        let gap_max = u64::try_from(gap_max.as_micros()).unwrap_or(u64::MAX);
        let (mut faults, mut at) = (Vec::new(), Duration::ZERO);
        loop {
            at += Duration::from_micros(random.random_range(0..=gap_max));
            if at >= duration {
                return Schedule(faults);
            }
            let kind = mix.kind_at(random.random_range(0..mix.sum().max(1)));
            faults.push(PlannedFault { at, kind, draw: random.random() });
        }
    }

    /// The faults.
    pub fn faults(&self) -> &[PlannedFault] {
        &self.0
    }

    /// Equal for equal schedules, on every host.
    pub fn hash(&self) -> String {
        let mut hasher = Xxh3::new();
        for PlannedFault { at, kind, draw } in &self.0 {
            hasher.update(&u64::try_from(at.as_micros()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(kind.name().as_bytes());
            hasher.update(&draw.to_le_bytes());
        }
        format!("{:016x}", hasher.digest())
    }

    /// A line per fault, for people.
    pub fn table(&self, shards: usize) -> String {
        let mut table = String::new();
        for (number, PlannedFault { at, kind, draw }) in self.0.iter().enumerate() {
            let victim = first_victim(*draw, shards);
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{number:>6}  {:>12.6} s  {kind:<16} shard {victim}", at.as_secs_f64());
        }
        let _ = writeln!(table, "{} faults, schedule {}", self.0.len(), self.hash());
        table
    }
}

/// The shard that a draw names.
pub fn first_victim(draw: u64, shards: usize) -> u32 {
    u32::try_from((draw >> 32) % shards.max(1) as u64).unwrap_or(0)
}

/// The other shard of a pair; the same one if there is no other.
pub fn second_victim(draw: u64, shards: usize) -> u32 {
    let others = shards.saturating_sub(1).max(1) as u64;
    let step = 1 + (draw & u64::from(u32::MAX)) % others;
    u32::try_from((u64::from(first_victim(draw, shards)) + step) % shards.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another_one() {
        let draw = |seed| Schedule::draw(seed, &Mix::default(), 20.0, MINUTE);
        assert_eq!(draw(7), draw(7));
        assert_eq!(draw(7).hash(), draw(7).hash());
        assert_ne!(draw(7).hash(), draw(8).hash());
        // Written down: a schedule in a bug report must be the same one on another host and after an update.
        assert_eq!(draw(7).hash(), "b13399e3a1af3486");
    }

    #[test]
    fn rate_and_mix_are_kept() {
        let mix: Mix = "kill:3,pause:1".parse().unwrap();
        let schedule = Schedule::draw(1, &mix, 100.0, MINUTE);
        let count = |kind| schedule.faults().iter().filter(|fault| fault.kind == kind).count();
        let (kills, pauses) = (count(FaultKind::Kill), count(FaultKind::Pause));
        assert_eq!(kills + pauses, schedule.faults().len());
        assert!((5_500..6_500).contains(&(kills + pauses)), "{kills} {pauses}");
        assert!((1_300..1_700).contains(&pauses), "{kills} {pauses}");
        assert!(schedule.faults().windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(schedule.faults().iter().all(|fault| fault.at < MINUTE));
    }

    #[test]
    fn a_pair_is_two_shards_where_there_are_two() {
        for draw in (0..1_000).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            for shards in [2, 3, 8] {
                let (first, second) = (first_victim(draw, shards), second_victim(draw, shards));
                assert!(first != second && (first.max(second) as usize) < shards, "{draw} {shards}");
            }
            assert_eq!((first_victim(draw, 1), second_victim(draw, 1)), (0, 0));
        }
    }
}
