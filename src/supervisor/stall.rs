//! Hang detection: no progress, and stopped, burning CPU time, or asleep. A shard that waits for a peer and says so, or
//! that the host starves of its core, is left alone: one that is starved is never seen asleep.

use crate::executor::{DeathCause, Member, Phase, motion_of};
use crate::types::RoundId;
use phalanx_ipc::{Activity, ChildSlot, Control, cpu_time_of, state_of};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What was seen of a member when it last moved.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    member: Member,
    round: RoundId,
    /// Since the cut, or the round's beginning, for one that only then has to move.
    phase: Phase,
    motion: [u64; 3],
    activity: Activity,
    since: Instant,
    /// The last time that somebody looked, and how much of the time since it moved last counts.
    looked: Instant,
    still: Duration,
    /// Its CPU time at the last look, and how much of it counts since it moved last.
    cpu: Option<Duration>,
    used: Duration,
    /// Looks at the process since it has been still for a while, and those that saw it asleep.
    looks: u32,
    asleep: u32,
}

/// Fewest looks at a process that tell whether it is asleep, or burns CPU time.
const LOOKS_MIN: u32 = 4;

impl Sighting {
    /// Still until `now`. At most `most` of the time since the last look counts: the whole host may have been stopped in it.
    fn go_by(&mut self, now: Instant, most: Duration) {
        self.still += now.duration_since(self.looked).min(most);
        self.looked = now;
    }

    /// Of CPU time at most `most` counts: one look may see a long time in which a hypervisor ran somebody else.
    fn look(&mut self, state: Option<char>, cpu: Option<Duration>, most: Duration) {
        self.looks += 1;
        self.asleep += u32::from(state == Some('S'));
        let spent = cpu.zip(self.cpu).map_or(Duration::ZERO, |(now, then)| now.saturating_sub(then));
        self.used += spent.min(most);
        self.cpu = cpu.or(self.cpu);
    }

    /// Whether it has slept for most of the time, of its own accord.
    fn sleeps(&self) -> bool {
        self.looks >= LOOKS_MIN && self.asleep > self.looks / 2
    }
}

#[derive(Debug)]
pub(super) struct StallWatch {
    limit: Duration,
    seen: Vec<Sighting>,
}

impl StallWatch {
    pub(super) fn new(limit: Duration) -> StallWatch {
        StallWatch { limit, seen: Vec::new() }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// The first member found hanging in `round`, and how.
    pub(super) fn look(
        &mut self,
        control: &Control,
        members: &[Member],
        (round, phase): (RoundId, Phase),
    ) -> Option<(Member, DeathCause)> {
        let now = Instant::now();
        self.seen.retain(|sighting| members.contains(&sighting.member) && sighting.round == round);
        let limit = self.limit;
        for &member in members {
            let Some(slot) = control.slot(member.shard.0) else { continue };
            if slot.parked.load(Ordering::Acquire) == round.0 {
                continue;
            }
            let pid = slot.pid.load(Ordering::Relaxed);
            let seen = match self.seen.iter_mut().find(|sighting| sighting.member == member) {
                Some(seen) => seen,
                None => {
                    self.seen.push(sighting(member, (round, phase), slot, pid, now));
                    continue;
                }
            };
            let moved = seen.motion != motion_of(slot) || seen.activity != slot.activity();
            // One that was waiting when the round was cut short has had no reason to move until then.
            let released = seen.phase != phase && seen.activity != Activity::Running;
            if moved || released {
                *seen = sighting(member, (round, phase), slot, pid, now);
                continue;
            }
            seen.go_by(now, limit / LOOKS_MIN);
            // In an ordinary round nobody is still for so long, and nobody's state is read.
            if seen.still < limit / 4 {
                continue;
            }
            let state = state_of(pid);
            seen.look(state, cpu_time_of(pid), limit / LOOKS_MIN);
            if seen.still < limit {
                continue;
            }
            let stalled = now.duration_since(seen.since);
            if matches!(state, Some('T' | 't')) {
                return Some((member, DeathCause::Stopped { stalled }));
            }
            let should_move = match seen.activity {
                Activity::Running => true,
                Activity::Waiting | Activity::Damaged => phase == Phase::Cut,
                Activity::Parked => false,
            };
            if should_move && (seen.used >= limit || seen.sleeps()) {
                return Some((member, DeathCause::Hang { stalled }));
            }
        }
        None
    }
}

fn sighting(
    member: Member,
    (round, phase): (RoundId, Phase),
    slot: &ChildSlot,
    pid: i32,
    now: Instant,
) -> Sighting {
    Sighting {
        member,
        round,
        phase,
        motion: motion_of(slot),
        activity: slot.activity(),
        since: now,
        looked: now,
        still: Duration::ZERO,
        cpu: cpu_time_of(pid),
        used: Duration::ZERO,
        looks: 0,
        asleep: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Generation, ShardId};

    /// Negative control: with the whole time since the last look counted, the first assertion failed.
    #[test]
    fn a_pause_of_the_whole_host_counts_for_little_of_a_stall() {
        let control = Control::create_private(1).unwrap();
        let member = Member { shard: ShardId(0), generation: Generation(1), pid: 0 };
        let (begun, most) = (Instant::now(), Duration::from_millis(5));
        let mut seen = sighting(member, (RoundId(1), Phase::Open), control.slot(0).unwrap(), 0, begun);
        seen.go_by(begun + Duration::from_secs(10), most);
        assert_eq!(seen.still, most);
        seen.go_by(begun + Duration::from_secs(10) + most / 5, most);
        assert_eq!(seen.still, most + most / 5, "ordinary looks count in full");
    }
}
