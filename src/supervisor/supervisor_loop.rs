//! The supervisor: one thread that forks shards, reaps them, replaces them, and goes when its coordinator goes.
//!
//! It sleeps in `poll` until a child dies, the coordinator says something or hangs up, or a pause is over.

use crate::executor::counter;
use crate::supervisor::auditor::Auditor;
use crate::supervisor::child::{ChildState, Idle, after_death, after_failed_fork};
use crate::supervisor::protocol::{Command, LaunchOrder, Reply, send};
use crate::supervisor::shard_process::{Birth, FamilyFds};
use crate::types::{CpuId, ShardId};
use crate::vm::Vm;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use phalanx_ipc::{
    Channel, ChannelError, ChildSlot, Control, Fork, ProcessIdentity, SignalFd, SlotState, fail_point,
    fork_single_threaded, is_dumping_core, monotonic_now,
};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a shard that noted a fatal signal may take to dump its core and end.
const DUMP_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks at whether it does. A starved one takes a while to begin.
const DUMP_LOOK: Duration = Duration::from_millis(500);
/// Time between looks at new processes, until they are ready.
const START_LOOK: Duration = Duration::from_millis(20);

/// Why the supervisor stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// The coordinator asked.
    Asked,
    /// The coordinator is gone.
    HungUp,
    /// The kernel refused to wait.
    Broken,
}

/// One shard.
#[derive(Debug)]
struct Child {
    state: ChildState,
    generation: u32,
    idle: Idle,
    /// Transactions that the slot had counted when the present life began.
    executed_before: u64,
}

/// The supervisor's whole state.
pub(super) struct Supervisor<V> {
    pub(super) order: LaunchOrder,
    pub(super) fds: FamilyFds,
    pub(super) control: Control,
    pub(super) channel: Channel,
    pub(super) vm: V,
    children: Vec<Child>,
    auditor: Auditor,
    /// Every process not reaped yet, present and past lives alike.
    unreaped: HashMap<i32, (ShardId, u32)>,
    /// Of those, the ones that noted a fatal signal and may still be dumping core.
    dying: HashMap<i32, Dying>,
}

/// When one that is dying is looked at next, and how long it may take.
#[derive(Clone, Copy, Debug)]
struct Dying {
    look_at: Instant,
    until: Instant,
}

impl<V: Vm> Supervisor<V> {
    pub(super) fn new(order: LaunchOrder, fds: FamilyFds, control: Control, channel: Channel, vm: V) -> Self {
        let children = (0..order.cores.len()).map(|place| {
            let slot = u32::try_from(place).ok().and_then(|place| control.slot(place));
            let generation = slot.map_or(0, |slot| slot.generation.load(Ordering::Acquire));
            let state = ChildState::Waiting { until: Instant::now() };
            Child { state, generation, idle: Idle(0), executed_before: 0 }
        });
        let children = children.collect();
        let auditor = Auditor::new(order.audit.clone());
        Supervisor {
            auditor,
            order,
            fds,
            control,
            channel,
            vm,
            children,
            unreaped: HashMap::new(),
            dying: HashMap::new(),
        }
    }

    /// Keeps the shards alive until there is a reason to stop; then no shard is left.
    pub(super) fn run(&mut self, signals: &SignalFd) -> StopCause {
        let cause = loop {
            self.start_due();
            self.end_dying();
            match self.wait(signals) {
                Ok(()) => {}
                Err(cause) => break cause,
            }
            self.reap();
            if let Some(cause) = self.obey() {
                break cause;
            }
        };
        self.end_all();
        cause
    }

