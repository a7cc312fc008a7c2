//! What a machine finds out about transactions together reaches each of them, in whatever order shards execute.
//!
//! What would break it: a transaction that is examined, left for last, and executed as if nothing were known of it: the work would be
//! done twice. Negative control run: where a shard leaves its free transactions for last whatever the machine examines, most of them
//! are executed unexamined.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{assert_same, deadline, small_memory};
use phalanx::executor::{BlockExecutor, Sequential, Threads, ThreadsConfig};
use phalanx::state::BaseState;
use phalanx::types::{AccessMode, Block, BlockHeader, HintWriter, PreparedBlock, StatusCode};
use phalanx::vm::{Finding, Outcome, StateView, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TRANSACTIONS: u8 = 200;
/// Every so many transactions one changes what all of those change.
const TIED: u8 = 10;
const FOUND: Finding = Finding(7);

/// Writes a key of each transaction's own or one of all of them, and counts what it examines and what it executes unexamined. It does not
/// declare how much of the work it does for many at once.
#[derive(Clone, Default)]
struct Examining {
    examined: Arc<AtomicUsize>,
    unexamined: Arc<AtomicUsize>,
}

impl Examining {
    fn key_of(transaction: &[u8]) -> Vec<u8> {
        if transaction[0].is_multiple_of(TIED) { b"common".to_vec() } else { transaction.to_vec() }
    }

    fn run(transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        let key = Examining::key_of(transaction);
        let before = view.read(&key).map_or(0, |value| value[0]);
        let written = view.set(&key, &[before.wrapping_add(1)]);
        Outcome { status: StatusCode(u16::from(written.is_err())), gas_used: u64::from(before) }
    }
}

impl Vm for Examining {
    fn begin_block(&mut self, _: &BlockHeader) {}

    fn declare(&self, _: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        hint.access(&Examining::key_of(transaction), AccessMode::ReadWrite);
        hint.cost_ns(50_000);
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        self.unexamined.fetch_add(1, Ordering::Relaxed);
        Examining::run(transaction, view)
    }

    fn examines_at_once(&self) -> usize {
        16
    }

    fn examine(&mut self, transactions: &[&[u8]], findings: &mut [Finding]) {
        self.examined.fetch_add(transactions.len(), Ordering::Relaxed);
        findings.fill(FOUND);
    }

    fn execute_examined(
        &mut self,
        transaction: &[u8],
        finding: Finding,
        view: &mut dyn StateView,
    ) -> Outcome {
        if finding == FOUND { Examining::run(transaction, view) } else { self.execute(transaction, view) }
    }

    fn status_name(&self, _: StatusCode) -> &'static str {
        "counted"
    }
}

#[test]
fn a_transaction_is_not_examined_and_then_executed_as_if_it_were_not() {
    let memory = small_memory();
    let state = || BaseState::with_entries(memory.state, [(b"common", [0])]).unwrap();
    let transactions = (0..TRANSACTIONS).map(|number| vec![number]).collect();
    let block = Block { header: BlockHeader::default(), transactions };
    let block = Arc::new(PreparedBlock::prepare(&Examining::default(), &block).unwrap());
    let expected = Sequential::new(Examining::default(), state()).execute(&block, deadline()).unwrap();
    let vm = Examining::default();
    let config = ThreadsConfig { shards: 2, memory, ..ThreadsConfig::default() };
    let got = Threads::launch(config, vm.clone(), state()).unwrap().execute(&block, deadline()).unwrap();
    assert_same(&expected, &got, "examined");
    let [examined, unexamined] = [&vm.examined, &vm.unexamined].map(|count| count.load(Ordering::Relaxed));
    assert!(examined + unexamined >= usize::from(TRANSACTIONS), "{examined} examined");
    // While a shard waits it takes one of those that anybody may execute, without looking at others.
    assert!(unexamined <= usize::from(TIED), "{unexamined} executed unexamined");
}
