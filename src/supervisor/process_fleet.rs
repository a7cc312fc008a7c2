//! Shard processes as the coordinator sees them.

use crate::executor::{
    Death, DeathCause, ExecuteError, Fleet, LOOK_INTERVAL, Member, OutputArenaReader, Phase, SpanReader,
};
use crate::supervisor::config::SupervisorImage;
use crate::supervisor::health::HealthDesk;
use crate::supervisor::launch::FamilyRegions;
use crate::supervisor::memory_watch::{MemoryWatch, mend};
use crate::supervisor::placement_desk::PlacementDesk;
use crate::supervisor::protocol::Command;
use crate::supervisor::stall::StallWatch;
use crate::supervisor::supervisor_link::SupervisorLink;
use crate::topology::RegionKind;
use crate::types::{Generation, RoundId, ShardId, TxnIndex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use phalanx_ipc::{ChildSlot, Control, Doorbell, LifelineState, ProcessHandle, SlotState};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a round waits for full strength when some shards are ready. A replacement takes a fraction of it.
const FULL_STRENGTH_LIMIT: Duration = Duration::from_millis(10);
/// How long a member may take to leave a round that was cut short, at least.
const PARK_LIMIT: Duration = Duration::from_millis(500);
/// How much longer than the stall limit: one that hangs is found by then, and killed for that.
const PARK_GRACE: Duration = Duration::from_millis(250);
/// Supervisors in a row that may end before they answer.
const STILLBORN_MAX: u32 = 5;
/// How long shards may take to come back while no block waits for them.
const IDLE_RECOVERY_LIMIT: Duration = Duration::from_secs(2);
/// Pause between looks at a family that is not at full strength, while no block runs.
const IDLE_LOOK: Duration = Duration::from_millis(20);
/// Pause between attempts to get a supervisor while no block waits for it.
const IDLE_RETRY: Duration = Duration::from_secs(1);
/// Time between looks at the shards while the coordinator does work of its own.
const PATROL_INTERVAL: Duration = Duration::from_micros(200);

pub(super) struct ProcessFleet {
    control: Arc<Control>,
    desk: Arc<HealthDesk>,
    regions: FamilyRegions,
    image: SupervisorImage,
    link: SupervisorLink,
    spins: u32,
    stall: StallWatch,
    /// When supervisor and motion of the shards were last looked at.
    looked: Instant,
    /// Supervisors in a row that ended before they ever answered.
    stillborn: u32,
    /// The last life of each shard that the present supervisor was told to replace.
    replaced: RefCell<HashMap<ShardId, Generation>>,
    places: Arc<PlacementDesk>,
    memory: MemoryWatch,
    /// Memory that is lost for good.
    beyond_repair: Option<(RegionKind, usize)>,
    /// When the shards were last looked at between rounds.
    patrolled: Cell<Instant>,
}

impl ProcessFleet {
    pub(super) fn new(
        desk: Arc<HealthDesk>,
        places: Arc<PlacementDesk>,
        regions: FamilyRegions,
        image: SupervisorImage,
        link: SupervisorLink,
        stall_limit: Duration,
    ) -> ProcessFleet {
        desk.set_supervisor(link.pid());
        ProcessFleet {
            control: Arc::clone(desk.control()),
            memory: MemoryWatch::new(desk.control().shards()),
            beyond_repair: None,
            desk,
            places,
            spins: regions.order.spins,
            regions,
            image,
            link,
            stall: StallWatch::new(stall_limit),
            looked: Instant::now(),
            stillborn: 0,
            replaced: RefCell::default(),
            patrolled: Cell::new(Instant::now()),
        }
    }

    /// Sleeps until `wake` is readable. A supervisor that is lost meanwhile is replaced at once; while a shard is missing
    /// the supervisor is asked now and then whether it is still at work.
    pub(super) fn idle(&mut self, wake: BorrowedFd<'_>) {
        if self.beyond_repair.is_some() {
            // Shards would die of it again.
            is_readable(wake, Duration::MAX);
            return;
        }
        loop {
            if self.link.is_there() && !self.is_filling() {
                self.link.sleep(wake);
            } else if self.link.is_well() {
                is_readable(wake, IDLE_LOOK);
            } else {
                let limit = Instant::now() + IDLE_RECOVERY_LIMIT;
                if let Err(error) = self.recover(limit, &|| is_readable(wake, Duration::ZERO))
                    && !is_readable(wake, Duration::ZERO)
                {
                    tracing::error!(%error, "no shard can be had; trying again in a while");
                    is_readable(wake, IDLE_RETRY);
                }
            }
            if is_readable(wake, Duration::ZERO) {
                return;
            }
        }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.control.shards()).map(ShardId)
    }

    fn any_ready(&self) -> bool {
        self.shards().any(|shard| self.is_ready(shard).is_some())
    }

    fn is_ready(&self, shard: ShardId) -> Option<Member> {
        let slot = self.control.slot(shard.0)?;
        let generation = slot.generation.load(Ordering::Acquire);
        let ready = generation != 0
            && slot.ready_generation.load(Ordering::Acquire) == generation
            && slot.lifeline(generation).probe() == LifelineState::Held
            && !slot.is_dying(generation);
        // 0 as long as the supervisor has not noted which process it made.
        let pid = slot.pid.load(Ordering::Acquire);
        (ready && pid != 0).then_some(Member { shard, generation: Generation(generation), pid })
    }

    fn cause_of(&self, member: Member) -> DeathCause {
        self.control.slot(member.shard.0).map_or(DeathCause::Unknown, |slot| {
            self.desk.incidents().cause_of(slot, member.shard, member.generation)
        })
    }

    /// Has a life of a shard replaced. Says so once: the supervisor may take its time, and the shard is looked at every
    /// 250 us.
    fn replace(&self, shard: ShardId, generation: Generation) {
        if self.replaced.borrow_mut().insert(shard, generation) != Some(generation) {
            self.link.command(Command::Replace { shard: shard.0, generation: generation.0 });
        }
    }

    /// Has shards replaced that died between two rounds: the supervisor may not have heard of it yet.
    fn replace_the_dead(&self) {
        for shard in self.shards() {
            let Some(slot) = self.control.slot(shard.0).filter(|slot| slot.state() == SlotState::Up) else {
                continue;
            };
            let generation = slot.generation.load(Ordering::Acquire);
            let over = match slot.lifeline(generation).probe() {
                LifelineState::Gone => true,
                // Who called itself ready holds its lifeline: the word is damaged.
                LifelineState::Free => slot.ready_generation.load(Ordering::Acquire) == generation,
                LifelineState::Held => slot.is_dying(generation),
            };
            if over {
                let pid = slot.pid.load(Ordering::Relaxed);
                let dead = Member { shard, generation: Generation(generation), pid };
                self.desk.incidents().note_death(dead, None);
                self.replace(shard, Generation(generation));
            }
        }
    }

    /// Kills a supervisor that is gone or does not answer, and its shards with it.
    fn give_up_supervisor(&mut self) {
        if let Some(cause) = self.link.kill() {
            tracing::warn!(cause, "supervisor is lost");
            self.desk.incidents().note_supervisor(&self.control, self.link.pid(), cause);
            self.desk.set_supervisor(0);
            self.end_orphans();
        }
    }

    /// Kills whom the slots still name after their supervisor's end. The kernel has killed the shards with it, all but one
    /// that was stopped before it had asked for that.
    fn end_orphans(&self) {
        for shard in self.shards() {
            let process = self.control.slot(shard.0).and_then(ChildSlot::process);
            // The start time must be right, too: a damaged slot names nobody.
            let Some(orphan) = process.and_then(|process| ProcessHandle::open(process).ok()) else {
                continue;
            };
            // One that is gone meanwhile needs no signal.
            if orphan.signal(Signal::SIGKILL).is_ok() {
                tracing::debug!(%shard, pid = orphan.identity().pid, "shard is ended after its supervisor");
            }
        }
    }

    /// Kills a supervisor that is gone or does not answer, waits for its shards to be gone, and starts another.
    ///
    /// One that ends over and over without ever having answered is given up: its image or its limits are wrong.
    fn restart_supervisor(&mut self) -> Result<(), ExecuteError> {
        self.give_up_supervisor();
        self.stillborn = if self.link.has_answered() { 0 } else { self.stillborn + 1 };
        if self.stillborn >= STILLBORN_MAX {
            self.stillborn = 0;
            let what = format!(
                "the supervisor ended {STILLBORN_MAX} times before it answered; look at its log lines"
            );
            return Err(ExecuteError::NoShards(what));
        }
        let deadline = Instant::now() + PARK_LIMIT;
        while self.any_ready() && Instant::now() < deadline {
            self.control.bell().wait(0, Some(Duration::from_micros(250)), || false);
        }
        self.link = SupervisorLink::start(&self.image, &self.regions)
            .map_err(|error| ExecuteError::NoShards(error.to_string()))?;
        self.desk.count_supervisor(self.link.pid());
        self.replaced.borrow_mut().clear();
        Ok(())
    }

    /// Whether every shard is taken out for a while.
    pub(super) fn all_rest(&self) -> bool {
        self.shards()
            .all(|shard| self.control.slot(shard.0).is_some_and(|slot| slot.state() == SlotState::Resting))
    }

    /// Whether waiting longer may bring more shards: some are neither ready nor resting.
    fn is_filling(&self) -> bool {
        self.shards().any(|shard| {
            self.is_ready(shard).is_none()
                && self.control.slot(shard.0).is_some_and(|slot| slot.state() != SlotState::Resting)
        })
    }
}

