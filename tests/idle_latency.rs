//! How long cores may take to wake up: every executor asks for what it was told to, as long as it is there, and a `Phalanx` as long as
//! there are blocks to execute.
//!
//! What would break it: a bound that nobody asked for keeps the cores of a host awake, one that outlives its executor does so for
//! good, and one that a shard or the supervisor holds outlives a coordinator that was killed. Where this user may not ask, the test says so
//! and demands that executors work all the same. Negative controls run: with nothing written the bound in force is not
//! found, with nothing asked for no file is open, with the request leaked one is too many, with a release that does nothing it is never
//! given up, and with one for good it does not come back with the next block.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Scene, assert_same, deadline, eventually};
use phalanx::executor::{BlockStm, BlockStmConfig, Threads, ThreadsConfig};
use phalanx::fail_points::{FailAction, FailSpec};
use phalanx::topology::{IdleLatency, LATENCY_DEVICE};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::time::Duration;

const ASKED_US: u32 = 77;
const PATIENCE: Duration = Duration::from_secs(20);
/// A shard keeps a block unfinished for a while.
const LATE: FailSpec =
    FailSpec { point: "round entered", first: 1, times: 1, action: FailAction::Delay(1_000) };

/// How often a process has the device open.
fn requests_of(pid: &str) -> usize {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    targets.filter(|target| target.to_str() == Some(LATENCY_DEVICE)).count()
}

/// The tightest bound on this host now, whoever asked for it, in microseconds.
fn bound_in_force() -> i32 {
    let mut bytes = [0; 4];
    File::open(LATENCY_DEVICE).unwrap().read_exact(&mut bytes).unwrap();
    i32::from_ne_bytes(bytes)
}

fn assert_held(wish: IdleLatency, is_allowed: bool) {
    let is_asked = is_allowed && wish != IdleLatency::Any;
    assert_eq!(requests_of("self"), usize::from(is_asked), "{wish:?}");
    if is_asked {
        // Others on this host may ask for less.
        assert!(bound_in_force() <= i32::try_from(ASKED_US).unwrap(), "{wish:?}: {}", bound_in_force());
    }
}

// One test: it counts the open files of this process.
#[test]
fn an_executor_bounds_the_latency_of_idle_cores_as_long_as_it_is_there() {
    let is_allowed = OpenOptions::new().write(true).open(LATENCY_DEVICE).is_ok();
    if !is_allowed {
        eprintln!("this user may not open {LATENCY_DEVICE}: only that executors work without it is tested");
    }
    for idle_latency in [IdleLatency::AtMostMicros(ASKED_US), IdleLatency::Any] {
        let mut scene = Scene::new(1, 10, false);
        let config = ThreadsConfig { idle_latency, ..ThreadsConfig::default() };
        let threads = Threads::launch(config, scene.vm.clone(), scene.state());
        assert_held(idle_latency, is_allowed);
        drop(threads.unwrap());

        let config = BlockStmConfig { idle_latency, ..BlockStmConfig::default() };
        let block_stm = BlockStm::launch(config, scene.vm.clone(), scene.state());
        assert_held(idle_latency, is_allowed);
        drop(block_stm.unwrap());

        let blocks = scene.expected([5, 5]);
        // Nobody takes the late shard for hanging.
        let builder = scene.builder(2).stall_limit(PATIENCE);
        let phalanx = scene.launch(builder.idle_latency(idle_latency));
        for (block, expected) in &blocks {
            assert!(eventually(PATIENCE, || requests_of("self") == 0), "{idle_latency:?}");
            phalanx.arm_fail_point(LATE).unwrap();
            let handle = phalanx.submit(block, deadline()).unwrap();
            assert!(eventually(PATIENCE, || phalanx.fail_point_counts().1 == 1), "{idle_latency:?}");
            assert_held(idle_latency, is_allowed);
            assert_same(expected, &handle.wait().unwrap(), "beside the bound");
        }
        assert!(eventually(PATIENCE, || requests_of("self") == 0), "{idle_latency:?}");
        let supervisor = phalanx.supervisor().pid.unwrap();
        for pid in phalanx.health().iter().map(|shard| shard.pid).chain([supervisor]) {
            assert_eq!(requests_of(&pid.to_string()), 0, "{idle_latency:?}, process {pid}");
        }
        phalanx.shutdown(deadline()).unwrap();
        assert_eq!(requests_of("self"), 0, "{idle_latency:?}");
    }
}
