//! P1: whatever the blocks, hints, shard count and executor, the result is that of sequential execution.
//!
//! What would break it: a read that is not validated, an edge answered with the wrong value, an overlay that shows
//! writes out of order, buffers that survive from one block into the next. Negative control: with validation switched
//! off the same blocks must come out wrong, or these tests prove nothing.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Dice, Hints, Scene, assert_same, deadline, prepare_with, seed, transfer};
use phalanx::executor::{BlockExecutor, BlockOutput, BlockStmConfig};
use phalanx::types::{AccessMode, Block, BlockHeader, PreparedBlock, Write};
use phalanx_bench::Accounts;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Threads,
    Processes,
    BlockStm,
}

/// One random ledger, its blocks, and who executes them.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    accounts: usize,
    signed: bool,
    shards: usize,
    sizes: Vec<usize>,
    /// Percent of transactions with wrong hints, and with none.
    wrong: usize,
    missing: usize,
    /// Rings so small that messages find no room, and room for few edges.
    narrow: bool,
    /// Whether changes of numbers are commutative writes.
    commutative: bool,
}

fn cases(shards: std::ops::RangeInclusive<usize>, signed: bool) -> impl Strategy<Value = Case> {
    let most: usize = if signed { 40 } else { 150 };
    let size = prop_oneof![1 => Just(0_usize), 1 => 1..4_usize, 8 => 4_usize..most];
    let percent = || prop_oneof![Just(0_usize), 0..60_usize, Just(100_usize)];
    let sizes = prop::collection::vec(size, 1..6_usize);
    let commutative = prop_oneof![3 => Just(true), 1 => Just(false)];
    (any::<u64>(), 2..40_usize, shards, sizes, percent(), percent(), any::<bool>(), commutative).prop_map(
        move |(seed, accounts, shards, sizes, wrong, missing, narrow, commutative)| Case {
            seed,
            accounts,
            signed,
            shards,
            sizes,
            wrong,
            missing,
            narrow,
            commutative,
        },
    )
}

impl Case {
    fn blocks(&self, scene: &mut Scene) -> Vec<Arc<PreparedBlock>> {
        let mut dice = Dice::new(self.seed);
        let blocks: Vec<Block> = self.sizes.iter().map(|&size| scene.workload.next_block(size)).collect();
        let draw = |dice: &mut Dice| match dice.below(100) {
            drawn if drawn < self.wrong => Hints::Wrong,
            drawn if drawn < self.wrong + self.missing => Hints::Missing,
            _ => Hints::Right,
        };
        blocks.iter().map(|block| Arc::new(prepare_with(&scene.vm, block, &mut dice, draw))).collect()
    }

    /// The first thing in which the executor and the oracle differ.
    fn difference(&self, kind: Kind) -> Option<String> {
        let mut scene = Scene::new(self.seed, self.accounts, self.signed);
        if !self.commutative {
            scene = scene.without_commutative_writes();
        }
        if self.narrow {
            scene.memory.ring_budget_bytes = 1;
            scene.memory.arena.edges = 20;
        }
        let blocks = self.blocks(&mut scene);
        match kind {
            Kind::Threads => difference(&mut scene.threads(self.shards), &scene, &blocks),
            Kind::Processes => difference(&mut scene.processes(self.shards), &scene, &blocks),
            Kind::BlockStm => {
                // The ledger's seed decides as well whether hints of writes are believed.
                let expects_writes = self.seed.is_multiple_of(2);
                let config =
                    BlockStmConfig { threads: self.shards, expects_writes, ..BlockStmConfig::default() };
                difference(&mut scene.block_stm_as(config), &scene, &blocks)
            }
        }
    }
}

