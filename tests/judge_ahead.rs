//! Outputs are judged while their round still runs.
//!
//! What would break it: keys or accesses that change under shards at work, an output that is judged by others than those before
//! it, a shard's death between two looks at what it left. Oracle: sequential execution. Negative control run: with a `judge_ahead`
//! that finds no news nothing is judged ahead, and both tests fail; what a wrong verdict would be is tried in
//! `src/executor/acceptance/judging.rs`.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Dice, Hints, Scene, assert_same, deadline, prepare_with, seed, send_signal};
use nix::sys::signal::Signal;
use phalanx::executor::{BlockExecutor, BlockOutput, JudgeAhead, Threads, ThreadsConfig};
use phalanx::types::PreparedBlock;
use std::sync::Arc;
use std::time::Duration;

const TRANSACTIONS: usize = 1_500;

/// Blocks of transactions of which some say what they touch, some say something false, and some nothing, so that outputs spell
/// keys out and are rejected.
fn blocks(scene: &mut Scene, dice: &mut Dice, hints: &[Hints]) -> Vec<(Arc<PreparedBlock>, BlockOutput)> {
    let mut oracle = scene.oracle();
    let mut next = || scene.workload.next_block(TRANSACTIONS);
    let blocks: Vec<_> = (0..6).map(|_| next()).collect();
    let prepared = blocks.iter().map(|block| {
        let block = Arc::new(prepare_with(&scene.vm, block, dice, |dice| *dice.pick(hints)));
        let output = oracle.execute(&block, deadline()).unwrap();
        (block, output)
    });
    prepared.collect()
}

const MIXED: [Hints; 4] = [Hints::Right, Hints::Right, Hints::Wrong, Hints::Missing];

#[test]
fn what_is_judged_while_shards_work_is_what_is_judged_afterwards() {
    let seed = seed();
    for (shards, hints) in
        [(1, &MIXED[..]), (2, &MIXED[..2]), (2, &MIXED[..]), (5, &MIXED[..]), (8, &MIXED[3..])]
    {
        let context = format!("{shards} shards, {hints:?}, reproduce with PHALANX_SEED={seed}");
        let (mut scene, mut dice) = (Scene::new(seed, 40, false), Dice::new(seed));
        let blocks = blocks(&mut scene, &mut dice, hints);
        let phalanx = scene.launch(scene.builder(shards).judge_ahead(JudgeAhead::Always));
        let (judge_ahead, memory) = (JudgeAhead::Always, scene.memory);
        let config = ThreadsConfig { shards, memory, judge_ahead, ..ThreadsConfig::default() };
        let mut threads = Threads::launch(config, scene.vm.clone(), scene.state()).unwrap();
        let mut ahead = 0;
        for (block, expected) in &blocks {
            let got = phalanx.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_same(expected, &got, &context);
            ahead += got.stats().judged_ahead;
            let got = threads.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_same(expected, &got, &format!("threads, {context}"));
        }
        assert!(ahead > 0, "nothing was judged while shards worked: {context}");
    }
}

#[test]
fn shards_that_die_while_their_outputs_are_judged_never_change_a_block() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let (mut scene, mut dice) = (Scene::new(seed, 40, false), Dice::new(seed));
    let blocks = blocks(&mut scene, &mut dice, &MIXED);
    let phalanx = scene.launch(scene.builder(3).judge_ahead(JudgeAhead::Always));
    let mut ahead = 0;
    for (block, expected) in &blocks {
        let got = std::thread::scope(|scope| {
            let call = scope.spawn(|| phalanx.execute(block, deadline()));
            for _ in 0..4 {
                std::thread::sleep(Duration::from_micros(dice.below(3_000) as u64));
                // One that has just died is passed over.
                send_signal(phalanx.health()[dice.below(3)].pid, "phx-shard", Signal::SIGKILL);
            }
            call.join().unwrap()
        });
        let got = got.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_same(expected, &got, &context);
        ahead += got.stats().judged_ahead;
    }
    assert!(ahead > 0, "nothing was judged while shards worked: {context}");
}
