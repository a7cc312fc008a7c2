//! The planner: one pass in block order that puts every open transaction on the shard where it can finish earliest, around those
//! few that are so long that they were put somewhere before.
//!
//! List scheduling with communication costs (the earliest-finish-time rule of HEFT, Topcuoglu 2002, with the block
//! order as the priority list). The same inputs always give the same plan. Transactions that wait for nobody and that
//! nobody waits for are marked as free: while the round runs, a shard with nothing left to do takes over those of others.

mod freedom;
mod load_tree;
mod longest;

use crate::partition::arena::{ArenaError, Edge, FREE, NO_EDGE, NO_TXN, PlannedTransaction, SubBlock};
use crate::partition::arena_writer::{ArenaWriter, PlanParts};
use crate::topology::{CostMatrix, DISTANCE_LOCAL};
use crate::types::{
    AccessMode, Incarnation, KeyId, PreparedTransaction, RoundId, ShardId, TransactionAccess, TxnIndex,
};
use freedom::{LONG_NS, Long};
use load_tree::LoadTree;
use longest::Seated;
use std::collections::HashMap;

/// Where a transaction stands between rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// To be executed in the next round.
    Open,
    /// Has a current output that is not final yet; the overlay shows it.
    Provisional,
    /// Final.
    Accepted,
}

/// What communication is assumed to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// From the end of a writer to the arrival of its value at another shard, in nanoseconds.
    pub edge_ns: u64,
}

impl Default for CostModel {
    fn default() -> CostModel {
        CostModel { edge_ns: 2_000 }
    }
}

/// Whether transactions wait for the values of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For the last one that is expected to write what they read.
    ForWriters,
    /// For nobody: what they read is foreseen.
    Never,
}

/// What a plan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanTotals {
    /// Transactions planned.
    pub transactions: u32,
    /// Cross-shard edges.
    pub edges: u32,
    /// Expected time until the last shard has finished, in nanoseconds.
    pub makespan_ns: u64,
}

/// Who last changes a key, as far as planned.
#[derive(Clone, Copy, Debug)]
struct LastWriter {
    txn: TxnIndex,
    /// Index into the shards in use.
    seat: u32,
    /// Newest of the edges that already carry this value elsewhere.
    holder: u32,
}

const NOBODY: LastWriter = LastWriter { txn: NO_TXN, seat: 0, holder: NO_EDGE };

/// An input of the transaction being placed that is written in this round.
#[derive(Clone, Copy, Debug)]
struct Input {
    ready_ns: u64,
    seat: u32,
    holder: u32,
}

/// Keys and transactions for which room is made in one step: well under a millisecond of work.
const ROOM_STEP: usize = 1 << 14;

/// Most inputs considered for placing one transaction; the edges of all are planned.
const INPUTS_MAX: usize = 8;

/// A transaction part of whose work needs no values follows its inputs to their shard as long as that has no more work than
/// the least loaded one by this part of the latter, nor by such work of so many transactions: each change of shard in a chain
/// costs a message.
const FOLLOW_PATIENCE: u64 = 16;
const FOLLOW_MAX: u64 = 32;
/// Of how many transactions a shard does the work that needs no values while it waits for one.
pub(crate) const AHEAD_MAX: usize = 256;

/// A transaction is put near others if it can start there by its own cost later than elsewhere, and by this part of the time
/// planned so far.
const NEAR_PATIENCE: u64 = 4;