impl Drop for ProcessFleet {
    fn drop(&mut self) {
        self.link.stop();
        self.end_orphans();
    }
}

impl Fleet for ProcessFleet {
    fn ready(&self, members: &mut Vec<Member>) {
        members.clear();
        members.extend(self.shards().filter_map(|shard| self.is_ready(shard)));
    }

    #[cfg(feature = "fail-points")]
    fn pass(&self, step: &'static str) {
        // Whoever comes next in turn fails: by how often the armed point was passed.
        let turn = self.control.words()[4].load(Ordering::Relaxed);
        let victim = u32::try_from(turn % u64::from(self.control.shards())).unwrap_or(0);
        let pid = self.control.slot(victim).map_or(0, |slot| slot.pid.load(Ordering::Acquire));
        phalanx_ipc::fail_point_of(&self.control, step, pid);
    }

    fn slot(&self, shard: ShardId) -> Option<&ChildSlot> {
        self.control.slot(shard.0)
    }

    fn outputs(&self, shard: ShardId) -> Option<&OutputArenaReader> {
        self.regions.ends.get(shard.index()).map(|ends| &ends.outputs)
    }

    fn spans(&self, shard: ShardId) -> Option<&SpanReader> {
        self.regions.ends.get(shard.index())?.spans.as_ref().map(|spans| &spans.reader)
    }

