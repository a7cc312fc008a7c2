//! What a node does while it runs, beside running: it looks after the time, shows how it stands, and kills what it was told to.

use crate::node::book::Counts;
use crate::node::health::Condition;
use crate::node::live_line::{LiveLine, Sight};
use crate::node::memory::{Memory, Samples};
use crate::node::node::Node;
use crate::node::options::NodeOptions;
use crate::node::report::Standing;
use crate::service::Service;
use crate::signals::StopSignal;
use phalanx::quorum_store::Micros;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between two samples of memory, and two figures of throughput.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// A transaction ends so long after its expiration even if no block is committed any more: longer than a batch lives.
const IDLE_GRACE: Duration = Duration::from_secs(30);

/// What ended a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The time was up.
    Duration,
    /// Somebody said so.
    Signal(StopSignal),
    /// It could not go on.
    GaveUp(String),
}

/// What a session came to.
#[derive(Debug)]
pub struct Session {
    /// What ended it.
    pub ended_by: EndedBy,
    /// Time in which transactions were taken.
    pub taken_for: Duration,
    /// Time from then until everything had its end.
    pub settled_for: Duration,
    /// Transactions committed in the first of both.
    pub committed_in_time: u64,
    /// Components that were killed.
    pub component_kills: u64,
    /// Shards that were killed.
    pub shard_kills: u64,
    /// Memory over the time.
    pub memory: Samples,
    /// What was not settled in time, if anything.
    pub unsettled: Option<String>,
}

/// Something that is due again and again.
#[derive(Clone, Copy, Debug)]
struct Due {
    every: Duration,
    at: Instant,
}

impl Due {
    fn after(every: Duration) -> Due {
        Due { every, at: Instant::now() + every }
    }

    /// Whether it is due now; what was missed is not made up for.
    fn is_now(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        self.at = (self.at + self.every).max(now);
        true
    }
}

/// The session's own state.
struct Watch<'a> {
    node: &'a mut Node,
    stop: &'a Receiver<StopSignal>,
    service: &'a Service,
    line: LiveLine,
    memory: Samples,
    sample: Due,
    committed_before: u64,
    per_second: u64,
    components: Option<Due>,
    shards: Option<Due>,
    kills: (u64, u64),
}

/// Watches over a node until its time is up, a signal comes, or it cannot go on; after its time, until everything has its end.
pub fn run(
    node: &mut Node,
    options: &NodeOptions,
    stop: &Receiver<StopSignal>,
    service: &Service,
) -> Session {
    let begun = Instant::now();
    let mut watch = Watch {
        node,
        stop,
        service,
        line: LiveLine::new(),
        memory: Samples::default(),
        sample: Due { every: SAMPLE_EVERY, at: begun },
        committed_before: 0,
        per_second: 0,
        components: options.kill_components_every.map(Due::after),
        shards: options.kill_shards_every.map(Due::after),
        kills: (0, 0),
    };
    watch.line.say(&format!("listening on http://{}", watch.node.server.address()));
    let mut ended_by = watch.until("running", options.duration.map(|duration| begun + duration), |_| false);
    let taken_for = begun.elapsed();
    let committed_in_time = watch.node.book.lock().counts().committed;
    watch.node.load.enough.store(true, Ordering::Relaxed);
    watch.node.intake.close();
    (watch.components, watch.shards) = (None, None);
    let settling = Instant::now();
    let mut unsettled = None;
    if ended_by == EndedBy::Duration {
        let limit = Some(settling + options.settle_limit);
        let settled = |watch: &Watch<'_>| watch.unsettled().is_none();
        ended_by = watch.until("settling", limit, settled);
        unsettled = watch.unsettled();
    }
    watch.line.finish();
    let (component_kills, shard_kills) = watch.kills;
    Session {
        ended_by,
        taken_for,
        settled_for: settling.elapsed(),
        committed_in_time,
        component_kills,
        shard_kills,
        memory: watch.memory,
        unsettled,
    }
}

