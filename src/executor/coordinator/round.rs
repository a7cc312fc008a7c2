//! One round: announced, watched, ended, or cut short.

use super::Coordinator;
use crate::executor::board::Announcement;
use crate::executor::call::Call;
use crate::executor::error::{DeathCause, ExecuteError};
use crate::executor::fleet::{Fleet, LOOK_INTERVAL, Member, Phase};
use crate::executor::progress::{Progress, motion_of};
use crate::executor::round_end::{Cut, Motion, RoundEnd};
use crate::executor::shard::counter;
use crate::executor::{JudgeAhead, OnDeath};
use crate::telemetry::SpanKind;
use crate::types::RoundId;
use phalanx_ipc::Activity;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long into a round the coordinator spins between looks: in a longer one the wake-up at its end does not count, and
/// a spinner slows down a shard that shares its core.
const SPIN_LIMIT: Duration = Duration::from_millis(1);
/// Where processes outnumber cores, how long the coordinator works ahead in a round until it gives its core to the shard
/// that may share it: a signal reaches a process only when it runs.
const STRETCH: Duration = Duration::from_micros(200);
/// And for how long.
const REST: Duration = Duration::from_micros(50);
/// How long the coordinator sleeps while there may be outputs to judge.
const AHEAD_INTERVAL: Duration = Duration::from_micros(300);
/// How long shards may take to leave a round whose deadline has passed or whose caller has gone.
const LATE_PARK_LIMIT: Duration = Duration::from_millis(100);
/// How long a killed shard may take to be gone. Only one in an uninterruptible wait takes longer than a moment. Counted
/// in looks, so that time in which the whole host or this process stood still does not count.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// The most that one look counts for.
const LOOK_MAX: Duration = Duration::from_millis(10);
/// Stall limits without any motion after which a round is cut short while some member says that it works. A hang is found
/// before, by the member's own CPU time or sleep; this is for members that the host starves.
const STARVED_PATIENCE: u32 = 16;
/// After this long without motion of any member all doorbells are rung again: a damaged one may have swallowed a ring.
const NUDGE_INTERVAL: Duration = Duration::from_millis(20);

impl<F: Fleet> Coordinator<F> {
    /// Announces the planned round and waits for its end; afterwards every member is parked or gone.
    pub(super) fn run_round(&mut self, call: &Call<'_>) -> Result<RoundEnd, ExecuteError> {
        self.last_round.0 += 1;
        let (round, sealing) = (self.last_round, self.timeline.now());
        self.timeline.enter(round);
        let totals = self.lanes[self.active].seal(round, self.run.stats.rounds > 0 || self.run.foreseen)?;
        self.timeline.note(SpanKind::Seal, sealing);
        self.fleet.pass("plan sealed");
        self.acceptance.start_round();
        let wanted = match self.options.judge_ahead {
            JudgeAhead::WithSpareCore => self.fleet.has_spare_core(),
            JudgeAhead::Always => true,
            JudgeAhead::AfterRound => false,
        };
        // A cache is filled with what outputs name before they are judged, which is for when nobody reads it.
        self.run.collection.start_round(self.members.len(), wanted && self.base.is_whole());
        self.run.stats.rounds += 1;
        self.run.stats.cross_shard_edges += u64::from(totals.edges);
        let waited_before = self.waited_ns();
        let (begun, began) = (Instant::now(), self.timeline.now());
        for member in &self.members {
            // Before anybody learns of the round: shards may take over work of one that is late.
            if let Some(slot) = self.fleet.slot(member.shard) {
                slot.claims.lay_out(round.0, self.lanes[self.active].arena.part_of(member.shard).free);
            }
        }
        for member in &self.members {
            let announcement = Announcement { round, generation: member.generation, arena: self.active };
            self.board.announce(member.shard, announcement).map_err(ExecuteError::system)?;
            self.fleet.ring(member.shard);
            self.fleet.pass("round announced to one shard");
        }
        self.fleet.pass("round announced");
        if self.members != self.last_members {
            // Somebody died since the last round, perhaps halfway through waking a peer: plain rings would pass that
            // peer over.
            self.fleet.ring_all();
            self.last_members.clone_from(&self.members);
        }
        let end = self.await_end(call, round);
        // Before anybody is rung: who dies of lost memory may not be the only one who touches it.
        let mended = self.fleet.mend_memory(false);
        if let RoundEnd::CutShort(cut) = &end {
            self.run.stats.rounds_cut_short += 1;
            let limit = self.fleet.park_limit();
            let patience = match cut {
                // One that hangs is found by its own CPU time or sleep long before: this is for those that the host
                // starves.
                Cut::Death | Cut::Stall | Cut::Partial if self.options.on_death == OnDeath::Resume => {
                    let left = call.deadline.saturating_duration_since(Instant::now());
                    limit.map(|limit| limit.saturating_mul(STARVED_PATIENCE).min(left.max(LATE_PARK_LIMIT)))
                }
                Cut::Death | Cut::Stall | Cut::Partial => limit,
                Cut::Deadline | Cut::Cancelled => limit.map(|limit| limit.min(LATE_PARK_LIMIT)),
            };
            let cutting = self.timeline.now();
            self.cut_short(call, round, patience)?;
            self.timeline.note(SpanKind::CutShort, cutting);
            let lost = self.members.iter().filter(|&&member| self.fleet.is_gone(member));
            self.run.lost = lost.map(|&member| self.fleet.death_of(member)).collect();
        }
        // Now everybody is quiet: a caller who is told that memory is lost finds nobody at work on what is left.
        self.run.disbelieved = mended? | self.fleet.mend_memory(false)?;
        self.fleet.pass("round over");
        let executed = begun.elapsed();
        self.timeline.note(SpanKind::Round, began);
        self.timeline.take_in(&self.fleet, &self.members);
        self.run.stats.execute += executed;
        // What a shard tells may be damaged: nobody waits longer than the round lasts.
        let waited = Duration::from_nanos(self.waited_ns().wrapping_sub(waited_before));
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.run.stats.waited += waited.min(executed.saturating_mul(members));
        Ok(end)
    }

