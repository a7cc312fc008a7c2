//! Sizes: options outside their ranges, blocks at and over every limit of their arena, ten million transactions.
//!
//! What would break it: a size that is multiplied before it is checked, a check that comes after something ran, work on
//! a large block that looks at neither the clock nor its caller. Negative control: what is refused is executed when its
//! limit is raised by one.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    PATIENCE, Scene, all_ready, alone, assert_same, deadline, eventually, kill_shard, launch, nothing_left,
    own_pid, works,
};
use phalanx::executor::ExecuteError;
use phalanx::partition::{ArenaError, ArenaLimits};
use phalanx::state::StateConfig;
use phalanx::supervisor::ProcessesConfig;
use phalanx::types::{Block, PreparedBlock};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn sizes_outside_their_ranges_are_refused_by_name() {
    alone("sizes_outside_their_ranges_are_refused_by_name", || {
        let scene = Scene::new(56, 4, false);
        let ample = scene.processes_config(1);
        let arena = ample.memory.arena;
        let huge = usize::MAX;
        type Change<'a> = Box<dyn Fn(&mut ProcessesConfig) + 'a>;
        let with_arena =
            |arena: ArenaLimits| -> Change<'_> { Box::new(move |config| config.memory.arena = arena) };
        let cases: Vec<(&str, Change<'_>)> = vec![
            ("arena.transactions is 0", with_arena(ArenaLimits { transactions: 0, ..arena })),
            ("arena.transactions is", with_arena(ArenaLimits { transactions: huge, ..arena })),
            ("arena.transaction_bytes is", with_arena(ArenaLimits { transaction_bytes: huge, ..arena })),
            ("arena.accesses is", with_arena(ArenaLimits { accesses: huge, ..arena })),
            ("arena.keys is", with_arena(ArenaLimits { keys: huge, ..arena })),
            ("arena.key_bytes is", with_arena(ArenaLimits { key_bytes: huge, ..arena })),
            ("arena.edges is", with_arena(ArenaLimits { edges: huge, ..arena })),
            ("state.max_entries is 0", Box::new(|c| c.memory.state.max_entries = 0)),
            ("state.max_entries is", Box::new(|c| c.memory.state.max_entries = u64::MAX)),
            ("state.heap_bytes is", Box::new(|c| c.memory.state.heap_bytes = u64::MAX)),
            ("output_arena_bytes is 1", Box::new(|c| c.memory.output_arena_bytes = 1)),
            ("output_arena_bytes is", Box::new(|c| c.memory.output_arena_bytes = huge)),
            ("vm is", Box::new(|c| c.vm = vec![0; 1 << 20])),
            ("stall_limit (in ms) is 0", Box::new(|c| c.stall_limit = Duration::ZERO)),
        ];
        for (named, change) in cases {
            let mut config = ample.clone();
            change(&mut config);
            let error = launch(&config, &scene).unwrap_err().to_string();
            assert!(
                error.contains(&format!("option {named}")) && error.contains("; choose "),
                "{named}: {error}"
            );
        }
        let state = StateConfig { max_entries: 0, ..StateConfig::default() };
        assert!(phalanx::state::BaseState::create(state).is_err());
        // The ends of the ranges are possible where the host has the address space.
        let mut config = ample.clone();
        config.memory.arena.edges = 0;
        config.memory.ring_budget_bytes = 0;
        config.memory.output_arena_bytes = 32 << 20;
        config.stall_limit = Duration::from_secs(24 * 60 * 60);
        works(&mut Scene::new(56, 4, false), &config);
    });
}

