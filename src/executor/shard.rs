//! The shard loop, written once for threads and processes: execute in block order or what others wait for first, answer every edge,
//! never wait for room, take over what others have left, leave when the round is cut short.

mod claiming;
mod round;

use crate::durable::ColdStore;
use crate::executor::board::{Announcement, BoardReader};
use crate::executor::cold_desk::ColdDesk;
use crate::executor::examination::Examination;
use crate::executor::key_numbers::KeyNumbers;
use crate::executor::local::LocalStore;
use crate::executor::message::{Message, Payload};
use crate::executor::output_arena::OutputArenaWriter;
use crate::executor::overlay::{OverlayReader, Versions};
use crate::executor::progress::Progress;
use crate::executor::span_region::SpanWriter;
use crate::executor::transport::Transport;
use crate::executor::view::{ViewBuffers, begin_block};
use crate::partition::{ArenaError, ArenaReader, RoundPlan};
use crate::state::StateReader;
use crate::types::{Generation, Origin, RoundId, ShardId};
use crate::vm::Vm;
use claiming::FreeList;
use phalanx_ipc::{Activity, Cell, ChildSlot, Control, fail_point};
use round::Round;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Most messages kept for a round not announced yet; a peer that sends more is damaged.
const EARLY_MAX: usize = 1 << 20;
/// How far ahead of the last round that a shard took part in the next one may be: others go on without it.
const EARLY_ROUNDS: u64 = 1 << 16;

/// Counters in a child slot, by place.
pub(crate) mod counter {
    /// Transactions executed.
    pub(crate) const EXECUTED: usize = 0;
    /// Messages sent.
    pub(crate) const SENT: usize = 1;
    /// Messages received and used.
    pub(crate) const RECEIVED: usize = 2;
    /// Messages of other rounds, or against the plan, dropped.
    pub(crate) const STALE: usize = 3;
    /// Times that the shard had to wait for a peer.
    pub(crate) const WAITS: usize = 4;
    /// Messages that found no room at once.
    pub(crate) const DELAYED: usize = 5;
    /// Damaged words of rings that were passed over or put back.
    pub(crate) const DAMAGED: usize = 6;
    /// Nanoseconds of waiting for a peer.
    pub(crate) const WAITED_NS: usize = 7;
    /// Transactions examined.
    pub(crate) const EXAMINED: usize = 8;
}

/// Everything that a shard reads and writes beside its channels.
#[derive(Debug)]
pub(crate) struct ShardMemory {
    pub(crate) board: BoardReader,
    pub(crate) arenas: [ArenaReader; 2],
    pub(super) overlay: OverlayReader,
    pub(crate) base: StateReader,
    /// What the base state does not hold, if it is a cache.
    pub(crate) cold: Option<ColdStore>,
    pub(crate) outputs: OutputArenaWriter,
    pub(crate) spans: SpanWriter,
}

/// A value that came over an edge.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    round: RoundId,
    from: ShardId,
    origin: Origin,
    payload: Payload,
}

const NOT_ARRIVED: Arrival =
    Arrival { round: RoundId(0), from: ShardId(0), origin: Origin::BASE, payload: Payload::Unknown };

/// Buffers of a shard, kept from round to round.
#[derive(Debug, Default)]
struct Scratch {
    local: LocalStore,
    extra: KeyNumbers,
    arrivals: Vec<Arrival>,
    /// Messages of a round that this shard has not seen announced yet.
    early: Vec<(ShardId, Cell)>,
    /// Messages that found no room, by receiver.
    outbox: Vec<VecDeque<Cell>>,
    /// How many they are in all.
    waiting: usize,
    view: ViewBuffers,
    examination: Examination,
    long_value: Vec<u8>,
    touched: Vec<ShardId>,
    free: FreeList,
}

/// Why a shard left its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundEnd {
    /// Its transactions are executed, or claimed by others, and all edges answered.
    Finished,
    /// The coordinator cut the round short, the output arena is full, or the store cannot be read: the rest is planned again.
    CutShort,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard<'s, V, T> {
    id: ShardId,
    vm: V,
    memory: ShardMemory,
    transport: T,
    /// Everybody's slots.
    control: &'s Control,
    slot: &'s ChildSlot,
    generation: Generation,
    scratch: Scratch,
}