    fn wait(&self, signals: &SignalFd) -> Result<(), StopCause> {
        let due = self.children.iter().filter_map(|child| child.state.due());
        let due = due.chain(self.dying.values().map(|dying| dying.look_at));
        // Nobody tells when a new process is ready; once it is seen to be, nothing is due.
        let starts = self.children.iter().any(|child| matches!(child.state, ChildState::Starting { .. }));
        let due = due.chain(starts.then(|| Instant::now() + START_LOOK)).min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1_000);
            i32::try_from(left)
                .ok()
                .and_then(|left| PollTimeout::try_from(left).ok())
                .unwrap_or(PollTimeout::MAX)
        });
        let watch = PollFlags::POLLIN;
        let mut fds = [PollFd::new(self.channel.as_fd(), watch), PollFd::new(signals.as_fd(), watch)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "supervisor cannot poll");
                return Err(StopCause::Broken);
            }
        }
        if let Err(error) = signals.drain() {
            tracing::error!(%error, "supervisor cannot read its signals");
            return Err(StopCause::Broken);
        }
        Ok(())
    }

    /// Makes every process that is due.
    fn start_due(&mut self) {
        let now = Instant::now();
        for place in 0..self.children.len() {
            let state = self.children[place].state;
            let due = state.due().is_some_and(|due| due <= now);
            match state {
                ChildState::Starting { pid, generation, .. } => {
                    self.look_at_start(place, pid, generation, due)
                }
                ChildState::Waiting { .. } | ChildState::Resting { .. } if due => self.start(place),
                ChildState::Running { .. } | ChildState::Waiting { .. } | ChildState::Resting { .. } => {}
            }
        }
    }

    /// Whether a new process is ready, or has taken too long.
    fn look_at_start(&mut self, place: usize, pid: i32, generation: u32, due: bool) {
        let ready = |slot: &ChildSlot| slot.ready_generation.load(Ordering::Acquire) == generation;
        if self.slot(place).is_some_and(ready) {
            self.set_state(place, ChildState::Running { pid, generation });
        } else if due && let Some(id) = u32::try_from(place).ok().map(ShardId) {
            let limit_ms = self.order.pacing.start_limit_ms;
            tracing::error!(shard = %id, pid, limit_ms, "shard was not ready in time and is killed");
            self.kill(id, generation);
            self.died(id, generation);
        }
    }

    fn start(&mut self, place: usize) {
        let Some(id) = u32::try_from(place).ok().map(ShardId) else { return };
        let Some(slot) = self.control.slot(id.0) else { return };
        // 0 is no generation; a successor of this supervisor may have read a damaged one.
        let generation = self.children[place].generation.wrapping_add(1).max(1);
        // The life before the last one had the same lifeline.
        self.kill_lives_before(id, generation.wrapping_sub(1));
        if let Err(error) = slot.lifeline(generation).reset() {
            tracing::error!(shard = %id, %error, "lifeline cannot be reset");
            self.children[place].state = after_failed_fork(&self.order.pacing, Instant::now());
            return;
        }
        slot.set_state(SlotState::Starting);
        slot.clear_child_lines();
        // Nobody takes the child for ready before its pid stands here.
        slot.pid.store(0, Ordering::Relaxed);
        slot.generation.store(generation, Ordering::SeqCst);
        fail_point("slot cleared");
        let executed_before = slot.counters[counter::EXECUTED].load(Ordering::Relaxed);
        let supervisor = Pid::this();
        let planned = self.order.cores.get(place).copied().unwrap_or(0);
        let core = self.auditor.seat(id, CpuId(planned));
        match fork_single_threaded() {
            Ok(Fork::Child) => {
                let Supervisor { order, fds, control, vm, .. } = self;
                let code = Birth { id, generation, supervisor, core, order, fds, control, vm }.live();
                exit_now(code)
            }
            Ok(Fork::Parent { child }) => {
                fail_point("shard forked");
                let pid = child.as_raw();
                self.unreaped.insert(pid, (id, generation));
                let start_time = ProcessIdentity::of(pid).map_or(0, |identity| identity.start_time);
                slot.start_time.store(start_time, Ordering::Relaxed);
                slot.record_pid(generation, pid);
                slot.pid.store(pid, Ordering::Release);
                slot.spawns.fetch_add(1, Ordering::Relaxed);
                let child = &mut self.children[place];
                (child.generation, child.executed_before) = (generation, executed_before);
                fail_point("shard noted");
                let starting = ChildState::starting(&self.order.pacing, pid, generation, Instant::now());
                self.set_state(place, starting);
            }
            Err(error) => {
                let text = error.to_string();
                // Tried again ten times a second: told once.
                if !text.starts_with(&slot.message()) || slot.message().is_empty() {
                    tracing::error!(shard = %id, %error, "shard cannot be forked; trying again");
                }
                slot.set_message(&text);
                // The generation was announced and never lived: the next try takes the one after.
                self.children[place].generation = generation;
                self.set_state(place, after_failed_fork(&self.order.pacing, Instant::now()));
            }
        }
    }

    /// The one door through which a shard's state changes.
    fn set_state(&mut self, place: usize, next: ChildState) {
        let child = &mut self.children[place];
        let (from, to) = (child.state.name(), next.name());
        child.state = next;
        let generation = child.generation;
        tracing::debug!(shard = place, generation, from, to, "shard state changed");
        // What has no process is due to get one.
        let due = next.due().filter(|_| next.process().is_none());
        let useless_deaths = child.idle.0;
        if let Some(slot) = self.slot(place) {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            let retry_at = left.map_or(0, |left| (monotonic_now() + left).as_nanos());
            slot.retry_at.store(u64::try_from(retry_at).unwrap_or(0), Ordering::Relaxed);
            slot.useless_deaths.store(useless_deaths, Ordering::Relaxed);
            slot.set_state(next.slot_state());
        }
        self.control.bell().ring();
    }

    fn slot(&self, place: usize) -> Option<&ChildSlot> {
        self.control.slot(u32::try_from(place).ok()?)
    }

    /// Reaps all dead children, notes how they ended, and replaces those whose death nobody reported.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, raw) = match status {
                WaitStatus::Exited(pid, code) => (pid, (code & 0xff) << 8),
                WaitStatus::Signaled(pid, signal, dumped) => (pid, signal as i32 | i32::from(dumped) << 7),
                WaitStatus::StillAlive => return,
                WaitStatus::Stopped(..)
                | WaitStatus::Continued(..)
                | WaitStatus::PtraceEvent(..)
                | WaitStatus::PtraceSyscall(..) => continue,
            };
            let Some((id, generation)) = self.unreaped.remove(&pid.as_raw()) else { continue };
            self.dying.remove(&pid.as_raw());
            fail_point("death reaped");
            let mut last_words = None;
            if let Some(slot) = self.control.slot(id.0) {
                slot.record_exit(generation, raw);
                slot.crashes.fetch_add(1, Ordering::Relaxed);
                last_words = slot.last_words_of(generation);
            }
            let (pid, cause) = (pid.as_raw(), cause_of(raw));
            tracing::warn!(shard = %id, generation, pid, cause, last_words, "shard ended");
            self.died(id, generation);
        }
    }

    /// Answers the death of one life of a shard, once, whoever reports it.
    fn died(&mut self, id: ShardId, generation: u32) {
        let Some(child) = self.children.get(id.index()) else { return };
        if child.state.process().is_none_or(|(_, present)| present != generation) {
            return;
        }
        if let Some(slot) = self.slot(id.index()) {
            slot.record_noticed(generation, monotonic_now());
        }
        let executed =
            self.slot(id.index()).map_or(0, |slot| slot.counters[counter::EXECUTED].load(Ordering::Relaxed));
        let worked = executed != child.executed_before;
        let (idle, next) = after_death(&self.order.pacing, child.idle, worked, Instant::now());
        if matches!(next, ChildState::Resting { .. }) {
            tracing::error!(shard = %id, deaths = idle.0, "shard dies before it gets anything done; it is taken out for a while");
        }
        self.children[id.index()].idle = idle;
        self.set_state(id.index(), next);
    }

    /// Carries out what the coordinator said; a cause if that is to stop.
    fn obey(&mut self) -> Option<StopCause> {
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        loop {
            match self.channel.recv(&mut bytes, &mut fds) {
                Ok(_) => {}
                Err(ChannelError::WouldBlock) => return None,
                Err(ChannelError::HungUp | ChannelError::PeerGone) => return Some(StopCause::HungUp),
                Err(error) => {
                    tracing::error!(%error, "supervisor cannot hear its coordinator");
                    return Some(StopCause::Broken);
                }
            }
            fail_point("command received");
            match bcs::from_bytes::<Command>(&bytes) {
                Ok(Command::Ping(number)) => {
                    self.look_at_slots();
                    self.audit();
                    if let Err(error) = send(&self.channel, &Reply::Pong(number), &[]) {
                        tracing::debug!(%error, "ping is not answered");
                    }
                }
                Ok(Command::Replace { shard, generation }) => {
                    // Dead by its lifeline, or that word is damaged: either way this life ends now. One that noted a
                    // fatal signal ends by itself; a SIGKILL would cut its core dump short and hide the cause.
                    if !self.let_die(ShardId(shard), generation) {
                        self.kill(ShardId(shard), generation);
                    }
                    self.died(ShardId(shard), generation);
                    self.start_due();
                }
                Ok(Command::Kill { shard, generation }) => self.kill(ShardId(shard), generation),
                Ok(Command::Stop) => return Some(StopCause::Asked),
                Err(error) => tracing::error!(%error, "command is not understood"),
            }
        }
    }

    /// Ends every shard whose slot does not say what it must: somebody scribbled on it, and nobody could work with that
    /// shard again. Its successor gets the whole slot anew. Processes are named by this supervisor's own memory only.
    fn look_at_slots(&mut self) {
        for place in 0..self.children.len() {
            let Some(id) = u32::try_from(place).ok().map(ShardId) else { return };
            let state = self.children[place].state;
            let (Some((pid, generation)), Some(slot)) = (state.process(), self.slot(place)) else { continue };
            let was_ready = matches!(state, ChildState::Running { .. });
            if let Some(what) = slot_fault(slot, pid, generation, was_ready) {
                tracing::error!(shard = %id, pid, generation, what, "slot is damaged; its shard is ended");
                self.kill(id, generation);
                self.died(id, generation);
            }
        }
        self.start_due();
    }

    /// Compares places with the plan, if it is time to. With every ping: there are none while no block runs, and nobody is to
    /// wake up then.
    fn audit(&mut self) {
        let running = self.children.iter().enumerate().filter_map(|(place, child)| match child.state {
            ChildState::Running { pid, .. } => Some((ShardId(u32::try_from(place).ok()?), pid)),
            ChildState::Starting { .. } | ChildState::Waiting { .. } | ChildState::Resting { .. } => None,
        });
        let running: Vec<(ShardId, i32)> = running.collect();
        let Some(audited) = self.auditor.look(&self.order.cores, &running, &self.fds) else { return };
        let findings = audited.found.into_iter().map(|finding| {
            tracing::warn!(%finding, "placement");
            Reply::Found(finding)
        });
        for reply in findings.chain([Reply::Audited(audited.mark)]) {
            if let Err(error) = send(&self.channel, &reply, &[]) {
                tracing::debug!(%error, "what an audit found is not told");
            }
        }
    }

    fn kill(&self, id: ShardId, generation: u32) {
        let Some(child) = self.children.get(id.index()) else { return };
        if let Some((pid, present)) = child.state.process()
            && present == generation
            && self.unreaped.contains_key(&pid)
        {
            // The pid cannot have been given to anyone else: it is not reaped.
            if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL) {
                tracing::error!(shard = %id, pid, %error, "shard cannot be killed");
            }
        }
    }

    /// Whether a life of a shard has noted a fatal signal; then it is given time to dump its core.
    fn let_die(&mut self, id: ShardId, generation: u32) -> bool {
        let process = self.children.get(id.index()).and_then(|child| child.state.process());
        let Some((pid, present)) = process else { return false };
        let dying = self.slot(id.index()).is_some_and(|slot| slot.is_dying(generation));
        if dying && present == generation {
            let now = Instant::now();
            self.dying.insert(pid, Dying { look_at: now + DUMP_LOOK, until: now + DUMP_LIMIT });
        }
        dying
    }

    /// Kills those that have had time enough to die, or do not look like it: what they noted may be damage.
    fn end_dying(&mut self) {
        let now = Instant::now();
        self.dying.retain(|&pid, dying| {
            if dying.look_at > now {
                return true;
            }
            if dying.until > now && is_dumping_core(pid) {
                dying.look_at = now + DUMP_LOOK;
                return true;
            }
            // It is not reaped, so the pid is still its own; a failure means that it is ending.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            false
        });
    }

    /// Kills every life of a shard before `generation` that has not come to its end.
    fn kill_lives_before(&self, id: ShardId, generation: u32) {
        for (&pid, &(shard, life)) in &self.unreaped {
            if shard == id && life < generation {
                // As above.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Kills and reaps every child.
    fn end_all(&mut self) {
        for &pid in self.unreaped.keys() {
            // A child that is dead already is reaped all the same.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while waitpid(None, None).is_ok() {}
        self.unreaped.clear();
    }
}

/// What is wrong in the slot of a running shard, if anything.
fn slot_fault(slot: &ChildSlot, pid: i32, generation: u32, was_ready: bool) -> Option<&'static str> {
    if slot.generation.load(Ordering::Acquire) != generation {
        return Some("generation");
    }
    if slot.pid.load(Ordering::Relaxed) != pid {
        return Some("pid");
    }
    if slot.state() != SlotState::Up {
        return Some("state");
    }
    let ready = slot.ready_generation.load(Ordering::Acquire);
    // Ready is said once, for good.
    (ready != generation && (was_ready || ready != 0)).then_some("ready generation")
}

/// How a process ended, for the log.
fn cause_of(raw: i32) -> String {
    match raw & 0x7f {
        0 => format!("exit code {}", raw >> 8),
        signal => format!("signal {signal}"),
    }
}

/// Ends the process without running anything that was registered or left behind by its parent.
fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes a number, runs no handler and does not return.
    #[allow(unsafe_code, reason = "a forked child must not run its parent's exit handlers")]
    unsafe {
        libc::_exit(code)
    }
}
