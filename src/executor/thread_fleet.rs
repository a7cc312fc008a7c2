//! Threads of this process as shards.

use crate::durable::ColdStore;
use crate::executor::error::{Death, DeathCause, ExecuteError};
use crate::executor::fleet::{Fleet, Member, Phase};
use crate::executor::output_arena::OutputArenaReader;
use crate::executor::shard::{Shard, ShardMemory};
use crate::executor::shard_regions::{ShardFds, ShardLimits};
use crate::executor::span_region::{SpanReader, create_span_region};
use crate::executor::transport::Transport;
use crate::topology::{Host, Spins};
use crate::types::{Generation, RoundId, ShardId};
use crate::vm::Vm;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use phalanx_ipc::{Cell, ChildSlot, Control, Doorbell, Region, Turns, nice_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Cells that one shard's channel holds.
const CHANNEL_CELLS: usize = 16_384;

/// What travels in a channel: a cell from a shard, or a nudge to look at the board.
enum Parcel {
    Cell(ShardId, Cell),
    Nudge,
}

struct ThreadTransport {
    id: ShardId,
    spins: u32,
    peers: Vec<Sender<Parcel>>,
    inbox: Receiver<Parcel>,
    /// A parcel taken while waiting.
    held: Option<Parcel>,
    readers: Arc<Vec<OutputArenaReader>>,
    control: Arc<Control>,
}

impl Transport for ThreadTransport {
    fn send(&mut self, to: ShardId, cell: &Cell) -> bool {
        let parcel = Parcel::Cell(self.id, *cell);
        // A receiver that is gone needs no cells: the round is about to be cut short.
        self.peers.get(to.index()).is_none_or(|peer| match peer.try_send(parcel) {
            Ok(()) => true,
            Err(error) => !error.is_full(),
        })
    }

    fn publish(&mut self, _: ShardId) {}

    fn receive(&mut self, mut each: impl FnMut(ShardId, &Cell)) -> u64 {
        let held = self.held.take();
        for parcel in held.into_iter().chain(self.inbox.try_iter()) {
            match parcel {
                Parcel::Cell(from, cell) => each(from, &cell),
                Parcel::Nudge => {}
            }
        }
        0
    }

    fn wait(&mut self, timeout: Option<Duration>, mut ready: impl FnMut() -> bool) {
        for _ in 0..=self.spins {
            if self.held.is_some() || ready() {
                return;
            }
            match self.inbox.try_recv() {
                Ok(parcel) => {
                    self.held = Some(parcel);
                    return;
                }
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        // A full channel gives no sign when it has room again: whoever waits with cells in its outbox looks up often.
        let received = match timeout {
            Some(timeout) => self.inbox.recv_timeout(timeout),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.held = received.ok();
    }

    fn ring_coordinator(&self) {
        self.control.bell().ring();
    }

    fn fetch(&self, from: ShardId, offset: u64, length: u32, into: &mut Vec<u8>) -> bool {
        self.readers.get(from.index()).is_some_and(|reader| reader.fetch(offset, length, into))
    }
}

/// Threads that are shards.
pub(crate) struct ThreadFleet {
    /// The one life of each.
    life: Generation,
    control: Arc<Control>,
    readers: Arc<Vec<OutputArenaReader>>,
    /// Empty if no timeline is wanted.
    spans: Vec<SpanReader>,
    doors: Vec<Sender<Parcel>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    spins: u32,
}

impl ThreadFleet {
    /// Starts `shards` threads, pinned to the first cores that this process may use. Every one of them is in its `life`.
    /// `cold` is what the base state does not hold, if it is a cache.
    ///
    /// # Errors
    /// [`ExecuteError`] when memory or threads cannot be had; none is left running then.
    pub(crate) fn launch<V: Vm>(
        shards: usize,
        life: Generation,
        fds: &ShardFds,
        limits: &ShardLimits,
        cold: Option<&ColdStore>,
        vm: &V,
    ) -> Result<ThreadFleet, ExecuteError> {
        let host = Host::detect()?;
        let count = u32::try_from(shards).map_err(ExecuteError::system)?;
        let control = Arc::new(Control::create_private(count).map_err(ExecuteError::system)?);
        let spins = Spins::adapted(&host, shards).turns();
        let (mut regions, mut readers, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..shards {
            let region =
                Region::create("phalanx-outputs", limits.outputs.bytes()).map_err(ExecuteError::system)?;
            let fd = region.reader_fd().map_err(ExecuteError::system)?;
            readers.push(OutputArenaReader::map(fd, limits.outputs).map_err(ExecuteError::system)?);
            let own_spans =
                limits.timeline.map(create_span_region).transpose().map_err(ExecuteError::system)?;
            if let Some((region, config)) = own_spans.as_ref().zip(limits.timeline) {
                let fd = region.reader_fd().map_err(ExecuteError::system)?;
                spans.push(SpanReader::map(fd, config).map_err(ExecuteError::system)?);
            }
            regions.push((region, own_spans));
        }
        let (doors, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(CHANNEL_CELLS)).unzip();
        let (readers, stop) = (Arc::new(readers), Arc::new(AtomicBool::new(false)));
        let mut fleet =
            ThreadFleet { life, control, readers, spans, doors, threads: Vec::new(), stop, spins };
        for ((id, (outputs, own_spans)), inbox) in (0_u32..).zip(regions).zip(inboxes) {
            let memory = fds.duplicate()?.map(outputs, own_spans, limits).map_err(ExecuteError::system)?;
            let memory = ShardMemory { cold: cold.cloned(), ..memory };
            fleet.start(ShardId(id), host.core_of(id as usize), vm.clone(), memory, inbox)?;
        }
        Ok(fleet)
    }

    fn start<V: Vm>(
        &mut self,
        id: ShardId,
        core: usize,
        vm: V,
        memory: ShardMemory,
        inbox: Receiver<Parcel>,
    ) -> Result<(), ExecuteError> {
        let transport = ThreadTransport {
            id,
            spins: self.spins,
            peers: self.doors.clone(),
            inbox,
            held: None,
            readers: Arc::clone(&self.readers),
            control: Arc::clone(&self.control),
        };
        let (control, stop, life) = (Arc::clone(&self.control), Arc::clone(&self.stop), self.life);
        let thread = std::thread::Builder::new().name(format!("phx-thread-{id}")).spawn(move || {
            // Whoever starts it may run before everyone: a transaction must not.
            if let Err(error) = (Turns::Fair { nice: nice_now().max(0) }).ask() {
                tracing::warn!(shard = %id, %error, "thread keeps the turns of who started it");
            }
            if let Err(error) = phalanx_ipc::pin_current_thread(core) {
                tracing::warn!(shard = %id, %error, "thread is not pinned");
            }
            if let Some(slot) = control.slot(id.0) {
                let mut shard = Shard::new(id, vm, memory, transport, (&control, slot), life);
                let last = shard.join();
                slot.ready_generation.store(life.0, Ordering::Release);
                control.bell().ring();
                shard.run(last, || stop.load(Ordering::SeqCst));
            }
        });
        self.threads.push(thread.map_err(ExecuteError::system)?);
        Ok(())
    }
}

impl Fleet for ThreadFleet {
    fn ready(&self, members: &mut Vec<Member>) {
        members.clear();
        for (id, thread) in (0_u32..).zip(&self.threads) {
            let ready = self.slot(ShardId(id)).is_some_and(|slot| {
                slot.ready_generation.load(Ordering::Acquire) == self.life.0 && !thread.is_finished()
            });
            if ready {
                members.push(Member { shard: ShardId(id), generation: self.life, pid: 0 });
            }
        }
    }

    fn slot(&self, shard: ShardId) -> Option<&ChildSlot> {
        self.control.slot(shard.0)
    }

    fn outputs(&self, shard: ShardId) -> Option<&OutputArenaReader> {
        self.readers.get(shard.index())
    }

    fn spans(&self, shard: ShardId) -> Option<&SpanReader> {
        self.spans.get(shard.index())
    }

    fn bell(&self) -> &Doorbell {
        self.control.bell()
    }

    fn spins(&self) -> u32 {
        self.spins
    }

    fn ring(&self, shard: ShardId) {
        if let Some(door) = self.doors.get(shard.index()) {
            // A full channel wakes its receiver as well.
            let _ = door.try_send(Parcel::Nudge);
        }
    }

    fn ring_all(&self) {
        (0_u32..).zip(&self.doors).for_each(|(id, _)| self.ring(ShardId(id)));
    }

    fn wait(&self, _: &[Member], spins: u32, limit: Duration, ready: &mut dyn FnMut() -> bool) {
        self.bell().wait(spins, Some(limit), ready);
    }

    fn probe(&mut self, members: &[Member], _: RoundId, _: Phase) -> Option<Death> {
        members.iter().find(|&&member| self.is_gone(member)).map(|&dead| self.death_of(dead))
    }

    fn patrol(&self, _: Instant) {
        // A thread that is gone is found in the next round; nobody makes another.
    }

    fn death_of(&self, member: Member) -> Death {
        let cause = DeathCause::Unknown;
        Death { shard: member.shard, pid: 0, generation: self.life, txn: None, cause }
    }

    fn is_gone(&self, member: Member) -> bool {
        self.threads.get(member.shard.index()).is_none_or(JoinHandle::is_finished)
    }

    fn kill(&mut self, _: Member, _: DeathCause) {}

    fn recover(&mut self, deadline: Instant, _: &dyn Fn() -> bool) -> Result<(), ExecuteError> {
        let started = |slot: &ChildSlot| slot.ready_generation.load(Ordering::Acquire) == self.life.0;
        let all_started =
            || (0_u32..).zip(&self.threads).all(|(id, _)| self.slot(ShardId(id)).is_none_or(started));
        while !all_started() && Instant::now() < deadline {
            self.bell().wait(0, Some(Duration::from_millis(1)), all_started);
        }
        Ok(())
    }

    fn explain(&mut self, death: Death, _: Duration) -> Death {
        death
    }

    fn park_limit(&self) -> Option<Duration> {
        None
    }

    fn stall_limit(&self) -> Option<Duration> {
        None
    }
}

impl Drop for ThreadFleet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.ring_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
