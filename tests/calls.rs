//! P2 and P3 at the library's face: every call returns its output or a typed error in time, and a failed call leaves
//! the state as it was.
//!
//! What would break it: a wait without a deadline, a queue without an end, a block that is refused after part of it was
//! applied, a launch that fails and leaves its child behind. Negative control: each failing call is followed by one
//! that must succeed with the oracle's outputs, so that an executor that refuses everything fails as well.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    PATIENCE, Scene, alone, assert_same, children_of, deadline, eventually, fds_of, parent_of, segments_of,
    send_signal, state_of, transfer,
};
use nix::sys::signal::Signal;
use phalanx::executor::{BlockExecutor, BlockOutput, ExecuteError, Sequential};
use phalanx::partition::{ArenaError, ArenaLimits};
use phalanx::state::{BaseState, StateConfig, StateError};
use phalanx::supervisor::{LaunchError, Processes, ProcessesConfig, SupervisorImage};
use phalanx::types::{Block, BlockHeader, PreparedBlock};
use phalanx::vm::BuiltInVm;
use phalanx::vm::ledger::{Address, LedgerConfig, LedgerVm, SignatureMode, genesis};
use phalanx::{Phalanx, QUEUE_LIMIT};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time enough for a call whose deadline has passed to return, on a loaded host.
const SOON: Duration = Duration::from_secs(3);

/// Stops shard 0, so that a block submitted now stays in its round until [`let_go`].
fn hold_up(phalanx: &Phalanx) -> i32 {
    let pid = phalanx.health()[0].pid;
    assert!(send_signal(pid, "phx-shard", Signal::SIGSTOP));
    assert!(eventually(PATIENCE, || state_of(pid) == Some('T')));
    pid
}

fn let_go(pid: i32) {
    assert!(send_signal(pid, "phx-shard", Signal::SIGCONT));
}

/// A family whose stopped shards are left alone for longer than any test takes.
fn patient(scene: &Scene, shards: usize) -> Phalanx {
    scene.launch(scene.builder(shards).stall_limit(2 * PATIENCE))
}

/// Waits until the queue is empty: the block before is executing.
fn await_start(phalanx: &Phalanx, before: u64) {
    let works = || phalanx.health().iter().map(|shard| shard.executed).sum::<u64>() > before;
    assert!(eventually(PATIENCE, works), "the block starts");
}

fn executed(phalanx: &Phalanx) -> u64 {
    phalanx.health().iter().map(|shard| shard.executed).sum()
}

#[test]
fn a_call_whose_deadline_has_passed_returns_at_once_and_changes_nothing() {
    let mut scene = Scene::new(21, 40, false);
    let blocks = scene.expected([500, 500]);
    let phalanx = scene.phalanx(3);
    let before = phalanx.digest();
    for late in [Duration::ZERO, Duration::from_micros(50), Duration::from_micros(500)] {
        let begun = Instant::now();
        let result = phalanx.execute(&blocks[0].0, begun + late);
        assert!(begun.elapsed() < SOON, "{late:?} took {:?}", begun.elapsed());
        match result {
            // So little time may be enough; then the block is committed and the test is over.
            Ok(output) => return assert_same(&blocks[0].1, &output, "in time"),
            Err(
                ExecuteError::DeadlineExceeded { transactions: 500, .. } | ExecuteError::Cancelled { .. },
            ) => {}
            Err(error) => panic!("{late:?}: {error}"),
        }
        assert_eq!(phalanx.digest(), before, "{late:?}");
    }
    assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "the same block again");
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "the next one");
}

#[test]
fn a_deadline_during_a_round_is_kept_and_the_executor_goes_on() {
    let mut scene = Scene::new(22, 40, false);
    let blocks = scene.expected([500, 500]);
    let phalanx = patient(&scene, 3);
    let before = phalanx.digest();
    let held = hold_up(&phalanx);
    let begun = Instant::now();
    let error = phalanx.execute(&blocks[0].0, begun + Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, ExecuteError::DeadlineExceeded { .. }), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(100) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // The coordinator kills it some 100 ms after it gave up: by now, if this thread was held up.
    send_signal(held, "phx-shard", Signal::SIGCONT);
    assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "the same block again");
    assert_ne!(phalanx.digest(), before);
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "the next one");
}