/// What each limit of the arena must be for a block, by the name that the error gives it.
fn needs(block: &PreparedBlock) -> [(&'static str, usize); 4] {
    [
        ("transactions", block.len()),
        ("bytes of transactions", block.transaction_bytes().len()),
        ("declared accesses", block.accesses().len()),
        ("bytes of declared keys", block.key_bytes().len()),
    ]
}

fn limits_with(ample: ArenaLimits, what: &str, limit: usize) -> ArenaLimits {
    match what {
        "transactions" => ArenaLimits { transactions: limit, ..ample },
        "bytes of transactions" => ArenaLimits { transaction_bytes: limit, ..ample },
        "declared accesses" => ArenaLimits { accesses: limit, ..ample },
        "bytes of declared keys" => ArenaLimits { key_bytes: limit, ..ample },
        "distinct keys" => ArenaLimits { keys: limit, ..ample },
        other => panic!("{other}"),
    }
}

#[test]
fn a_block_of_exactly_a_limit_is_executed_and_one_more_is_refused_before_anything_runs() {
    let mut scene = Scene::new(57, 40, false);
    let (small, large) = {
        let mut blocks = scene.expected([60, 120]);
        let large = blocks.pop().unwrap();
        (blocks.pop().unwrap(), large)
    };
    let ample = scene.memory.arena;
    let mut keys: Vec<&[u8]> =
        large.0.accesses().iter().map(|access| large.0.key(access.key).unwrap().1).collect();
    keys.sort_unstable();
    keys.dedup();
    let needs = needs(&large.0).into_iter().chain([("distinct keys", keys.len())]);
    for (what, needed) in needs {
        // Just enough: keys that nobody declared would need more, but right hints declare all.
        scene.memory.arena = limits_with(ample, what, needed);
        let phalanx = scene.phalanx(2);
        assert_same(&small.1, &phalanx.execute(&small.0, deadline()).unwrap(), what);
        match phalanx.execute(&large.0, deadline()) {
            Ok(output) => assert_same(&large.1, &output, what),
            // A second round has to learn keys: then their limits may be reached, and are named.
            Err(ExecuteError::Arena(ArenaError::BlockTooLarge { .. }))
                if !["transactions", "bytes of transactions"].contains(&what) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        drop(phalanx);
        scene.memory.arena = limits_with(ample, what, needed - 1);
        let phalanx = scene.phalanx(2);
        let executed = || phalanx.health().iter().map(|shard| shard.executed).sum::<u64>();
        let digest = phalanx.digest();
        let error = phalanx.execute(&large.0, deadline()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("raise the limit or split the block"), "{text}");
        let ExecuteError::Arena(ArenaError::BlockTooLarge { needed: told, limit, .. }) = error else {
            panic!("{what}: {error}")
        };
        assert_eq!((told, limit), (needed, needed - 1), "{what}");
        assert_eq!((phalanx.digest(), executed()), (digest, 0), "{what}: nothing ran");
        // Planned ahead of a block that executes it is refused as well.
        let first = phalanx.submit(&small.0, deadline()).unwrap();
        let refused = phalanx.submit(&large.0, deadline()).unwrap();
        assert_same(&small.1, &first.wait().unwrap(), what);
        assert!(
            matches!(refused.wait(), Err(ExecuteError::Arena(ArenaError::BlockTooLarge { .. }))),
            "{what}"
        );
        let empty = scene.prepare(&Block::default());
        assert!(phalanx.execute(&empty, deadline()).unwrap().is_empty(), "{what}");
    }
}

#[test]
fn a_block_header_over_its_room_is_refused_and_no_edges_at_all_are_enough() {
    let mut scene = Scene::new(58, 40, false);
    let blocks = scene.expected([300, 300]);
    scene.memory.arena.edges = 0;
    let phalanx = scene.phalanx(3);
    assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "no edges");
    for extra in [(1 << 20) + 1, 1 << 20, 64 << 20] {
        let mut block = Block::default();
        block.header.extra = vec![7; extra];
        let error = phalanx.execute(&scene.prepare(&block), deadline()).unwrap_err();
        assert!(error.to_string().contains("bytes of block header"), "{error}");
    }
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "afterwards");
}

#[test]
fn blocks_whose_keys_are_learned_reach_the_limits_with_an_error_or_succeed() {
    let mut scene = Scene::new(59, 40, false);
    let expected = scene.expected([200]);
    let (block, oracle) = &expected[0];
    // The same block without hints.
    let mut bare = PreparedBlock::new(block.header().clone());
    for index in 0..u32::try_from(block.len()).unwrap() {
        bare.push(block.transaction(phalanx::types::TxnIndex(index)).unwrap(), |_| {}).unwrap();
    }
    let (bare, ample) = (Arc::new(bare), scene.memory.arena);
    let (mut failures, mut successes) = (0, 0);
    for size in [1, 5, 40, 200, 1_000, 10_000] {
        for arena in [
            ArenaLimits { keys: size, ..ample },
            ArenaLimits { key_bytes: size * 33, ..ample },
            ArenaLimits { accesses: size, ..ample },
        ] {
            scene.memory.arena = arena;
            let phalanx = scene.phalanx(2);
            match phalanx.execute(&bare, deadline()) {
                Ok(output) => {
                    assert_same(oracle, &output, &format!("{arena:?}"));
                    successes += 1;
                }
                Err(ExecuteError::Arena(ArenaError::BlockTooLarge { .. })) => failures += 1,
                Err(error) => panic!("{arena:?}: {error}"),
            }
            let empty = scene.prepare(&Block::default());
            assert!(phalanx.execute(&empty, deadline()).unwrap().is_empty(), "{arena:?}");
        }
    }
    println!("{failures} refused, {successes} executed");
    assert!(failures > 0 && successes > 0, "{failures} {successes}");
}

