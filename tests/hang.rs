//! Hangs: who makes no progress is killed once and replaced once, and nobody else is.
//!
//! What would break it: a kill ordered again before its victim is gone, a stop taken for a hang of those who wait for the
//! stopped one, a starved shard taken for a looping one. Negative control: with the stall limit of the coordinator's
//! watch set to a tenth of what was asked for, the test of short pauses failed; with the look at the CPU time left out, so
//! that lack of progress alone is a hang, the test of the starved shard failed; and it failed, not each time, when examining many
//! signatures in a row did not count as motion.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Dice, Scene, assert_same, deadline, eventually, seed, send_signal};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::{BlockOutput, DeathCause};
use phalanx::supervisor::{Incidents, ShardHealth};
use phalanx::types::{Block, PreparedBlock};
use std::sync::Arc;
use std::time::Duration;

const SHARD: &str = "phx-shard";

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

/// Executes blocks while `torment` runs: these, as far as they are needed, and then ones with nothing in them.
fn execute_during(
    scene: &Scene,
    phalanx: &Phalanx,
    blocks: &Expected,
    context: &str,
    torment: impl FnOnce() + Send,
) {
    let empty = scene.prepare(&Block::default());
    std::thread::scope(|scope| {
        let tormentor = scope.spawn(torment);
        for (number, (block, expected)) in blocks.iter().enumerate() {
            let got = phalanx.execute(block, deadline());
            let got = got.unwrap_or_else(|error| panic!("block {number}, {context}: {error}"));
            assert_same(expected, &got, &format!("block {number}, {context}"));
            if tormentor.is_finished() {
                break;
            }
        }
        // A fast host comes to their end early, and while nobody executes nobody looks after a stopped supervisor.
        while !tormentor.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
            phalanx.execute(&empty, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        tormentor.join().unwrap();
    });
}

fn all_ready(phalanx: &Phalanx) -> bool {
    phalanx.health().iter().all(|shard| shard.ready)
}

fn collect(into: &mut Incidents, from: Incidents) {
    into.shards.extend(from.shards);
    into.supervisors.extend(from.supervisors);
}

#[test]
fn stops_that_end_just_before_or_after_the_limit_kill_at_most_once_and_respawn_at_most_once() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let limit = Duration::from_millis(80);
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(300, 400));
    let phalanx = scene.launch(scene.builder(3).stall_limit(limit).log("off"));
    let (mut dice, mut stops) = (Dice::new(seed), 0_u64);
    let before: Vec<_> = phalanx.health();
    execute_during(&scene, &phalanx, &blocks, &context, || {
        for _ in 0..25 {
            let victim = dice.pick(&phalanx.health()).pid;
            stops += u64::from(send_signal(victim, SHARD, Signal::SIGSTOP));
            // From 60 % to 140 % of the limit.
            std::thread::sleep(limit.mul_f64(0.6 + dice.below(80) as f64 / 100.0));
            send_signal(victim, SHARD, Signal::SIGCONT);
        }
    });
    assert!(stops > 0);
    assert!(eventually(Duration::from_secs(20), || all_ready(&phalanx)), "{context}: {:?}", phalanx.health());
    let (mut incidents, after) = (Incidents::default(), phalanx.health());
    let lives: u64 = before.iter().zip(&after).map(|(a, b)| u64::from(b.generation - a.generation)).sum();
    let complete = || {
        collect(&mut incidents, phalanx.take_incidents());
        incidents.shards.len() as u64 == lives
    };
    assert!(eventually(Duration::from_secs(10), complete), "{lives} lives ended, {incidents:?}; {context}");
    assert!(lives <= stops, "{lives} lives for {stops} stops: {context}");
    for incident in &incidents.shards {
        let stopped = matches!(incident.death.cause, DeathCause::Stopped { .. });
        assert!(stopped, "nobody else is killed: {incident:?}, {context}");
    }
    println!("{stops} stops, {lives} lives");
}