#[test]
fn the_process_executor_itself_keeps_a_deadline_that_has_passed() {
    let mut scene = Scene::new(23, 40, false);
    let blocks = scene.expected([500]);
    let mut processes = scene.processes(2);
    let before = processes.digest();
    let error = processes.execute(&blocks[0].0, Instant::now()).unwrap_err();
    assert!(matches!(error, ExecuteError::DeadlineExceeded { transactions: 500, .. }), "{error}");
    assert_eq!(processes.digest(), before);
    assert_same(&blocks[0].1, &processes.execute(&blocks[0].0, deadline()).unwrap(), "again");
}

#[test]
fn a_cancelled_block_is_not_committed_and_the_next_one_is_right() {
    let mut scene = Scene::new(24, 40, false);
    let blocks = scene.expected([500, 500]);
    let phalanx = patient(&scene, 3);
    let before = phalanx.digest();
    let start = executed(&phalanx);
    let held = hold_up(&phalanx);
    let executing = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_start(&phalanx, start);
    let waiting = phalanx.submit(&blocks[1].0, deadline()).unwrap();
    assert!(waiting.cancel() && executing.cancel(), "neither is being committed");
    let_go(held);
    for handle in [executing, waiting] {
        let error = handle.wait().unwrap_err();
        assert!(matches!(error, ExecuteError::Cancelled { .. }), "{error}");
    }
    assert_eq!(phalanx.digest(), before);
    for (block, expected) in &blocks {
        assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "after the cancelled ones");
    }
    let late = phalanx.submit(&scene.prepare(&Block::default()), deadline()).unwrap();
    assert!(eventually(PATIENCE, || phalanx.stats().blocks == 3));
    assert!(!late.cancel(), "what is committed cannot be cancelled");
    late.wait().unwrap();
}

#[test]
fn more_blocks_than_the_queue_holds_are_refused_as_busy_and_the_queued_ones_are_executed_in_order() {
    let mut scene = Scene::new(25, 40, false);
    let blocks = scene.expected([300, 300, 300]);
    let phalanx = patient(&scene, 2);
    let start = executed(&phalanx);
    let held = hold_up(&phalanx);
    let mut handles = vec![phalanx.submit(&blocks[0].0, deadline()).unwrap()];
    await_start(&phalanx, start);
    handles.push(phalanx.submit(&blocks[1].0, deadline()).unwrap());
    handles.push(phalanx.submit(&blocks[2].0, deadline()).unwrap());
    let error = phalanx.submit(&blocks[2].0, deadline()).unwrap_err();
    assert!(matches!(error, ExecuteError::Busy { queued: QUEUE_LIMIT }), "{error}");
    let_go(held);
    for ((_, expected), handle) in blocks.iter().zip(handles) {
        assert_same(expected, &handle.wait().unwrap(), "in the order of submission");
    }
}

#[test]
fn blocks_planned_ahead_equal_the_oracle() {
    let mut scene = Scene::new(26, 40, false);
    let blocks = scene.expected([700, 0, 1, 900, 500, 1, 0, 800, 600, 700, 2, 400]);
    let phalanx = scene.phalanx(4);
    let mut pending = std::collections::VecDeque::new();
    for (number, (block, expected)) in blocks.iter().enumerate() {
        loop {
            match phalanx.submit(block, deadline()) {
                Ok(handle) => break pending.push_back((number, handle, expected)),
                Err(ExecuteError::Busy { .. }) => finish(&mut pending),
                Err(error) => panic!("{error}"),
            }
        }
    }
    while !pending.is_empty() {
        finish(&mut pending);
    }
    assert_eq!(phalanx.digest(), blocks[11].1.digest());
}

type Pending<'a> = std::collections::VecDeque<(usize, phalanx::BlockHandle, &'a BlockOutput)>;

fn finish(pending: &mut Pending<'_>) {
    let (number, handle, expected) = pending.pop_front().unwrap();
    assert_same(expected, &handle.wait().unwrap(), &format!("block {number}"));
}

