//! One round of one shard: its transactions in block order, or the tied ones before the free ones, every edge answered, then what
//! others have left, until the end or the cut.

use super::claiming::{Meanwhile, OwnClaims};
use super::{Arrival, RoundEnd, Scratch, add, counter};
use crate::executor::board::BoardReader;
use crate::executor::cold_desk::ColdDesk;
use crate::executor::message::{CELL_VALUE_BYTES, Message, Payload};
use crate::executor::output_arena::OutputArenaWriter;
use crate::executor::overlay::Versions;
use crate::executor::progress::Progress;
use crate::executor::source::ShardSource;
use crate::executor::span_region::SpanWriter;
use crate::executor::transport::Transport;
use crate::executor::view::execute_transaction;
use crate::partition::{Edge, FREE, FREE_FIRST, NO_TXN, PlannedTransaction, RoundPlan, SubBlock};
use crate::state::StateTable;
use crate::types::{Origin, ShardId, TxnIndex};
use crate::vm::{Finding, Vm};
use phalanx_ipc::{Activity, Cell, ChildSlot, Control, fail_point};
use std::collections::VecDeque;
use std::iter::successors;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// While a round runs, a waiting shard looks up this often even if nobody rings: a lost wake-up by damaged memory
/// costs time, not the round.
const WAIT_LIMIT: Duration = Duration::from_millis(10);

/// Keys fetched ahead per transaction.
const PREFETCH_MAX: usize = 16;

/// One round of one shard.
pub(super) struct Round<'a, V, T> {
    pub(super) id: ShardId,
    pub(super) vm: &'a mut V,
    pub(super) plan: &'a RoundPlan<'a>,
    pub(super) board: &'a BoardReader,
    pub(super) base: StateTable<'a>,
    pub(super) overlay: Versions<'a>,
    pub(super) outputs: &'a mut OutputArenaWriter,
    pub(super) spans: &'a mut SpanWriter,
    /// Its reads of the store end with the round: pages that the store frees meanwhile are kept for them.
    pub(super) cold: ColdDesk<'a>,
    pub(super) transport: &'a mut T,
    pub(super) control: &'a Control,
    pub(super) slot: &'a ChildSlot,
    pub(super) scratch: &'a mut Scratch,
    /// Transactions done so far.
    pub(super) done: u32,
}

