//! Judging: in block order, behind the shards while a round runs, to the end when it is over.
//!
//! Rule V1. First the prefix: every output is final whose values are those that the accepted ones before it leave. Behind the
//! first one that is not, outputs are judged as if the provisional ones were final.

use super::{Acceptance, ROOM_STEP, Record, key_state, view_in};
use crate::executor::check::{Check, check};
use crate::executor::key_states::{Backing, KeyState, UNTOUCHED};
use crate::executor::validate_error::{Damaged, ValidateError};
use crate::executor::watch::{Stop, Watch};
use crate::partition::{ArenaWriter, Standing};
use crate::state::BaseState;
use crate::types::{AccessMode, KeyId, Origin, OutputError, TransactionAccess, TxnIndex};

/// Transactions judged at a time while the round runs: well under a millisecond of work.
const JUDGED_AT_ONCE: usize = 256;

/// How far the outputs of the present round are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judging {
    /// The first transaction that was not accepted when the round began: only it was sure to run on accepted values.
    alone: usize,
    /// Where the prefix ended, and up to where outputs are judged; nothing as long as it may grow.
    behind: Option<usize>,
    /// The first transaction panicked on accepted values, and what it said.
    panicked: Option<(TxnIndex, String)>,
}

impl Judging {
    /// Nothing of a round is judged whose first transaction this is.
    pub(super) fn from(alone: usize) -> Judging {
        Judging { alone, behind: None, panicked: None }
    }

    /// Something that was judged by is not believed any more.
    pub(super) fn start_over(&mut self) {
        *self = Judging::from(self.alone);
    }
}

/// Whether shards still work on the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::executor) enum RoundState {
    /// More outputs come, and shards read the plan: its keys and what it expects stay as they are.
    Running,
    /// What has not come does not come.
    Over,
}

/// A key as it would be if all provisional outputs were final.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speculation {
    stamp: u64,
    state: KeyState,
    /// An open transaction before may change it: reads of it cannot be judged well.
    dirty: bool,
}

/// What came of looking at the first transaction that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Accepted,
    /// There is no output of it.
    Awaited,
    /// Something that it rests on does not hold.
    Fails,
}

impl Acceptance {
    /// Judges the outputs that came in and are not final, in block order; while the round runs, some of them at a time, up to the
    /// first one that is awaited. True if there is no more to judge in this round.
    pub(in crate::executor) fn judge(
        &mut self,
        arena: &mut ArenaWriter,
        base: &BaseState,
        round: RoundState,
        watch: &Watch<'_>,
    ) -> Result<bool, ValidateError> {
        self.make_room(arena, watch)?;
        let end = match round {
            RoundState::Running => self.judged() + JUDGED_AT_ONCE,
            RoundState::Over => self.records.len(),
        };
        if self.judging.behind.is_none() {
            if !self.accept_prefix(arena, base, (round, end), watch)? {
                return Ok(false);
            }
            self.begin_speculation();
        }
        let mut index = self.judged();
        while let Some(&record) = self.records.get(index) {
            if index >= end {
                return Ok(false);
            }
            watch.look_at(index)?;
            let txn = TxnIndex(u32::try_from(index).unwrap_or(u32::MAX));
            if !record.is_awaited() {
                self.judge_behind(arena, base, (txn, &record), round)?;
            } else if round == RoundState::Running {
                return Ok(false);
            } else {
                self.mark_dirty(arena.accesses_of(txn)?);
            }
            index += 1;
            self.judging.behind = Some(index);
        }
        Ok(true)
    }

    /// Up to which transaction outputs are judged.
    pub(in crate::executor) fn judged(&self) -> usize {
        self.judging.behind.unwrap_or(self.frontier)
    }

    /// Has the plan expect of transactions what their outputs taught, when the round is over.
    pub(in crate::executor) fn teach(
        &mut self,
        arena: &mut ArenaWriter,
        watch: &Watch<'_>,
    ) -> Result<(), ValidateError> {
        self.learned.teach(arena, watch)
    }

    /// Whether the transaction that was first in line when the round began panicked, on accepted values, and what it said.
    pub(in crate::executor) fn take_panic(&mut self) -> Option<(TxnIndex, String)> {
        self.judging.panicked.take()
    }

    fn make_room(&mut self, arena: &ArenaWriter, watch: &Watch<'_>) -> Result<(), Stop> {
        while self.keys.len() < arena.keys() {
            watch.look()?;
            self.keys.resize(arena.keys().min(self.keys.len() + ROOM_STEP), UNTOUCHED);
        }
        Ok(())
    }