#[test]
fn a_block_too_large_for_its_arena_is_refused_before_anything_runs() {
    let mut scene = Scene::new(27, 40, false);
    let blocks = scene.expected([100, 100]);
    let large = scene.expected([101]).remove(0).0;
    let ample = scene.memory.arena;
    let (bytes, accesses, keys) = blocks.iter().fold((0, 0, 0), |(bytes, accesses, keys), (block, _)| {
        (
            bytes.max(block.transaction_bytes().len()),
            accesses.max(block.accesses().len()),
            keys.max(block.key_bytes().len()),
        )
    });
    assert!(bytes > 0 && accesses > 0 && keys > 0);
    scene.memory.arena = ArenaLimits { transactions: 100, ..ample };
    let phalanx = scene.phalanx(2);
    let (digest, start) = (phalanx.digest(), executed(&phalanx));
    let error = phalanx.execute(&large, deadline()).unwrap_err();
    let ExecuteError::Arena(ArenaError::BlockTooLarge { needed: 101, limit: 100, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((phalanx.digest(), executed(&phalanx)), (digest, start), "nothing ran");
    // One that is planned ahead is refused as well, and the one before it is not disturbed.
    let first = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    let refused = phalanx.submit(&large, deadline()).unwrap();
    assert_same(&blocks[0].1, &first.wait().unwrap(), "before the large one");
    let error = refused.wait().unwrap_err();
    assert!(matches!(error, ExecuteError::Arena(ArenaError::BlockTooLarge { .. })), "{error}");
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "after the large one");
}

#[test]
fn a_block_with_too_many_bytes_or_accesses_is_refused() {
    let mut scene = Scene::new(28, 40, false);
    let (block, _) = scene.expected([100]).remove(0);
    let ample = scene.memory.arena;
    let small = [
        ArenaLimits { transaction_bytes: block.transaction_bytes().len() - 1, ..ample },
        ArenaLimits { accesses: block.accesses().len() - 1, ..ample },
        ArenaLimits { key_bytes: block.key_bytes().len() - 1, ..ample },
        ArenaLimits { keys: 5, ..ample },
    ];
    for arena in small {
        scene.memory.arena = arena;
        let mut threads = scene.threads(2);
        let digest = threads.digest();
        let error = threads.execute(&block, deadline()).unwrap_err();
        assert!(matches!(error, ExecuteError::Arena(ArenaError::BlockTooLarge { .. })), "{arena:?}: {error}");
        assert_eq!(threads.digest(), digest, "{arena:?}");
        let empty = scene.prepare(&Block::default());
        assert!(threads.execute(&empty, deadline()).unwrap().is_empty(), "{arena:?}");
    }
}

/// A ledger whose accounts `0..founders` exist; block `height` lets each of `creators` create one more.
struct Creations {
    accounts: Accounts,
    vm: LedgerVm,
    founders: usize,
}

impl Creations {
    fn state(&self, config: StateConfig) -> BaseState {
        let founders = self.accounts.addresses()[..self.founders].iter().map(|&address| (address, 1 << 40));
        BaseState::with_entries(config, genesis(founders).unwrap()).unwrap()
    }

    fn address(&self, account: usize) -> Address {
        self.accounts.addresses()[account]
    }

    /// Transactions of founders `range`, each at `sequence_number`, that create `founders + number`.
    fn block(
        &self,
        height: u64,
        range: std::ops::Range<usize>,
        sequence_number: u64,
        create: bool,
    ) -> Arc<PreparedBlock> {
        let header =
            BlockHeader { height, timestamp_s: 1, beneficiary: self.address(0).0, ..BlockHeader::default() };
        let transactions = range
            .map(|number| {
                let to = if create { self.founders + number } else { (number + 1) % self.founders };
                let raw = transfer(self.address(number), sequence_number, self.address(to), 1, create);
                self.accounts.encode(raw, number)
            })
            .collect();
        Arc::new(PreparedBlock::prepare(&self.vm, &Block { header, transactions }).unwrap())
    }
}

#[test]
fn a_full_base_state_fails_the_block_and_smaller_ones_still_work() {
    let founders = 300;
    let config =
        LedgerConfig { chain_id: WORKLOAD_CHAIN_ID, signatures: SignatureMode::Skip, commutative: true };
    let creations = Creations {
        accounts: Accounts::derive(29, 2 * founders, false),
        vm: LedgerVm::new(config),
        founders,
    };
    let mut scene = Scene::new(29, 2, false);
    // 600 entries of the founders and 300 sequence numbers fit, 600 entries more do not.
    scene.memory.state = StateConfig { max_entries: 1_024, heap_bytes: 1 << 20 };
    let configuration =
        ProcessesConfig { vm: BuiltInVm::Ledger(config).to_bytes(), ..scene.processes_config(3) };
    let mut processes =
        Processes::launch(&configuration, creations.vm.clone(), creations.state(scene.memory.state)).unwrap();
    let ample = StateConfig { max_entries: 1 << 16, heap_bytes: 1 << 20 };
    let mut oracle = Sequential::new(creations.vm.clone(), creations.state(ample));
    let digest = processes.digest();
    assert_eq!(digest, oracle.digest());
    let full = processes.execute(&creations.block(1, 0..300, 0, true), deadline()).unwrap_err();
    assert!(matches!(full, ExecuteError::State(StateError::Full { .. })), "{full}");
    assert_eq!(processes.digest(), digest, "nothing of the block is applied");
    for (height, create) in [(1, false), (2, true)] {
        let block = creations.block(height, 0..20, height - 1, create);
        let expected = oracle.execute(&block, deadline()).unwrap();
        assert!(expected.transactions().all(|output| output.status() == phalanx::types::StatusCode::SUCCESS));
        assert_same(&expected, &processes.execute(&block, deadline()).unwrap(), "a smaller block");
    }
}

#[test]
fn a_shutdown_with_blocks_in_flight_answers_them_and_leaves_nothing() {
    alone("a_shutdown_with_blocks_in_flight_answers_them_and_leaves_nothing", || {
        let mut scene = Scene::new(30, 40, false);
        let blocks = scene.expected([500, 500]);
        let phalanx = patient(&scene, 3);
        let own = i32::try_from(std::process::id()).unwrap();
        let pids: Vec<i32> = phalanx.health().iter().map(|shard| shard.pid).collect();
        let start = executed(&phalanx);
        hold_up(&phalanx);
        let executing = phalanx.submit(&blocks[0].0, deadline()).unwrap();
        await_start(&phalanx, start);
        let waiting = phalanx.submit(&blocks[1].0, deadline()).unwrap();
        let begun = Instant::now();
        // The stopped shard cannot leave its round: it is killed after the park limit, here twice the patience, unless
        // the shutdown does not wait for it.
        let_go(pids[0]);
        phalanx.shutdown(deadline()).unwrap();
        assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
        match executing.wait() {
            Ok(output) => assert_same(&blocks[0].1, &output, "finished before the shutdown"),
            Err(ExecuteError::Cancelled { .. } | ExecuteError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
        match waiting.wait() {
            Ok(output) => assert_same(&blocks[1].1, &output, "finished before the shutdown"),
            Err(ExecuteError::Cancelled { .. } | ExecuteError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(children_of(own), Vec::<i32>::new());
        assert!(pids.iter().all(|&pid| state_of(pid).is_none_or(|state| state == 'Z')));
        assert_eq!(segments_of(own), Vec::<String>::new());
    });
}

#[test]
fn a_shutdown_while_a_shard_is_stopped_ends_in_time() {
    let mut scene = Scene::new(31, 40, false);
    let blocks = scene.expected([500]);
    let phalanx = scene.launch(scene.builder(2).stall_limit(Duration::from_millis(300)));
    let start = executed(&phalanx);
    let held = hold_up(&phalanx);
    let executing = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_start(&phalanx, start);
    let begun = Instant::now();
    phalanx.shutdown(deadline()).unwrap();
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
    if let Ok(output) = executing.wait() {
        assert_same(&blocks[0].1, &output, "finished before the shutdown");
    }
    assert!(eventually(SOON, || state_of(held).is_none_or(|state| state == 'Z')));
}

/// A round that a death cut short waits long for a shard that the host may only starve, but not past its caller.
#[test]
fn a_shutdown_while_a_cut_round_waits_for_a_stopped_shard_ends_in_time() {
    let mut scene = Scene::new(37, 40, false);
    let blocks = scene.expected([500]);
    let phalanx = scene.launch(scene.builder(2).stall_limit(Duration::from_secs(60)));
    let start = executed(&phalanx);
    let held = hold_up(&phalanx);
    let executing = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_start(&phalanx, start);
    let other = phalanx.health().iter().map(|shard| shard.pid).find(|&pid| pid != held).unwrap();
    assert!(send_signal(other, "phx-shard", Signal::SIGKILL));
    // The death is known and the round cut short by then; if not, the shutdown cuts it.
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    phalanx.shutdown(deadline()).unwrap();
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
    if let Ok(output) = executing.wait() {
        assert_same(&blocks[0].1, &output, "finished before the shutdown");
    }
    assert!(eventually(SOON, || state_of(held).is_none_or(|state| state == 'Z')));
}

#[test]
fn two_families_in_one_process_do_not_disturb_each_other() {
    let mut scenes = [Scene::new(32, 40, false), Scene::new(33, 40, false)];
    let blocks = scenes.each_mut().map(|scene| scene.expected([400; 10]));
    let families = scenes.each_ref().map(|scene| scene.phalanx(3));
    std::thread::scope(|scope| {
        for (phalanx, blocks) in families.iter().zip(&blocks) {
            scope.spawn(move || {
                for (block, expected) in blocks {
                    assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "one of two");
                }
            });
        }
    });
    let supervisors = families.each_ref().map(|phalanx| parent_of(phalanx.health()[0].pid).unwrap());
    assert_ne!(supervisors[0], supervisors[1]);
}

/// A launch that must fail, in a process of its own; returns the error and how long it took. Once broke: a supervisor that
/// was gone before it was handed its order stayed a zombie.
fn failing_launch(config: &ProcessesConfig, scene: &Scene) -> (LaunchError, Duration) {
    let own = i32::try_from(std::process::id()).unwrap();
    let before = fds_of(own).len();
    let begun = Instant::now();
    let error = Processes::launch(config, scene.vm.clone(), scene.state()).unwrap_err();
    let taken = begun.elapsed();
    println!("{taken:?}: {error}");
    assert_eq!(children_of(own), Vec::<i32>::new(), "processes left by: {error}");
    assert_eq!(segments_of(own), Vec::<String>::new(), "segments left by: {error}");
    assert_eq!(fds_of(own).len(), before, "descriptors left by: {error}");
    (error, taken)
}

#[test]
fn an_image_that_is_no_supervisor_is_a_clear_error_in_time_and_leaves_nothing() {
    alone("an_image_that_is_no_supervisor_is_a_clear_error_in_time_and_leaves_nothing", || {
        let scene = Scene::new(34, 4, false);
        for path in ["/bin/true", "/bin/false", "/nonexistent/phalanx-supervisor", "/etc/passwd"] {
            let config = ProcessesConfig {
                image: SupervisorImage::Path(path.into()),
                attach_limit: Duration::from_secs(2),
                ..scene.processes_config(2)
            };
            let (_, taken) = failing_launch(&config, &scene);
            assert!(taken < Duration::from_secs(2) + SOON, "{path}: {taken:?}");
        }
    });
}

#[test]
fn an_image_that_never_answers_is_a_clear_error_in_time_and_leaves_nothing() {
    alone("an_image_that_never_answers_is_a_clear_error_in_time_and_leaves_nothing", || {
        let scene = Scene::new(35, 4, false);
        let folder = tempfile::tempdir().unwrap();
        let silent = folder.path().join("silent");
        fs::write(&silent, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(&silent, fs::Permissions::from_mode(0o755)).unwrap();
        let config = ProcessesConfig {
            image: SupervisorImage::Path(silent),
            attach_limit: Duration::from_secs(1),
            ..scene.processes_config(2)
        };
        let (_, taken) = failing_launch(&config, &scene);
        assert!(taken < Duration::from_secs(1) + SOON, "{taken:?}");
    });
}

#[test]
fn a_ledger_that_the_supervisor_cannot_make_is_an_error_in_time() {
    alone("a_ledger_that_the_supervisor_cannot_make_is_an_error_in_time", || {
        let scene = Scene::new(36, 4, false);
        let config = ProcessesConfig {
            vm: vec![0xff; 3],
            attach_limit: Duration::from_secs(2),
            ..scene.processes_config(2)
        };
        let (_, taken) = failing_launch(&config, &scene);
        assert!(taken < Duration::from_secs(2) + SOON, "{taken:?}");
    });
}

#[test]
fn no_shards_and_too_many_shards_are_refused() {
    let scene = Scene::new(37, 4, false);
    for shards in [0, phalanx::MAX_SHARDS + 1] {
        let config = scene.processes_config(shards);
        let error = Processes::launch(&config, scene.vm.clone(), scene.state()).unwrap_err();
        assert!(matches!(error, LaunchError::ShardCount { shards: refused } if refused == shards), "{error}");
    }
}
