//! How long cores may take to wake up: every executor bounds that as it was told to, as long as it is there, and a `Phalanx` as long as
//! there are blocks to execute.
//!
//! What would break it: a bound that nobody asked for keeps the cores of a host awake, one that outlives its executor does so for
//! good, and one that a supervisor inherits outlives a coordinator that was killed. Where this user may not ask, the test says so
//! and demands that executors work all the same. Negative controls run: with nothing written the bound in force is not
//! found, with nothing asked for no file is open, with the file leaked one is too many, with a release that does nothing it is never
//! given up, and with one for good it does not come back with the next block; left open over exec, by a supervisor that does not close
//! it either, it is found with the new supervisor.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{PATIENCE, Scene, all_ready, assert_same, deadline, eventually, own_pid, send_signal, state_of};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::{BlockExecutor, BlockStmConfig, Threads, ThreadsConfig};
use phalanx::fail_points::{FailAction, FailSpec};
use phalanx::supervisor::{Processes, ProcessesConfig};
use phalanx::topology::{IdleLatency, LATENCY_DEVICE};
use std::fs::{File, OpenOptions};
use std::io::Read;

const ASKED_US: u32 = 77;
const SHARDS: usize = 2;
/// Shards keep a block from being begun until they are told to go on.
const STOPPED: FailSpec = FailSpec {
    point: "round entered",
    first: 1,
    times: SHARDS as u64,
    action: FailAction::Signal(Signal::SIGSTOP as i32),
};

/// How often a process has the device open; one that has ended has it no longer.
fn files_of(pid: i32) -> usize {
    let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    targets.filter(|target| target.to_str() == Some(LATENCY_DEVICE)).count()
}

/// The tightest bound on this host now, whoever holds it, in microseconds.
fn bound_in_force() -> i32 {
    let mut bytes = [0; 4];
    File::open(LATENCY_DEVICE).unwrap().read_exact(&mut bytes).unwrap();
    i32::from_ne_bytes(bytes)
}

struct Case {
    wish: IdleLatency,
    may_ask: bool,
}

impl Case {
    fn assert_held(&self) {
        let is_held = self.may_ask && self.wish != IdleLatency::Any;
        assert_eq!(files_of(own_pid()), usize::from(is_held), "{:?}", self.wish);
        if is_held {
            // Others on this host may hold a tighter one; then this says nothing.
            assert!(bound_in_force() <= i32::try_from(ASKED_US).unwrap(), "{:?}", self.wish);
        }
    }

    fn assert_released(&self) {
        assert!(eventually(PATIENCE, || files_of(own_pid()) == 0), "{:?}", self.wish);
    }
}

fn threads_hold_it_as_long_as_they_are_there(case: &Case, scene: &Scene) {
    let config = ThreadsConfig { idle_latency: case.wish, ..ThreadsConfig::default() };
    let threads = Threads::launch(config, scene.vm.clone(), scene.state()).unwrap();
    case.assert_held();
    drop(threads);
    case.assert_released();

    let block_stm =
        scene.block_stm_as(BlockStmConfig { idle_latency: case.wish, ..BlockStmConfig::default() });
    case.assert_held();
    drop(block_stm);
    case.assert_released();
}

fn processes_hold_it_from_the_first_block_on(case: &Case) {
    let mut scene = Scene::new(2, 10, false);
    let blocks = scene.expected([5]);
    let config = ProcessesConfig { idle_latency: case.wish, ..scene.processes_config(SHARDS) };
    let mut processes = Processes::launch(&config, scene.vm.clone(), scene.state()).unwrap();
    case.assert_released();
    assert_same(&blocks[0].1, &processes.execute(&blocks[0].0, deadline()).unwrap(), "beside the bound");
    case.assert_held();
    drop(processes);
    case.assert_released();
}

fn a_phalanx_holds_it_while_there_are_blocks(case: &Case) {
    let mut scene = Scene::new(1, 10, false);
    let blocks = scene.expected([5; 3]);
    // Nobody takes stopped shards for hanging.
    let builder = scene.builder(SHARDS).stall_limit(PATIENCE).log("off");
    let phalanx = scene.launch(builder.idle_latency(case.wish));
    for (number, (block, expected)) in blocks.iter().enumerate() {
        case.assert_released();
        assert!(eventually(PATIENCE, || all_ready(&phalanx)), "{:?}", case.wish);
        phalanx.arm_fail_point(STOPPED).unwrap();
        let handle = phalanx.submit(block, deadline()).unwrap();
        let all_stopped = || shards(&phalanx).into_iter().all(|pid| state_of(pid) == Some('T'));
        assert!(eventually(PATIENCE, all_stopped), "{:?}", case.wish);
        let stopped = shards(&phalanx);
        case.assert_held();
        if number == 1 {
            replace_supervisor(&phalanx);
        }
        // With their supervisor they have ended.
        stopped.into_iter().for_each(|pid| _ = send_signal(pid, "phx-shard", Signal::SIGCONT));
        assert_same(expected, &handle.wait().unwrap(), "beside the bound");
        for pid in shards(&phalanx).into_iter().chain(phalanx.supervisor().pid) {
            assert_eq!(files_of(pid), 0, "{:?}, process {pid}", case.wish);
        }
    }
    case.assert_released();
    phalanx.shutdown(deadline()).unwrap();
    case.assert_released();
}

fn shards(phalanx: &Phalanx) -> Vec<i32> {
    phalanx.health().into_iter().map(|shard| shard.pid).collect()
}

/// Kills the supervisor; returns when there is another one.
fn replace_supervisor(phalanx: &Phalanx) {
    let old = phalanx.supervisor().pid.unwrap();
    assert!(send_signal(old, "phx-supervisor", Signal::SIGKILL));
    assert!(eventually(PATIENCE, || phalanx.supervisor().pid.is_some_and(|pid| pid != old)));
}

// One test: it counts the open files of this process.
#[test]
fn an_executor_bounds_the_latency_of_idle_cores_as_long_as_it_is_to() {
    let may_ask = OpenOptions::new().write(true).open(LATENCY_DEVICE).is_ok();
    if !may_ask {
        eprintln!("this user may not open {LATENCY_DEVICE}: only that executors work without it is tested");
    }
    for wish in [IdleLatency::AtMostMicros(ASKED_US), IdleLatency::Any] {
        let case = Case { wish, may_ask };
        threads_hold_it_as_long_as_they_are_there(&case, &Scene::new(1, 10, false));
        processes_hold_it_from_the_first_block_on(&case);
        a_phalanx_holds_it_while_there_are_blocks(&case);
    }
}
