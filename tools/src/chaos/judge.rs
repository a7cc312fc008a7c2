//! Compares what was injected with what was reported. Pure.

use crate::chaos::book::Book;
use crate::chaos::check::Check;
use crate::chaos::fault::{FaultKind, is_lethal};
use crate::chaos::wire::{Strike, Target};
use phalanx::executor::DeathCause;
use phalanx::supervisor::ShardIncident;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One life of one shard.
type Life = (u32, u32);

/// What the comparison came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub violations: Vec<(Check, String)>,
    /// Microseconds from a lethal signal to the moment its effect was known, where the death is of that signal.
    pub known_us: Vec<u64>,
    /// Microseconds from such a signal until the next life was ready.
    pub ready_us: Vec<u64>,
    /// Microseconds from a lethal signal to the supervisor until all shards were ready again.
    pub full_strength_us: Vec<u64>,
    /// Pauses that the shard survived.
    pub pauses_survived: u64,
    /// Pauses during which the shard was killed, since it had made no progress before or the host was late.
    pub pauses_overrun: u64,
}

/// Compares everything that is older than `settled`, by the monotonic clock.
///
/// A death must have a cause that was injected into that very life, or that of a lost supervisor. Several faults in one
/// life make each of their causes acceptable.
pub fn judge(book: &Book, stall_limit: Duration, settled: Duration) -> Verdict {
    let mut judge = Judge::new(book, stall_limit, settled);
    judge.deaths();
    judge.strikes();
    judge.supervisors();
    judge.stops();
    if book.dropped > 0 {
        judge.object(
            Check::Missing,
            format!("{} incidents were not kept; take them more often", book.dropped),
        );
    }
    judge.verdict
}

struct Judge<'a> {
    book: &'a Book,
    stall_limit: Duration,
    settled: Duration,
    /// Strikes at each life, in the order of time.
    by_life: BTreeMap<Life, Vec<&'a Strike>>,
    by_supervisor: BTreeMap<i32, Vec<&'a Strike>>,
    /// Lives that the loss of a supervisor may have ended.
    orphaned: BTreeSet<Life>,
    verdict: Verdict,
}

