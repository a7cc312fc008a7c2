//! Every fail point with every fault: a process fails at that very step of the protocol, and the blocks are those of
//! sequential execution.
//!
//! Passers are counted in shared memory over all lives of all processes, and the first failing one is drawn at random,
//! so that repeated runs reach many moments. Each case demands that its fault really struck (a point that nobody passes
//! fails its test), that all blocks before, during and after are right, and that full strength comes back. Negative
//! controls: with a misspelt name in the list the test of that passer failed ("never struck"); with validation switched
//! off in the process executor all four tests of the matrix failed.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Dice, Hints, Scene, assert_same, deadline, eventually, prepare_with, seed, send_signal, state_of,
};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::fail_points::{FAIL_POINTS, FailAction, FailSpec, Passer};
use phalanx::supervisor::Pacing;
use phalanx::types::{Block, PreparedBlock};
use std::sync::Arc;
use std::time::Duration;

const SHARDS: usize = 4;
const BLOCK: usize = 250;
/// A case whose point is not passed in so many blocks has failed.
const BLOCKS_MAX: usize = 60;

const FAULTS: [FailAction; 8] = [
    FailAction::Signal(Signal::SIGKILL as i32),
    FailAction::Signal(Signal::SIGSTOP as i32),
    FailAction::Signal(Signal::SIGABRT as i32),
    FailAction::Signal(Signal::SIGSEGV as i32),
    FailAction::Exit(0),
    FailAction::Exit(7),
    FailAction::Delay(25),
    FailAction::Panic,
];

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

struct Matrix {
    scene: Scene,
    blocks: Expected,
    dice: Dice,
    seed: u64,
}

impl Matrix {
    fn new() -> Matrix {
        let seed = seed();
        let (mut scene, mut dice) = (Scene::new(seed, 40, false), Dice::new(seed));
        let mut oracle = scene.oracle();
        let blocks: Vec<Block> = (0..BLOCKS_MAX).map(|_| scene.workload.next_block(BLOCK)).collect();
        let blocks = blocks.iter().enumerate().map(|(number, block)| {
            // Every other one says that it takes long: shards leave for last what anybody may execute.
            let prepared = match number % 2 {
                0 => scene.prepare(block),
                _ => Arc::new(prepare_with(&scene.vm, block, &mut dice, |_| Hints::Right)),
            };
            let output = oracle.execute(&prepared, deadline()).unwrap();
            (prepared, output)
        });
        let blocks = blocks.collect();
        Matrix { scene, blocks, dice, seed }
    }

    fn run(&mut self, passer: Passer) {
        for (point, _) in FAIL_POINTS.into_iter().filter(|&(_, by)| by == passer) {
            for fault in FAULTS {
                // Nobody can make another process exit or panic.
                let for_itself = matches!(fault, FailAction::Exit(_) | FailAction::Panic);
                if !(passer == Passer::Coordinator && for_itself) {
                    self.case(point, passer, fault);
                }
            }
        }
    }

    fn case(&mut self, point: &'static str, passer: Passer, action: FailAction) {
        // Steps of a transaction are passed thousands of times, those of a round or a life a few times.
        let seldom = ["round entered", "edges awaited", "work taken over", "parked"];
        let often = passer == Passer::Shard && !seldom.contains(&point);
        let first = 1 + self.dice.below(if often { 200 } else { 3 }) as u64;
        let context =
            format!("{point}, passer {first}, {action:?}, reproduce with PHALANX_SEED={}", self.seed);
        let pacing = Pacing { immediate: 100, intensity: 1_000, start_limit_ms: 300, ..Pacing::default() };
        let builder = self.scene.builder(SHARDS).stall_limit(Duration::from_millis(60)).pacing(pacing);
        let phalanx = self.scene.launch(builder.log("off"));
        phalanx.arm_fail_point(FailSpec { point, first, times: 1, action }).unwrap();
        let mut struck_at = None;
        for (number, (block, expected)) in self.blocks.iter().enumerate() {
            let after = number - struck_at.unwrap_or(number);
            if after == 3 {
                break;
            }
            let provoked = after == 0 && provoke(&phalanx, point, passer, &mut self.dice);
            let handle = phalanx.submit(block, deadline()).unwrap();
            if provoked {
                kill_a_shard(&phalanx, &mut self.dice);
            }
            let got = handle.wait().unwrap_or_else(|error| panic!("{context}, block {number}: {error}"));
            assert_same(expected, &got, &format!("{context}, block {number}"));
            if struck_at.is_none() && phalanx.fail_point_counts().1 > 0 {
                struck_at = Some(number);
            }
        }
        let (passed, fired) = phalanx.disarm_fail_point();
        assert_eq!(fired, 1, "never struck, passed {passed} times: {context}");
        let full = || phalanx.health().iter().all(|shard| shard.ready);
        assert!(
            eventually(Duration::from_secs(20), full),
            "not at full strength: {context}: {:?}",
            phalanx.health()
        );
    }
}

