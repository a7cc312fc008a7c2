//! Validation: what of a block is final, what is provisional, what must be executed again.
//!
//! Rules V1 to V3 of docs/architecture.md. Nothing that a hint, a plan or a message said enters here: an output counts
//! only if every value it was computed from is the one that the accepted transactions before it leave.

mod judging;
mod last;
mod learning;
mod naming;
mod warm;

use crate::executor::block_output::OutputPlace;
use crate::executor::key_states::{Backing, BasePlace, KeyState, UNTOUCHED, look_up_ahead};
use crate::executor::overlay::{OverlayWriter, Shown};
use crate::executor::validate_error::{Damaged, ValidateError};
use crate::executor::watch::{Stop, Watch};
use crate::partition::{ArenaWriter, Standing};
use crate::state::BaseState;
use crate::types::{Incarnation, KeyId, Origin, OutputError, OutputView, TxnIndex, Write, WriteRecord};
pub(super) use judging::RoundState;
use judging::{Judging, Speculation, damage};
use learning::Learned;

/// A transaction of the block being executed.
#[derive(Clone, Copy, Debug)]
struct Record {
    standing: Standing,
    /// Executions planned so far, whether or not their outputs came in: an incarnation is never used twice, since
    /// values of a lost one may have reached readers. One is passed over where another output of the last would be damage.
    planned: Incarnation,
    /// Which execution the current output is of.
    incarnation: Incarnation,
    /// The current output; meaningful unless the standing is open.
    place: OutputPlace,
    /// Whether an output came in with the last round and has not been judged.
    fresh: bool,
}

impl Record {
    /// Whether there is no output that counts.
    fn is_awaited(&self) -> bool {
        self.standing == Standing::Open && !self.fresh
    }
}

/// Transactions or keys for which room is made at a time: well under a millisecond of work.
const ROOM_STEP: usize = 1 << 14;

/// Where the execution of one block stands.
#[derive(Debug, Default)]
pub(super) struct Acceptance {
    records: Vec<Record>,
    frontier: usize,
    keys: Vec<KeyState>,
    /// Where keys stand in the base state, as far as they were looked up ahead.
    places: Vec<BasePlace>,
    /// Keys that a cache holds until the block is over.
    warm: Vec<bool>,
    /// Keys changed by accepted transactions, in the order of their first change.
    changed: Vec<KeyId>,
    is_changed: Vec<bool>,
    buffers: Vec<Vec<u8>>,
    judging: Judging,
    speculation: Vec<Speculation>,
    stamp: u64,
    pending: Vec<(KeyId, KeyState)>,
    learned: Learned,
    /// Keys of one output that were spelled out: where their ids stand in it, and the ids.
    named: Vec<(usize, KeyId)>,
    validation: bool,
    /// Outputs collected.
    executions: u64,
}

impl Acceptance {
    /// Starts a block of `transactions`. With `validation` off every output is taken as it is: only for the negative
    /// control of the tests.
    pub(super) fn start_block(
        &mut self,
        transactions: usize,
        validation: bool,
        watch: &Watch<'_>,
    ) -> Result<(), Stop> {
        let record = Record {
            standing: Standing::Open,
            planned: Incarnation(0),
            incarnation: Incarnation(0),
            place: OutputPlace::default(),
            fresh: false,
        };
        self.frontier = 0;
        self.keys.clear();
        self.places.clear();
        self.warm.clear();
        self.changed.clear();
        self.is_changed.clear();
        self.buffers.clear();
        self.learned.clear();
        self.validation = validation;
        self.executions = 0;
        self.records.clear();
        self.records.reserve(transactions);
        while self.records.len() < transactions {
            watch.look()?;
            self.records.resize(transactions.min(self.records.len() + ROOM_STEP), record);
        }
        Ok(())
    }

    /// Transactions accepted so far: the longest prefix.
    pub(super) fn frontier(&self) -> usize {
        self.frontier
    }

    /// Transactions in the block.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the whole block is accepted.
    pub(super) fn is_complete(&self) -> bool {
        self.frontier == self.records.len()
    }

    /// What the next round is to do with a transaction, and as which execution.
    pub(super) fn standing(&self, txn: TxnIndex) -> (Standing, Incarnation) {
        self.records.get(txn.index()).map_or((Standing::Accepted, Incarnation(0)), |record| {
            (record.standing, Incarnation(record.planned.0 + 1))
        })
    }

