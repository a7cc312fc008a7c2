//! The life of one shard as the supervisor sees it: a state, events, and what to do. Pure: no clock, no system call.

use phalanx_ipc::SlotState;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How fast dead shards are replaced.
///
/// A death counts only if that generation had finished no transaction: a shard killed at work is replaced at once, as
/// often as it takes; one that dies over and over before it gets anything done is slowed down and then taken out for a
/// while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pacing {
    /// Counting deaths that are answered at once.
    pub immediate: u32,
    /// Pause after the first counting death beyond those, in milliseconds; doubled with each further one.
    pub first_pause_ms: u64,
    /// Longest such pause, in milliseconds.
    pub longest_pause_ms: u64,
    /// Counting deaths in a row after which the shard is taken out.
    pub intensity: u32,
    /// How long it stays out before it is tried again, in milliseconds.
    pub rest_ms: u64,
    /// How long a new process may take until it is ready, in milliseconds; then it is killed. A start takes a fraction of
    /// a millisecond, but the host may be starved.
    pub start_limit_ms: u64,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            immediate: 3,
            first_pause_ms: 1,
            longest_pause_ms: 100,
            intensity: 16,
            rest_ms: 1_000,
            start_limit_ms: 5_000,
        }
    }
}

/// Where a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildState {
    /// A process was made and is to be ready by this time.
    Starting { pid: i32, generation: u32, until: Instant },
    /// A process runs, and was ready once.
    Running { pid: i32, generation: u32 },
    /// None runs; the next one is made at this time.
    Waiting { until: Instant },
    /// Taken out until this time.
    Resting { until: Instant },
}

impl ChildState {
    pub(super) fn name(&self) -> &'static str {
        match self {
            ChildState::Starting { .. } => "starting",
            ChildState::Running { .. } => "running",
            ChildState::Waiting { .. } => "waiting",
            ChildState::Resting { .. } => "resting",
        }
    }

    /// As the control segment shows it.
    pub(super) fn slot_state(&self) -> SlotState {
        match self {
            ChildState::Starting { .. } | ChildState::Running { .. } => SlotState::Up,
            ChildState::Waiting { .. } => SlotState::Down,
            ChildState::Resting { .. } => SlotState::Resting,
        }
    }

    /// When something is due, if it is a matter of time.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            ChildState::Running { .. } => None,
            ChildState::Starting { until, .. }
            | ChildState::Waiting { until }
            | ChildState::Resting { until } => Some(*until),
        }
    }

    /// The process and its generation, if there is one.
    pub(super) fn process(&self) -> Option<(i32, u32)> {
        match self {
            ChildState::Starting { pid, generation, .. } | ChildState::Running { pid, generation } => {
                Some((*pid, *generation))
            }
            ChildState::Waiting { .. } | ChildState::Resting { .. } => None,
        }
    }

    /// The state of a process made at `now`.
    pub(super) fn starting(pacing: &Pacing, pid: i32, generation: u32, now: Instant) -> ChildState {
        let until = now.checked_add(Duration::from_millis(pacing.start_limit_ms)).unwrap_or(now);
        ChildState::Starting { pid, generation, until }
    }
}

/// Counting deaths in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle(pub(super) u32);

/// What follows a death at `now` of a generation that had, or had not, finished a transaction.
pub(super) fn after_death(pacing: &Pacing, idle: Idle, worked: bool, now: Instant) -> (Idle, ChildState) {
    let idle = if worked { Idle(0) } else { Idle(idle.0.saturating_add(1)) };
    let after = |millis: u64| now.checked_add(Duration::from_millis(millis)).unwrap_or(now);
    if idle.0 <= pacing.immediate {
        return (idle, ChildState::Waiting { until: now });
    }
    if idle.0 > pacing.intensity {
        return (idle, ChildState::Resting { until: after(pacing.rest_ms) });
    }
    let doublings = (idle.0 - pacing.immediate - 1).min(20);
    let pause = pacing.first_pause_ms.saturating_mul(1 << doublings).min(pacing.longest_pause_ms);
    (idle, ChildState::Waiting { until: after(pause) })
}

/// What follows a fork that failed at `now`: a pause, then again.
pub(super) fn after_failed_fork(pacing: &Pacing, now: Instant) -> ChildState {
    let pause = Duration::from_millis(pacing.longest_pause_ms.max(1));
    ChildState::Waiting { until: now.checked_add(pause).unwrap_or(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_of(state: ChildState, now: Instant) -> Option<u64> {
        match state {
            ChildState::Waiting { until } => u64::try_from((until - now).as_millis()).ok(),
            ChildState::Starting { .. } | ChildState::Running { .. } | ChildState::Resting { .. } => None,
        }
    }

    #[test]
    fn a_shard_that_gets_nothing_done_is_slowed_down_and_then_rests() {
        let (pacing, now) = (Pacing::default(), Instant::now());
        let (mut idle, mut pauses) = (Idle(0), Vec::new());
        let state = loop {
            let (next, state) = after_death(&pacing, idle, false, now);
            idle = next;
            match pause_of(state, now) {
                Some(pause) => pauses.push(pause),
                None => break state,
            }
        };
        assert_eq!(pauses[..7], [0, 0, 0, 1, 2, 4, 8]);
        assert_eq!(pauses.len(), 16);
        assert_eq!(pauses.last(), Some(&100));
        assert_eq!(state, ChildState::Resting { until: now + Duration::from_millis(1_000) });
        let (again, _) = after_death(&pacing, idle, false, now);
        assert!(
            matches!(after_death(&pacing, again, false, now).1, ChildState::Resting { .. }),
            "tried once each rest"
        );
    }

    #[test]
    fn a_shard_killed_at_work_is_replaced_at_once_for_ever() {
        let (pacing, now) = (Pacing::default(), Instant::now());
        let mut idle = Idle(5);
        for _ in 0..1_000 {
            let (next, state) = after_death(&pacing, idle, true, now);
            idle = next;
            assert_eq!((state, idle), (ChildState::Waiting { until: now }, Idle(0)));
        }
    }
}