impl<'s, V: Vm, T: Transport> Shard<'s, V, T> {
    pub(crate) fn new(
        id: ShardId,
        vm: V,
        memory: ShardMemory,
        transport: T,
        (control, slot): (&'s Control, &'s ChildSlot),
        generation: Generation,
    ) -> Self {
        Shard { id, vm, memory, transport, control, slot, generation, scratch: Scratch::default() }
    }

    /// Takes part in no round announced before now. Call once before [`run`](Self::run) and before the shard is called
    /// ready.
    pub(crate) fn join(&mut self) -> RoundId {
        let announced = self.memory.board.announced(self.id).round;
        self.slot.parked.store(announced.0, Ordering::Release);
        announced
    }

    /// Executes round after round until `stopped` answers true, sleeping in between.
    pub(crate) fn run(&mut self, mut last: RoundId, mut stopped: impl FnMut() -> bool) {
        while !stopped() {
            let announcement = self.memory.board.announced(self.id);
            if announcement.round == last {
                self.idle(last, &mut stopped);
                continue;
            }
            last = announcement.round;
            if !announcement.is_for(self.generation) {
                // Meant for the life before this one; nobody waits for this one to leave the round, so it must not enter.
                self.slot.parked.store(last.0, Ordering::SeqCst);
                continue;
            }
            self.slot.set_activity(Activity::Running);
            if let Err(error) = self.run_round(announcement) {
                self.slot.set_message(&error.to_string());
                tracing::error!(%error, round = %last, "round's plan cannot be read");
            }
            self.slot.set_activity(Activity::Parked);
            self.slot.parked.store(last.0, Ordering::SeqCst);
            fail_point("parked");
            self.transport.ring_coordinator();
        }
    }

    /// Sleeps until something happens. A peer may have seen the next round first: what it sends already is kept, all
    /// else that arrives between rounds is stale.
    fn idle(&mut self, last: RoundId, stopped: &mut impl FnMut() -> bool) {
        let Shard { id, memory, transport, slot, scratch, .. } = self;
        transport.wait(None, || memory.board.announced(*id).round != last || stopped());
        let mut stale = 0;
        let damaged = transport.receive(|from, cell| {
            let ahead = Message::round_of(cell)
                .0
                .checked_sub(last.0)
                .is_some_and(|ahead| (1..=EARLY_ROUNDS).contains(&ahead));
            if ahead && scratch.early.len() < EARLY_MAX {
                scratch.early.push((from, *cell));
            } else {
                stale += 1;
            }
        });
        add(slot, counter::STALE, stale);
        add(slot, counter::DAMAGED, damaged);
    }

    fn run_round(&mut self, announcement: Announcement) -> Result<(), ArenaError> {
        let Shard { id, vm, memory, transport, control, slot, scratch, .. } = self;
        let arena = &memory.arenas[announcement.arena & 1];
        let plan = arena.round()?;
        if plan.header.round != announcement.round {
            return Ok(());
        }
        fail_point("round entered");
        memory.spans.enter(announcement.round);
        memory.outputs.clear();
        Progress::done(announcement.round, 0).publish(slot);
        begin_block(vm, &plan.block_header()?, &mut scratch.view);
        scratch.start_round(&plan, announcement.round);
        let overlay = if plan.header.has_overlay != 0 { memory.overlay.versions() } else { Versions::NONE };
        let mut round = Round {
            id: *id,
            vm,
            plan: &plan,
            board: &memory.board,
            base: memory.base.table(),
            overlay,
            outputs: &mut memory.outputs,
            spans: &mut memory.spans,
            cold: ColdDesk::over(memory.cold.as_ref()),
            transport,
            control,
            slot,
            scratch,
            done: 0,
        };
        let end = round.execute_all();
        let done = round.done;
        drop(round);
        if end == RoundEnd::CutShort {
            Progress::partial(announcement.round, done).publish(slot);
            scratch.outbox.iter_mut().for_each(VecDeque::clear);
            scratch.waiting = 0;
        }
        memory.spans.leave();
        Ok(())
    }
}

impl Scratch {
    fn start_round(&mut self, plan: &RoundPlan<'_>, round: RoundId) {
        self.local.start_round(round, plan.keys());
        self.extra.clear();
        self.examination.clear();
        self.arrivals.resize(plan.edges.len().max(self.arrivals.len()), NOT_ARRIVED);
    }
}

/// Only the shard itself writes its counters: no read-modify-write is needed.
fn add(slot: &ChildSlot, counter: usize, more: u64) {
    if more > 0 {
        let word = &slot.counters[counter];
        word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}