    fn bell(&self) -> &Doorbell {
        self.control.bell()
    }

    fn spins(&self) -> u32 {
        self.spins
    }

    fn ring(&self, shard: ShardId) {
        if let Some(ends) = self.regions.ends.get(shard.index()) {
            ends.door.doorbell().ring();
        }
    }

    fn ring_all(&self) {
        for ends in &self.regions.ends {
            ends.door.doorbell().ring_for_the_dead();
        }
    }

    fn wait(&self, members: &[Member], spins: u32, limit: Duration, ready: &mut dyn FnMut() -> bool) {
        let lifelines = members.iter().filter_map(|member| {
            self.control.slot(member.shard.0).map(|slot| slot.lifeline(member.generation.0))
        });
        self.control.bell().wait_beside(lifelines, spins, limit, ready);
    }

    fn probe(&mut self, members: &[Member], round: RoundId, phase: Phase) -> Option<Death> {
        if let Some(&dead) = members.iter().find(|&&member| self.is_gone(member)) {
            let Member { shard, generation, .. } = dead;
            self.replace(shard, generation);
            let death = self.death_of(dead);
            self.desk.incidents().note_death(dead, death.txn);
            return Some(death);
        }
        if self.looked.elapsed() < LOOK_INTERVAL {
            return None;
        }
        self.looked = Instant::now();
        let well = self.link.is_well();
        self.places.note(self.link.take_findings());
        if !well {
            // Its shards die with it: the round ends by their deaths, and recovery starts another.
            self.give_up_supervisor();
            return None;
        }
        let (hung, cause) = self.stall.look(&self.control, members, (round, phase))?;
        self.kill(hung, cause);
        None
    }

    fn patrol(&self, now: Instant) {
        if now.duration_since(self.patrolled.get()) >= PATROL_INTERVAL {
            self.patrolled.set(now);
            self.replace_the_dead();
        }
    }

    fn is_gone(&self, member: Member) -> bool {
        self.control.slot(member.shard.0).is_none_or(|slot| {
            slot.generation.load(Ordering::Acquire) != member.generation.0
                || slot.lifeline(member.generation.0).probe() != LifelineState::Held
                // Reaped: a damaged lifeline cannot tell.
                || slot.exit_of(member.generation.0).is_some()
                // It does nothing more; its lifeline is held until its core is dumped.
                || slot.is_dying(member.generation.0)
        })
    }