fn difference(
    executor: &mut impl BlockExecutor,
    scene: &Scene,
    blocks: &[Arc<PreparedBlock>],
) -> Option<String> {
    let mut oracle = scene.oracle();
    for (number, block) in blocks.iter().enumerate() {
        let expected = oracle.execute(block, deadline()).unwrap();
        let got = match executor.execute(block, deadline()) {
            Ok(got) => got,
            Err(error) => return Some(format!("block {number}: {error}")),
        };
        if let Some(difference) = expected.first_difference(&got) {
            return Some(format!("block {number}: {difference}; {:?}", got.stats()));
        }
        if oracle.digest() != executor.digest() {
            return Some(format!("block {number}: digest of the executor"));
        }
    }
    None
}

/// What would break: a run of keys that no thread counts, or two, when a block changes enough of them for several threads to count
/// them. Negative control run: with what the other threads counted left out, the block is refused (its supply does not add up).
#[test]
fn a_block_whose_changes_several_threads_count_comes_to_the_same() {
    let mut scene = Scene::new(seed(), 6_000, false);
    let blocks: Vec<_> = (0..2).map(|_| scene.workload.next_block(6_000)).collect();
    let mut threads = scene.threads(3);
    let mut oracle = scene.oracle();
    for block in &blocks {
        let block = Arc::new(PreparedBlock::prepare(&scene.vm, block).unwrap());
        let expected = oracle.execute(&block, deadline()).unwrap();
        let written: HashSet<Vec<u8>> = expected
            .transactions()
            .flat_map(|one| one.writes().map(|write| write.unwrap().0.to_vec()).collect::<Vec<_>>())
            .collect();
        assert!(written.len() > 5_000, "{} keys are no work for several threads", written.len());
        assert_same(&expected, &threads.execute(&block, deadline()).unwrap(), "counted by threads");
    }
}

/// Writes that add, in the public outputs of a block.
fn additions(output: &BlockOutput) -> usize {
    let writes = output.transactions().flat_map(|transaction| transaction.writes().collect::<Vec<_>>());
    writes.filter(|write| matches!(write, Ok((_, Write::Add(_))))).count()
}

/// What would break: a ledger "without commutative writes" that still has some, or comes to another state. The ledger with
/// them is its control.
#[test]
fn without_commutative_writes_the_state_is_the_same_and_nothing_is_added() {
    let seed = seed();
    let mut scenes = [false, true].map(|commutative| {
        let scene = Scene::new(seed, 20, false);
        if commutative { scene } else { scene.without_commutative_writes() }
    });
    let mut oracles = scenes.each_ref().map(Scene::oracle);
    for _ in 0..3 {
        let outputs = [0, 1].map(|place: usize| {
            let (block, vm) = (scenes[place].workload.next_block(100), &scenes[place].vm);
            let block = Arc::new(PreparedBlock::prepare(vm, &block).unwrap());
            let hinted = block.accesses().iter().any(|access| access.access_mode() == AccessMode::Add);
            assert_eq!(hinted, place == 1, "PHALANX_SEED={seed}");
            oracles[place].execute(&block, deadline()).unwrap()
        });
        assert_eq!(outputs[0].digest(), outputs[1].digest(), "PHALANX_SEED={seed}");
        assert_eq!(additions(&outputs[0]), 0, "PHALANX_SEED={seed}");
        assert!(additions(&outputs[1]) > 0, "PHALANX_SEED={seed}");
    }
}

fn check(count: u32, shards: std::ops::RangeInclusive<usize>, signed: bool, kind: Kind) {
    let seed = seed();
    let config = Config {
        cases: count,
        failure_persistence: None,
        max_shrink_iters: 200,
        max_shrink_time: 20_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&cases(shards, signed), |case| match case.difference(kind) {
        None => Ok(()),
        Some(difference) => Err(TestCaseError::fail(difference)),
    });
    if let Err(error) = result {
        panic!("{kind:?} differ from sequential execution; reproduce with PHALANX_SEED={seed}\n{error}");
    }
}

#[test]
fn threads_equal_sequential_execution_on_random_blocks_and_hints() {
    check(300, 1..=16, false, Kind::Threads);
}

