//! Transactions that bring their shard down: each is named, with what it does, and the shards are there for the next
//! block; one that does so only on values that were guessed wrong, or only once, changes nothing; and nobody is blamed
//! for what somebody outside does.
//!
//! What would break it: a death on values that are not accepted that counts, one on accepted values that does not, a hang
//! that nobody sees because it costs no CPU time, an outside signal taken for a fault of the transaction, a verdict that
//! names a neighbour, a block after the verdict that meets what the poisoned one left.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Bank, RECIPIENT, alone, assert_same, children_of, deadline, eventually, is_apart, output_of, parent_of,
    seed, segments_of, send_signal, state_of,
};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::{BlockExecutor, DeathCause, ExecuteError, OnDeath};
use phalanx::supervisor::Pacing;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::{Fault, PANIC_AT_BLOCK, When};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SHARD: &str = "phx-shard";
const SHARDS: [usize; 4] = [1, 2, 4, 8];
/// Transactions of an ordinary block here.
const SIZE: usize = 60;
/// A hang is found after this much CPU time or sleep; long enough for a shard that is starved.
const STALL: Duration = Duration::from_millis(120);

/// Shards that die before they get anything done are replaced at once, however often.
fn patient_pacing() -> Pacing {
    Pacing { immediate: u32::MAX, intensity: u32::MAX, ..Pacing::default() }
}

fn launch(bank: &Bank, shards: usize) -> Phalanx {
    bank.scene.launch(bank.scene.builder(shards).stall_limit(STALL).pacing(patient_pacing()))
}

fn deaths(phalanx: &Phalanx) -> u64 {
    phalanx.health().iter().map(|shard| shard.deaths).sum()
}

fn all_ready(phalanx: &Phalanx) -> bool {
    phalanx.health().iter().all(|shard| shard.ready)
}

/// Runs the next block, which must come out as the oracle says.
fn assert_right(bank: &mut Bank, phalanx: &Phalanx, block: &Arc<PreparedBlock>, context: &str) {
    let expected = bank.expect(block);
    let got = phalanx.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_same(&expected, &got, context);
}

/// The transaction at `place` must be named as poison that does what `says` says; returns the whole text.
fn assert_poison(
    phalanx: &Phalanx,
    block: &Arc<PreparedBlock>,
    place: usize,
    says: &[&str],
    context: &str,
) -> String {
    match phalanx.execute(block, deadline()) {
        Err(ExecuteError::PoisonTransaction { txn, what }) => {
            assert_eq!(txn.index(), place, "{context}: {what}");
            assert!(says.iter().all(|part| what.contains(part)), "{context}: {what}");
            what
        }
        Err(error) => panic!("{context}: {error}"),
        Ok(output) => panic!("{context}: succeeded, {:?}", output.stats()),
    }
}

/// As the first, a middle and the last transaction of a block, with 1 to 8 shards.
fn is_poison(fault: &Fault, says: &[&str]) {
    let seed = seed();
    for shards in SHARDS {
        let mut bank = Bank::new(seed);
        let phalanx = launch(&bank, shards);
        let supervisor = parent_of(phalanx.health()[0].pid).unwrap();
        for place in [0, SIZE / 2, SIZE - 1] {
            let context = format!("{fault:?}, {shards} shards, place {place}, PHALANX_SEED={seed}");
            let order = bank.order(fault.clone(), When::Always);
            let (faulty, clean) = bank.pair(SIZE, place, order);
            let (before, begun) = (phalanx.digest(), Instant::now());
            let what = assert_poison(&phalanx, &faulty, place, says, &context);
            println!("{context}: {:?}: {what}", begun.elapsed());
            assert_eq!(phalanx.digest(), before, "{context}: nothing is committed");
            assert_right(&mut bank, &phalanx, &clean, &context);
        }
        assert!(eventually(Duration::from_secs(20), || all_ready(&phalanx)), "{:?}", phalanx.health());
        let pids: Vec<i32> = phalanx.health().iter().map(|shard| shard.pid).chain([supervisor]).collect();
        phalanx.shutdown(deadline()).unwrap();
        assert!(pids.iter().all(|&pid| state_of(pid).is_none_or(|state| state == 'Z')), "{fault:?}");
    }
}

#[test]
fn a_real_fault_is_poison() {
    is_poison(&Fault::Segfault, &["signal 11", "address 0x18"]);
    is_poison(&Fault::BusError, &["signal 7"]);
    is_poison(&Fault::IllegalInstruction, &["signal 4"]);
    is_poison(&Fault::StackOverflow, &["signal 11"]);
}

#[test]
fn an_abort_or_an_exit_with_any_code_is_poison() {
    is_poison(&Fault::Abort, &["signal 6"]);
    is_poison(&Fault::Exit(0), &["exit code 0"]);
    is_poison(&Fault::Exit(7), &["exit code 7"]);
}

#[test]
fn a_refused_allocation_is_poison() {
    is_poison(&Fault::ExhaustAddressSpace { megabytes: 16 }, &["signal 6"]);
}

#[test]
fn a_panic_is_poison_and_says_what_and_where() {
    let fault = Fault::Panic("out of wits".to_owned());
    is_poison(&fault, &["panicked at src/vm/ledger/fault.rs:", "out of wits"]);
}

#[test]
fn a_panic_while_panicking_is_poison_and_keeps_what_was_said_first() {
    is_poison(&Fault::PanicWhilePanicking, &["signal 6"]);
    let fault = Fault::PanicInDrop("the first panic".to_owned());
    is_poison(&fault, &["signal 6", "panicked at src/vm/ledger/fault.rs:", "the first panic"]);
}

#[test]
fn an_endless_loop_is_poison() {
    is_poison(&Fault::Loop, &["it hangs: no progress for"]);
}

#[test]
fn an_endless_loop_over_the_state_is_poison() {
    is_poison(&Fault::LoopOverView, &["it hangs: no progress for"]);
}

/// Once broke: without CPU time nothing was a hang; the round stalled for four stall limits, and the kill that ended it
/// counted for nobody.
#[test]
fn a_sleep_without_cpu_time_is_poison() {
    is_poison(&Fault::Sleep, &["it hangs: no progress for"]);
}

#[test]
fn naps_without_end_are_poison() {
    is_poison(&Fault::Nap, &["it hangs: no progress for"]);
}