/// Plans one round of one block; [`begin`](Self::begin), then [`step`](Self::step) until done. Buffers are kept.
#[derive(Debug)]
pub struct Planner {
    costs: CostModel,
    /// Where it differs between pairs of shards.
    matrix: Option<CostMatrix>,
    waiting: Waiting,
    /// Whether free transactions are left for last nowhere.
    in_order: bool,
    shards: Vec<ShardId>,
    writers: Vec<LastWriter>,
    /// By key: whether its values are foreseen.
    foreseen: Vec<bool>,
    finish_ns: Vec<u64>,
    /// Per edge: the next older edge that carries the same value.
    older_holder: Vec<u32>,
    /// Per seat: the last transaction put there.
    last_of_seat: Vec<TxnIndex>,
    /// Per seat: when its last transaction is finished.
    finish_of_seat: Vec<u64>,
    /// Per seat: until when it has work, if it does what needs no values while it would wait.
    load: LoadTree,
    /// The most work without values that a transaction so far has.
    ahead_ns: u32,
    inputs: Vec<Input>,
    /// By key: where the last transaction near it was put.
    near: HashMap<KeyId, usize>,
    /// Per seat: whether somebody at another one waits for its values.
    answers: Vec<bool>,
    /// Transactions that may be long enough to be begun first.
    long: Vec<Long>,
    /// Transactions that have their seats before they are placed, and are not placed yet.
    seated: Vec<Seated>,
    /// By key: whether a transaction changes it, while the longest are given their seats.
    changed: Vec<bool>,
    /// The first transaction planned, and its seat.
    first: Option<(TxnIndex, usize)>,
    /// Per seat: expected time of the transactions that are not free.
    tied_ns: Vec<u64>,
    /// Expected time of all transactions.
    total_ns: u64,
    cursor: usize,
    transactions: u32,
}

impl Planner {
    /// A planner with these costs.
    #[must_use]
    pub fn new(costs: CostModel) -> Planner {
        Planner {
            costs,
            matrix: None,
            waiting: Waiting::ForWriters,
            in_order: false,
            shards: Vec::new(),
            writers: Vec::new(),
            foreseen: Vec::new(),
            finish_ns: Vec::new(),
            older_holder: Vec::new(),
            last_of_seat: Vec::new(),
            finish_of_seat: Vec::new(),
            load: LoadTree::default(),
            ahead_ns: 0,
            inputs: Vec::new(),
            near: HashMap::new(),
            answers: Vec::new(),
            long: Vec::new(),
            seated: Vec::new(),
            changed: Vec::new(),
            first: None,
            tied_ns: Vec::new(),
            total_ns: 0,
            cursor: 0,
            transactions: 0,
        }
    }

    /// Has what communication costs depend on who talks to whom.
    #[must_use]
    pub fn over(mut self, matrix: CostMatrix) -> Planner {
        // With nothing to choose between, the plain costs are quicker to look at.
        self.matrix = (!matrix.is_even()).then_some(matrix);
        self
    }

    /// From the end of a writer at one seat to the arrival of its value at another.
    fn edge_ns(&self, from: usize, to: usize) -> u64 {
        let Some(matrix) = &self.matrix else { return self.costs.edge_ns };
        let shard = |seat: usize| self.shards.get(seat).map_or(usize::MAX, |shard| shard.index());
        self.costs.edge_ns * u64::from(matrix.tenths(shard(from), shard(to))) / u64::from(DISTANCE_LOCAL)
    }

    /// Starts a plan over `shards` (at least one, each at most once).
    ///
    /// # Errors
    /// [`ArenaError`] when the arena's parts cannot be reached.
    pub fn begin(&mut self, arena: &mut ArenaWriter, shards: &[ShardId]) -> Result<(), ArenaError> {
        self.waiting = Waiting::ForWriters;
        self.in_order = false;
        self.shards.clear();
        self.shards.extend_from_slice(shards);
        self.writers.clear();
        self.foreseen.clear();
        self.writers.reserve(arena.keys());
        self.older_holder.clear();
        self.last_of_seat.clear();
        self.last_of_seat.resize(shards.len(), NO_TXN);
        self.finish_of_seat.clear();
        self.finish_of_seat.resize(shards.len(), 0);
        self.load.reset(shards.len());
        self.near.clear();
        self.long.clear();
        self.seated.clear();
        self.answers.clear();
        self.answers.resize(shards.len(), false);
        self.first = None;
        self.tied_ns.clear();
        self.tied_ns.resize(shards.len(), 0);
        (self.ahead_ns, self.total_ns) = (0, 0);
        self.cursor = 0;
        self.transactions = 0;
        self.finish_ns.clear();
        self.finish_ns.reserve(arena.transactions());
        arena.plan_parts()?.sub_blocks.fill(SubBlock::EMPTY);
        Ok(())
    }

    /// Has no transaction of the plan just begun wait for another one: what they read is foreseen.
    pub fn wait_for_nobody(&mut self) {
        self.waiting = Waiting::Never;
    }