    /// V1: accepts the longest prefix below `end` whose every value holds; true when it cannot grow any more in this round.
    fn accept_prefix(
        &mut self,
        arena: &mut ArenaWriter,
        base: &BaseState,
        (round, end): (RoundState, usize),
        watch: &Watch<'_>,
    ) -> Result<bool, ValidateError> {
        while let Some(&record) = self.records.get(self.frontier) {
            if self.frontier >= end {
                return Ok(false);
            }
            watch.look_at(self.frontier)?;
            if record.fresh {
                self.name_keys(arena, base, record.place, round)?;
            }
            match self.accept_next(arena, base, &record)? {
                Next::Accepted => {}
                Next::Awaited => return Ok(round == RoundState::Over),
                Next::Fails => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Accepts the first transaction that is not accepted if there is an output of it and its every value holds.
    fn accept_next(
        &mut self,
        arena: &ArenaWriter,
        base: &BaseState,
        record: &Record,
    ) -> Result<Next, ValidateError> {
        if record.is_awaited() {
            return Ok(Next::Awaited);
        }
        let txn = TxnIndex(u32::try_from(self.frontier).unwrap_or(u32::MAX));
        let Acceptance { keys, places, buffers, pending, validation, .. } = &mut *self;
        let (view, backing) = (view_in(buffers, record.place), Backing { base, places, arena, buffers });
        let origin = Origin::written_by(txn, record.incarnation);
        let state_of = |key| Some(key_state(keys, key));
        let checked = view
            .and_then(|view| check(&backing, &view, origin, record.place, pending, state_of, *validation));
        match checked.map_err(|error| damage(txn, record, error))? {
            Check::Holds => {}
            Check::Fails => return Ok(Next::Fails),
            Check::NewKeys => {
                let output = OutputError::BadField { field: "flags", value: 0, at: 0 };
                return Err(damage(txn, record, output));
            }
        }
        self.apply_pending();
        let record = &mut self.records[self.frontier];
        (record.standing, record.fresh) = (Standing::Accepted, false);
        self.frontier += 1;
        Ok(Next::Accepted)
    }

    fn apply_pending(&mut self) {
        for &(key, state) in &self.pending {
            if self.keys.len() <= key.index() {
                self.keys.resize(key.index() + 1, UNTOUCHED);
            }
            self.keys[key.index()] = state;
            if self.is_changed.len() <= key.index() {
                self.is_changed.resize(key.index() + 1, false);
            }
            if !std::mem::replace(&mut self.is_changed[key.index()], true) {
                self.changed.push(key);
            }
        }
    }

    /// The prefix has ended.
    fn begin_speculation(&mut self) {
        self.stamp += 1;
        self.judging.panicked = self.panicked_at_frontier();
        self.judging.behind = Some(self.frontier);
    }

    fn panicked_at_frontier(&self) -> Option<(TxnIndex, String)> {
        let record = self.records.get(self.frontier);
        let record = record.filter(|record| record.fresh && self.frontier == self.judging.alone)?;
        let txn = TxnIndex(u32::try_from(self.frontier).ok()?);
        Some((txn, self.view(record).ok()?.panic_note()?))
    }

    /// Judges an output behind the prefix as if the provisional ones before it were final.
    fn judge_behind(
        &mut self,
        arena: &mut ArenaWriter,
        base: &BaseState,
        (txn, record): (TxnIndex, &Record),
        round: RoundState,
    ) -> Result<(), ValidateError> {
        if record.fresh {
            self.name_keys(arena, base, record.place, round)?;
        }
        let holds = self.speculation_holds(arena, base, txn, record)?;
        if holds {
            self.records[txn.index()].standing = Standing::Provisional;
        } else {
            let judged = &mut self.records[txn.index()];
            judged.standing = Standing::Open;
            // Whoever leaves another output of this execution is damaged.
            judged.planned.0 += 1;
            self.mark_dirty(arena.accesses_of(txn)?);
            if self.learn(arena, base, txn) {
                let Acceptance { learned, speculation, stamp, .. } = &mut *self;
                mark_dirty(speculation, *stamp, learned.last());
            }
        }
        self.records[txn.index()].fresh = false;
        Ok(())
    }

    fn speculation_holds(
        &mut self,
        arena: &ArenaWriter,
        base: &BaseState,
        txn: TxnIndex,
        record: &Record,
    ) -> Result<bool, ValidateError> {
        let Acceptance { keys, places, buffers, pending, speculation, stamp, validation, .. } = &mut *self;
        let view = view_in(buffers, record.place);
        let backing = Backing { base, places, arena, buffers };
        let origin = Origin::written_by(txn, record.incarnation);
        let state_of = |key: KeyId| match speculation.get(key.index()).filter(|known| known.stamp == *stamp) {
            Some(known) if known.dirty => None,
            Some(known) => Some(known.state),
            None => Some(key_state(keys, key)),
        };
        let check = view
            .and_then(|view| check(&backing, &view, origin, record.place, pending, state_of, *validation))
            .map_err(|error| damage(txn, record, error))?;
        if check != Check::Holds {
            return Ok(false);
        }
        for &(key, state) in pending.iter() {
            speculate(speculation, *stamp, key, Some(state));
        }
        Ok(true)
    }

    fn mark_dirty(&mut self, expected: &[TransactionAccess]) {
        mark_dirty(&mut self.speculation, self.stamp, expected);
    }
}

/// The keys that an open transaction is expected to change are unknown from here on; sums only shift.
fn mark_dirty(speculation: &mut Vec<Speculation>, stamp: u64, expected: &[TransactionAccess]) {
    for access in expected {
        if matches!(access.access_mode(), AccessMode::Write | AccessMode::ReadWrite) {
            speculate(speculation, stamp, access.key, None);
        }
    }
}

/// The key has this state from here on, or an unknown one.
fn speculate(speculation: &mut Vec<Speculation>, stamp: u64, key: KeyId, state: Option<KeyState>) {
    if speculation.len() <= key.index() {
        let unknown = Speculation { stamp: 0, state: UNTOUCHED, dirty: false };
        speculation.resize((key.index() + 1).next_multiple_of(1024), unknown);
    }
    let dirty = state.is_none();
    speculation[key.index()] = Speculation { stamp, state: state.unwrap_or(UNTOUCHED), dirty };
}

pub(super) fn damage(txn: TxnIndex, record: &Record, error: OutputError) -> ValidateError {
    ValidateError::Damaged(Damaged { txn, buffer: record.place.buffer as usize, error })
}

#[cfg(test)]
mod tests {
    //! What would break: a verdict that depends on when outputs came in, or on whether shards were still at work; keys or accesses that
    //! change under shards. The oracle is the same outputs judged all at once. Negative controls run: with awaited outputs passed
    //! over while the round runs, with keys put into the arena at once, and with ids one too high it fails.

    use super::*;
    use crate::executor::call::Call;
    use crate::executor::key_states::look_up_ahead;
    use crate::partition::ArenaLimits;
    use crate::state::StateConfig;
    use crate::types::{
        BlockHeader, Delta, Incarnation, NumberWidth, OutputWriter, PreparedBlock, StatusCode, Write,
    };
    use crate::vm::Outcome;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const KEYS: u8 = 8;
    const LIMITS: ArenaLimits = ArenaLimits {
        transactions: 1 << 6,
        transaction_bytes: 1 << 12,
        accesses: 1 << 12,
        keys: 1 << 8,
        key_bytes: 1 << 10,
        edges: 1 << 8,
    };

    /// What a transaction does to a key, and by whom it thinks that the value is that it rests on: so many transactions before it,
    /// or the base state.
    type Step = (u8, u8, Option<u8>);

    fn key(number: u8) -> [u8; 3] {
        [number, 1, 2]
    }

    fn value_by(txn: usize) -> [u8; 16] {
        (txn as u128 + 1000).to_le_bytes()
    }

    /// The output of one transaction. The upper half of the keys is declared by none: outputs spell them out.
    fn output_of(txn: usize, steps: &[Step]) -> Vec<u8> {
        let mut writer = OutputWriter::default();
        for (what, number, seen) in steps {
            let (name, id) =
                (key(*number), if *number < KEYS / 2 { KeyId(u32::from(*number)) } else { KeyId::UNKNOWN });
            let writer_of = seen.and_then(|back| txn.checked_sub(usize::from(back) + 1));
            let origin = writer_of.map_or(Origin::BASE, |by| {
                Origin::written_by(TxnIndex(u32::try_from(by).unwrap()), Incarnation(1))
            });
            let value = writer_of.map_or(0_u128.to_le_bytes(), value_by);
            let own = value_by(txn);
            if what % 2 == 0 {
                writer.push_read(id, &name, origin, Some(&value));
            }
            let delta =
                Delta::credit(u128::from(*what), NumberWidth::Sixteen).within(0, 1000 + u128::from(*number));
            let write = match what % 5 {
                0 | 1 => Write::Set(&own),
                2 => Write::Add(delta),
                3 => Write::Delete,
                _ => continue,
            };
            writer.push_write(id, &name, write).unwrap();
        }
        let outcome = Outcome { status: StatusCode::SUCCESS, gas_used: 0 };
        writer.finish(TxnIndex(u32::try_from(txn).unwrap()), Incarnation(1), outcome).to_vec()
    }

    fn block_of(transactions: usize) -> PreparedBlock {
        let mut block = PreparedBlock::new(BlockHeader::default());
        for txn in 0..transactions {
            let declare = |hint: &mut crate::types::HintWriter<'_>| {
                (0..KEYS / 2).for_each(|number| hint.access(&key(number), AccessMode::Read));
                hint.cost_ns(u32::try_from(txn).unwrap());
            };
            block.push(b"transaction", declare).unwrap();
        }
        block
    }

    /// Judges outputs that come in these pieces; what cannot be judged while the round runs is when it is over.
    fn judged(outputs: &[Vec<u8>], missing: usize, pieces: &[usize], order: &[usize]) -> String {
        let entries = (0..KEYS).map(|number| (key(number), 0_u128.to_le_bytes()));
        let base = BaseState::with_entries(StateConfig::default(), entries).unwrap();
        let (block, patrol) = (Arc::new(block_of(outputs.len())), |_: Instant| {});
        let call = Call::plain(&block, Instant::now() + Duration::from_secs(60));
        let watch = Watch::new(&call, &patrol);
        let mut arena = ArenaWriter::create("phalanx-judging-test", LIMITS).unwrap();
        arena.begin_load(&block).unwrap();
        while !arena.load_step(&block).unwrap() {}
        let mut acceptance = Acceptance::default();
        acceptance.start_block(outputs.len(), true, &watch).unwrap();
        acceptance.start_round();
        while look_up_ahead(&mut acceptance.places, &arena, &base, |_| true) {}
        let mut left = order.iter().filter(|&&txn| txn != missing);
        for &piece in pieces {
            let piece: Vec<&Vec<u8>> = left.by_ref().take(piece).map(|&txn| &outputs[txn]).collect();
            let count = u32::try_from(piece.len()).unwrap();
            acceptance.collect(piece.into_iter().flatten().copied().collect(), count, &watch).unwrap();
            let (before, accesses) = (arena.all_keys().unwrap().0.len(), expected_of(&arena));
            acceptance.judge(&mut arena, &base, RoundState::Running, &watch).unwrap();
            assert_eq!(arena.all_keys().unwrap().0.len(), before, "shards see no new keys");
            assert_eq!(expected_of(&arena), accesses, "shards see no other accesses");
        }
        arena.take_in_ahead(|| Ok::<(), ValidateError>(())).unwrap();
        let rest: Vec<&Vec<u8>> = left.map(|&txn| &outputs[txn]).collect();
        let count = u32::try_from(rest.len()).unwrap();
        acceptance.collect(rest.into_iter().flatten().copied().collect(), count, &watch).unwrap();
        assert!(acceptance.judge(&mut arena, &base, RoundState::Over, &watch).unwrap());
        acceptance.teach(&mut arena, &watch).unwrap();
        let standings: Vec<Standing> = acceptance.records.iter().map(|record| record.standing).collect();
        let keys: Vec<(u64, &[u8])> =
            (0..arena.keys()).map(|id| arena.key(KeyId(u32::try_from(id).unwrap())).unwrap()).collect();
        let backing =
            Backing { base: &base, places: &acceptance.places, arena: &arena, buffers: &acceptance.buffers };
        let values: Vec<Option<Vec<u8>>> = acceptance
            .changed
            .iter()
            .map(|&key| {
                backing.value(key, &key_state(&acceptance.keys, key), &mut [0; 32]).map(<[u8]>::to_vec)
            })
            .collect();
        format!("{standings:?} {keys:?} {:?} {values:?} {:?}", acceptance.changed, expected_of(&arena))
    }

    fn expected_of(arena: &ArenaWriter) -> Vec<Vec<TransactionAccess>> {
        let txns = (0..u32::try_from(arena.transactions()).unwrap()).map(TxnIndex);
        txns.map(|txn| arena.accesses_of(txn).unwrap().to_vec()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_verdict_does_not_depend_on_when_outputs_come_in(
            steps in prop::collection::vec(
                prop::collection::vec((0..10_u8, 0..KEYS, prop::option::of(0..3_u8)), 0..4), 1..24
            ),
            pieces in prop::collection::vec(0..6_usize, 0..6),
            missing in 0..40_usize,
            swaps in prop::collection::vec((0..24_usize, 0..24_usize), 0..12),
        ) {
            let outputs: Vec<Vec<u8>> =
                steps.iter().enumerate().map(|(txn, steps)| output_of(txn, steps)).collect();
            let in_order: Vec<usize> = (0..outputs.len()).collect();
            let mut order = in_order.clone();
            swaps.iter().filter(|(left, right)| (*left).max(*right) < order.len()).copied().collect::<Vec<_>>()
                .into_iter().for_each(|(left, right)| order.swap(left, right));
            prop_assert_eq!(judged(&outputs, missing, &pieces, &order), judged(&outputs, missing, &[], &in_order));
        }
    }
}