impl Watch<'_> {
    /// Looks after everything until it is `done`, or the time is up.
    fn until(
        &mut self,
        phase: &'static str,
        deadline: Option<Instant>,
        done: impl Fn(&Watch<'_>) -> bool,
    ) -> EndedBy {
        loop {
            match self.stop.recv_timeout(LOOK_EVERY) {
                Ok(signal) => return EndedBy::Signal(signal),
                Err(RecvTimeoutError::Timeout) => {}
                // Whoever watches for signals is gone: there are no more.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_EVERY),
            }
            if let Some(end) = self.node.cluster.gave_up() {
                return EndedBy::GaveUp(end);
            }
            let now = Instant::now();
            if done(self) || deadline.is_some_and(|deadline| now >= deadline) {
                return EndedBy::Duration;
            }
            self.look(phase, now);
        }
    }

    fn look(&mut self, phase: &'static str, now: Instant) {
        if self.components.as_mut().is_some_and(|due| due.is_now(now)) {
            let killed = self.node.runtime.block_on(self.node.cluster.kill_one());
            self.kills.0 += u64::from(killed);
        }
        if self.shards.as_mut().is_some_and(|due| due.is_now(now)) {
            let killed = self.node.shard_killer.as_mut().is_some_and(|killer| killer.strike());
            self.kills.1 += u64::from(killed);
        }
        let counts = {
            let mut book = self.node.book.lock();
            book.expire(now_micros().minus(IDLE_GRACE));
            book.counts()
        };
        self.feed(counts);
        if self.sample.is_now(now) {
            self.memory.add(Memory::now());
            self.per_second = counts.committed - self.committed_before;
            self.committed_before = counts.committed;
            self.show(phase, counts);
        }
    }

    fn show(&mut self, phase: &'static str, counts: Counts) {
        let height = self.node.cluster.head();
        let standings = self.node.cluster.standings();
        self.line.show(&Sight {
            counts,
            height,
            per_second: self.per_second,
            component_restarts: standings.iter().map(|standing| standing.restarts).sum(),
            respawns: self.node.family.casualties().respawns,
            phase,
        });
    }

    /// Feeds the watchdog, which may be hungrier than a figure a second.
    fn feed(&self, counts: Counts) {
        if self.node.health.condition() == Condition::Ok {
            let height = self.node.cluster.head();
            self.service.alive(|| format!("block {height}, {} transactions committed", counts.committed));
        }
    }

    /// What is not at its end yet, in words.
    fn unsettled(&self) -> Option<String> {
        let open = self.node.book.lock().counts().open();
        if open > 0 {
            return Some(format!("{open} transactions have no end"));
        }
        let standings = self.node.cluster.standings();
        let excluded: u64 = standings.iter().map(|standing| standing.exclusion_size).sum();
        if excluded > 0 {
            return Some(format!("{excluded} transactions are still excluded"));
        }
        apart(&standings)
    }
}

/// Whose cursors are apart, in words.
fn apart(standings: &[Standing]) -> Option<String> {
    let first = standings.first()?.head;
    standings.iter().enumerate().find_map(|(validator, standing)| {
        let Standing { head, cursors, .. } = standing;
        if *head != first {
            return Some(format!("validator {validator} is at commit {head}, validator 0 at {first}"));
        }
        let behind = cursors.iter().find(|&(_, &cursor)| cursor != *head);
        behind.map(|(component, cursor)| {
            format!("{component} of validator {validator} is at commit {cursor} of {head}")
        })
    })
}

fn now_micros() -> Micros {
    Micros(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::report::Holds;
    use std::collections::BTreeMap;

    fn standing(head: u64, cursor: u64) -> Standing {
        let cursors = BTreeMap::from([("mempool", head), ("proof_manager", cursor)]);
        Standing { head, cursors, exclusion_size: 0, holds: Holds::default(), restarts: 0 }
    }

    #[test]
    fn cursors_that_are_apart_are_named() {
        assert_eq!(apart(&[standing(3, 3), standing(3, 3)]), None);
        assert_eq!(
            apart(&[standing(3, 3), standing(3, 2)]).as_deref(),
            Some("proof_manager of validator 1 is at commit 2 of 3")
        );
        assert_eq!(
            apart(&[standing(3, 3), standing(2, 2)]).as_deref(),
            Some("validator 1 is at commit 2, validator 0 at 3")
        );
    }
}