    /// Has everything that is not accepted executed again.
    pub(super) fn give_up_provisional(&mut self) {
        for record in &mut self.records[self.frontier..] {
            record.standing = Standing::Open;
        }
    }

    /// Notes that every open transaction is about to be executed as [`standing`](Self::standing) said.
    pub(super) fn start_round(&mut self) {
        self.judging = Judging::from(self.frontier);
        for record in &mut self.records[self.frontier..] {
            if record.standing == Standing::Open {
                record.planned.0 += 1;
            }
        }
    }

    /// Looks up some more of the keys that the plan expects to change, while the shards work or before validation. False
    /// when there is nothing left to do.
    pub(super) fn look_up_ahead(
        &mut self,
        arena: &ArenaWriter,
        base: &BaseState,
        wanted: impl Fn(KeyId) -> bool,
    ) -> bool {
        look_up_ahead(&mut self.places, arena, base, wanted)
    }

    /// Takes a buffer of outputs that one shard left, of which it says that they are `count`. Damage ends the walk: the outputs
    /// before it count. Which transactions they are of is settled between the shards.
    pub(super) fn collect(
        &mut self,
        outputs: Vec<u8>,
        count: u32,
        watch: &Watch<'_>,
    ) -> Result<(), ValidateError> {
        let mut start = 0_usize;
        let mut result = Ok(());
        for place in 0..count as usize {
            result = watch.look_at(place).map_err(ValidateError::Stopped);
            if result.is_err() {
                break;
            }
            match self.collect_one(&outputs, start) {
                Ok(bytes) => start += bytes,
                Err((txn, error)) => {
                    let buffer = self.buffers.len();
                    result = Err(ValidateError::Damaged(Damaged { txn, buffer, error }));
                    break;
                }
            }
        }
        self.buffers.push(outputs);
        result
    }

    /// Notes the output at `start` of the buffer about to be taken, which must be one that is awaited; returns its length.
    fn collect_one(&mut self, outputs: &[u8], start: usize) -> Result<usize, (TxnIndex, OutputError)> {
        let cut_off = OutputError::CutOff { at: start, bytes: outputs.len() };
        let somebody = TxnIndex(u32::try_from(self.frontier).unwrap_or(u32::MAX));
        let view = OutputView::parse(outputs.get(start..).unwrap_or(&[]));
        let header = *view.map_err(|error| (somebody, error))?.header();
        let (txn, length) = (header.txn, header.total_bytes as usize);
        if start + length > outputs.len() {
            return Err((txn, cut_off));
        }
        let (Ok(buffer), Ok(at)) = (u32::try_from(self.buffers.len()), u32::try_from(start)) else {
            return Err((txn, cut_off));
        };
        let awaited = self
            .records
            .get_mut(txn.index())
            .filter(|record| record.standing == Standing::Open && record.planned == header.incarnation);
        let unawaited = OutputError::BadField { field: "transaction", value: u64::from(txn.0), at: start };
        let Some(record) = awaited else { return Err((txn, unawaited)) };
        if record.fresh {
            // Two left it: one of them is damaged, and nobody knows which. Neither counts, nor does a third one.
            record.fresh = false;
            record.planned.0 += 1;
            return Err((txn, unawaited));
        }
        let place = OutputPlace { buffer, start: at };
        (record.incarnation, record.place, record.fresh) = (header.incarnation, place, true);
        self.executions += 1;
        Ok(length)
    }

    /// Gives up what is not final of buffers in which something makes no sense: whoever wrote that is not believed in
    /// the rest. The transactions are executed again.
    pub(super) fn drop_buffers(&mut self, is_disbelieved: impl Fn(usize) -> bool) {
        for record in &mut self.records[self.frontier..] {
            let holds = record.fresh || record.standing == Standing::Provisional;
            if holds && is_disbelieved(record.place.buffer as usize) {
                (record.standing, record.fresh) = (Standing::Open, false);
            }
        }
        self.judging.start_over();
    }

