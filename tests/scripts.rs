//! Every kind of access that a virtual machine may make, at random: explicit reads of sums, deletions, long values that
//! do not fit a cell, numbers of all widths, values that are no numbers, writes over deltas.
//!
//! The ledger touches only a corner of this. Once broken: a delta refused on a wrong value left no trace in the output, so
//! a status decided by it was accepted; the output limit counted keys differently in different executors. Negative
//! control: with validation off some script must come out wrong.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use phalanx::executor::{BlockExecutor, BlockStm, BlockStmConfig, Sequential, Threads, ThreadsConfig};
use phalanx::state::{BaseState, StateConfig};
use phalanx::types::{AccessMode, BlockHeader, Delta, HintWriter, NumberWidth, PreparedBlock, StatusCode};
use phalanx::vm::{Outcome, StateView, Vm};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Op {
    /// Reads a key into the running sum.
    Read(u8),
    /// Adds to a number.
    Credit(u8, u64, u8),
    /// Subtracts if enough is there; otherwise notes that there was not.
    Debit(u8, u64, u8),
    /// Sets a value of this length, made of the running sum.
    Set(u8, u16),
    Delete(u8),
    /// Works for a while, so that other shards get ahead.
    Spin(u16),
    /// Writes this many long keys.
    Flood(u16),
}

#[derive(Clone)]
struct Scripts;

fn key(number: u8) -> Vec<u8> {
    vec![b'k', number]
}

fn width(byte: u8) -> NumberWidth {
    match byte % 3 {
        0 => NumberWidth::Eight,
        1 => NumberWidth::Sixteen,
        _ => NumberWidth::ThirtyTwo,
    }
}

impl Vm for Scripts {
    fn begin_block(&mut self, _: &BlockHeader) {}

    fn declare(&self, _: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        let Ok(ops) = bcs::from_bytes::<Vec<Op>>(transaction) else { return };
        for op in ops {
            match op {
                Op::Read(k) => hint.access(&key(k), AccessMode::Read),
                Op::Credit(k, ..) | Op::Debit(k, ..) => hint.access(&key(k), AccessMode::Add),
                Op::Set(k, _) | Op::Delete(k) => hint.access(&key(k), AccessMode::Write),
                Op::Spin(_) => {}
                Op::Flood(count) => {
                    (0..count).for_each(|number| hint.access(&flood_key(number), AccessMode::Write));
                }
            }
        }
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        let (mut sum, mut refused) = (7_u64, 0_u16);
        for op in bcs::from_bytes::<Vec<Op>>(transaction).unwrap_or_default() {
            let result = match op {
                Op::Read(k) => {
                    let value = view.read(&key(k)).map_or(1, |value| {
                        value.iter().fold(3, |sum: u64, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
                    });
                    sum = sum.wrapping_mul(1_000_003).wrapping_add(value);
                    Ok(())
                }
                Op::Credit(k, amount, w) => view.add(&key(k), Delta::credit(amount.into(), width(w))),
                Op::Debit(k, amount, w) => match view.number(&key(k)) {
                    Some(number) if number >= amount.into() => {
                        view.add(&key(k), Delta::debit(amount.into(), width(w)))
                    }
                    Some(_) => {
                        refused += 1;
                        view.add(&key(k), Delta::check(width(w), 0, u128::from(amount) - 1))
                    }
                    None => Ok(()),
                },
                Op::Set(k, length) => {
                    let value: Vec<u8> = sum.to_le_bytes().into_iter().cycle().take(length.into()).collect();
                    view.set(&key(k), &value)
                }
                Op::Delete(k) => view.delete(&key(k)),
                Op::Spin(turns) => {
                    std::hint::black_box(
                        (0..u32::from(turns) * 50).fold(0_u64, |x, y| x ^ u64::from(y).rotate_left(9)),
                    );
                    Ok(())
                }
                Op::Flood(count) => (0..count).try_for_each(|number| view.set(&flood_key(number), &[1; 100])),
            };
            refused = refused.wrapping_mul(3).wrapping_add(u16::from(result.is_err()));
        }
        Outcome { status: StatusCode(refused), gas_used: sum }
    }

    fn status_name(&self, _: StatusCode) -> &'static str {
        "script"
    }
}

fn flood_key(number: u16) -> Vec<u8> {
    let mut key = vec![b'f'; 250];
    key[..2].copy_from_slice(&number.to_le_bytes());
    key
}

fn op() -> impl Strategy<Value = Op> {
    let k = 0_u8..6;
    prop_oneof![
        4 => k.clone().prop_map(Op::Read),
        4 => (k.clone(), 1_u64..20, any::<u8>()).prop_map(|(k, amount, w)| Op::Credit(k, amount, w)),
        3 => (k.clone(), 1_u64..30, any::<u8>()).prop_map(|(k, amount, w)| Op::Debit(k, amount, w)),
        3 => (k.clone(), prop_oneof![Just(8_u16), Just(16), Just(32), 0_u16..200]).prop_map(|(k, length)| Op::Set(k, length)),
        1 => k.prop_map(Op::Delete),
        1 => (0_u16..400).prop_map(Op::Spin),
    ]
}

type Script = Vec<Op>;

