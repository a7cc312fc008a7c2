//! Looks at a trial while it runs: takes incidents, samples memory, looks where shards sit.

use crate::chaos::book::Book;
use crate::chaos::check::{Check, Findings};
use crate::chaos::judge::judge;
use crate::chaos::progress::{Progress, Sight};
use crate::proc::{self, Status};
use crate::victims::Victims;
use parking_lot::Mutex;
use phalanx::Phalanx;
use phalanx_ipc::{ProcessIdentity, monotonic_now};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two times of taking incidents.
const INCIDENTS_EVERY: Duration = Duration::from_millis(20);
/// Time between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time between two judgements.
const JUDGE_EVERY: Duration = Duration::from_secs(5);
/// How old a fault must be to be judged before the end.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
/// Growth that is none: buffers that reach their size. A quarter of the beginning, and this many bytes at least.
const GROWTH_MIN: u64 = 64 << 20;
/// Samples below which nothing can be said about growth.
const SAMPLES_MIN: usize = 6;

/// What is observed, and by which everyone who takes part in a trial knows it.
#[derive(Debug)]
pub struct Observed {
    /// Findings so far.
    pub findings: Mutex<Findings>,
    /// Blocks found right.
    pub blocks: AtomicU64,
    /// Set when the observer is to end.
    pub over: AtomicBool,
    /// Set when something is wrong enough to end the trial early.
    pub violated: AtomicBool,
    samples: Mutex<Samples>,
    /// Held while the observer looks, with files open.
    pub(super) looking: Mutex<()>,
}

impl Default for Observed {
    fn default() -> Observed {
        Observed {
            findings: Mutex::default(),
            blocks: AtomicU64::new(0),
            over: AtomicBool::new(false),
            violated: AtomicBool::new(false),
            samples: Mutex::default(),
            looking: Mutex::default(),
        }
    }
}

/// Bytes over time.
#[derive(Debug, Default)]
struct Samples {
    anonymous: Vec<u64>,
    shared: Vec<u64>,
    supervisor: Vec<u64>,
    looks: u64,
}

/// What the observer looks at.
pub struct Observer<'a> {
    pub(super) phalanx: &'a Phalanx,
    pub(super) victims: &'a Victims,
    /// The core of each shard.
    pub(super) cores: &'a [usize],
    pub(super) book: &'a Mutex<Book>,
    pub(super) observed: &'a Observed,
    pub(super) stall_limit: Duration,
    pub(super) progress: &'a Progress,
}

impl Observer<'_> {
    /// Looks until it is over.
    pub fn watch(&self) {
        let (mut look_at, mut judge_at) = (Instant::now(), Instant::now() + JUDGE_EVERY);
        while !self.observed.over.load(Ordering::Relaxed) {
            self.book.lock().enter_incidents(self.phalanx.take_incidents());
            let now = Instant::now();
            if now >= look_at {
                look_at = now + LOOK_EVERY;
                {
                    let _looking = self.observed.looking.lock();
                    self.look();
                }
                self.show();
            }
            if now >= judge_at {
                judge_at = now + JUDGE_EVERY;
                self.judge();
            }
            std::thread::sleep(INCIDENTS_EVERY);
        }
    }

    fn judge(&self) {
        let settled = monotonic_now().saturating_sub(SETTLED_AFTER);
        let verdict = judge(&self.book.lock(), self.stall_limit, settled);
        for (check, what) in verdict.violations {
            self.observed.findings.lock().judge(check, Err(what));
            self.observed.violated.store(true, Ordering::Relaxed);
        }
    }

    fn show(&self) {
        let book = self.book.lock();
        let last = book.deaths.iter().rev().find_map(|death| death.ready_at?.checked_sub(death.known_at?));
        let blocks = self.observed.blocks.load(Ordering::Relaxed);
        self.progress.show(&Sight {
            blocks,
            faults: book.faults(),
            deaths: book.deaths.len(),
            last_recovery: last,
        });
    }

    fn look(&self) {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let supervisor = self.phalanx.supervisor().pid.and_then(Status::of);
        let mut samples = self.observed.samples.lock();
        samples.looks += 1;
        if let Some(status) = Status::of(own) {
            samples.anonymous.extend(status.bytes("RssAnon"));
            samples.shared.extend(status.bytes("RssShmem"));
        }
        samples.supervisor.extend(supervisor.and_then(|status| status.bytes("RssAnon")));
        drop(samples);
        if let Err(what) = self.pins() {
            self.observed.findings.lock().judge(Check::Pins, Err(what));
        }
        if let Err(what) = self.threads() {
            self.observed.findings.lock().judge(Check::Thread, Err(what));
        }
    }

    /// Whether every shard that is ready sits on its core.
    ///
    /// # Errors
    /// One that does not, in words.
    pub fn pins(&self) -> Result<String, String> {
        self.each_shard(|shard, process| {
            let planned = self.cores.get(usize::try_from(shard).unwrap_or(0)).map(usize::to_string);
            let allowed = proc::allowed_cores_of(process.pid)?;
            (Some(&allowed) != planned.as_ref()).then(|| {
                let planned = planned.unwrap_or_default();
                format!("shard {shard} (pid {}) may run on {allowed}, planned was {planned}", process.pid)
            })
        })
    }

    /// Whether every shard that is ready has one thread.
    ///
    /// # Errors
    /// One that has not, in words.
    pub fn threads(&self) -> Result<String, String> {
        self.each_shard(|shard, process| {
            let count = proc::threads_of(process.pid)?;
            (count != 1).then(|| format!("shard {shard} (pid {}) has {count} threads", process.pid))
        })
    }

    /// Asks about every shard that is ready, and believes the answer if the process is still there afterwards.
    fn each_shard(&self, wrong: impl Fn(u32, ProcessIdentity) -> Option<String>) -> Result<String, String> {
        let mut looked = 0;
        for shard in (0..).take(self.victims.shards()) {
            let Some(slot) = self.victims.slot(shard).filter(|slot| slot.ready) else { continue };
            let Some(process) = slot.process else { continue };
            if let Some(what) = wrong(shard, process)
                && process.is_alive()
            {
                return Err(what);
            }
            looked += 1;
        }
        Ok(format!("{looked} shards at the last look"))
    }
}

impl Observed {
    /// Whether memory stayed as it was: the middle of the last third of the samples against that of the first.
    ///
    /// # Errors
    /// What grew, in words.
    pub fn memory(&self) -> Result<Option<String>, String> {
        let samples = self.samples.lock();
        let kinds = [
            ("anonymous memory of the coordinator", &samples.anonymous),
            ("shared memory of the coordinator", &samples.shared),
            ("anonymous memory of the supervisor", &samples.supervisor),
        ];
        let mut said = Vec::new();
        for (what, series) in kinds {
            if series.len() < SAMPLES_MIN {
                return Ok(None);
            }
            let third = series.len() / 3;
            let (first, last) = (middle(&series[..third]), middle(&series[series.len() - third..]));
            if last > first + GROWTH_MIN.max(first / 4) {
                return Err(format!("{what} grew from {} MiB to {} MiB", first >> 20, last >> 20));
            }
            said.push(format!("{} to {}", first >> 20, last >> 20));
        }
        Ok(Some(format!("MiB, first third to last: {}", said.join(", "))))
    }
}

fn middle(series: &[u64]) -> u64 {
    let mut sorted = series.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}