#[test]
fn short_pauses_kill_nobody() {
    let seed = seed();
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(300, 300));
    // Far above what a loaded host makes of such a pause.
    let phalanx = scene.launch(scene.builder(3).stall_limit(Duration::from_secs(4)).log("off"));
    let before = phalanx.health();
    let mut dice = Dice::new(seed);
    execute_during(&scene, &phalanx, &blocks, &format!("reproduce with PHALANX_SEED={seed}"), || {
        for _ in 0..6 {
            let victim = dice.pick(&before).pid;
            assert!(send_signal(victim, SHARD, Signal::SIGSTOP));
            std::thread::sleep(Duration::from_millis(600));
            send_signal(victim, SHARD, Signal::SIGCONT);
            // It may be stopped again next: it gets a core and moves.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let generations =
        |health: &[ShardHealth]| -> Vec<u32> { health.iter().map(|shard| shard.generation).collect() };
    assert_eq!(generations(&before), generations(&phalanx.health()));
}

/// Twenty busy processes on each of two cores: a shard waits for its turn for longer than the limit, again and again.
#[test]
fn a_shard_that_is_starved_of_its_core_is_not_killed() {
    let seed = seed();
    let mut scene = Scene::new(seed, 60, true);
    let blocks = scene.expected(std::iter::repeat_n(1_500, 3));
    let phalanx = scene.launch(scene.builder(2).stall_limit(Duration::from_millis(20)).log("off"));
    let before = phalanx.health();
    let busy: Vec<Busy> = (0..40).map(|_| Busy::start()).collect();
    for (block, expected) in &blocks {
        let got = phalanx.execute(block, deadline()).unwrap();
        assert_same(expected, &got, &format!("starved, reproduce with PHALANX_SEED={seed}"));
    }
    drop(busy);
    let incidents = phalanx.take_incidents();
    for (before, after) in before.iter().zip(phalanx.health()) {
        let (before, after) = ((before.pid, before.generation), (after.pid, after.generation));
        assert_eq!(before, after, "it was killed: {incidents:?}, PHALANX_SEED={seed}");
    }
}

/// A process that keeps a core busy. Killed and reaped when dropped.
struct Busy(std::process::Child);

impl Busy {
    fn start() -> Busy {
        Busy(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have ended already; then there is only the reaping.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_supervisor_killed_or_stopped_over_and_over_is_made_good_each_time_with_all_its_shards() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(300, 2_000));
    let phalanx = scene.launch(scene.builder(3).log("off"));
    let (mut dice, mut hits, mut incidents) = (Dice::new(seed), 0, Incidents::default());
    execute_during(&scene, &phalanx, &blocks, &context, || {
        for _ in 0..10 {
            let signal = if dice.chance(50) { Signal::SIGKILL } else { Signal::SIGSTOP };
            let Some(pid) = phalanx.supervisor().pid else { continue };
            hits += usize::from(send_signal(pid, "phx-supervisor", signal));
            let replaced = || phalanx.supervisor().pid.is_some_and(|now| now != pid) && all_ready(&phalanx);
            if !eventually(Duration::from_secs(10), replaced) {
                break;
            }
        }
    });
    let complete = || {
        collect(&mut incidents, phalanx.take_incidents());
        incidents.supervisors.len() == hits
    };
    assert!(eventually(Duration::from_secs(10), complete), "{hits} hits, {incidents:?}; {context}");
    let times: Vec<Duration> =
        incidents.supervisors.iter().filter_map(|lost| lost.ready_at?.checked_sub(lost.known_at)).collect();
    println!("known to full strength: {times:?}; {context}");
    assert_eq!(phalanx.supervisor().restarts, hits as u64);
}

/// Nobody executes: the loss is noticed all the same, and made good.
#[test]
fn a_supervisor_killed_while_no_block_runs_is_replaced_at_once() {
    let mut scene = Scene::new(7, 60, false);
    let blocks = scene.expected([200]);
    let phalanx = scene.phalanx(2);
    for restart in 1..=3 {
        let pid = phalanx.supervisor().pid.unwrap();
        assert!(send_signal(pid, "phx-supervisor", Signal::SIGKILL));
        let back = || phalanx.supervisor().restarts == restart && all_ready(&phalanx);
        assert!(eventually(Duration::from_secs(10), back), "{:?}", phalanx.supervisor());
        assert_ne!(phalanx.supervisor().pid, Some(pid));
    }
    let (block, expected) = &blocks[0];
    assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "after three lost supervisors");
}