fn blocks() -> impl Strategy<Value = Vec<Vec<(Script, bool)>>> {
    let transaction = (prop::collection::vec(op(), 0..6), any::<bool>());
    prop::collection::vec(prop::collection::vec(transaction, 0..40), 1..4)
}

fn prepare(scripts: &[(Script, bool)]) -> Arc<PreparedBlock> {
    let header = BlockHeader::default();
    let mut block = PreparedBlock::new(header.clone());
    for (script, hinted) in scripts {
        let bytes = bcs::to_bytes(script).unwrap();
        block
            .push(&bytes, |hint| {
                if *hinted {
                    Scripts.declare(&header, &bytes, hint);
                }
            })
            .unwrap();
    }
    Arc::new(block)
}

fn state() -> BaseState {
    let config = StateConfig { max_entries: 1 << 16, heap_bytes: 64 << 20 };
    // One number, one value that is none, one long one.
    let entries = [(key(0), 25_u64.to_le_bytes().to_vec()), (key(1), vec![9; 39]), (key(2), vec![5; 300])];
    BaseState::with_entries(config, entries).unwrap()
}

/// The first difference between sequential and sharded execution of these blocks.
fn difference(blocks: &[Vec<(Script, bool)>], shards: usize, validation: bool) -> Option<String> {
    let config = ThreadsConfig { shards, validation, ..ThreadsConfig::default() };
    difference_to(&mut Threads::launch(config, Scripts, state()).unwrap(), blocks)
}

/// As [`difference`], for Block-STM.
fn stm_difference(blocks: &[Vec<(Script, bool)>], config: BlockStmConfig) -> Option<String> {
    difference_to(&mut BlockStm::launch(config, Scripts, state()).unwrap(), blocks)
}

fn difference_to(executor: &mut impl BlockExecutor, blocks: &[Vec<(Script, bool)>]) -> Option<String> {
    let mut oracle = Sequential::new(Scripts, state());
    for (index, scripts) in blocks.iter().enumerate() {
        let (block, deadline) = (prepare(scripts), Instant::now() + Duration::from_secs(60));
        let expected = oracle.execute(&block, deadline).unwrap();
        match executor.execute(&block, deadline) {
            Ok(output) => {
                if let Some(difference) = expected.first_difference(&output) {
                    return Some(format!("block {index}: {difference}"));
                }
            }
            Err(error) => return Some(format!("block {index}: {error}")),
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]
    #[test]
    fn any_script_over_any_number_of_shards_gives_the_sequential_result(blocks in blocks(), shards in 1_usize..7) {
        prop_assert_eq!(difference(&blocks, shards, true), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]
    #[test]
    fn any_script_over_block_stm_gives_the_sequential_result(
        blocks in blocks(), threads in 1_usize..9, expects_writes: bool
    ) {
        let config = BlockStmConfig { threads, expects_writes, ..BlockStmConfig::default() };
        prop_assert_eq!(stm_difference(&blocks, config), None);
    }
}

#[test]
fn block_stm_without_validation_comes_out_wrong_on_some_script() {
    let block: Vec<_> = (0..40)
        .map(|turn| {
            (vec![Op::Spin(turn * 997 % 400), Op::Read(0), Op::Set(0, 8), Op::Credit(3, 1, 0)], false)
        })
        .collect();
    let config = BlockStmConfig { threads: 4, validation: false, ..BlockStmConfig::default() };
    let wrong = is_ever(|| stm_difference(std::slice::from_ref(&block), config).is_some());
    assert!(wrong, "validation made no difference: these tests would prove nothing");
    let config = BlockStmConfig { validation: true, ..config };
    for _ in 0..50 {
        assert_eq!(stm_difference(std::slice::from_ref(&block), config), None);
    }
}

#[test]
fn a_delta_refused_on_a_wrong_value_is_not_believed() {
    let writer = (vec![Op::Spin(u16::MAX), Op::Set(1, 8)], false);
    let adder = (vec![Op::Credit(1, 1, 0)], false);
    let block = [vec![writer, adder]];
    for _ in 0..20 {
        assert_eq!(difference(&block, 2, true), None);
    }
    assert!(is_ever(|| difference(&block, 2, false).is_some()), "nobody met the wrong value");
}

/// Tries for a minute.
fn is_ever(mut holds: impl FnMut() -> bool) -> bool {
    let limit = Instant::now() + Duration::from_secs(60);
    std::iter::from_fn(|| (Instant::now() < limit).then_some(())).any(|()| holds())
}

#[test]
fn the_output_limit_counts_the_same_with_and_without_hints() {
    for hinted in [true, false] {
        let blocks = [vec![(vec![Op::Flood(12_000)], hinted), (vec![Op::Read(0)], hinted)]];
        assert_eq!(difference(&blocks, 2, true), None);
        assert_eq!(stm_difference(&blocks, BlockStmConfig { threads: 2, ..BlockStmConfig::default() }), None);
    }
}

#[test]
fn without_validation_some_script_comes_out_wrong() {
    let writer = (vec![Op::Spin(u16::MAX), Op::Set(0, 8)], false);
    let reader = (vec![Op::Read(0), Op::Set(3, 40)], false);
    let block = [vec![writer, reader]];
    let wrong = is_ever(|| difference(&block, 2, false).is_some());
    assert!(wrong, "validation made no difference: these tests would prove nothing");
}