/// Does what makes processes pass the point between blocks; true if a shard is to be killed during the block too.
fn provoke(phalanx: &Phalanx, point: &str, passer: Passer, dice: &mut Dice) -> bool {
    match passer {
        Passer::Coordinator => ["rest planned", "round cut short"].contains(&point),
        Passer::Supervisor if point == "order received" => {
            if let Some(pid) = phalanx.supervisor().pid {
                send_signal(pid, "phx-supervisor", Signal::SIGKILL);
            }
            false
        }
        Passer::Supervisor | Passer::NewShard => {
            kill_a_shard(phalanx, dice);
            true
        }
        Passer::Shard => false,
    }
}

fn kill_a_shard(phalanx: &Phalanx, dice: &mut Dice) {
    // Now and then early: a fast host ends a round in less than half a millisecond.
    let longest = *dice.pick(&[300, 3_000]);
    std::thread::sleep(Duration::from_micros(dice.next() % longest));
    send_signal(dice.pick(&phalanx.health()).pid, "phx-shard", Signal::SIGKILL);
}

#[test]
fn shards_that_fail_at_any_step_of_a_round_never_change_a_block() {
    Matrix::new().run(Passer::Shard);
}

#[test]
fn shards_that_fail_at_any_step_of_their_start_never_change_a_block() {
    Matrix::new().run(Passer::NewShard);
}

#[test]
fn a_supervisor_that_fails_at_any_step_never_changes_a_block() {
    Matrix::new().run(Passer::Supervisor);
}

#[test]
fn shards_that_fail_while_the_coordinator_is_at_any_step_never_change_a_block() {
    Matrix::new().run(Passer::Coordinator);
}

/// A shard that dies at its start again and again is slowed down, taken out, shown as such, done without, and back at
/// full strength when the cause is gone.
#[test]
fn a_crash_loop_is_slowed_down_and_shown_and_ends_by_itself() {
    let mut matrix = Matrix::new();
    let pacing = Pacing { rest_ms: 200, longest_pause_ms: 5, ..Pacing::default() };
    let builder = matrix.scene.builder(2).pacing(pacing).log("off");
    let phalanx = matrix.scene.launch(builder);
    let exit = FailAction::Exit(7);
    phalanx
        .arm_fail_point(FailSpec { point: "shard born", first: 1, times: u64::MAX, action: exit })
        .unwrap();
    let mut blocks = matrix.blocks.drain(..);
    assert!(send_signal(phalanx.health()[1].pid, "phx-shard", Signal::SIGKILL));
    let mut sick = phalanx.health()[1].clone();
    let rests = || {
        sick = phalanx.health()[1].clone();
        // Its rest may be over, and its next life not begun.
        sick.resting && sick.retry_in.is_some()
    };
    assert!(eventually(Duration::from_secs(20), rests), "{:?}", phalanx.health());
    assert!(sick.useless_deaths > Pacing::default().intensity && !sick.ready, "{sick:?}");
    assert!(sick.retry_in.is_some_and(|left| left <= Duration::from_millis(200)), "{sick:?}");
    assert!(sick.last_death.is_some(), "{sick:?}");
    // The other one does all the work.
    let (block, expected) = blocks.next().unwrap();
    let got = phalanx.execute(&block, deadline()).unwrap();
    assert_same(&expected, &got, "one of two shards rests");
    assert_eq!(got.stats().shards_used, 1);
    let (_, fired) = phalanx.disarm_fail_point();
    assert!(fired >= 16, "{fired}");
    assert!(
        eventually(Duration::from_secs(20), || phalanx.health().iter().all(|shard| shard.ready)),
        "{:?}",
        phalanx.health()
    );
    let (block, expected) = blocks.next().unwrap();
    let got = phalanx.execute(&block, deadline()).unwrap();
    assert_same(&expected, &got, "both are back");
    assert_eq!(got.stats().shards_used, 2);
    let incidents = phalanx.take_incidents().shards;
    let exits =
        incidents.iter().filter(|incident| incident.death.cause == phalanx::executor::DeathCause::Exit(7));
    assert_eq!(exits.count() as u64, fired, "every death is in the book");
    let segment = std::path::Path::new("/dev/shm").join(phalanx.segment().trim_start_matches('/'));
    assert!(segment.exists(), "negative control: {segment:?}");
    drop(phalanx);
    assert!(!segment.exists(), "{segment:?}");
}

