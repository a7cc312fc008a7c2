//! A trial from its beginning to its end: launch, blocks and faults, rest, judgement, stop, and a second start.

use crate::chaos::blocks::{Blocks, Tally, Violation};
use crate::chaos::book::Book;
use crate::chaos::check::{Check, Finding, Findings};
use crate::chaos::error::ChaosError;
use crate::chaos::feed::FirstState;
use crate::chaos::host::{core_files, eventually, no_new_core_files, no_orphans, no_segments, no_zombies};
use crate::chaos::judge::{Verdict, judge};
use crate::chaos::monkey_link::MonkeyLink;
use crate::chaos::observer::{Observed, Observer};
use crate::chaos::options::ChaosOptions;
use crate::chaos::plants::{Plants, judged_stall_limit, misdeed, second_image, unpin};
use crate::chaos::progress::Progress;
use crate::chaos::wire::Order;
use crate::proc;
use crate::service::Service;
use crate::victims::Victims;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use phalanx::{Phalanx, Totals};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Blocks before the first fault: what a family takes at its first work is not held against it.
const WARM_UP_BLOCKS: usize = 2;
/// Blocks of the second start.
const SECOND_BLOCKS: usize = 3;
/// How long counts may take to come to rest, and incidents to be complete.
const REST_LIMIT: Duration = Duration::from_secs(10);
/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a trial came to.
#[derive(Debug)]
pub struct Outcome {
    /// How every check came out.
    pub findings: Findings,
    /// Both sides of the story.
    pub book: Book,
    /// The comparison of the two.
    pub verdict: Verdict,
    /// Blocks that were found right.
    pub tally: Tally,
    /// The family's own sums.
    pub totals: Totals,
    /// Shard processes made in the place of dead ones.
    pub respawns: u64,
    /// From the first fault to the last, wall time.
    pub elapsed: Duration,
    /// From the last fault until all shards were back.
    pub recovered_after: Option<Duration>,
    /// Whether it was called off.
    pub interrupted: bool,
}

/// Counts that must be the same at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    own_fds: Option<usize>,
    own_threads: Option<usize>,
    supervisor_fds: Option<usize>,
    supervisor_threads: Option<usize>,
}

impl Counts {
    fn now(phalanx: &Phalanx) -> Counts {
        let own = own_pid();
        let supervisor = phalanx.supervisor().pid;
        Counts {
            own_fds: proc::descriptors_of(own),
            own_threads: proc::threads_of(own),
            supervisor_fds: supervisor.and_then(proc::descriptors_of),
            supervisor_threads: supervisor.and_then(proc::threads_of),
        }
    }
}

/// Holds a trial. `stop` calls it off.
///
/// # Errors
/// [`ChaosError`] when it cannot be held; what it finds is in the outcome.
pub fn run(
    options: &ChaosOptions,
    seed: u64,
    filter: &str,
    stop: &AtomicBool,
) -> Result<Outcome, ChaosError> {
    leave_no_cores()?;
    let cores_before = core_files();
    let (blocks, genesis) = Blocks::new(options, seed)?;
    let phalanx = blocks.feed().launch(options, &genesis, None, filter)?;
    let service = Service::of_environment();
    service.ready(&format!("chaos, seed {seed}"));
    let segment = phalanx.segment().to_owned();
    let mut plants = Plants::default();
    let held = hold(options, seed, stop, &phalanx, blocks, &mut plants, &service);
    service.stopping();
    let stopped = phalanx.shutdown(Instant::now() + STOP_LIMIT).map_err(|error| error.to_string());
    let mut outcome = held?;
    let findings = &mut outcome.findings;
    look_behind(findings, stopped, &segment, &cores_before);
    drop(plants);
    match second_start(options, seed, filter, &genesis) {
        Ok(said) => findings.judge(Check::Restart, said),
        Err(error) => findings.judge(Check::Restart, Err(error.to_string())),
    }
    findings.skip_rest("the trial ended before");
    Ok(outcome)
}

/// Faults of the victims' own making would leave core files by the hundreds.
fn leave_no_cores() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, hard)?)
}