    /// Has no shard leave its free transactions for last in the plan just begun: whenever the round is cut short, what is done of
    /// its part goes on from the front.
    pub fn keep_order(&mut self) {
        self.in_order = true;
    }

    /// Has no transaction of the plan just begun wait for values of this key: they are foreseen.
    pub fn wait_not_for(&mut self, key: KeyId) {
        if self.foreseen.len() <= key.index() {
            self.foreseen.resize((key.index() + 1).next_multiple_of(1024), false);
        }
        self.foreseen[key.index()] = true;
    }

    /// Whether who takes part in this access waits for the last writer.
    fn waits(&self, access: &TransactionAccess) -> bool {
        self.waiting == Waiting::ForWriters
            && access.access_mode().wants_value()
            && !self.foreseen.get(access.key.index()).copied().unwrap_or(false)
    }

    /// Plans up to `limit` further transactions (at least 1), or makes room to do so; true when all are planned. `standing` says what
    /// is to be done with a transaction and which execution it would be.
    ///
    /// # Errors
    /// [`ArenaError`] when the arena's parts cannot be reached.
    pub fn step(
        &mut self,
        arena: &mut ArenaWriter,
        limit: usize,
        standing: impl Fn(TxnIndex) -> (Standing, Incarnation),
    ) -> Result<bool, ArenaError> {
        if !self.make_room(arena.keys(), arena.transactions()) {
            return Ok(false);
        }
        let mut parts = arena.plan_parts()?;
        let transactions = parts.transactions;
        if self.cursor == 0 {
            self.seat_the_longest(&parts, &standing);
        }
        let end = transactions.len().min(self.cursor + limit);
        for (index, entry) in transactions.iter().enumerate().take(end).skip(self.cursor) {
            // The arena's limits keep indices far below 2^32.
            let txn = TxnIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let accesses = entry.accesses_in(parts.accesses);
            match standing(txn) {
                (Standing::Accepted, _) => {}
                (Standing::Provisional, _) => self.pass_over(accesses),
                (Standing::Open, incarnation) => self.place(&mut parts, txn, incarnation, entry, accesses),
            }
        }
        self.cursor = end;
        Ok(end == transactions.len())
    }

    /// Makes some of the room for `keys` and `transactions`; true when there is enough.
    fn make_room(&mut self, keys: usize, transactions: usize) -> bool {
        let (writers, finished) = (self.writers.len(), self.finish_ns.len());
        self.writers.resize(keys.min(writers + ROOM_STEP).max(writers), NOBODY);
        self.finish_ns.resize(transactions.min(finished + ROOM_STEP).max(finished), 0);
        self.writers.len() >= keys && self.finish_ns.len() >= transactions
    }

    /// Completes the plan as that of `round`.
    ///
    /// # Errors
    /// [`ArenaError`] when the arena's parts cannot be reached.
    pub fn seal(
        &mut self,
        arena: &mut ArenaWriter,
        round: RoundId,
        has_overlay: bool,
    ) -> Result<PlanTotals, ArenaError> {
        let edges = u32::try_from(self.older_holder.len()).unwrap_or(u32::MAX);
        self.lay_out_claims(&mut arena.plan_parts()?);
        arena.seal_round(round, edges, has_overlay)?;
        let makespan_ns = self.finish_of_seat.iter().copied().max().unwrap_or(0);
        Ok(PlanTotals { transactions: self.transactions, edges, makespan_ns })
    }

    /// Whether some transaction of the plan is expected to change this key.
    #[must_use]
    pub fn changes(&self, key: KeyId) -> bool {
        self.writers.get(key.index()).is_some_and(|writer| writer.txn != NO_TXN)
    }

    /// A provisional output stands between earlier writers and later readers: they find it in the overlay.
    fn pass_over(&mut self, accesses: &[TransactionAccess]) {
        for access in accesses {
            match access.access_mode() {
                AccessMode::Write | AccessMode::ReadWrite => {
                    if let Some(writer) = self.writers.get_mut(access.key.index()) {
                        *writer = NOBODY;
                    }
                }
                // Sums are made by the reader from the last full value and the overlay's additions.
                AccessMode::Add | AccessMode::Read | AccessMode::Near | AccessMode::Check => {}
            }
        }
    }