/// A shard that is stopped before the kernel knows to kill it with its supervisor outlives that one. Its family ends it.
/// Negative control: with an `end_orphans` that looks at nobody both rounds of the test failed.
#[test]
fn a_shard_stopped_before_it_is_tied_to_its_supervisor_does_not_outlive_it() {
    for go_on in [true, false] {
        let mut matrix = Matrix::new();
        let pacing = Pacing { start_limit_ms: 60_000, ..Pacing::default() };
        let phalanx = matrix.scene.launch(matrix.scene.builder(2).pacing(pacing).log("off"));
        let stop = FailAction::Signal(Signal::SIGSTOP as i32);
        let point = FailSpec { point: "shard untied", first: 1, times: 1, action: stop };
        phalanx.arm_fail_point(point).unwrap();
        let before = phalanx.health()[1].clone();
        assert!(send_signal(before.pid, "phx-shard", Signal::SIGKILL));
        let newborn = || phalanx.health()[1].pid;
        let is_stopped = || newborn() != before.pid && state_of(newborn()) == Some('T');
        assert!(eventually(Duration::from_secs(20), is_stopped), "{:?}", phalanx.health());
        let orphan = newborn();
        let supervisor = phalanx.supervisor().pid.unwrap();
        assert!(send_signal(supervisor, "phx-supervisor", Signal::SIGKILL));
        if go_on {
            let (block, expected) = matrix.blocks.remove(0);
            assert_same(
                &expected,
                &phalanx.execute(&block, deadline()).unwrap(),
                "after the supervisor's death",
            );
        } else {
            phalanx.shutdown(deadline()).unwrap();
        }
        let gone = || state_of(orphan).is_none_or(|state| state == 'Z');
        assert!(eventually(Duration::from_secs(20), gone), "{orphan} is left, go on: {go_on}");
    }
}

/// With nobody left a block fails in time, saying why; with the fallback it is executed in this process, and shard
/// processes are used again as soon as they can be had.
#[test]
fn without_any_shard_a_block_fails_in_time_or_is_executed_in_this_process() {
    for fallback in [phalanx::supervisor::Fallback::Error, phalanx::supervisor::Fallback::InProcess] {
        let mut matrix = Matrix::new();
        let pacing = Pacing { rest_ms: 300, longest_pause_ms: 2, ..Pacing::default() };
        let builder = matrix.scene.builder(2).pacing(pacing).fallback(fallback).log("off");
        let phalanx = matrix.scene.launch(builder);
        let action = FailAction::Exit(7);
        let spec = FailSpec { point: "regions mapped", first: 1, times: u64::MAX, action };
        phalanx.arm_fail_point(spec).unwrap();
        phalanx.health().iter().for_each(|shard| {
            assert!(send_signal(shard.pid, "phx-shard", Signal::SIGKILL));
        });
        let all_rest = || phalanx.health().iter().all(|shard| shard.resting);
        assert!(eventually(Duration::from_secs(20), all_rest), "{:?}", phalanx.health());
        let mut blocks = matrix.blocks.drain(..);
        let (block, expected) = blocks.next().unwrap();
        match fallback {
            phalanx::supervisor::Fallback::Error => {
                let begun = std::time::Instant::now();
                let error = phalanx.execute(&block, begun + Duration::from_secs(3)).unwrap_err();
                assert!(error.to_string().contains("no shard is left"), "{error}");
                assert!(begun.elapsed() < Duration::from_secs(20));
                assert!(!phalanx.supervisor().in_process);
                assert!(phalanx.disarm_fail_point().1 > 0);
            }
            phalanx::supervisor::Fallback::InProcess => {
                let got = phalanx.execute(&block, deadline()).unwrap();
                assert_same(&expected, &got, "in this process");
                assert!(phalanx.supervisor().in_process);
                assert!(all_rest() || phalanx.health().iter().all(|shard| !shard.ready));
                let (block, expected) = blocks.next().unwrap();
                assert_same(
                    &expected,
                    &phalanx.execute(&block, deadline()).unwrap(),
                    "again in this process",
                );
                assert!(phalanx.disarm_fail_point().1 > 0);
            }
        }
        let full = || phalanx.health().iter().all(|shard| shard.ready);
        assert!(eventually(Duration::from_secs(20), full), "{:?}", phalanx.health());
        // Shard processes are looked for now and then.
        std::thread::sleep(Duration::from_millis(150));
        if fallback == phalanx::supervisor::Fallback::InProcess {
            let (block, expected) = blocks.next().unwrap();
            let got = phalanx.execute(&block, deadline()).unwrap();
            assert_same(&expected, &got, "in processes again");
            assert!(!phalanx.supervisor().in_process);
            assert_eq!(got.stats().shards_used, 2);
        } else {
            assert_same(&expected, &phalanx.execute(&block, deadline()).unwrap(), "after the failure");
        }
    }
}
