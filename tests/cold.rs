//! State that is larger than the memory it may take: the table is a cache of the store, shards read what they miss there.
//!
//! Oracle: the sequential executor with the whole state in memory. What would break it: a miss that is taken for an absent
//! key, an entry that is let go before the store has it, a removed key that comes back from the store, a value that was
//! fetched in one round and used in another, a place in the table remembered over growth, slots of killed readers that stay.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Apart, Dice, Hints, PATIENCE, Scene, apart_with, assert_same, deadline, eventually, fds_of, is_apart,
    kill_shard, prepare_with, scratch, seed, send_signal, small_durable,
};
use heed::EnvOpenOptions;
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::durable::{DurableConfig, DurableProgress, verify};
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::fail_points::{FailAction, FailSpec};
use phalanx::state::CacheStats;
use phalanx::supervisor::{Fallback, Pacing};
use phalanx::types::PreparedBlock;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Accounts whose entries take about a hundred times the smallest cache.
const ACCOUNTS: usize = 30_000;
/// The smallest cache.
const CACHE_BYTES: u64 = 64 << 10;
const COUNTER: &str = "a_process_that_counts_dead_readers";

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

fn scene(seed: u64) -> Scene {
    let scene = Scene::new(seed, ACCOUNTS, false);
    let bytes = scene.genesis.len() as u64 * 96;
    assert!(bytes > 60 * CACHE_BYTES, "{bytes}: the cache is 1 % of the state");
    scene
}

fn config(directory: &Path) -> DurableConfig {
    DurableConfig { cache_bytes: Some(CACHE_BYTES), ..small_durable(&directory.join("state")) }
}

fn cache_of(phalanx: &Phalanx) -> CacheStats {
    phalanx.durable_progress().and_then(|DurableProgress { cache, .. }| cache).unwrap()
}

fn execute(phalanx: &Phalanx, blocks: &[(Arc<PreparedBlock>, BlockOutput)], context: &str) {
    for (block, expected) in blocks {
        let output = phalanx.execute(block, deadline()).unwrap();
        assert_same(expected, &output, context);
    }
}

fn assert_holds(scene: &Scene, config: &DurableConfig, last: &BlockOutput) {
    let state = scene.open(config).unwrap();
    assert_eq!(state.head().digest, last.digest());
    let mut entries = 0_u64;
    state.for_each(|_, _| entries += 1).unwrap();
    assert!(entries > state.state().len(), "only a part is in memory");
    drop(state);
    verify(&config.directory, |_, _| {}).unwrap();
}

#[test]
fn a_state_a_hundred_times_the_cache_gives_what_sequential_execution_gives() {
    let mut scene = scene(1_201);
    let blocks: Expected = scene.expected([400; 18]);
    let directory = scratch();
    let config = config(directory.path());
    for (shards, part) in [(1, &blocks[..6]), (3, &blocks[6..12]), (8, &blocks[12..])] {
        let phalanx = scene.durable(shards, config.clone());
        execute(&phalanx, part, &format!("{shards} shards"));
        let cache = cache_of(&phalanx);
        println!("{shards} shards: {cache:?}");
        assert!(!cache.whole && cache.filled > 500 && cache.evicted > 300, "{cache:?}");
        // A block submitted again is known, whatever is in memory.
        assert!(phalanx.execute(&part[0].0, deadline()).unwrap().is_recalled());
    }
    assert_holds(&scene, &config, &blocks.last().unwrap().1);
}

#[test]
fn without_commutative_writes_and_with_wrong_hints_misses_are_still_right() {
    let seed = seed();
    println!("PHALANX_SEED={seed}");
    let (mut scene, mut dice) = (scene(1_202).without_commutative_writes(), Dice::new(seed));
    let directory = scratch();
    let config = config(directory.path());
    let phalanx = scene.durable(3, config.clone());
    let mut oracle = scene.oracle();
    let all = [Hints::Right, Hints::Wrong, Hints::Missing];
    let mut last = None;
    for _ in 0..8 {
        let block = scene.workload.next_block(250);
        let expected = oracle.execute(&scene.prepare(&block), deadline()).unwrap();
        let hinted = prepare_with(&scene.vm, &block, &mut dice, |dice| *dice.pick(&all));
        let output = phalanx.execute(&Arc::new(hinted), deadline()).unwrap();
        assert_same(&expected, &output, &format!("PHALANX_SEED={seed}"));
        last = Some(expected);
    }
    assert!(cache_of(&phalanx).filled > 500);
    drop(phalanx);
    assert_holds(&scene, &config, &last.unwrap());
}