    /// How long the members have waited for values since they were made, in nanoseconds, as they tell it.
    fn waited_ns(&self) -> u64 {
        let slots = self.members.iter().filter_map(|member| self.fleet.slot(member.shard));
        slots.fold(0, |sum, slot| sum.wrapping_add(slot.counters[counter::WAITED_NS].load(Ordering::Relaxed)))
    }

    fn await_end(&mut self, call: &Call<'_>, round: RoundId) -> RoundEnd {
        let begun = Instant::now();
        let (mut motion, mut nudged, mut rested) = (Motion::new(begun), begun, begun);
        loop {
            if self.all_parked(round) {
                return RoundEnd::Finished;
            }
            if self.fleet.probe(&self.members, round, Phase::Open).is_some() {
                return RoundEnd::CutShort(Cut::Death);
            }
            if self.is_partial(round) {
                return RoundEnd::CutShort(Cut::Partial);
            }
            if Instant::now() >= call.deadline {
                return RoundEnd::CutShort(Cut::Deadline);
            }
            if (call.cancelled)() {
                return RoundEnd::CutShort(Cut::Cancelled);
            }
            if self.is_stalled(&mut motion) {
                return RoundEnd::CutShort(Cut::Stall);
            }
            if motion.since().max(nudged).elapsed() >= NUDGE_INTERVAL {
                self.fleet.ring_all();
                nudged = Instant::now();
            }
            let began = self.timeline.now();
            if self.fleet.spins() == 0 && rested.elapsed() >= STRETCH {
                self.fleet.bell().wait(0, Some(REST), || self.all_parked(round));
                self.timeline.go_on(SpanKind::Wait, began);
                rested = Instant::now();
            } else if self.look_up_ahead() {
                self.timeline.go_on(SpanKind::LookUp, began);
            } else if self.judge_ahead(call) {
                self.timeline.go_on(SpanKind::Validate, began);
            } else if self.plan_ahead(call) {
                self.timeline.go_on(SpanKind::PlanAhead, began);
            } else {
                let spins = if begun.elapsed() < SPIN_LIMIT { self.fleet.spins() } else { 0 };
                let limit = if self.run.collection.goes_ahead { AHEAD_INTERVAL } else { LOOK_INTERVAL };
                self.fleet.wait(&self.members, spins, limit, &mut || self.all_parked(round));
                self.timeline.go_on(SpanKind::Wait, began);
                rested = Instant::now();
            }
        }
    }