#[test]
fn threads_equal_sequential_execution_on_signed_blocks() {
    check(24, 1..=8, true, Kind::Threads);
}

#[test]
fn processes_equal_sequential_execution_on_random_blocks_and_hints() {
    check(120, 1..=16, false, Kind::Processes);
}

#[test]
fn processes_equal_sequential_execution_on_signed_blocks() {
    check(16, 1..=8, true, Kind::Processes);
}

#[test]
fn block_stm_equals_sequential_execution_on_random_blocks_and_hints() {
    check(800, 1..=16, false, Kind::BlockStm);
}

#[test]
fn block_stm_equals_sequential_execution_on_signed_blocks() {
    check(24, 1..=8, true, Kind::BlockStm);
}

/// What the planner is told of the two transactions of [`creation_and_use`].
#[derive(Clone, Copy, Debug)]
struct Told {
    of_the_write: bool,
    of_the_read: bool,
}

/// Transaction 0 creates an account, transaction 1 pays it: it reads what transaction 0 writes. If the planner is not
/// told of either end it puts them on different shards with no edge between, so that the reader cannot see the account.
fn creation_and_use(told: Told) -> (Scene, Arc<PreparedBlock>) {
    let accounts = Accounts::derive(7, 64, false);
    let scene = Scene::new(7, 16, false);
    // The first accounts of the same seed exist from the start, the later ones do not.
    let [writer, reader, fresh, first, second] =
        [2, 3, 60, 4, 5].map(|account| accounts.addresses()[account]);
    let mut prepared =
        PreparedBlock::new(BlockHeader { height: 1, timestamp_s: 1, ..BlockHeader::default() });
    let transactions = [transfer(writer, 0, fresh, 1, true), transfer(reader, 0, fresh, 1, false)]
        .map(|raw| accounts.encode(raw, 0));
    for (transaction, tell) in transactions.iter().zip([told.of_the_write, told.of_the_read]) {
        let block = Block { header: prepared.header().clone(), transactions: vec![transaction.clone()] };
        let hints = if tell { Hints::Right } else { Hints::Missing };
        prepared
            .push(transaction, |hint| {
                if hints == Hints::Right {
                    phalanx::vm::Vm::declare(&scene.vm, &block.header, transaction, hint);
                }
                hint.access(transaction, AccessMode::Write);
                // So long that nobody puts the second behind the first.
                hint.cost_ns(1_000_000);
            })
            .unwrap();
    }
    for (raw, awaited) in [transfer(first, 0, second, 1, false), transfer(second, 0, first, 1, false)]
        .into_iter()
        .zip(&transactions)
    {
        prepared
            .push(&accounts.encode(raw, 0), |hint| {
                hint.access(awaited, AccessMode::Read);
                hint.cost_ns(1);
            })
            .unwrap();
    }
    (scene, Arc::new(prepared))
}

fn undeclared(executor: &mut impl BlockExecutor, scene: &Scene, block: &Arc<PreparedBlock>) -> BlockOutput {
    let expected = scene.oracle().execute(block, deadline()).unwrap();
    assert!(
        expected.transactions().all(|output| output.status() == phalanx::types::StatusCode::SUCCESS),
        "both succeed one after the other"
    );
    let got = executor.execute(block, deadline()).unwrap();
    assert_same(&expected, &got, "undeclared access");
    got
}

fn comes_out_right_in_a_second_round(told: Told) {
    let (scene, block) = creation_and_use(told);
    for kind in [Kind::Threads, Kind::Processes] {
        let output = match kind {
            Kind::Threads => undeclared(&mut scene.threads(2), &scene, &block),
            Kind::Processes => undeclared(&mut scene.processes(2), &scene, &block),
            Kind::BlockStm => unreachable!("it makes no plan"),
        };
        let stats = output.stats();
        assert_eq!(stats.cross_shard_edges, 0, "{kind:?}: no edge was planned: {stats:?}");
        assert!(stats.rounds > 1 && stats.reexecuted > 0, "{kind:?}: the guess was found out: {stats:?}");
    }
}

