//! Limits of the host, and of the options: each gives a clear typed error (what, which, how much, what to do) or plain
//! success, never a hang, a crash or a leak; and when the limit is lifted the next block is the oracle's.
//!
//! What would break it: a resource taken before its failure can be told, an error that is logged and not returned, a
//! supervisor that ends because it cannot fork, a size that is multiplied before it is checked. Once broken: the reason
//! why a shard could not be made again was nowhere to be had; a process without descriptors took the owners of all
//! segments for dead and removed them. Negative controls: every failing call is followed by one that must succeed in
//! the same process when the limit is lifted.
//!
//! Tests that change limits of their process run in one of their own. What is not permitted on the host is skipped, and
//! says so.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    PATIENCE, Scene, alone, alone_under, assert_same, children_of, deadline, eventually, fds_of, parent_of,
    segments_of, send_signal, state_of,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::{BlockExecutor, ExecuteError};
use phalanx::partition::{ArenaError, ArenaLimits};
use phalanx::state::StateConfig;
use phalanx::supervisor::{LaunchError, Processes, ProcessesConfig};
use phalanx::types::{Block, PreparedBlock};
use phalanx_ipc::ProcessIdentity;
use std::fs::File;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

fn launch(config: &ProcessesConfig, scene: &Scene) -> Result<Processes, LaunchError> {
    Processes::launch(config, scene.vm.clone(), scene.state())
}

/// A family starts, executes the scene's next block as the oracle does, and leaves nothing.
fn works(scene: &mut Scene, config: &ProcessesConfig) {
    let blocks = scene.expected([200]);
    let mut processes = launch(config, scene).unwrap();
    let output = processes.execute(&blocks[0].0, deadline()).unwrap();
    assert_same(&blocks[0].1, &output, "after the limit is lifted");
    drop(processes);
    nothing_left();
}

fn nothing_left() {
    assert_eq!(children_of(own_pid()), Vec::<i32>::new(), "processes");
    assert_eq!(segments_of(own_pid()), Vec::<String>::new(), "segments");
}

fn supervisor_of(phalanx: &Phalanx) -> i32 {
    phalanx.health().iter().find_map(|shard| parent_of(shard.pid)).unwrap()
}

/// Sets a soft limit of another process; its hard limit stays.
fn limit(pid: i32, option: &str, soft: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--{option}={soft}:")])
        .status()
        .unwrap();
    assert!(status.success(), "prlimit --{option}={soft}");
}

fn kill_shard(phalanx: &Phalanx, shard: usize) {
    let pid = phalanx.health()[shard].pid;
    assert!(send_signal(pid, "phx-shard", Signal::SIGKILL));
    assert!(eventually(PATIENCE, || state_of(pid).is_none_or(|state| state == 'Z')));
}

fn all_ready(phalanx: &Phalanx) -> bool {
    phalanx.health().iter().all(|shard| shard.ready)
}

/// A mount namespace of its own with a /dev/shm of three pages.
const SMALL_SHM: [&str; 7] = [
    "unshare",
    "-m",
    "--propagation=private",
    "sh",
    "-c",
    "mount -t tmpfs -o size=12k,mode=1777 tmpfs /dev/shm && exec \"$@\"",
    "sh",
];

#[test]
fn a_full_dev_shm_is_a_clear_error_at_launch_and_room_again_is_enough() {
    alone_under("a_full_dev_shm_is_a_clear_error_at_launch_and_room_again_is_enough", &SMALL_SHM, || {
        let mut scene = Scene::new(51, 40, false);
        let config = scene.processes_config(2);
        let fds = fds_of(own_pid()).len();
        std::fs::write("/dev/shm/filler", vec![1; 12 << 10]).unwrap();
        let error = launch(&config, &scene).unwrap_err();
        println!("{error}");
        let text = error.to_string();
        assert!(text.contains("ENOSPC") && text.contains("/dev/shm") && text.contains("room"), "{text}");
        assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 1, "only the filler");
        nothing_left();
        assert_eq!(fds_of(own_pid()).len(), fds, "descriptors");
        std::fs::remove_file("/dev/shm/filler").unwrap();
        works(&mut scene, &config);
        assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
    });
}

/// A user that has no other process and no privilege.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=1961113", "--regid=1961113", "--clear-groups"];

#[test]
fn a_hard_limit_of_open_files_below_the_need_is_named_at_launch() {
    alone_under("a_hard_limit_of_open_files_below_the_need_is_named_at_launch", &NOBODY, || {
        let scene = Scene::new(52, 40, false);
        setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
        let error = launch(&scene.processes_config(4), &scene).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains("160 open files are needed") && error.contains("ulimit -Hn 160"), "{error}");
        nothing_left();
    });
}