    /// Whether a member has left the round with some of its transactions undone (its output arena is full): others may
    /// wait for them in vain.
    fn is_partial(&self, round: RoundId) -> bool {
        self.members.iter().any(|&member| {
            let slot = self.fleet.slot(member.shard).filter(|_| self.fleet.is_parked(member, round));
            slot.is_some_and(|slot| Progress::of(slot, round).is_partial)
        })
    }

    /// Whether no member has moved for the stall limit. A hanging one is found and killed a little before that.
    fn is_stalled(&self, motion: &mut Motion) -> bool {
        let slots = self.members.iter().filter_map(|member| self.fleet.slot(member.shard));
        let seen = slots.fold(0_u64, |sum, slot| {
            let [progress, current, examined] = motion_of(slot);
            let words = [progress, current, examined, slot.parked.load(Ordering::Relaxed)];
            words.iter().fold(sum, |sum, word| sum.rotate_left(7) ^ word)
        });
        // A member that says it works is looked after by the fleet, by its own CPU time: it may only be starved.
        let works = |member: &Member| {
            self.fleet.slot(member.shard).is_some_and(|s| s.activity() == Activity::Running)
        };
        let patience = if self.members.iter().any(works) { STARVED_PATIENCE } else { 1 };
        let limit = self.fleet.stall_limit().map(|limit| limit.saturating_mul(patience));
        motion.is_older_than(seen, limit)
    }

    fn all_parked(&self, round: RoundId) -> bool {
        self.members.iter().all(|&member| self.fleet.is_parked(member, round))
    }

    /// Looks up some of the keys that the block will change; false when all are known.
    pub(super) fn look_up_ahead(&mut self) -> bool {
        let lane = &self.lanes[self.active];
        self.acceptance.look_up_ahead(&lane.arena, &self.base, |key| lane.changes(key))
    }

    /// Goes on with the plan of the next block by one step; false when there is nothing to do.
    fn plan_ahead(&mut self, call: &Call<'_>) -> bool {
        let Some(next) = (call.next)() else { return false };
        let lane = &mut self.lanes[1 - self.active];
        // An error shows again when the block's turn comes.
        if !lane.holds(&next) && lane.take_up(&next).is_err() {
            return false;
        }
        matches!(lane.step(&self.shards), Ok(false))
    }

    /// Ends a round before its end: afterwards every member is parked or gone.
    /// Whoever has not left after `patience`, or soon after the caller has gone, is killed.
    fn cut_short(
        &mut self,
        call: &Call<'_>,
        round: RoundId,
        patience: Option<Duration>,
    ) -> Result<(), ExecuteError> {
        self.board.abort_upto(round).map_err(ExecuteError::system)?;
        self.fleet.pass("round cut short");
        self.fleet.ring_all();
        let begun = Instant::now();
        let mut limit = patience.and_then(|limit| begun.checked_add(limit));
        let (mut killed, mut last_look) = (None, begun);
        loop {
            if (call.cancelled)() {
                // Threads cannot be killed: without a limit there is none now.
                limit = limit.map(|limit| limit.min(last_look + LATE_PARK_LIMIT));
            }
            let look = std::mem::replace(&mut last_look, Instant::now());
            if let Some(awaited) = &mut killed {
                *awaited += look.elapsed().min(LOOK_MAX);
            }
            let late: Vec<Member> = self
                .members
                .iter()
                .copied()
                .filter(|&member| !self.fleet.is_parked(member, round) && !self.fleet.is_gone(member))
                .collect();
            let Some(first) = late.first() else { return Ok(()) };
            if killed.is_some_and(|awaited: Duration| awaited >= KILL_LIMIT) {
                // It may still touch what the next block would rewrite.
                let cause = format!("shard {} cannot be ended; look for a process in state D", first.shard);
                self.poisoned = Some(cause.clone());
                return Err(ExecuteError::System(cause));
            }
            if killed.is_none() && limit.is_some_and(|limit| Instant::now() >= limit) {
                killed = Some(Duration::ZERO);
                for &member in &late {
                    let waited = begun.elapsed();
                    self.fleet.kill(member, DeathCause::Late { waited });
                }
            } else {
                // Whoever is to carry out the kill may be gone or stopped: that is found by looking, as in a round.
                let _ = self.fleet.probe(&late, round, Phase::Cut);
            }
            self.fleet.wait(&late, 0, LOOK_INTERVAL, &mut || false);
        }
    }
}
