//! Kills one shard at a time, each in the middle of a round and with the state touched.

use crate::bench::recovery::error::RecoveryError;
use crate::proc::Status;
use crate::victims::Victims;
use nix::sys::signal::Signal;
use phalanx_ipc::Activity;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a shard is looked at until it has touched enough.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often one that has is looked at until it works.
const WORK_EVERY: Duration = Duration::from_micros(100);
/// How long a shard may take to be killable.
const KILLABLE_LIMIT: Duration = Duration::from_secs(120);
/// Kills come up to this long after the shard was seen at work, so that they fall anywhere in a round.
const JITTER_US: u64 = 2_000;

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Whom.
    pub shard: u32,
    /// In which life.
    pub generation: u32,
    /// By which signal.
    pub signal: Signal,
    /// When, right before the system call, by the monotonic clock.
    pub at: Duration,
    /// Shared memory that it had touched, in bytes.
    pub touched: u64,
}

/// Who kills.
pub struct Killer<'a> {
    pub(super) victims: &'a Victims,
    /// Shared memory that a victim must have touched, in bytes.
    pub(super) wanted: u64,
    /// Set when it is enough.
    pub(super) over: &'a AtomicBool,
    /// Set while no block is being made: that takes a core, and a process on its core is what is measured.
    pub(super) fed: &'a AtomicBool,
}

impl Killer<'_> {
    /// Kills `kills` times by each signal, whichever shard is next in line; tells `note` of each. Returns early when it
    /// is over.
    ///
    /// # Errors
    /// [`RecoveryError`] when a shard cannot be killed as it should be.
    pub fn work(&self, signals: &[Signal], kills: u32, note: impl Fn(Kill)) -> Result<(), RecoveryError> {
        let shards = u32::try_from(self.victims.shards()).unwrap_or(1);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for &signal in signals {
            for turn in 0..kills {
                match self.kill(turn % shards, signal, &mut random)? {
                    Some(kill) => note(kill),
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn kill(
        &self,
        shard: u32,
        signal: Signal,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Kill>, RecoveryError> {
        let begun = Instant::now();
        let mut most = 0;
        while !self.over.load(Ordering::Relaxed) {
            if begun.elapsed() > KILLABLE_LIMIT {
                let (wanted_mib, most_mib) = (self.wanted >> 20, most >> 20);
                return Err(RecoveryError::NotTouched { wanted_mib, most_mib, waited: KILLABLE_LIMIT });
            }
            let Some(victim) = self.victims.shard(shard) else {
                std::thread::sleep(LOOK_EVERY);
                continue;
            };
            let pid = victim.process.pid();
            let touched = Status::of(pid).and_then(|status| status.bytes("RssShmem")).unwrap_or(0);
            most = most.max(touched);
            if touched < self.wanted {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            std::thread::sleep(Duration::from_micros(random.random_range(0..JITTER_US)));
            if !self.await_work(shard, victim.generation) {
                continue;
            }
            let generation = victim.generation;
            if let Some(at) = victim.process.strike(signal)? {
                // One at a time: the kernel dumps the core of this one for longer than its successor takes.
                while victim.process.is_alive() && begun.elapsed() < KILLABLE_LIMIT {
                    std::thread::sleep(LOOK_EVERY);
                }
                return Ok(Some(Kill { shard, generation, signal, at, touched }));
            }
        }
        Ok(None)
    }

    /// Waits until the shard is in the middle of a round; false if it is another one by then, or takes too long.
    fn await_work(&self, shard: u32, generation: u32) -> bool {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            let Some(slot) = self.victims.slot(shard) else { return false };
            if slot.generation != generation {
                return false;
            }
            let works = slot.ready && slot.activity == Activity::Running && slot.current != 0;
            if works && self.fed.load(Ordering::Relaxed) {
                return true;
            }
            std::thread::sleep(WORK_EVERY);
        }
        false
    }
}