    fn view(&self, record: &Record) -> Result<OutputView<'_>, OutputError> {
        view_in(&self.buffers, record.place)
    }

    /// Collects the writes of all current outputs for the next round.
    pub(super) fn show_all(
        &self,
        arena: &ArenaWriter,
        base: &BaseState,
        overlay: &mut OverlayWriter,
        watch: &Watch<'_>,
    ) -> Result<(), ValidateError> {
        overlay.clear();
        let backing = Backing { base, places: &self.places, arena, buffers: &self.buffers };
        for (place, &key) in self.changed.iter().enumerate() {
            watch.look_at(place)?;
            let state = key_state(&self.keys, key);
            match backing.value(key, &state, &mut [0; 32]) {
                Some(value) => overlay.show(key, state.latest, Shown::Set(value)),
                None => overlay.show(key, state.latest, Shown::Delete),
            }
        }
        for (index, record) in self.records.iter().enumerate().skip(self.frontier) {
            watch.look_at(index)?;
            if record.standing != Standing::Provisional {
                continue;
            }
            let txn = TxnIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let origin = Origin::written_by(txn, record.incarnation);
            let damaged = |error| damage(txn, record, error);
            for write in self.view(record).map_err(damaged)?.writes() {
                let WriteRecord { key_id, key, write } = write.map_err(damaged)?;
                let Some(key) = backing.key_of(key_id, key).map_err(damaged)? else { continue };
                match &write {
                    Write::Set(value) => overlay.show(key, origin, Shown::Set(value)),
                    Write::Delete => overlay.show(key, origin, Shown::Delete),
                    Write::Add(delta) if delta.amount != 0 => overlay.show(key, origin, Shown::Add(delta)),
                    Write::Add(_) => {}
                }
            }
        }
        overlay.publish(arena.keys(), || watch.look().map_err(ValidateError::Stopped))
    }

    /// Executions collected beyond one per transaction.
    pub(super) fn reexecuted(&self) -> u64 {
        self.executions.saturating_sub(self.records.len() as u64)
    }

    /// The places and buffers of all outputs; for a complete block.
    pub(super) fn take_outputs(&mut self) -> (Vec<OutputPlace>, Vec<Vec<u8>>) {
        (self.records.iter().map(|record| record.place).collect(), std::mem::take(&mut self.buffers))
    }
}

fn view_in(buffers: &[Vec<u8>], place: OutputPlace) -> Result<OutputView<'_>, OutputError> {
    let bytes = buffers.get(place.buffer as usize).and_then(|buffer| buffer.get(place.start as usize..));
    OutputView::parse(bytes.unwrap_or(&[]))
}

fn key_state(keys: &[KeyState], key: KeyId) -> KeyState {
    keys.get(key.index()).copied().unwrap_or(UNTOUCHED)
}

#[cfg(test)]
mod tests {
    //! What would break: of two outputs of one transaction, of which at most one can be right, the one that is collected first is
    //! believed. Negative control run: with the first one kept it fails.

    use super::*;
    use crate::executor::call::Call;
    use crate::types::{BlockHeader, OutputWriter, PreparedBlock, StatusCode};
    use crate::vm::Outcome;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn output_of(txn: u32, incarnation: Incarnation) -> Vec<u8> {
        let outcome = Outcome { status: StatusCode::SUCCESS, gas_used: 0 };
        OutputWriter::default().finish(TxnIndex(txn), incarnation, outcome).to_vec()
    }

    #[test]
    fn of_a_transaction_that_two_have_left_neither_counts_nor_does_a_third_one() {
        let (block, patrol) = (Arc::new(PreparedBlock::new(BlockHeader::default())), |_: Instant| {});
        let call = Call::plain(&block, Instant::now() + Duration::from_secs(60));
        let watch = Watch::new(&call, &patrol);
        let mut acceptance = Acceptance::default();
        acceptance.start_block(3, true, &watch).unwrap();
        acceptance.start_round();
        let first = Incarnation(1);
        let both = [output_of(0, first), output_of(1, first)].concat();
        acceptance.collect(both, 2, &watch).unwrap();
        for _ in 0..2 {
            let refused = acceptance.collect(output_of(1, first), 1, &watch).unwrap_err();
            let ValidateError::Damaged(damaged) = refused else { panic!("{refused:?}") };
            assert_eq!(damaged.txn, TxnIndex(1));
            let fresh: Vec<bool> = acceptance.records.iter().map(|record| record.fresh).collect();
            assert_eq!(fresh, [true, false, false]);
        }
        acceptance.start_round();
        assert_eq!(acceptance.records[1].planned, Incarnation(3), "no execution has the number of those two");
    }
}