    fn place(
        &mut self,
        parts: &mut PlanParts<'_>,
        txn: TxnIndex,
        incarnation: Incarnation,
        entry: &PreparedTransaction,
        accesses: &[TransactionAccess],
    ) {
        self.collect_inputs(accesses);
        let freedom = self.tie(parts, accesses);
        let ahead_ns = entry.ahead_ns.min(entry.cost_ns);
        let seated = self.take_seat(txn);
        let (seat, start_ns) = seated.unwrap_or_else(|| self.nearest_seat(accesses, entry, parts.edges));
        let finish_ns = start_ns + u64::from((entry.cost_ns - ahead_ns).max(1));
        self.finish_ns[txn.index()] = finish_ns;
        self.finish_of_seat[seat] = self.finish_of_seat[seat].max(finish_ns);
        let busy_ns = self.load.get(seat) + u64::from(entry.cost_ns);
        self.ahead_ns = self.ahead_ns.max(ahead_ns);
        let idle_at_most = AHEAD_MAX as u64 * u64::from(self.ahead_ns);
        self.load.set(seat, busy_ns.max(finish_ns.saturating_sub(idle_at_most)));
        self.transactions += 1;
        self.first.get_or_insert((txn, seat));
        self.total_ns += u64::from(entry.cost_ns);
        if entry.cost_ns >= LONG_NS && ahead_ns == 0 {
            self.long.push(Long { txn, seat, cost_ns: entry.cost_ns, seated: seated.is_some() });
        }
        self.chain(parts, txn, seat);
        parts.sub_blocks[self.shards[seat].index()].free += u32::from(freedom == FREE);
        if freedom != FREE {
            self.tied_ns[seat] += u64::from(entry.cost_ns);
        }
        let required_start = u32::try_from(self.older_holder.len()).unwrap_or(u32::MAX);
        parts.planned[txn.index()] = PlannedTransaction {
            next: NO_TXN,
            incarnation,
            required_start,
            required_count: 0,
            dependent: NO_EDGE,
            freedom,
        };
        for access in accesses {
            self.connect(parts, txn, seat, access);
        }
        let end = u32::try_from(self.older_holder.len()).unwrap_or(u32::MAX);
        parts.planned[txn.index()].required_count = end - required_start;
    }

    fn collect_inputs(&mut self, accesses: &[TransactionAccess]) {
        self.inputs.clear();
        for access in accesses {
            if !self.waits(access) {
                continue;
            }
            let Some(writer) = self.writers.get(access.key.index()) else { continue };
            if writer.txn != NO_TXN && self.inputs.len() < INPUTS_MAX {
                let ready_ns = self.finish_ns[writer.txn.index()];
                self.inputs.push(Input { ready_ns, seat: writer.seat, holder: writer.holder });
            }
        }
    }

    /// The seat of the last transaction near the same key, unless another one can start much sooner; otherwise the one
    /// that can start first. And when it has the values there and has done what it can without.
    fn nearest_seat(
        &mut self,
        accesses: &[TransactionAccess],
        entry: &PreparedTransaction,
        edges: &[Edge],
    ) -> (usize, u64) {
        let (cost_ns, ahead_ns) = (entry.cost_ns, u64::from(entry.ahead_ns.min(entry.cost_ns)));
        let earliest = match self.seat_of_inputs(ahead_ns) {
            Some(seat) => (seat, self.start_at(seat, ahead_ns, edges)),
            None => self.earliest_seat(ahead_ns, edges),
        };
        if self.waiting == Waiting::Never {
            return earliest;
        }
        let Some(access) = accesses.iter().rfind(|access| access.access_mode() == AccessMode::Near) else {
            return earliest;
        };
        let latest_ns = earliest.1 + u64::from(cost_ns) + earliest.1 / NEAR_PATIENCE;
        let seat = match self.near.get(&access.key) {
            Some(&seat) if self.start_at(seat, ahead_ns, edges) <= latest_ns => {
                (seat, self.start_at(seat, ahead_ns, edges))
            }
            Some(_) | None => earliest,
        };
        self.near.insert(access.key, seat.0);
        seat
    }

