//! What a shard process does from fork to death.

use crate::durable::ColdStore;
use crate::executor::{ExecuteError, MemoryConfig, OutputArenaReader, Shard, ShardFds, ShardLimits};
use crate::supervisor::protocol::LaunchOrder;
use crate::supervisor::ring_transport::RingTransport;
use crate::supervisor::turns;
use crate::telemetry::name_process;
use crate::types::{CpuId, Generation, ShardId};
use crate::vm::Vm;
use nix::unistd::Pid;
use phalanx_ipc::{
    ChildSlot, Control, Inbox, InboxLayout, NodePolicy, OsCause, Outlet, Region, SignalSetup,
    close_all_fds_except, die_with_parent, fail_point, install_fault_handlers, monotonic_now,
    pin_current_thread, set_own_policy,
};
use std::error::Error;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

/// How much the kernel likes to kill the calling process for want of memory.
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// Exit code of a shard that could not start.
pub(super) const EXIT_START: i32 = 70;
/// Exit code of a shard that panicked outside a transaction.
pub(super) const EXIT_PANIC: i32 = 71;

/// Descriptors as the launch order lists them.
#[derive(Debug)]
pub(super) struct FamilyFds {
    pub(super) shared: ShardFds,
    pub(super) shards: Vec<OneShardFds>,
}

/// Descriptors of one shard's own regions.
#[derive(Debug)]
pub(super) struct OneShardFds {
    pub(super) inbox: OwnedFd,
    pub(super) outputs: OwnedFd,
    pub(super) outputs_reader: OwnedFd,
    pub(super) spans: Option<OwnedFd>,
}

/// What a fresh shard is told.
pub(super) struct Birth<'a, V> {
    pub(super) id: ShardId,
    pub(super) generation: u32,
    pub(super) supervisor: Pid,
    /// The CPU to run on.
    pub(super) core: CpuId,
    pub(super) order: &'a LaunchOrder,
    pub(super) fds: &'a FamilyFds,
    pub(super) control: &'a Control,
    pub(super) vm: &'a V,
}