impl<V: Vm, T: Transport> Round<'_, V, T> {
    pub(super) fn execute_all(&mut self) -> RoundEnd {
        let Some(&part) = self.plan.sub_blocks.get(self.id.index()) else { return RoundEnd::Finished };
        let mut own = OwnClaims::of(&part, self.plan.header.round);
        // What is examined together is executed in a row, whatever the plan knows of it.
        let tied_first = part.tied_first != 0 && self.vm.examines_at_once() == 0;
        if self.execute_own(0..part.free_first, &mut own)
            && self.execute_part(&part, tied_first, &mut own)
            && (!tied_first || self.execute_own(part.free_first..part.free, &mut own))
            && self.take_over()
        {
            self.empty_outbox()
        } else {
            RoundEnd::CutShort
        }
    }

    /// Executes what is planned for this shard and nobody has taken over, without its free transactions if they are left for later;
    /// false when the round is cut short.
    fn execute_part(&mut self, part: &SubBlock, tied_first: bool, own: &mut OwnClaims) -> bool {
        let (mut txn, mut position) = (part.first, part.free_first);
        let mut ahead = self.prefetch(self.prefetch(txn));
        for behind in (0..part.count).rev() {
            // Planned chains are never shorter than their count; a damaged one ends the round.
            let Some(&planned) = self.plan.planned.get(txn.index()) else { return false };
            let is_own = match planned.freedom {
                FREE if tied_first => false,
                FREE => {
                    position += 1;
                    own.hold(self.slot, position - 1)
                }
                freedom => freedom != FREE_FIRST,
            };
            if !is_own {
                self.scratch.examination.skip();
            } else if !self.execute_in_turn(txn, behind, &planned) {
                return false;
            }
            txn = planned.next;
            ahead = self.prefetch(ahead);
        }
        true
    }

    /// Executes one transaction with `behind` left behind it, and answers those that wait for it.
    fn execute_in_turn(&mut self, txn: TxnIndex, behind: u32, planned: &PlannedTransaction) -> bool {
        // Before it is waited for anything: this needs no values.
        let finding = self.examine(txn, behind);
        if !self.await_required(txn, behind, planned) || !self.execute((txn, finding), planned) {
            return false;
        }
        self.answer_dependents(txn, planned);
        true
    }

    /// Fetches what a transaction will read of the plan and of the base state, and returns the one after it.
    pub(super) fn prefetch(&self, txn: TxnIndex) -> TxnIndex {
        let Some(planned) = self.plan.planned.get(txn.index()) else { return NO_TXN };
        self.plan.prefetch(txn, PREFETCH_MAX, |hash| self.base.prefetch(hash));
        planned.next
    }

    /// What is known about a transaction, by examining it and those after it if need be; `behind` are left behind it.
    fn examine(&mut self, txn: TxnIndex, behind: u32) -> Finding {
        let upcoming = upcoming(self.plan, txn).take(behind as usize + 1);
        let finding = self.scratch.examination.next(self.vm, upcoming);
        self.count_examined();
        finding
    }

    /// Examines some of the `behind` transactions behind `txn`; false if there is nothing to do.
    fn examine_behind(&mut self, txn: TxnIndex, behind: u32) -> bool {
        let upcoming = upcoming(self.plan, txn).skip(1).take(behind as usize);
        let examined = self.scratch.examination.go_ahead(self.vm, upcoming);
        self.count_examined();
        examined
    }

    /// Shows that the shard moves, although no transaction is done.
    pub(super) fn count_examined(&mut self) {
        add(self.slot, counter::EXAMINED, self.scratch.examination.take_examined());
    }

    /// Waits for the required edges of one transaction, with `behind` left behind it; false when the round is cut short.
    fn await_required(&mut self, txn: TxnIndex, behind: u32, planned: &PlannedTransaction) -> bool {
        if planned.required_count == 0 {
            return !self.board.is_aborted(self.plan.header.round);
        }
        if self.missing(planned) {
            self.receive();
        }
        if self.missing(planned) {
            self.spans.wait(Some(txn));
            while self.missing(planned) {
                if self.board.is_aborted(self.plan.header.round) {
                    return false;
                }
                self.flush_outbox();
                if self.examine_behind(txn, behind) {
                    self.receive();
                    continue;
                }
                match self.execute_meanwhile(txn) {
                    Meanwhile::Executed => self.receive(),
                    Meanwhile::NothingLeft => self.wait(),
                    Meanwhile::CutShort => return false,
                }
            }
            self.spans.resume();
        }
        !self.board.is_aborted(self.plan.header.round)
    }

    fn missing(&self, planned: &PlannedTransaction) -> bool {
        let round = self.plan.header.round;
        required(planned)
            .any(|edge| self.scratch.arrivals.get(edge).is_some_and(|arrival| arrival.round != round))
    }

    fn wait(&mut self) {
        self.slot.set_activity(Activity::Waiting);
        fail_point("edges awaited");
        add(self.slot, counter::WAITS, 1);
        self.flush_outbox();
        let (board, round, begun) = (self.board, self.plan.header.round, Instant::now());
        self.transport.wait(Some(WAIT_LIMIT), || board.is_aborted(round));
        add(self.slot, counter::WAITED_NS, u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.receive();
        self.slot.set_activity(Activity::Running);
    }

    fn receive(&mut self) {
        let (plan, id) = (self.plan, self.id);
        let Scratch { arrivals, early, .. } = &mut *self.scratch;
        let (mut used, mut stale) = (0, 0);
        let mut take = |from: ShardId, cell: &Cell| {
            let message = Message::decode(cell, plan.header.round, plan.edges);
            let known = message.filter(|message| plan.edges[message.edge as usize].to_shard == id.0);
            match known.and_then(|message| Some((arrivals.get_mut(message.edge as usize)?, message))) {
                Some((arrival, Message { round, origin, payload, .. })) => {
                    *arrival = Arrival { round, from, origin, payload };
                    used += 1;
                }
                None => stale += 1,
            }
        };
        early.drain(..).for_each(|(from, cell)| take(from, &cell));
        let damaged = self.transport.receive(take);
        add(self.slot, counter::DAMAGED, damaged);
        add(self.slot, counter::RECEIVED, used);
        add(self.slot, counter::STALE, stale);
    }

    /// Executes one transaction and publishes its output; false when that finds no room, or the store cannot be read.
    pub(super) fn execute(
        &mut self,
        (txn, finding): (TxnIndex, Finding),
        planned: &PlannedTransaction,
    ) -> bool {
        self.take_arrivals(txn, planned);
        self.slot.current.store(u64::from(txn.0) + 1, Ordering::Relaxed);
        fail_point("transaction begun");
        let Some((transaction, expected)) = self.plan.transaction(txn) else { return false };
        let Scratch { local, extra, view, .. } = &mut *self.scratch;
        let mut source = ShardSource {
            plan: self.plan,
            base: self.base,
            overlay: self.overlay,
            local,
            extra,
            cold: &mut self.cold,
            expected,
            cursor: 0,
            txn,
        };
        let (encoded, panic) =
            execute_transaction(self.vm, (transaction, finding), &mut source, view, txn, planned.incarnation);
        if let Some(note) = panic {
            // Perhaps on values that turn out wrong: the coordinator knows.
            tracing::info!(%txn, message = note.0, "transaction panicked");
            self.slot.set_message(&note.0);
        }
        if let Some(failure) = source.cold.failure() {
            tracing::error!(%txn, failure, "store cannot be read");
            self.slot.set_message(failure);
            return false;
        }
        let kept = self.outputs.push(encoded);
        fail_point("output written");
        source.keep_writes(view, planned.incarnation);
        self.slot.current.store(0, Ordering::Relaxed);
        add(self.slot, counter::EXECUTED, 1);
        if !kept {
            return false;
        }
        self.done += 1;
        Progress::done(self.plan.header.round, self.done).publish(self.slot);
        fail_point("progress published");
        self.spans.executed(txn);
        true
    }

    /// Puts the values of a transaction's required edges where its reads look.
    fn take_arrivals(&mut self, txn: TxnIndex, planned: &PlannedTransaction) {
        for place in required(planned) {
            let (Some(&edge), Some(&arrival)) =
                (self.plan.edges.get(place), self.scratch.arrivals.get(place))
            else {
                continue;
            };
            let Scratch { local, long_value, .. } = &mut *self.scratch;
            local.turn_back(edge.key.0, txn);
            // A value from the base state is read there: what a message says of it need not be believed.
            if arrival.origin == Origin::BASE || local.is_written_since(edge.key.0, edge.writer) {
                continue;
            }
            let value = match &arrival.payload {
                Payload::Absent => None,
                Payload::Value { bytes, length } => bytes.get(..usize::from(*length)),
                Payload::Reference { offset, length } => {
                    long_value.clear();
                    if !self.transport.fetch(arrival.from, *offset, *length, long_value) {
                        continue;
                    }
                    Some(long_value.as_slice())
                }
                Payload::Unknown => continue,
            };
            local.put_written(edge.key.0, value, arrival.origin, edge.writer);
        }
    }

    /// Sends the value of every dependent edge, whatever the transaction did to its key.
    fn answer_dependents(&mut self, txn: TxnIndex, planned: &PlannedTransaction) {
        let mut next = planned.dependent;
        self.scratch.touched.clear();
        while let Some(&edge) = self.plan.edges.get(next as usize) {
            let cell = self.answer(txn, next, &edge).encode();
            let to = ShardId(edge.to_shard);
            self.post(to, cell);
            if !self.scratch.touched.contains(&to) {
                self.scratch.touched.push(to);
            }
            // Edges of one writer are numbered downwards, so a damaged chain still ends.
            next = if edge.next_dependent < next { edge.next_dependent } else { u32::MAX };
        }
        if !self.scratch.touched.is_empty() {
            fail_point("cells pushed");
        }
        for place in 0..self.scratch.touched.len() {
            self.transport.publish(self.scratch.touched[place]);
        }
        self.flush_outbox();
    }

    fn answer(&mut self, txn: TxnIndex, number: u32, edge: &Edge) -> Message {
        let Scratch { local, extra, .. } = &mut *self.scratch;
        let after = TxnIndex(txn.0 + 1);
        let mut source = ShardSource {
            plan: self.plan,
            base: self.base,
            overlay: self.overlay,
            local,
            extra,
            cold: &mut self.cold,
            expected: &[],
            cursor: 0,
            txn,
        };
        source.bring_up(edge.key.0, after);
        let made_up = source.cold.failure().is_some();
        let (value, origin) = source.known(edge.key.0);
        let payload = match value {
            _ if made_up => Payload::Unknown,
            None => Payload::Absent,
            Some(value) if value.len() <= CELL_VALUE_BYTES => {
                let mut bytes = [0; CELL_VALUE_BYTES];
                bytes[..value.len()].copy_from_slice(value);
                Payload::Value { bytes, length: u8::try_from(value.len()).unwrap_or(0) }
            }
            Some(value) => match (self.outputs.keep_value(value), u32::try_from(value.len())) {
                (Some(offset), Ok(length)) => Payload::Reference { offset, length },
                _ => Payload::Unknown,
            },
        };
        let round = self.plan.header.round;
        Message { round, edge: number, key: edge.key, writer: edge.writer, origin, payload }
    }

    /// Sends a cell, or keeps it in the outbox behind those that already wait there.
    fn post(&mut self, to: ShardId, cell: Cell) {
        add(self.slot, counter::SENT, 1);
        let outbox = &mut self.scratch.outbox;
        if outbox.get(to.index()).is_none_or(VecDeque::is_empty) && self.transport.send(to, &cell) {
            return;
        }
        if outbox.len() <= to.index() {
            outbox.resize(to.index() + 1, VecDeque::new());
        }
        outbox[to.index()].push_back(cell);
        self.scratch.waiting += 1;
        add(self.slot, counter::DELAYED, 1);
    }

    /// Sends from the outbox what fits now.
    pub(super) fn flush_outbox(&mut self) {
        if self.scratch.waiting == 0 {
            return;
        }
        for (to, waiting) in (0_u32..).zip(&mut self.scratch.outbox) {
            if waiting.is_empty() {
                continue;
            }
            while let Some(cell) = waiting.front() {
                if !self.transport.send(ShardId(to), cell) {
                    break;
                }
                waiting.pop_front();
                self.scratch.waiting -= 1;
            }
            self.transport.publish(ShardId(to));
        }
    }

    /// Stays until the last message is out, draining its own rings meanwhile.
    fn empty_outbox(&mut self) -> RoundEnd {
        self.flush_outbox();
        if self.scratch.waiting == 0 {
            return RoundEnd::Finished;
        }
        self.spans.wait(None);
        loop {
            self.flush_outbox();
            if self.scratch.waiting == 0 {
                return RoundEnd::Finished;
            }
            if self.board.is_aborted(self.plan.header.round) {
                return RoundEnd::CutShort;
            }
            self.wait();
        }
    }
}

/// The encoded transactions of a sub-block from `txn` on.
fn upcoming<'p>(plan: &'p RoundPlan<'_>, txn: TxnIndex) -> impl Iterator<Item = &'p [u8]> {
    let chain = successors(Some(txn), |txn| Some(plan.planned.get(txn.index())?.next));
    chain.map_while(|txn| Some(plan.transaction(txn)?.0))
}

fn required(planned: &PlannedTransaction) -> impl Iterator<Item = usize> + use<> {
    let start = planned.required_start as usize;
    start..start.saturating_add(planned.required_count as usize)
}