    /// The seat where the transaction can start first, and when: the least loaded one, or one that has an input.
    fn earliest_seat(&self, ahead_ns: u64, edges: &[Edge]) -> (usize, u64) {
        let idle = self.load.least();
        let mut best = (idle, self.start_at(idle, ahead_ns, edges));
        for input in &self.inputs {
            let seat = input.seat as usize;
            let start_ns = self.start_at(seat, ahead_ns, edges);
            if start_ns < best.1 || (start_ns == best.1 && seat < best.0 && best.0 != idle) {
                best = (seat, start_ns);
            }
        }
        best
    }

    /// Where a transaction part of whose work needs no values goes without looking for the earliest start: to the seat of its
    /// last input, unless that has much more to do than another one.
    fn seat_of_inputs(&self, ahead_ns: u64) -> Option<usize> {
        if ahead_ns == 0 {
            return None;
        }
        let seat = self.inputs.iter().max_by_key(|input| input.ready_ns)?.seat as usize;
        let least_ns = self.load.get(self.load.least());
        let patience_ns = (least_ns / FOLLOW_PATIENCE).min(FOLLOW_MAX * ahead_ns);
        (self.load.get(seat) <= least_ns + patience_ns).then_some(seat)
    }

    /// When a seat has done what comes before, and `ahead_ns` of this transaction, and has its inputs.
    fn start_at(&self, seat: usize, ahead_ns: u64, edges: &[Edge]) -> u64 {
        let finished = self.finish_of_seat.get(seat).copied().unwrap_or(u64::MAX);
        let idle = finished.max(self.load.get(seat).saturating_add(ahead_ns));
        self.inputs.iter().fold(idle, |start, input| {
            let arrives = if input.seat as usize == seat || self.holds(seat, input.holder, edges) {
                input.ready_ns
            } else {
                input.ready_ns + self.edge_ns(input.seat as usize, seat)
            };
            start.max(arrives)
        })
    }

    /// Whether one of the edges from `holder` on brings the value to `seat`.
    fn holds(&self, seat: usize, mut holder: u32, edges: &[Edge]) -> bool {
        let shard = self.shards.get(seat).map_or(u32::MAX, |shard| shard.0);
        while let Some(edge) = edges.get(holder as usize) {
            if edge.to_shard == shard {
                return true;
            }
            holder = self.older_holder[holder as usize];
        }
        false
    }

    /// Appends the transaction to its shard's sub-block.
    fn chain(&mut self, parts: &mut PlanParts<'_>, txn: TxnIndex, seat: usize) {
        let sub_block = &mut parts.sub_blocks[self.shards[seat].index()];
        sub_block.count += 1;
        match std::mem::replace(&mut self.last_of_seat[seat], txn) {
            NO_TXN => sub_block.first = txn,
            last => parts.planned[last.index()].next = txn,
        }
    }

    /// Records what one access of a placed transaction means: an edge from the writer, a new last writer.
    fn connect(&mut self, parts: &mut PlanParts<'_>, txn: TxnIndex, seat: usize, access: &TransactionAccess) {
        let mode = access.access_mode();
        let Some(&writer) = self.writers.get(access.key.index()) else { return };
        let elsewhere = writer.txn != NO_TXN && writer.txn != txn && writer.seat as usize != seat;
        if elsewhere
            && self.waits(access)
            && self.older_holder.len() < parts.edges.len()
            && !self.holds(seat, writer.holder, parts.edges)
        {
            let id = u32::try_from(self.older_holder.len()).unwrap_or(NO_EDGE);
            let dependent = &mut parts.planned[writer.txn.index()].dependent;
            parts.edges[id as usize] = Edge {
                key: access.key,
                writer: writer.txn,
                next_dependent: std::mem::replace(dependent, id),
                to_shard: self.shards[seat].0,
            };
            self.older_holder.push(writer.holder);
            self.answers[writer.seat as usize] = true;
            self.writers[access.key.index()].holder = id;
        }
        if mode.changes_value() {
            let seat = u32::try_from(seat).unwrap_or(u32::MAX);
            self.writers[access.key.index()] = LastWriter { txn, seat, holder: NO_EDGE };
        }
    }
}

#[cfg(test)]
mod tests;