impl<'a> Judge<'a> {
    fn new(book: &'a Book, stall_limit: Duration, settled: Duration) -> Judge<'a> {
        let mut judge = Judge {
            book,
            stall_limit,
            settled,
            by_life: BTreeMap::new(),
            by_supervisor: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            verdict: Verdict::default(),
        };
        for strike in &book.strikes {
            match &strike.target {
                Target::Shard { shard, generation } => {
                    judge.by_life.entry((*shard, *generation)).or_default().push(strike);
                }
                Target::Supervisor { generations } => {
                    judge.by_supervisor.entry(strike.pid).or_default().push(strike);
                    // The next life may have begun between the look at it and the signal.
                    for (shard, &generation) in (0..).zip(generations) {
                        judge.orphaned.extend([(shard, generation), (shard, generation + 1)]);
                    }
                }
            }
        }
        judge
    }

    fn object(&mut self, check: Check, what: String) {
        self.verdict.violations.push((check, what));
    }

    fn deaths(&mut self) {
        let mut seen = BTreeSet::new();
        for incident in &self.book.deaths {
            let life = life_of(incident);
            if !seen.insert(life) {
                self.object(Check::Unexplained, format!("{} is reported twice", incident.death));
            }
            self.death(incident, life);
        }
    }

    fn death(&mut self, incident: &ShardIncident, life: Life) {
        let strikes = self.by_life.get(&life).cloned().unwrap_or_default();
        let has = |signal: i32| strikes.iter().any(|strike| strike.signal == signal);
        let known_enough = incident.known_at.or(incident.ready_at).is_none_or(|at| at < self.settled);
        let acceptable = match &incident.death.cause {
            DeathCause::Signal(signal) => is_lethal(*signal) && has(*signal),
            DeathCause::Stopped { .. } | DeathCause::Hang { .. } | DeathCause::Late { .. } => has(SIGSTOP),
            DeathCause::SupervisorLost => {
                let struck_before =
                    strikes.iter().any(|strike| is_lethal(strike.signal) || strike.signal == SIGSTOP);
                self.orphaned.contains(&life) || struck_before && !self.by_supervisor.is_empty()
            }
            DeathCause::Exit(_) | DeathCause::Damage(_) | DeathCause::Unknown => false,
        };
        if let DeathCause::Stopped { stalled } = incident.death.cause
            && stalled < self.stall_limit
        {
            let limit = self.stall_limit.as_millis();
            self.object(Check::Stall, format!("{}, before the stall limit of {limit} ms", incident.death));
        }
        let paused = strikes.iter().any(|strike| strike.kind == FaultKind::Pause);
        if paused && matches!(incident.death.cause, DeathCause::Stopped { .. }) {
            self.verdict.pauses_overrun += 1;
        }
        if acceptable {
            self.times(incident, strikes);
        } else if known_enough
            && strikes.iter().any(|strike| is_lethal(strike.signal) || strike.signal == SIGSTOP)
        {
            let injected: Vec<String> =
                strikes.iter().map(|strike| format!("signal {}", strike.signal)).collect();
            self.object(Check::Cause, format!("{}; injected was {}", incident.death, injected.join(", ")));
        } else if known_enough {
            self.object(Check::Unexplained, format!("{}; nothing lethal was injected there", incident.death));
        }
    }

    /// Times from the first signal that was lethal, if that is the one that counted.
    fn times(&mut self, incident: &ShardIncident, strikes: Vec<&Strike>) {
        let Some(first) = strikes.into_iter().find(|strike| is_lethal(strike.signal)) else { return };
        if incident.death.cause != DeathCause::Signal(first.signal) {
            return;
        }
        let sent = Duration::from_nanos(first.at_ns);
        let since = |at: Option<Duration>| at.and_then(|at| at.checked_sub(sent)).map(micros);
        self.verdict.known_us.extend(since(incident.known_at));
        self.verdict.ready_us.extend(since(incident.ready_at));
    }

    /// Every lethal signal, and every stop that its victim did not survive, must show as the end of that life.
    fn strikes(&mut self) {
        let ended: BTreeSet<Life> = self.book.deaths.iter().map(life_of).collect();
        let settled = u64::try_from(self.settled.as_nanos()).unwrap_or(u64::MAX);
        let mut missing = Vec::new();
        for strike in &self.book.strikes {
            if let Target::Shard { shard, generation } = strike.target
                && is_lethal(strike.signal)
                && strike.at_ns < settled
                && !ended.contains(&(shard, generation))
            {
                missing.push(format!(
                    "shard {shard} (pid {}, generation {generation}) got signal {}, and no death of it is reported",
                    strike.pid, strike.signal
                ));
            }
        }
        for release in self.book.releases.iter().filter(|release| release.gone) {
            if let Target::Shard { shard, generation } = release.target
                && self.settled == Duration::MAX
                && !ended.contains(&(shard, generation))
            {
                missing.push(format!(
                    "shard {shard} (pid {}, generation {generation}) ended while it was stopped, and no death of it is reported",
                    release.pid
                ));
            }
        }
        self.verdict.violations.extend(missing.into_iter().map(|what| (Check::Missing, what)));
    }

    fn supervisors(&mut self) {
        for loss in &self.book.losses {
            match self.by_supervisor.get(&loss.pid).and_then(|strikes| strikes.first()) {
                None => {
                    let what =
                        format!("supervisor {} was lost ({}); nothing was injected", loss.pid, loss.cause);
                    self.verdict.violations.push((Check::Supervisor, what));
                }
                Some(first) if is_lethal(first.signal) => {
                    let sent = Duration::from_nanos(first.at_ns);
                    let since = loss.ready_at.and_then(|ready| ready.checked_sub(sent));
                    self.verdict.full_strength_us.extend(since.map(micros));
                }
                Some(_) => {}
            }
        }
        let lost: BTreeSet<i32> = self.book.losses.iter().map(|loss| loss.pid).collect();
        let settled = u64::try_from(self.settled.as_nanos()).unwrap_or(u64::MAX);
        for (pid, strikes) in &self.by_supervisor {
            let lethal = strikes.iter().find(|strike| is_lethal(strike.signal) && strike.at_ns < settled);
            if let Some(strike) = lethal
                && !lost.contains(pid)
            {
                let what =
                    format!("supervisor {pid} got signal {}, and no loss of it is reported", strike.signal);
                self.verdict.violations.push((Check::Supervisor, what));
            }
        }
    }

    /// Whoever is stopped for long while blocks run must be killed for it.
    fn stops(&mut self) {
        for release in self.book.releases.iter().filter(|release| !release.gone) {
            let held = Duration::from_nanos(release.held_ns);
            let survived = release.kind.hold(self.stall_limit).is_some_and(|hold| held >= hold);
            let check = match release.kind {
                FaultKind::SupervisorStop => Check::Supervisor,
                FaultKind::Pause => {
                    self.verdict.pauses_survived += 1;
                    continue;
                }
                FaultKind::Kill
                | FaultKind::Segv
                | FaultKind::Bus
                | FaultKind::Ill
                | FaultKind::Abrt
                | FaultKind::Term
                | FaultKind::Int
                | FaultKind::Stop
                | FaultKind::KillAll
                | FaultKind::KillPair
                | FaultKind::KillTwice
                | FaultKind::SupervisorKill => Check::Stall,
            };
            if survived {
                let what =
                    format!("process {} was stopped for {} ms and not killed", release.pid, held.as_millis());
                self.object(check, what);
            }
        }
    }
}

const SIGSTOP: i32 = FaultKind::Stop.signal() as i32;

fn life_of(incident: &ShardIncident) -> Life {
    (incident.death.shard.0, incident.death.generation.0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
