//! With no block to execute nobody wakes up: not the shards, not the supervisor, not the coordinator's thread.
//!
//! What would break it: a poll with a timeout, a heartbeat, a doorbell that somebody rings in passing. Negative control:
//! while blocks run, the same counters go up for each of them.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Scene, alone, assert_same, comm_of, deadline, eventually, parent_of, state_of, switches_of, threads_of,
};
use phalanx::Phalanx;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long nobody may wake up.
const QUIET: Duration = Duration::from_millis(1_500);

/// Everyone who could wake up, by process, thread and name.
type Switches = BTreeMap<(i32, i32, String), u64>;

fn name_of(pid: i32, tid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The counters of all shards, their supervisor and the coordinator's thread.
fn switches(phalanx: &Phalanx) -> Switches {
    let own = i32::try_from(std::process::id()).unwrap();
    let mut pids: Vec<i32> = phalanx.health().iter().map(|shard| shard.pid).collect();
    pids.push(parent_of(pids[0]).unwrap());
    let mut threads: Vec<(i32, i32)> =
        pids.iter().flat_map(|&pid| threads_of(pid).into_iter().map(move |tid| (pid, tid))).collect();
    threads.extend(
        threads_of(own)
            .into_iter()
            .filter(|&tid| name_of(own, tid) == "phx-coordinator")
            .map(|tid| (own, tid)),
    );
    threads
        .into_iter()
        .map(|(pid, tid)| ((pid, tid, name_of(pid, tid)), switches_of(pid, tid).unwrap()))
        .collect()
}

/// Who woke up between two looks, and how often.
fn woken(before: &Switches, after: &Switches) -> Vec<(String, u64)> {
    assert!(before.keys().eq(after.keys()), "the same threads: {before:?} {after:?}");
    let pairs = before.iter().zip(after.values());
    pairs
        .filter(|((_, before), after)| before != after)
        .map(|((key, before), after)| (key.2.clone(), after - before))
        .collect()
}

/// Looks twice and lets nothing happen in between.
fn woken_while_idle(phalanx: &Phalanx) -> Vec<(String, u64)> {
    // Whoever still is on its way to sleep gets there.
    eventually(Duration::from_secs(5), || {
        let before = switches(phalanx);
        std::thread::sleep(Duration::from_millis(50));
        let after = switches(phalanx);
        // One that has no core yet stands as still as one that sleeps.
        let asleep = after.keys().all(|&(_, tid, _)| state_of(tid) == Some('S'));
        asleep && woken(&before, &after).is_empty()
    });
    let before = switches(phalanx);
    std::thread::sleep(QUIET);
    woken(&before, &switches(phalanx))
}

#[test]
fn nobody_wakes_up_while_no_block_runs() {
    alone("nobody_wakes_up_while_no_block_runs", || {
        let mut scene = Scene::new(41, 40, false);
        let blocks = scene.expected([600; 8]);
        for shards in [1, 2, 8] {
            let phalanx = scene.phalanx(shards);
            // The coordinator's thread takes its name when it first runs.
            eventually(Duration::from_secs(5), || switches(&phalanx).len() == shards + 2);
            let start = switches(&phalanx);
            assert_eq!(start.len(), shards + 2, "shards, supervisor, coordinator: {start:?}");
            assert!(
                start
                    .keys()
                    .any(|(pid, ..)| comm_of(*pid).is_some_and(|comm| comm.starts_with("phx-supervisor")))
            );
            assert_eq!(woken_while_idle(&phalanx), [], "{shards} shards before the first block");
            let before = switches(&phalanx);
            for (block, expected) in &blocks {
                assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "between two silences");
            }
            let at_work = woken(&before, &switches(&phalanx));
            let workers = at_work.iter().filter(|(name, _)| name != "phx-supervisor").count();
            assert_eq!(workers, shards + 1, "negative control: all but the supervisor worked: {at_work:?}");
            assert_eq!(woken_while_idle(&phalanx), [], "{shards} shards after the last block");
        }
    });
}

#[test]
fn nobody_wakes_up_after_a_shard_was_replaced() {
    alone("nobody_wakes_up_after_a_shard_was_replaced", || {
        let mut scene = Scene::new(42, 40, false);
        let blocks = scene.expected([300, 300]);
        let phalanx = scene.phalanx(3);
        let victim = phalanx.health()[1].clone();
        assert!(common::send_signal(victim.pid, "phx-shard", nix::sys::signal::Signal::SIGKILL));
        let back = || phalanx.health()[1].ready && phalanx.health()[1].generation > victim.generation;
        assert!(eventually(Duration::from_secs(10), back));
        for (block, expected) in &blocks {
            assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "after a death");
        }
        assert_eq!(woken_while_idle(&phalanx), []);
    });
}