/// Everything between launch and stop.
fn hold(
    options: &ChaosOptions,
    seed: u64,
    stop: &AtomicBool,
    phalanx: &Phalanx,
    mut blocks: Blocks,
    plants: &mut Plants,
    service: &Service,
) -> Result<Outcome, ChaosError> {
    let cores = planned_cores(phalanx);
    let victims = Victims::open(phalanx.segment())?;
    let (observed, progress) = (Observed::default(), Progress::new());
    let book = Arc::new(Mutex::new(Book::default()));
    let mut monkey = MonkeyLink::start(&book)?;
    let stall_limit = judged_stall_limit(options.break_check, options.stall_limit);
    let observer = Observer {
        phalanx,
        victims: &victims,
        cores: &cores,
        book: &book,
        observed: &observed,
        stall_limit,
        progress: &progress,
    };
    let held = std::thread::scope(|scope| {
        let watching = std::thread::Builder::new().name("phx-observer".to_owned());
        watching.spawn_scoped(scope, || observer.watch())?;
        let held = Trial {
            options,
            phalanx,
            observer: &observer,
            blocks: &mut blocks,
            monkey: &mut monkey,
            plants,
            stop,
            service,
            begun: Instant::now(),
        }
        .through(seed);
        observed.over.store(true, Ordering::Relaxed);
        held
    });
    progress.finish();
    monkey.finish();
    let (elapsed, recovered_after) = held?;
    let mut book = std::mem::take(&mut *book.lock());
    book.enter_incidents(phalanx.take_incidents());
    if let Some(why) = book.failed.take() {
        return Err(ChaosError::Monkey(why));
    }
    let verdict = judge(&book, stall_limit, Duration::MAX);
    let mut findings = std::mem::take(&mut *observed.findings.lock());
    enter_verdict(&mut findings, &book, &verdict);
    match observed.memory() {
        Ok(Some(said)) => findings.judge(Check::Memory, Ok(said)),
        Ok(None) => findings.enter(Check::Memory, Finding::Skipped("too short to tell".to_owned())),
        Err(what) => findings.judge(Check::Memory, Err(what)),
    }
    let totals = phalanx.stats();
    if observed.violated.load(Ordering::Relaxed) {
        let why = "blocks on their way when the trial was called off were not taken";
        findings.enter(Check::LostBlock, Finding::Skipped(why.to_owned()));
    } else {
        findings.judge(Check::LostBlock, blocks.agree(&totals));
    }
    let tally = *blocks.tally();
    findings.judge(Check::Digest, Ok(format!("{} blocks", tally.blocks)));
    findings.judge(Check::Deadline, Ok(format!("{} blocks", tally.blocks)));
    let respawns = phalanx.health().iter().map(|shard| shard.spawns.saturating_sub(1)).sum();
    let interrupted = stop.load(Ordering::Relaxed);
    Ok(Outcome { findings, book, verdict, tally, totals, respawns, elapsed, recovered_after, interrupted })
}

/// What the two sides of the story say about the checks that compare them.
fn enter_verdict(findings: &mut Findings, book: &Book, verdict: &Verdict) {
    for (check, what) in &verdict.violations {
        findings.judge(*check, Err(what.clone()));
    }
    let (deaths, strikes) = (book.deaths.len(), book.strikes.len());
    findings.judge(Check::Cause, Ok(format!("{deaths} deaths")));
    findings.judge(Check::Unexplained, Ok(format!("{deaths} deaths")));
    findings.judge(Check::Missing, Ok(format!("{strikes} signals")));
    findings.judge(Check::Stall, Ok(format!("{} stops and pauses", book.releases.len())));
    findings.judge(Check::Supervisor, Ok(format!("{} losses", book.losses.len())));
}

/// The part of a trial in which the observer watches.
struct Trial<'a> {
    options: &'a ChaosOptions,
    phalanx: &'a Phalanx,
    observer: &'a Observer<'a>,
    blocks: &'a mut Blocks,
    monkey: &'a mut MonkeyLink,
    plants: &'a mut Plants,
    stop: &'a AtomicBool,
    service: &'a Service,
    begun: Instant,
}