#[test]
fn shards_and_supervisor_that_are_killed_while_they_read_the_store_change_nothing() {
    let seed = seed();
    println!("PHALANX_SEED={seed}");
    let mut scene = scene(1_203);
    let blocks: Expected = scene.expected([600; 90]);
    let directory = scratch();
    let config = config(directory.path());
    let phalanx = scene.durable(3, config.clone());
    let (over, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let executed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut dice = Dice::new(seed);
            while !over.load(Ordering::SeqCst) {
                let shard = dice.below(3);
                let hit = if dice.chance(4) {
                    let supervisor = phalanx.supervisor().pid;
                    supervisor.is_some_and(|pid| send_signal(pid, "phx-supervisor", Signal::SIGKILL))
                } else {
                    send_signal(phalanx.health()[shard].pid, "phx-shard", Signal::SIGKILL)
                };
                kills.fetch_add(usize::from(hit), Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(dice.below(8_000) as u64));
            }
        });
        // A fast host needs more blocks for as many kills.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut executed = 0;
            for part in blocks.chunks(30) {
                execute(&phalanx, part, &format!("PHALANX_SEED={seed}, under kills"));
                executed += part.len();
                if kills.load(Ordering::SeqCst) >= 20 {
                    break;
                }
            }
            executed
        }));
        over.store(true, Ordering::SeqCst);
        killer.join().unwrap();
        outcome.unwrap()
    });
    let kills = kills.into_inner();
    println!("{kills} kills, {:?}", cache_of(&phalanx));
    assert!(kills >= 20, "{kills}");
    drop(phalanx);
    assert_holds(&scene, &config, &blocks[executed - 1].1);
}

/// Readers that LMDB finds dead, seen by another process.
fn dead_readers(directory: &Path) -> usize {
    let variables = [("PHALANX_STATE", directory.to_str().unwrap().to_owned())];
    let mut counter: Apart = apart_with(COUNTER, &variables);
    counter.line("dead readers").parse().unwrap()
}

#[test]
fn a_process_that_counts_dead_readers() {
    if is_apart() {
        let directory = std::env::var("PHALANX_STATE").unwrap();
        let mut options = EnvOpenOptions::new();
        options.max_dbs(3).max_readers(512);
        // SAFETY: LMDB alone writes the files, with its locks on.
        #[allow(unsafe_code, reason = "LMDB maps its file")]
        let env = unsafe { options.open(Path::new(&directory).join("store")) }.unwrap();
        println!("dead readers {}", env.clear_stale_readers().unwrap());
    }
}

#[test]
fn the_slot_of_a_reader_that_is_killed_in_a_round_is_free_before_the_next_block_is_stored() {
    let mut scene = scene(1_204);
    let blocks: Expected = scene.expected([3_000; 6]);
    let directory = scratch();
    let config = config(directory.path());
    let phalanx = scene.durable(2, config.clone());
    let mut in_rounds = 0;
    for (block, expected) in &blocks {
        assert!(eventually(PATIENCE, || phalanx.health().iter().all(|shard| shard.ready)));
        let before = phalanx.health()[1].executed;
        let handle = phalanx.submit(block, deadline()).unwrap();
        assert!(eventually(PATIENCE, || phalanx.health()[1].executed > before));
        kill_shard(&phalanx, 1);
        let output = handle.wait().unwrap();
        assert_same(expected, &output, "with a death");
        in_rounds += output.stats().rounds_cut_short;
    }
    println!("{in_rounds} rounds were cut short");
    assert!(in_rounds > 0);
    assert!(eventually(PATIENCE, || phalanx.durable_progress().unwrap().backlog_bytes == 0));
    assert_eq!(dead_readers(&config.directory), 0);
}

#[test]
fn a_shard_holds_two_files_of_the_store_and_only_with_a_cache() {
    let scene = Scene::new(1_205, 40, false);
    let directory = scratch();
    let whole = scene.durable(1, small_durable(&directory.path().join("whole")));
    assert_eq!(store_files(&whole), 0);
    drop(whole);
    let cached = scene.durable(1, config(directory.path()));
    assert_eq!(store_files(&cached), 2);
}

/// Descriptors of the only shard that are not those of its standard streams.
fn store_files(phalanx: &Phalanx) -> usize {
    fds_of(phalanx.health()[0].pid).iter().filter(|&&fd| fd > 2).count()
}

#[test]
fn one_shard_in_this_process_reads_the_store_as_others_do() {
    let mut scene = scene(1_206);
    let blocks: Expected = scene.expected([300; 6]);
    let directory = scratch();
    let config = config(directory.path());
    let builder = scene.durable_builder(1, config.clone()).fallback(Fallback::InProcess).log("off");
    let pacing = Pacing { rest_ms: 60_000, longest_pause_ms: 2, ..Pacing::default() };
    let phalanx = scene.launch(builder.pacing(pacing));
    execute(&phalanx, &blocks[..1], "with a process");
    let spec = FailSpec { point: "store opened", first: 1, times: u64::MAX, action: FailAction::Exit(7) };
    phalanx.arm_fail_point(spec).unwrap();
    kill_shard(&phalanx, 0);
    assert!(eventually(PATIENCE, || phalanx.health().iter().all(|shard| shard.resting)));
    execute(&phalanx, &blocks[1..], "in this process");
    assert!(phalanx.supervisor().in_process && cache_of(&phalanx).filled > 500);
    drop(phalanx);
    assert_holds(&scene, &config, &blocks.last().unwrap().1);
}

#[test]
fn a_state_that_fits_is_never_read_from_the_store() {
    let mut scene = Scene::new(1_207, 150, false);
    let blocks: Expected = scene.expected([200; 4]);
    let directory = scratch();
    let config = config(directory.path());
    let phalanx = scene.durable(2, config.clone());
    execute(&phalanx, &blocks, "a state that fits");
    let cache = cache_of(&phalanx);
    assert!(cache.whole && cache.filled == 0 && cache.evicted == 0, "{cache:?}");
}