impl<V: Vm> Birth<'_, V> {
    /// Runs the shard; returns the exit code if it cannot start or panics.
    pub(super) fn live(&self) -> i32 {
        let Some(slot) = self.control.slot(self.id.0) else { return EXIT_START };
        let lived = crate::vm::catch_panic(|| self.start_and_run(slot));
        match lived {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                slot.set_last_words(self.generation, &error.to_string());
                tracing::error!(%error, "shard cannot start");
                EXIT_START
            }
            Err(note) => {
                slot.set_last_words(self.generation, &note.0);
                tracing::error!(message = note.0, "shard panicked");
                EXIT_PANIC
            }
        }
    }

    fn start_and_run(&self, slot: &ChildSlot) -> Result<(), Box<dyn Error>> {
        if self.order.run_first {
            turns::as_newborn();
        }
        SignalSetup::child()?;
        fail_point("shard untied");
        die_with_parent(self.supervisor)?;
        // Whoever looks for shards by name finds those that go with their supervisor.
        name_process(&format!("phx-shard-{}", self.id));
        fail_point("shard born");
        slot.lifeline(self.generation).hold()?;
        fail_point("lifeline held");
        // SAFETY: slot and doorbell lie in the control segment, which stays mapped until the process ends.
        #[allow(unsafe_code, reason = "a signal handler keeps pointers to slot and doorbell")]
        unsafe {
            install_fault_handlers(slot, self.control.bell(), self.generation)?;
        }
        if let Err(error) = pin_current_thread(self.core.index()) {
            tracing::warn!(%error, "shard is not pinned");
        }
        self.settle_memory();
        let config = MemoryConfig::from(self.order.memory);
        let limits = ShardLimits::of(&config, self.order.timeline);
        let own = self.fds.shards.get(self.id.index()).ok_or("no descriptors for this shard")?;
        let outputs = self.map_writer(&own.outputs)?;
        let spans = own.spans.as_ref().map(copy_of).transpose()?;
        let spans = spans.map(Region::map_writer).transpose()?;
        let mut memory = self.fds.shared.duplicate()?.map(outputs, spans, &limits)?;
        let transport = self.attach(&limits)?;
        let vm = self.vm.clone();
        fail_point("regions mapped");
        // Everything is mapped: from here on the shard needs no descriptor of those.
        close_all_fds_except(&[])?;
        // But for the store's two files: a lock on one of them says for life that this reader lives.
        memory.cold = self.order.cold.as_ref().map(ColdStore::open).transpose()?;
        fail_point("store opened");
        let generation = Generation(self.generation);
        // Never dropped, by a panic neither: its descriptors are closed already.
        let slots = (self.control, slot);
        let mut shard = ManuallyDrop::new(Shard::new(self.id, vm, memory, transport, slots, generation));
        let last = shard.join();
        fail_point("about to be ready");
        slot.record_ready(self.generation, monotonic_now());
        fail_point("ready");
        self.control.bell().ring();
        // Until now it was urgent; from now on it works, as anyone does.
        if self.order.run_first {
            turns::as_shard(self.order.nice);
        }
        tracing::debug!(generation = self.generation, "shard is ready");
        shard.run(last, || false);
        Ok(())
    }

    /// Own memory near the core from here on; and the kernel kills a shard before anyone who cannot be replaced.
    fn settle_memory(&self) {
        if let Some(&node) = self.order.heaps.get(self.id.index())
            && let Err(error) = set_own_policy(&NodePolicy::Near(node))
        {
            tracing::warn!(%error, node, "the shard's own memory is not placed");
        }
        let present = std::fs::read_to_string(OOM_SCORE_FILE).ok().and_then(|text| text.trim().parse().ok());
        let wanted = self.order.oom_score_adj.max(present.unwrap_or(0));
        if let Err(error) = std::fs::write(OOM_SCORE_FILE, wanted.to_string()) {
            tracing::debug!(%error, wanted, "oom_score_adj cannot be set");
        }
    }

    /// A region that this shard touches, on huge pages where that is wanted and possible.
    fn map_writer(&self, fd: &OwnedFd) -> Result<Region, Box<dyn Error>> {
        let region = Region::map_writer(copy_of(fd)?)?;
        if self.order.huge_pages
            && let Err(error) = region.prefer_huge_pages()
        {
            tracing::warn!(%error, "no huge pages; see transparent_hugepage/shmem_enabled");
        }
        Ok(region)
    }

    fn attach(&self, limits: &ShardLimits) -> Result<RingTransport<'_>, Box<dyn Error>> {
        let layout = InboxLayout::new(self.order.cores.len(), usize::try_from(self.order.ring_cells)?)?;
        let (mut outlets, mut readers, mut inbox) = (Vec::new(), Vec::new(), None);
        for (place, fds) in self.fds.shards.iter().enumerate() {
            let region = self.map_writer(&fds.inbox)?;
            if place == self.id.index() {
                let mut own = Inbox::attach(region, layout)?;
                // Whatever the last life left unread is stale.
                own.drain_all(|_, _| {});
                inbox = Some(own);
                outlets.push(None);
                readers.push(None);
            } else {
                outlets.push(Some(Outlet::attach(region, layout, self.id.index())?));
                readers.push(Some(OutputArenaReader::map(copy_of(&fds.outputs_reader)?, limits.outputs)?));
            }
        }
        let inbox = inbox.ok_or("no inbox for this shard")?;
        Ok(RingTransport {
            spins: self.order.spins,
            inbox,
            outlets,
            readers,
            control: self.control,
            unrung: false,
        })
    }
}

/// The descriptors stay with the supervisor, for the next life.
fn copy_of(fd: &OwnedFd) -> Result<OwnedFd, ExecuteError> {
    fd.try_clone().map_err(|error| ExecuteError::system(OsCause::from(error)))
}