impl Trial<'_> {
    /// Blocks, faults, rest. Returns how long faults came, and how long after the last one all shards were back.
    fn through(mut self, seed: u64) -> Result<(Duration, Option<Duration>), ChaosError> {
        for _ in 0..WARM_UP_BLOCKS {
            if let Err(violation) = self.block()? {
                self.object(violation);
            }
        }
        let before = self.counts_at_rest()?;
        self.monkey.order(&self.order_of(seed))?;
        self.plants.after_baseline(self.options.break_check, self.phalanx.segment())?;
        self.begun = Instant::now();
        self.torment()?;
        let elapsed = self.begun.elapsed();
        let recovered_after = self.rest()?;
        self.judge_counts(before);
        if self.options.break_check == Some(Check::Pins) && !unpin(self.observer.victims, self.observer.cores)
        {
            self.enter(Check::Pins, Finding::Skipped("there is no other core".to_owned()));
        }
        let (pins, threads) = (self.observer.pins(), self.observer.threads());
        self.judge(Check::Pins, pins);
        self.judge(Check::Thread, threads);
        let parents = [Some(own_pid()), self.phalanx.supervisor().pid];
        let parents: Vec<i32> = parents.into_iter().flatten().collect();
        let zombies = eventually(REST_LIMIT.min(Duration::from_secs(3)), || no_zombies(&parents));
        self.judge(Check::Zombie, zombies);
        Ok((elapsed, recovered_after))
    }

    fn order_of(&self, seed: u64) -> Order {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Order {
            segment: self.phalanx.segment().to_owned(),
            owner: own_pid(),
            seed,
            mix: self.options.mix.to_string(),
            rate: self.options.rate,
            duration_us: micros(self.options.duration),
            stall_limit_us: micros(self.options.stall_limit),
            misdeed: misdeed(self.options.break_check),
        }
    }

    fn enter(&self, check: Check, finding: Finding) {
        self.observer.observed.findings.lock().enter(check, finding);
    }

    fn judge(&self, check: Check, result: Result<String, String>) {
        self.observer.observed.findings.lock().judge(check, result);
    }

    fn object(&self, (check, what): Violation) {
        self.judge(check, Err(what));
        self.observer.observed.violated.store(true, Ordering::Relaxed);
    }

    /// One more block, while the one after it executes.
    fn block(&mut self) -> Result<Result<(), Violation>, ChaosError> {
        if let Err(violation) = self.blocks.submit(self.phalanx)? {
            return Ok(Err(violation));
        }
        let compared = self.blocks.compare()?;
        let blocks = self.blocks.tally().blocks;
        self.observer.observed.blocks.store(blocks, Ordering::Relaxed);
        self.service.alive(|| format!("chaos, {blocks} blocks"));
        Ok(compared)
    }

    /// Blocks for as long as there are faults.
    fn torment(&mut self) -> Result<(), ChaosError> {
        let mut called_off = false;
        loop {
            let (done, failed) = {
                let book = self.observer.book.lock();
                (book.done, book.failed.is_some())
            };
            if done || failed {
                return Ok(());
            }
            let violated = self.observer.observed.violated.load(Ordering::Relaxed);
            if !called_off && (violated || self.stop.load(Ordering::Relaxed)) {
                called_off = true;
                self.monkey.call_off();
            }
            if violated {
                // The monkey lets go whom it holds; no more blocks are submitted.
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            if let Err(violation) = self.block()? {
                self.object(violation);
            }
            let share = self.begun.elapsed().as_secs_f64() / self.options.duration.as_secs_f64();
            self.plants.grow(self.options.break_check, share);
        }
    }

    /// Waits until all shards are back, executes what is left and one more block, and until all incidents are complete.
    fn rest(&mut self) -> Result<Option<Duration>, ChaosError> {
        let since = Instant::now();
        let limit = match self.options.break_check {
            Some(Check::Recovery) => Duration::ZERO,
            Some(_) | None => self.options.recovery_limit,
        };
        let all_back = || {
            let health = self.phalanx.health();
            let ready = health.iter().filter(|shard| shard.ready).count();
            if ready == health.len() { Ok(since.elapsed()) } else { Err(ready) }
        };
        let back = eventually(self.options.recovery_limit, all_back);
        let said = match back {
            Ok(after) if after <= limit => Ok(format!("after {:.1} ms", after.as_secs_f64() * 1e3)),
            Ok(after) => Err(format!("all shards were back after {after:?}, the limit is {limit:?}")),
            Err(ready) => Err(format!("{ready} of {} shards are ready after {limit:?}", self.options.shards)),
        };
        self.judge(Check::Recovery, said);
        if !self.observer.observed.violated.load(Ordering::Relaxed) {
            let compared = match self.blocks.compare_all()? {
                Ok(()) => self.block()?.and(self.blocks.compare_all()?),
                Err(violation) => Err(violation),
            };
            if let Err(violation) = compared {
                self.object(violation);
            }
        }
        self.await_incidents();
        Ok(back.ok())
    }

    /// The cause of a death may be known a while after its replacement is ready.
    fn await_incidents(&self) {
        let stall_limit = self.observer.stall_limit;
        // Those that never come are found by the last judgement.
        let _ = eventually(REST_LIMIT, || {
            let verdict = judge(&self.observer.book.lock(), stall_limit, Duration::MAX);
            let open = verdict
                .violations
                .iter()
                .any(|(check, _)| matches!(check, Check::Missing | Check::Supervisor));
            if open && self.options.break_check.is_none() { Err(()) } else { Ok(()) }
        });
    }

    /// The counts, once they are the same twice.
    fn counts_at_rest(&mut self) -> Result<Counts, ChaosError> {
        if let Err(violation) = self.blocks.compare_all()? {
            self.object(violation);
        }
        let mut last = self.counts();
        let _ = eventually(REST_LIMIT, || {
            std::thread::sleep(Duration::from_millis(20));
            let before = std::mem::replace(&mut last, self.counts());
            if before == last { Ok(()) } else { Err(()) }
        });
        Ok(last)
    }

    /// The counts between two looks of the observer, which opens files.
    fn counts(&self) -> Counts {
        let _quiet = self.observer.observed.looking.lock();
        Counts::now(self.phalanx)
    }

    fn judge_counts(&self, before: Counts) {
        let fds = eventually(REST_LIMIT.min(Duration::from_secs(3)), || {
            let now = self.counts();
            let same = (now.own_fds, now.supervisor_fds) == (before.own_fds, before.supervisor_fds);
            let said = format!(
                "coordinator {} then {}, supervisor {} then {}",
                number(before.own_fds),
                number(now.own_fds),
                number(before.supervisor_fds),
                number(now.supervisor_fds)
            );
            if same { Ok(said) } else { Err(said) }
        });
        self.judge(Check::Fd, fds);
        let threads = eventually(REST_LIMIT.min(Duration::from_secs(3)), || {
            let now = self.counts();
            let same = now.own_threads == before.own_threads && now.supervisor_threads == Some(1);
            let (then, own, supervisor) = (before.own_threads, now.own_threads, now.supervisor_threads);
            let said = format!(
                "coordinator {} then {}, supervisor {}",
                number(then),
                number(own),
                number(supervisor)
            );
            if same { Ok(said) } else { Err(said) }
        });
        self.judge(Check::Thread, threads);
    }
}