/// Every place of the launch that takes a descriptor is made to fail once.
#[test]
fn a_launch_without_enough_descriptors_fails_clearly_at_every_step() {
    alone("a_launch_without_enough_descriptors_fails_clearly_at_every_step", || {
        let mut scene = Scene::new(53, 40, false);
        let config = ProcessesConfig { attach_limit: Duration::from_secs(5), ..scene.processes_config(2) };
        setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
        // Whoever cannot look must not take others for dead: the segment of a living process stays.
        let parent = ProcessIdentity::of(parent_of(own_pid()).unwrap()).unwrap();
        let foreign = format!("/dev/shm/phalanx-{}-{}-4000000000", parent.pid, parent.start_time);
        std::fs::write(&foreign, []).unwrap();
        let (mut failures, mut successes) = (0, 0);
        for free in 0..50 {
            let used = fds_of(own_pid()).len();
            let taken: Vec<File> =
                (0..256 - used - free).map_while(|_| File::open("/dev/null").ok()).collect();
            let begun = Instant::now();
            let outcome = launch(&config, &scene);
            let (took, error) = (begun.elapsed(), outcome.as_ref().err().map(ToString::to_string));
            drop(outcome);
            drop(taken);
            assert!(took < PATIENCE, "{free} free: {took:?}");
            match error {
                Some(text) => {
                    assert!(text.contains("open files"), "{free} free: {text}");
                    failures += 1;
                }
                None => successes += 1,
            }
            assert_eq!(fds_of(own_pid()).len(), used, "{free} free: descriptors left");
            assert!(
                std::fs::exists(&foreign).unwrap(),
                "{free} free: the segment of a living process is gone"
            );
            nothing_left();
        }
        std::fs::remove_file(&foreign).unwrap();
        println!("{failures} launches failed, {successes} succeeded");
        assert!(failures > 10 && successes > 0, "{failures} {successes}");
        works(&mut scene, &config);
    });
}

#[test]
fn a_supervisor_without_descriptors_lives_and_the_shard_comes_back_when_there_are_some() {
    let mut scene = Scene::new(54, 40, false);
    let blocks = scene.expected([200; 24]);
    let phalanx = scene.launch(scene.builder(2).log("off"));
    let supervisor = supervisor_of(&phalanx);
    let mut left = blocks.iter();
    let mut next = |context: &str| {
        let (block, expected) = left.next().unwrap();
        assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), context);
    };
    next("before");
    let held = fds_of(supervisor);
    let highest = held.iter().copied().max().unwrap();
    assert_eq!(held.len(), usize::try_from(highest).unwrap() + 1, "no gap among {held:?}");
    // From "cannot even count its threads" to "the new shard lacks the last one".
    let mut told = 0;
    for more in [0, 1, 2, 3, 5, 8, 40] {
        limit(supervisor, "nofile", &(highest + 1 + more).to_string());
        kill_shard(&phalanx, 0);
        next("one shard is away");
        let explained = || phalanx.health()[0].message.contains("open files") || phalanx.health()[0].ready;
        assert!(eventually(PATIENCE, explained), "{more}: {:?}", phalanx.health());
        told += u32::from(phalanx.health()[0].message.contains("open files"));
        println!("{more} more descriptors: {:?}", phalanx.health()[0].message);
        next("still one shard is away");
        limit(supervisor, "nofile", "20000");
        assert!(eventually(PATIENCE, || all_ready(&phalanx)), "{more}: {:?}", phalanx.health());
        next("both are back");
    }
    assert!(told >= 4, "the limits were too high to be felt: {told}");
    assert_eq!(supervisor_of(&phalanx), supervisor);
    assert_eq!(phalanx.stats().supervisor_restarts, 0);
}

#[test]
fn a_launch_without_enough_address_space_is_a_clear_error_and_more_is_enough() {
    alone("a_launch_without_enough_address_space_is_a_clear_error_and_more_is_enough", || {
        let mut scene = Scene::new(55, 40, false);
        let config = ProcessesConfig { attach_limit: Duration::from_secs(5), ..scene.processes_config(2) };
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        let (mut failures, mut successes) = (0, 0);
        for more in [128, 256, 512, 1_024, 1_300, 1_600, 2_048, 4_096, 16_384] {
            setrlimit(Resource::RLIMIT_AS, pages * 4096 + (more << 20), hard).unwrap();
            // The state itself is made by the caller here.
            let begun = Instant::now();
            let outcome = scene
                .try_state()
                .map_err(LaunchError::from)
                .and_then(|state| Processes::launch(&config, scene.vm.clone(), state));
            assert!(begun.elapsed() < PATIENCE, "{more} MiB: {:?}", begun.elapsed());
            match outcome {
                Ok(family) => {
                    drop(family);
                    successes += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    println!("{more} MiB: {text}");
                    assert!(text.contains("ENOMEM") && text.contains("ulimit -v"), "{more} MiB: {text}");
                    failures += 1;
                }
            }
            setrlimit(Resource::RLIMIT_AS, hard, hard).unwrap();
            nothing_left();
        }
        assert!(failures > 2 && successes > 0, "{failures} {successes}");
        works(&mut scene, &config);
    });
}

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
    let mut keys: Vec<&[u8]> = large
        .0
        .accesses()
        .iter()
        .map(|a| &large.0.key_bytes()[a.key_offset as usize..][..usize::from(a.key_bytes)])
        .collect();
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
            // A second round has to learn: then the limit may be reached, and is named.
            Err(ExecuteError::Arena(ArenaError::BlockTooLarge { .. })) => {}
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

