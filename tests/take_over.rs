//! Shards with nothing left to do take over free transactions of others.
//!
//! What would break it: a late shard that keeps a round waiting for work which anybody could do; a transaction that both
//! execute, or nobody. Negative control run: with a `take_over` that looks at nobody both tests fail.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Scene, assert_same, deadline, seed, transfer};
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::fail_points::{FailAction, FailSpec};
use phalanx::types::{Block, BlockHeader, PreparedBlock};
use phalanx::vm::ledger::genesis;
use phalanx_bench::Accounts;
use std::sync::Arc;
use std::time::Duration;

const TRANSACTIONS: usize = 400;
const LATE: Duration = Duration::from_secs(2);

/// Blocks in which everyone sends once, and to somebody who does not send.
fn independent_transfers(seed: u64) -> (Scene, Vec<(Arc<PreparedBlock>, BlockOutput)>) {
    let mut scene = Scene::new(seed, 2, false);
    let accounts = Accounts::derive(seed, 2 * TRANSACTIONS, false);
    let addresses = accounts.addresses();
    scene.genesis = genesis(addresses.iter().map(|&address| (address, 1 << 40))).unwrap().collect();
    let mut oracle = scene.oracle();
    let blocks = (0..3_u64).map(|height| {
        let one = |from: usize| {
            accounts.encode(transfer(addresses[from], height, addresses[TRANSACTIONS + from], 7, false), from)
        };
        let header = BlockHeader { height, timestamp_s: 1, beneficiary: [0xbe; 32], extra: Vec::new() };
        let block = scene.prepare(&Block { header, transactions: (0..TRANSACTIONS).map(one).collect() });
        let output = oracle.execute(&block, deadline()).unwrap();
        (block, output)
    });
    let blocks = blocks.collect();
    (scene, blocks)
}

#[test]
fn what_a_late_shard_has_not_begun_is_done_by_the_other_one() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let (scene, blocks) = independent_transfers(seed);
    // Nobody takes the late one for hanging.
    let phalanx = scene.launch(scene.builder(2).stall_limit(10 * LATE));
    let executed = || -> Vec<u64> { phalanx.health().iter().map(|shard| shard.executed).collect() };
    for (block, expected) in &blocks {
        let before = executed();
        let millis = u32::try_from(LATE.as_millis()).unwrap();
        let late = FailSpec { point: "round entered", first: 1, times: 1, action: FailAction::Delay(millis) };
        phalanx.arm_fail_point(late).unwrap();
        let got = phalanx.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_same(expected, &got, &context);
        let (_, fired) = phalanx.disarm_fail_point();
        assert_eq!(fired, 1, "nobody was late: {context}");
        let done: Vec<u64> = executed().iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(
            done.iter().sum::<u64>(),
            TRANSACTIONS as u64 + got.stats().reexecuted,
            "{done:?}, {context}"
        );
        // Planned are halves.
        assert!(
            done.iter().min().unwrap() * 10 < TRANSACTIONS as u64,
            "shards have done {done:?}: {context}"
        );
    }
}

#[test]
fn many_shards_on_few_cores_take_over_all_the_time_and_every_block_is_right() {
    let seed = seed();
    for (accounts, shards) in [(2_000, 8), (30, 8), (2_000, 3)] {
        let context = format!("{accounts} accounts, {shards} shards, reproduce with PHALANX_SEED={seed}");
        let mut scene = Scene::new(seed, accounts, false);
        let blocks = scene.expected(std::iter::repeat_n(1_000, 10));
        let (phalanx, mut threads) = (scene.phalanx(shards), scene.threads(shards));
        let count = FailSpec { point: "work taken over", first: 1, times: 0, action: FailAction::Count };
        phalanx.arm_fail_point(count).unwrap();
        for (block, expected) in &blocks {
            let got = phalanx.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_same(expected, &got, &context);
            let got = threads.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_same(expected, &got, &format!("threads, {context}"));
        }
        let (taken_over, _) = phalanx.disarm_fail_point();
        assert!(taken_over > 0, "nobody took over: {context}");
    }
}