fn number(count: Option<usize>) -> String {
    count.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
}

/// What must not be there after the stop.
fn look_behind(
    findings: &mut Findings,
    stopped: Result<(), String>,
    segment: &str,
    cores_before: &BTreeSet<PathBuf>,
) {
    if let Err(error) = stopped {
        findings.judge(Check::Orphan, Err(error));
    }
    findings.judge(Check::Orphan, eventually(Duration::from_secs(3), || no_orphans(segment)));
    findings.judge(Check::Zombie, eventually(Duration::from_secs(1), || no_zombies(&[own_pid()])));
    findings.judge(Check::Segment, no_segments());
    findings.judge(Check::Core, no_new_core_files(cores_before));
}

/// A fresh family on a fresh state, after the first one is gone.
fn second_start(
    options: &ChaosOptions,
    seed: u64,
    filter: &str,
    genesis: &FirstState,
) -> Result<Result<String, String>, ChaosError> {
    let unbroken = ChaosOptions { break_check: None, ..options.clone() };
    let (mut blocks, _) = Blocks::new(&unbroken, seed)?;
    let phalanx = blocks.feed().launch(options, genesis, Some(second_image(options.break_check)), filter)?;
    for _ in 0..SECOND_BLOCKS {
        let compared = match blocks.submit(&phalanx)? {
            Ok(()) => blocks.compare()?,
            Err(violation) => Err(violation),
        };
        if let Err((_, what)) = compared {
            return Ok(Err(what));
        }
    }
    let compared = blocks.compare_all()?;
    let stopped = phalanx.shutdown(Instant::now() + STOP_LIMIT);
    Ok(match (compared, stopped) {
        (Err((_, what)), _) => Err(what),
        (Ok(()), Err(error)) => Err(error.to_string()),
        (Ok(()), Ok(())) => no_segments().map(|_| format!("{} blocks", blocks.tally().blocks)),
    })
}

fn planned_cores(phalanx: &Phalanx) -> Vec<usize> {
    phalanx.placement().layout.seats.iter().map(|seat| seat.cpu.index()).collect()
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}
