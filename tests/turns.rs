//! Who runs first: supervisor and coordinator, if they may; shards at work never; nobody if the option says so.
//!
//! What would break it: a shard that keeps the turns of its supervisor starves everything else on its core; a coordinator
//! without them notices deaths milliseconds late. Where this user may not run first, the test says so and demands the
//! second best. Negative controls: with the option off the same look finds fair turns everywhere; without the reset at its
//! start the shard in this process was found at priority 1.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Scene, assert_same, deadline, eventually, send_signal};
use nix::sys::signal::Signal;
use phalanx::fail_points::{FailAction, FailSpec};
use phalanx::supervisor::{Fallback, Pacing};
use phalanx_ipc::{Turns, nice_now};
use std::time::Duration;

/// Scheduling policies, as sched(7) numbers them.
const OTHER: u64 = 0;
const FIFO: u64 = 1;

/// Policy, real-time priority and nice value, fields 41, 40 and 19 of `/proc/.../stat`.
fn turns_of(stat: &str) -> (u64, u64, i64) {
    let text = std::fs::read_to_string(stat).unwrap();
    // The name in field 2 may hold spaces; what follows its bracket is field 3.
    let fields: Vec<&str> = text[text.rfind(')').unwrap() + 2..].split(' ').collect();
    (fields[41 - 3].parse().unwrap(), fields[40 - 3].parse().unwrap(), fields[19 - 3].parse().unwrap())
}

/// Turns of the thread of this name, once it has it.
fn thread_turns(name: &str) -> Option<(u64, u64, i64)> {
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let found = threads
        .find(|thread| std::fs::read_to_string(thread.join("comm")).unwrap_or_default().trim() == name);
    found.map(|thread| turns_of(thread.join("stat").to_str().unwrap()))
}

// One test: both families have a thread of the same name in this process.
#[test]
fn supervisor_and_coordinator_run_first_and_shards_do_not() {
    let nice = i64::from(nice_now());
    let allowed = std::thread::spawn(|| Turns::First { priority: 3 }.ask().is_ok()).join().unwrap();
    let modest = std::thread::spawn(|| Turns::Fair { nice: -10 }.ask().is_ok()).join().unwrap();
    let second_best = (OTHER, 0, if modest { -10 } else { nice });
    for run_first in [true, false] {
        let scene = Scene::new(1, 10, false);
        let phalanx = scene.launch(scene.builder(2).run_first(run_first));
        let fair = (OTHER, 0, nice);
        let (supervisor, coordinator) = match (run_first, allowed) {
            (true, true) => ((FIFO, 3, nice), (FIFO, 1, nice)),
            (true, false) => {
                eprintln!(
                    "this user may not run first (CAP_SYS_NICE, RLIMIT_RTPRIO): the second best is tested"
                );
                (second_best, second_best)
            }
            (false, _) => (fair, fair),
        };
        let settled =
            eventually(Duration::from_secs(5), || thread_turns("phx-coordinator") == Some(coordinator));
        assert!(settled, "coordinator, run_first {run_first}: {:?}", thread_turns("phx-coordinator"));
        let pid = phalanx.supervisor().pid.unwrap();
        assert_eq!(turns_of(&format!("/proc/{pid}/stat")), supervisor, "supervisor, run_first {run_first}");
        for shard in phalanx.health() {
            let stat = format!("/proc/{}/stat", shard.pid);
            // It says that it is ready right before it steps back.
            let settled = eventually(Duration::from_secs(5), || turns_of(&stat) == fair);
            assert!(settled, "a shard, run_first {run_first}: {:?}", turns_of(&stat));
        }
        phalanx.shutdown(deadline()).unwrap();
    }
    the_shard_in_this_process_does_not_run_first();
}

/// It is started by the coordinator's thread, and a transaction may take as long as it likes.
fn the_shard_in_this_process_does_not_run_first() {
    let mut scene = Scene::new(2, 10, false);
    let blocks = scene.expected([5]);
    let builder = scene.builder(1).fallback(Fallback::InProcess).log("off");
    let phalanx =
        scene.launch(builder.pacing(Pacing { rest_ms: 60_000, longest_pause_ms: 2, ..Pacing::default() }));
    let exit = FailAction::Exit(7);
    let spec = FailSpec { point: "regions mapped", first: 1, times: u64::MAX, action: exit };
    phalanx.arm_fail_point(spec).unwrap();
    assert!(send_signal(phalanx.health()[0].pid, "phx-shard", Signal::SIGKILL));
    let rests = || phalanx.health().iter().all(|shard| shard.resting);
    assert!(eventually(Duration::from_secs(20), rests), "{:?}", phalanx.health());
    assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "in this process");
    assert!(phalanx.supervisor().in_process);
    let (policy, priority, _) = thread_turns("phx-thread-0").unwrap();
    assert_eq!((policy, priority), (OTHER, 0));
    phalanx.shutdown(deadline()).unwrap();
}