#[test]
fn an_unprivileged_supervisor_at_its_process_limit_lives_and_shards_come_back_when_it_is_lifted() {
    let name = "an_unprivileged_supervisor_at_its_process_limit_lives_and_shards_come_back_when_it_is_lifted";
    alone_under(name, &NOBODY, || {
        let mut scene = Scene::new(60, 40, false);
        let blocks = scene.expected([200; 5]);
        let (_, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
        // Not one process more than there are: the launch itself.
        setrlimit(Resource::RLIMIT_NPROC, 1, hard).unwrap();
        let error = launch(&scene.processes_config(2), &scene).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains("EAGAIN") && error.contains("limit of processes"), "{error}");
        nothing_left();
        setrlimit(Resource::RLIMIT_NPROC, hard, hard).unwrap();
        let phalanx = scene.phalanx(2);
        let supervisor = supervisor_of(&phalanx);
        let execute = |number: usize, context: &str| {
            let (block, expected) = &blocks[number];
            assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), context);
        };
        execute(0, "before");
        limit(supervisor, "nproc", "1");
        kill_shard(&phalanx, 0);
        execute(1, "one shard is away");
        execute(2, "still");
        let told = || phalanx.health()[0].message.contains("limit of processes");
        assert!(eventually(PATIENCE, told), "{:?}", phalanx.health());
        kill_shard(&phalanx, 1);
        let begun = Instant::now();
        let error = phalanx.execute(&blocks[3].0, begun + Duration::from_secs(2)).unwrap_err();
        println!("{:?}: {error}", begun.elapsed());
        assert!(begun.elapsed() < PATIENCE);
        match &error {
            ExecuteError::NoShards(text) => assert!(text.contains("limit of processes"), "{text}"),
            // On a starved host the caller may be faster.
            ExecuteError::DeadlineExceeded { .. } => {}
            other => panic!("{other}"),
        }
        assert_eq!(state_of(supervisor).map(|state| state == 'Z'), Some(false), "the supervisor lives");
        limit(supervisor, "nproc", &hard.to_string());
        assert!(eventually(PATIENCE, || all_ready(&phalanx)), "{:?}", phalanx.health());
        execute(3, "both are back");
        execute(4, "both are back");
        assert_eq!(supervisor_of(&phalanx), supervisor);
        drop(phalanx);
        nothing_left();
    });
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
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 >> 20
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

/// Names a directory of a memory controller (cgroup v1 or v2) in which this test may make a group of its own.
const MEMORY_GROUP: &str = "PHALANX_TEST_MEMORY_GROUP";

/// Not part of every run: where a test may make control groups is for the host's operator to say.
#[test]
fn a_shard_that_its_memory_group_kills_is_replaced_and_the_block_is_the_oracles() {
    let Some(parent) = std::env::var_os(MEMORY_GROUP) else {
        println!("SKIPPED: set {MEMORY_GROUP} to a memory control group in which a test may make another");
        return;
    };
    let group = std::path::Path::new(&parent).join(format!("phalanx-limits-{}", own_pid()));
    std::fs::create_dir(&group).unwrap();
    let limit = ["memory.max", "memory.limit_in_bytes"].map(|name| group.join(name));
    let limit = limit.into_iter().find(|file| file.exists());
    let outcome = limit.map(|limit| {
        std::panic::catch_unwind(|| {
            let mut scene = Scene::new(62, 40, false);
            let blocks = scene.expected([20_000, 2_000]);
            let phalanx = scene.phalanx(2);
            let victim = phalanx.health()[0].clone();
            std::fs::write(&limit, "262144").unwrap();
            std::fs::write(group.join("cgroup.procs"), victim.pid.to_string()).unwrap();
            for (block, expected) in &blocks {
                assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "killed for its memory");
            }
            assert!(phalanx.health()[0].generation > victim.generation, "nobody was killed: too much memory");
        })
    });
    assert!(eventually(PATIENCE, || std::fs::remove_dir(&group).is_ok()), "group {} stays", group.display());
    match outcome {
        Some(Ok(())) => {}
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => panic!("{MEMORY_GROUP} names no memory controller"),
    }
}