/// `count` transactions of one byte each, which decode to nothing and have a status of their own.
fn tiny_block(count: usize) -> Arc<PreparedBlock> {
    let mut block = PreparedBlock::new(Block::default().header);
    for number in 0..count {
        block.push(&[u8::try_from(number % 251).unwrap()], |_| {}).unwrap();
    }
    Arc::new(block)
}

/// Resident memory of a process, shared pages included, in MiB.
fn resident_mib(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() / 256
}

const TEN_MILLION: usize = 10_000_000;

#[test]
fn ten_million_tiny_transactions_are_refused_by_default_and_executed_with_the_limit_raised() {
    let name = "ten_million_tiny_transactions_are_refused_by_default_and_executed_with_the_limit_raised";
    alone(name, || {
        let mut scene = Scene::new(61, 40, false);
        scene.memory = phalanx::executor::MemoryConfig::default();
        let blocks = scene.expected([100]);
        let large = tiny_block(TEN_MILLION);
        let phalanx = scene.phalanx(2);
        let begun = Instant::now();
        let error = phalanx.execute(&large, deadline()).unwrap_err();
        println!("refused after {:?}: {error}", begun.elapsed());
        assert!(
            matches!(
                error,
                ExecuteError::Arena(ArenaError::BlockTooLarge { needed: TEN_MILLION, limit: 1_048_576, .. })
            ),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "after the large one");
        drop(phalanx);

        scene.memory.arena.transactions = TEN_MILLION;
        let phalanx = scene.phalanx(2);
        let before = phalanx.digest();
        // Given up in the middle of planning, and of execution: the call is over at once, the next block soon.
        for after_ms in [1, 10, 40, 200] {
            let begun = Instant::now();
            let handle = phalanx.submit(&large, begun + PATIENCE).unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            assert!(handle.cancel(), "{after_ms} ms");
            let given_up = Instant::now();
            let error = handle.wait().unwrap_err();
            println!("cancelled after {after_ms} ms, answered after {:?}: {error}", given_up.elapsed());
            assert!(matches!(error, ExecuteError::Cancelled { .. }), "{error}");
            assert!(given_up.elapsed() < Duration::from_secs(5), "{after_ms} ms: {:?}", given_up.elapsed());
        }
        for (patience_ms, shard) in [(30, 0), (300, 1)] {
            assert!(eventually(PATIENCE, || all_ready(&phalanx)));
            let begun = Instant::now();
            let handle = phalanx.submit(&large, begun + Duration::from_millis(patience_ms)).unwrap();
            kill_shard(&phalanx, shard);
            let error = handle.wait().unwrap_err();
            println!("deadline of {patience_ms} ms kept after {:?}: {error}", begun.elapsed());
            assert!(matches!(error, ExecuteError::DeadlineExceeded { .. }), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
        assert_eq!(phalanx.digest(), before);
        assert!(eventually(PATIENCE, || all_ready(&phalanx)));
        let begun = Instant::now();
        let output = phalanx.execute(&large, begun + 4 * PATIENCE).unwrap();
        println!("executed in {:?}: {:?}", begun.elapsed(), output.stats());
        println!("{} MiB, {} MiB in a shard", resident_mib(own_pid()), resident_mib(phalanx.health()[0].pid));
        assert_eq!((output.len(), phalanx.digest()), (TEN_MILLION, before));
        assert!(output.transactions().all(|output| output.status().0 == 1), "undecodable");
        drop(output);
        assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "the next block");
        drop(phalanx);
        nothing_left();
    });
}
