//! Shard processes, and one shard in this process for the time when none can be had.

use crate::durable::ColdStore;
use crate::executor::{
    Death, DeathCause, ExecuteError, Fleet, Member, OutputArenaReader, Phase, ShardFds, ShardLimits,
    SpanReader, ThreadFleet,
};
use crate::supervisor::config::Fallback;
use crate::supervisor::health::HealthDesk;
use crate::supervisor::process_fleet::ProcessFleet;
use crate::types::{Generation, RoundId, ShardId};
use crate::vm::Vm;
use phalanx_ipc::{ChildSlot, Doorbell};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a block waits for the first shard process before it goes on in this process.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between attempts to get shard processes while blocks are executed in this process.
const RETRY: Duration = Duration::from_millis(100);
/// The life of the shard in this process. Shard processes count theirs from 1: none ever takes a round meant for it.
const INSIDE_LIFE: Generation = Generation(0x7f_ffff);

/// Starts the shard in this process.
type StartInside = Box<dyn Fn() -> Result<ThreadFleet, ExecuteError> + Send>;

/// Both fleets; one of them is used at a time.
pub(super) struct FallbackFleet {
    processes: ProcessFleet,
    inside: Option<ThreadFleet>,
    start_inside: Option<StartInside>,
    desk: Arc<HealthDesk>,
    /// When shard processes were last asked for in vain.
    tried: Instant,
}

impl FallbackFleet {
    /// Descriptors, limits, and what the base state does not hold are for the shard in this process.
    pub(super) fn new<V: Vm>(
        processes: ProcessFleet,
        fallback: Fallback,
        desk: Arc<HealthDesk>,
        (fds, limits, cold): (ShardFds, ShardLimits, Option<ColdStore>),
        vm: V,
    ) -> FallbackFleet {
        let start = move || ThreadFleet::launch(1, INSIDE_LIFE, &fds, &limits, cold.as_ref(), &vm);
        let start_inside: Option<StartInside> = match fallback {
            Fallback::Error => None,
            Fallback::InProcess => Some(Box::new(start)),
        };
        FallbackFleet { processes, inside: None, start_inside, desk, tried: Instant::now() }
    }

    /// See [`ProcessFleet::idle`].
    pub(super) fn idle(&mut self, wake: BorrowedFd<'_>) {
        self.processes.idle(wake);
    }

    fn present(&self) -> &dyn Fleet {
        match &self.inside {
            Some(inside) => inside,
            None => &self.processes,
        }
    }

    fn present_mut(&mut self) -> &mut dyn Fleet {
        match &mut self.inside {
            Some(inside) => inside,
            None => &mut self.processes,
        }
    }

    /// From now on blocks are executed in this process; false if that is not wanted.
    fn go_inside(&mut self, why: &ExecuteError) -> Result<bool, ExecuteError> {
        let Some(start) = &self.start_inside else { return Ok(false) };
        tracing::error!(%why, "blocks are executed in this process until a shard process can be had");
        self.inside = Some(start()?);
        self.tried = Instant::now();
        self.desk.set_in_process(true);
        Ok(true)
    }

    /// Goes back to shard processes if there are any, looking for them now and then.
    fn go_outside(&mut self) {
        if self.tried.elapsed() < RETRY {
            return;
        }
        let now = Instant::now();
        if self.processes.recover(now, &|| false).is_ok() {
            tracing::warn!("shard processes are back");
            self.inside = None;
            self.desk.set_in_process(false);
        }
        self.tried = Instant::now();
    }
}

impl Fleet for FallbackFleet {
    fn ready(&self, members: &mut Vec<Member>) {
        self.present().ready(members);
    }

    fn pass(&self, step: &'static str) {
        self.present().pass(step);
    }

    fn slot(&self, shard: ShardId) -> Option<&ChildSlot> {
        self.present().slot(shard)
    }

    fn outputs(&self, shard: ShardId) -> Option<&OutputArenaReader> {
        self.present().outputs(shard)
    }

    fn spans(&self, shard: ShardId) -> Option<&SpanReader> {
        self.present().spans(shard)
    }

    fn bell(&self) -> &Doorbell {
        self.present().bell()
    }

    fn spins(&self) -> u32 {
        self.present().spins()
    }

    fn ring(&self, shard: ShardId) {
        self.present().ring(shard);
    }

    fn ring_all(&self) {
        self.present().ring_all();
    }

    fn wait(&self, members: &[Member], spins: u32, limit: Duration, ready: &mut dyn FnMut() -> bool) {
        self.present().wait(members, spins, limit, ready);
    }

    fn probe(&mut self, members: &[Member], round: RoundId, phase: Phase) -> Option<Death> {
        self.present_mut().probe(members, round, phase)
    }

    fn patrol(&self, now: Instant) {
        self.present().patrol(now);
    }

    fn death_of(&self, member: Member) -> Death {
        self.present().death_of(member)
    }

    fn is_gone(&self, member: Member) -> bool {
        self.present().is_gone(member)
    }

    fn kill(&mut self, member: Member, cause: DeathCause) {
        self.present_mut().kill(member, cause);
    }

    fn recover(&mut self, deadline: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), ExecuteError> {
        if self.inside.is_some() {
            self.go_outside();
        }
        if let Some(inside) = &mut self.inside {
            return inside.recover(deadline, cancelled);
        }
        if self.start_inside.is_none() {
            return self.processes.recover(deadline, cancelled);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = if self.processes.all_rest() { Duration::ZERO } else { PATIENCE.min(left / 2) };
        match self.processes.recover(Instant::now() + patience, cancelled) {
            Ok(()) => Ok(()),
            // A shard in this process would die of lost memory, too.
            Err(error) if cancelled() || matches!(error, ExecuteError::MemoryLost { .. }) => Err(error),
            Err(error) => self.go_inside(&error).map(|_| ()),
        }
    }

    fn mend_memory(&mut self, anyway: bool) -> Result<bool, ExecuteError> {
        // Whoever executes blocks, what is lost for shard processes stays lost.
        self.processes.mend_memory(anyway)
    }

    fn explain(&mut self, death: Death, limit: Duration) -> Death {
        self.present_mut().explain(death, limit)
    }

    fn park_limit(&self) -> Option<Duration> {
        self.present().park_limit()
    }

    fn stall_limit(&self) -> Option<Duration> {
        self.present().stall_limit()
    }

    fn fall_back(&mut self, why: &ExecuteError) -> bool {
        self.inside.is_none() && self.go_inside(why).unwrap_or(false)
    }
}