#[test]
fn an_undeclared_read_of_another_shards_write_costs_a_round_and_comes_out_right() {
    comes_out_right_in_a_second_round(Told { of_the_write: true, of_the_read: false });
}

#[test]
fn an_undeclared_write_read_by_another_shard_costs_a_round_and_comes_out_right() {
    comes_out_right_in_a_second_round(Told { of_the_write: false, of_the_read: true });
}

#[test]
fn a_declared_read_of_an_earlier_write_costs_no_round() {
    let (scene, block) = creation_and_use(Told { of_the_write: true, of_the_read: true });
    let stats = *undeclared(&mut scene.processes(2), &scene, &block).stats();
    assert_eq!((stats.rounds, stats.reexecuted), (1, 0), "{stats:?}");
}

#[test]
fn without_validation_an_undeclared_read_comes_out_wrong() {
    let (scene, block) = creation_and_use(Told { of_the_write: true, of_the_read: false });
    let expected = scene.oracle().execute(&block, deadline()).unwrap();
    let got = scene.threads_without_validation(2).execute(&block, deadline()).unwrap();
    assert!(expected.first_difference(&got).is_some(), "the test would not notice missing validation");
}

#[test]
fn without_validation_random_blocks_come_out_wrong() {
    let seed = seed();
    let noticed = (0..20).any(|step: u64| {
        let case = Case {
            seed: seed.wrapping_add(step),
            accounts: 10,
            signed: false,
            shards: 4,
            sizes: vec![80, 80],
            wrong: 50,
            missing: 20,
            narrow: false,
            commutative: true,
        };
        let mut scene = Scene::new(case.seed, case.accounts, case.signed);
        let blocks = case.blocks(&mut scene);
        difference(&mut scene.threads_without_validation(case.shards), &scene, &blocks).is_some()
    });
    assert!(noticed, "20 ledgers came out right without validation; reproduce with PHALANX_SEED={seed}");
}

#[test]
fn block_stm_without_validation_comes_out_wrong() {
    let seed = seed();
    let noticed = (0..40).any(|step: u64| {
        let case = Case {
            seed: seed.wrapping_add(step),
            accounts: 3,
            signed: false,
            shards: 4,
            sizes: vec![120, 120, 120],
            wrong: 0,
            missing: 100,
            narrow: false,
            commutative: true,
        };
        let mut scene = Scene::new(case.seed, case.accounts, case.signed);
        let blocks = case.blocks(&mut scene);
        let config = BlockStmConfig { threads: case.shards, validation: false, ..BlockStmConfig::default() };
        difference(&mut scene.block_stm_as(config), &scene, &blocks).is_some()
    });
    assert!(noticed, "40 ledgers came out right without validation; reproduce with PHALANX_SEED={seed}");
}

#[test]
fn one_executor_survives_blocks_of_every_size_in_a_row() {
    let seed = seed();
    let mut scene = Scene::new(seed, 30, false);
    let blocks: Vec<_> = scene.expected([0, 1, 2_000, 0, 3, 700, 0]);
    let (mut threads, mut processes) = (scene.threads(5), scene.processes(5));
    let mut block_stm = scene.block_stm(5);
    for (number, (block, expected)) in blocks.iter().enumerate() {
        let context = format!("block {number}, reproduce with PHALANX_SEED={seed}");
        assert_same(expected, &threads.execute(block, deadline()).unwrap(), &context);
        assert_same(expected, &processes.execute(block, deadline()).unwrap(), &context);
        assert_same(expected, &block_stm.execute(block, deadline()).unwrap(), &context);
        assert_eq!(expected.digest(), processes.digest(), "{context}");
        assert_eq!(expected.digest(), block_stm.digest(), "{context}");
    }
}