    fn death_of(&self, member: Member) -> Death {
        let mut death = Death {
            shard: member.shard,
            pid: member.pid,
            generation: member.generation,
            txn: None,
            cause: DeathCause::Unknown,
        };
        let Some(slot) = self.control.slot(member.shard.0) else { return death };
        let present = slot.generation.load(Ordering::Acquire);
        let current = if present == member.generation.0 {
            slot.current.load(Ordering::Relaxed)
        } else {
            slot.died_at.load(Ordering::Relaxed)
        };
        death.txn = current.checked_sub(1).and_then(|txn| u32::try_from(txn).ok()).map(TxnIndex);
        death.cause = self.cause_of(member);
        death
    }

    fn kill(&mut self, member: Member, cause: DeathCause) {
        let first = self.desk.incidents().note_kill(member, cause.clone());
        if first {
            tracing::warn!(shard = %member.shard, generation = %member.generation, %cause, "shard is killed");
        }
        let Member { shard, generation, .. } = member;
        self.link.command(Command::Kill { shard: shard.0, generation: generation.0 });
    }

    fn recover(&mut self, deadline: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), ExecuteError> {
        self.mend_memory(false)?;
        let begun = Instant::now();
        loop {
            if !self.link.is_well() {
                self.restart_supervisor()?;
            }
            if !self.is_filling() {
                break;
            }
            self.replace_the_dead();
            let now = Instant::now();
            let some_ready = self.any_ready();
            if now >= deadline
                || cancelled()
                || (some_ready && now.duration_since(begun) >= FULL_STRENGTH_LIMIT)
            {
                break;
            }
            let filled = || !self.is_filling();
            self.control.bell().wait(0, Some(Duration::from_micros(250)), filled);
        }
        if !self.any_ready() {
            self.wait_for_one(deadline, cancelled)?;
        }
        self.link.note_answer();
        self.places.note(self.link.take_findings());
        self.desk.incidents().sweep(&self.control);
        Ok(())
    }

    fn mend_memory(&mut self, anyway: bool) -> Result<bool, ExecuteError> {
        let mut mended = false;
        if (self.memory.has_killed(&self.control) || anyway) && self.beyond_repair.is_none() {
            let found = mend(self.places.regions());
            mended = !found.is_empty();
            for incident in found {
                self.desk.incidents().note_memory(incident);
                if !incident.replaced {
                    self.beyond_repair.get_or_insert((incident.region, incident.pages));
                }
            }
            // Also where the page is good again: this process may have met it before.
            for ends in self.regions.ends.iter().filter(|_| mended || anyway) {
                ends.let_go().map_err(ExecuteError::system)?;
            }
            if self.beyond_repair.is_some() {
                self.link.command(Command::Stop);
            }
        }
        match self.beyond_repair {
            Some((region, pages)) => Err(ExecuteError::MemoryLost { region, pages }),
            None => Ok(mended),
        }
    }

    fn explain(&mut self, death: Death, limit: Duration) -> Death {
        let member = Member { shard: death.shard, generation: death.generation, pid: death.pid };
        let deadline = Instant::now() + limit;
        let mut cause =
            if death.cause == DeathCause::Unknown { self.cause_of(member) } else { death.cause.clone() };
        while cause == DeathCause::Unknown && Instant::now() < deadline {
            // Sends what is still unsent, and notices if nobody is left to reap.
            if !self.link.is_well() {
                break;
            }
            self.control.bell().wait(0, Some(Duration::from_millis(1)), || false);
            cause = self.cause_of(member);
        }
        Death { cause, ..death }
    }

    fn park_limit(&self) -> Option<Duration> {
        Some(self.stall.limit().saturating_add(PARK_GRACE).max(PARK_LIMIT))
    }

    fn stall_limit(&self) -> Option<Duration> {
        Some(self.stall.limit())
    }
}

impl ProcessFleet {
    /// All shards rest or are away: waits until the first is back.
    fn wait_for_one(&mut self, deadline: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), ExecuteError> {
        while Instant::now() < deadline && !cancelled() {
            if self.any_ready() {
                return Ok(());
            }
            if !self.link.is_well() {
                self.restart_supervisor()?;
            }
            self.control.bell().wait(0, Some(Duration::from_millis(1)), || false);
        }
        let messages: Vec<String> = self
            .shards()
            .filter_map(|shard| Some((shard, self.control.slot(shard.0)?.message())))
            .filter(|(_, message)| !message.is_empty())
            .map(|(shard, message)| format!("shard {shard}: {message}"))
            .collect();
        Err(ExecuteError::NoShards(format!("none became ready before the deadline; {}", messages.join("; "))))
    }
}

/// Whether a descriptor is readable within `limit`.
fn is_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)).is_ok_and(|count| count > 0)
}
