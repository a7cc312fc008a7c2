//! Shards, supervisor and coordinator are killed and stopped for real while blocks run; the result stays that of
//! sequential execution, and nothing is left behind.
//!
//! What would break it: a wait that outlives its cause, a value of a dead shard's lost execution taken for the one that
//! replaced it, arenas rewritten under a shard that still reads, a supervisor that does not reap, descriptors that
//! every new shard takes along. Negative controls: every test demands that its deaths really happened, by generations,
//! respawns or rounds cut short.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Dice, Scene, allowed_cores, alone, apart, assert_same, children_of, comm_of, deadline, eventually,
    fds_of, is_apart, parent_of, seed, segments_of, send_signal, state_of, threads_of,
};
use nix::sys::signal::Signal;
use phalanx::executor::{BlockOutput, DeathCause, ExecuteError, OnDeath};
use phalanx::supervisor::{Pacing, ShardHealth};
use phalanx::types::{PreparedBlock, ShardId};
use phalanx::{Phalanx, Totals};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SHARD: &str = "phx-shard";
const SUPERVISOR: &str = "phx-supervisor";

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

/// The supervisor is the parent of every shard.
fn supervisor_of(phalanx: &Phalanx) -> Option<i32> {
    phalanx
        .health()
        .iter()
        .filter_map(|shard| parent_of(shard.pid))
        .find(|&pid| comm_of(pid).is_some_and(|comm| comm.starts_with(SUPERVISOR)))
}

fn all_ready(phalanx: &Phalanx) -> bool {
    phalanx.health().iter().all(|shard| shard.ready)
}

fn spawns(phalanx: &Phalanx) -> u64 {
    phalanx.health().iter().map(|shard| shard.spawns).sum()
}

/// Shards that die idle count as useless deaths; where that is what a test does, nobody is slowed down for it.
fn patient_pacing() -> Pacing {
    Pacing { immediate: u32::MAX, intensity: u32::MAX, ..Pacing::default() }
}

/// Executes the blocks while `torment` is called again and again on another thread. Every block must be the oracle's.
fn execute_all(
    phalanx: &Phalanx,
    blocks: &Expected,
    context: &str,
    mut torment: impl FnMut(&Phalanx) + Send,
) -> Totals {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tormentor = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                torment(phalanx);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, (block, expected)) in blocks.iter().enumerate() {
                let context = format!("block {number}, {context}");
                let got =
                    phalanx.execute(block, deadline()).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_same(expected, &got, &context);
                assert_eq!(phalanx.digest(), expected.digest(), "{context}");
            }
        }));
        done.store(true, Ordering::Relaxed);
        tormentor.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    phalanx.stats()
}

/// Once broke: a few deaths in a row before a first transaction was done were taken for a block that cannot be done,
/// and the death of the only ready shard between two looks for a family without shards.
fn kill_at_random(shards: usize, signed: bool, blocks: usize, size: usize) {
    let seed = seed();
    let context = format!("{shards} shards, signed: {signed}, reproduce with PHALANX_SEED={seed}");
    let mut scene = Scene::new(seed, 60, signed);
    let blocks = scene.expected(std::iter::repeat_n(size, blocks));
    let phalanx = scene.phalanx(shards);
    let (mut dice, mut kills) = (Dice::new(seed), 0_u32);
    let (mut executed, mut in_vain) = (0, 0_u32);
    let totals = execute_all(&phalanx, &blocks, &context, |phalanx| {
        std::thread::sleep(Duration::from_micros(dice.next() % 6_000));
        let health = phalanx.health();
        // Killed before their first transaction each time, shards get nowhere, and on a slow host that may go on for long.
        let now = health.iter().map(|shard| shard.executed).sum::<u64>();
        in_vain = if now == executed { in_vain } else { 0 };
        executed = now;
        if kills < 400 && in_vain < 10 && send_signal(dice.pick(&health).pid, SHARD, Signal::SIGKILL) {
            (kills, in_vain) = (kills + 1, in_vain + 1);
        }
    });
    println!("{context}: {kills} kills, {totals:?}");
    assert!(kills > 0, "nobody was killed: {context}");
    assert!(totals.stats.rounds_cut_short > 0, "no round was hit: {context}: {totals:?}");
    assert!(
        eventually(Duration::from_secs(10), || all_ready(&phalanx)),
        "not all shards are back: {context}: {:?}",
        phalanx.health()
    );
    assert!(spawns(&phalanx) > shards as u64, "{context}");
}

#[test]
fn one_shard_killed_at_random_never_changes_a_block() {
    kill_at_random(1, false, 30, 800);
}

#[test]
fn two_shards_killed_at_random_never_change_a_block() {
    kill_at_random(2, false, 40, 800);
}

#[test]
fn three_shards_killed_at_random_never_change_a_block() {
    kill_at_random(3, false, 40, 800);
}

#[test]
fn eight_shards_killed_at_random_never_change_a_block() {
    kill_at_random(8, false, 30, 800);
}

#[test]
fn shards_killed_at_random_never_change_a_signed_block() {
    kill_at_random(2, true, 15, 300);
    kill_at_random(3, true, 15, 300);
}

#[test]
fn all_shards_killed_at_once_never_change_a_block() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(3_000, 25));
    let phalanx = scene.phalanx(4);
    let (mut dice, mut massacres) = (Dice::new(seed), 0_u32);
    let totals = execute_all(&phalanx, &blocks, &context, |phalanx| {
        std::thread::sleep(Duration::from_micros(5_000 + dice.next() % 15_000));
        if massacres < 60 {
            let health = phalanx.health();
            massacres += u32::from(
                health.iter().filter(|shard| send_signal(shard.pid, SHARD, Signal::SIGKILL)).count() == 4,
            );
        }
    });
    println!("{massacres} massacres, {totals:?}");
    assert!(massacres > 0 && totals.stats.rounds_cut_short > 0, "{context}: {totals:?}");
}

/// Launches shards and stops one, so that the next block's round cannot end before something is done about it.
fn with_one_stopped(scene: &Scene, phalanx: &Phalanx, victim: usize) -> ShardHealth {
    assert!(scene.genesis.len() > 1);
    let health = phalanx.health()[victim].clone();
    assert!(send_signal(health.pid, SHARD, Signal::SIGSTOP));
    assert!(eventually(Duration::from_secs(5), || state_of(health.pid) == Some('T')), "it stops");
    health
}

/// Waits until some other shard works on the block: then every shard that was ready is a member of its round.
fn await_work_of_others(phalanx: &Phalanx, before: &[ShardHealth], victim: usize) {
    let works = || {
        let now = phalanx.health();
        now.iter()
            .zip(before)
            .enumerate()
            .any(|(shard, (now, then))| shard != victim && now.executed > then.executed)
    };
    assert!(eventually(Duration::from_secs(30), works), "the others work");
}

/// A shard that is stopped in a round ends by `signal`. Returns its health before.
fn end_by(signal: Signal) {
    let mut scene = Scene::new(11, 60, false);
    let blocks = scene.expected([400, 400]);
    let phalanx = scene.launch(scene.builder(3).stall_limit(Duration::from_secs(30)));
    let health = phalanx.health();
    let victim = with_one_stopped(&scene, &phalanx, 1);
    let handle = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_work_of_others(&phalanx, &health, 1);
    assert!(send_signal(victim.pid, SHARD, signal));
    // A stopped process takes a signal that it catches when it goes on.
    send_signal(victim.pid, SHARD, Signal::SIGCONT);
    let got = handle.wait().unwrap();
    assert_same(&blocks[0].1, &got, &format!("{signal}"));
    assert!(got.stats().rounds_cut_short > 0, "{signal}: {:?}", got.stats());
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), &format!("{signal}"));
    assert!(eventually(Duration::from_secs(10), || all_ready(&phalanx)));
    assert!(phalanx.health()[1].generation > victim.generation, "{signal}: it really died");
}

#[test]
fn a_shard_ended_by_a_fault_signal_never_changes_a_block() {
    end_by(Signal::SIGSEGV);
    end_by(Signal::SIGABRT);
    end_by(Signal::SIGBUS);
}

#[test]
fn a_shard_stopped_for_longer_than_the_stall_limit_is_replaced_and_the_block_is_right() {
    let mut scene = Scene::new(12, 60, false);
    let blocks = scene.expected([400, 400]);
    let phalanx = scene.launch(scene.builder(3).stall_limit(Duration::from_millis(150)));
    let victim = with_one_stopped(&scene, &phalanx, 2);
    let begun = Instant::now();
    let got = phalanx.execute(&blocks[0].0, deadline()).unwrap();
    println!("done after {:?}", begun.elapsed());
    assert_same(&blocks[0].1, &got, "stopped shard");
    assert!(begun.elapsed() >= Duration::from_millis(150), "no shard is killed before the limit");
    assert!(got.stats().rounds_cut_short > 0, "{:?}", got.stats());
    assert!(eventually(Duration::from_secs(10), || all_ready(&phalanx)));
    assert!(phalanx.health()[2].generation > victim.generation);
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "afterwards");
}

#[test]
fn a_shard_stopped_for_less_than_the_stall_limit_is_left_alone() {
    let mut scene = Scene::new(13, 60, false);
    let blocks = scene.expected([400]);
    let phalanx = scene.launch(scene.builder(3).stall_limit(Duration::from_secs(20)));
    let health = phalanx.health();
    let victim = with_one_stopped(&scene, &phalanx, 0);
    let handle = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_work_of_others(&phalanx, &health, 0);
    std::thread::sleep(Duration::from_millis(300));
    assert!(send_signal(victim.pid, SHARD, Signal::SIGCONT));
    let got = handle.wait().unwrap();
    assert_same(&blocks[0].1, &got, "stopped and continued");
    assert_eq!(got.stats().rounds_cut_short, 0, "{:?}", got.stats());
    let after = phalanx.health()[0].clone();
    assert_eq!((after.pid, after.generation), (victim.pid, victim.generation));
}

#[test]
fn a_supervisor_killed_during_blocks_is_replaced_with_all_its_shards() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(1_500, 60));
    let phalanx = scene.phalanx(3);
    let (mut dice, mut kills) = (Dice::new(seed), 0_u64);
    let totals = execute_all(&phalanx, &blocks, &context, |phalanx| {
        std::thread::sleep(Duration::from_micros(20_000 + dice.next() % 20_000));
        if kills < 12
            && supervisor_of(phalanx).is_some_and(|pid| send_signal(pid, SUPERVISOR, Signal::SIGKILL))
        {
            kills += 1;
        }
    });
    println!("{kills} kills, {totals:?}");
    assert!(kills > 0 && totals.supervisor_restarts > 0, "{context}: {totals:?}");
    // One that died after the last block is replaced by the next one.
    let empty = Scene::new(seed, 60, false).expected([0]);
    phalanx.execute(&empty[0].0, deadline()).unwrap();
    assert!(eventually(Duration::from_secs(10), || all_ready(&phalanx)), "{context}: {:?}", phalanx.health());
}

#[test]
fn a_supervisor_stopped_during_a_block_is_replaced_within_a_second_or_so() {
    let mut scene = Scene::new(14, 60, false);
    let blocks = scene.expected([400, 400]);
    let phalanx = scene.launch(scene.builder(2).stall_limit(Duration::from_secs(30)));
    let health = phalanx.health();
    with_one_stopped(&scene, &phalanx, 0);
    let handle = phalanx.submit(&blocks[0].0, deadline()).unwrap();
    await_work_of_others(&phalanx, &health, 0);
    let supervisor = supervisor_of(&phalanx).unwrap();
    assert!(send_signal(supervisor, SUPERVISOR, Signal::SIGSTOP));
    let begun = Instant::now();
    let got = handle.wait().unwrap();
    println!("done after {:?}", begun.elapsed());
    assert_same(&blocks[0].1, &got, "stopped supervisor");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "afterwards");
    assert_eq!(phalanx.stats().supervisor_restarts, 1);
    assert!(eventually(Duration::from_secs(2), || state_of(supervisor).is_none()), "the stopped one is gone");
}

#[test]
fn shards_and_supervisor_killed_and_stopped_in_any_order_never_change_a_block() {
    let seed = seed();
    let context = format!("reproduce with PHALANX_SEED={seed}");
    let mut scene = Scene::new(seed, 60, false);
    let blocks = scene.expected(std::iter::repeat_n(1_000, 60));
    let builder = scene.builder(4).stall_limit(Duration::from_millis(100)).pacing(patient_pacing());
    let phalanx = scene.launch(builder);
    let (mut dice, mut hits) = (Dice::new(seed), 0_u32);
    let totals = execute_all(&phalanx, &blocks, &context, |phalanx| {
        std::thread::sleep(Duration::from_micros(2_000 + dice.next() % 20_000));
        if hits >= 120 {
            return;
        }
        let shard = dice.pick(&phalanx.health()).pid;
        let hit = match dice.below(20) {
            0 => supervisor_of(phalanx).is_some_and(|pid| send_signal(pid, SUPERVISOR, Signal::SIGKILL)),
            1 => supervisor_of(phalanx).is_some_and(|pid| send_signal(pid, SUPERVISOR, Signal::SIGSTOP)),
            2..5 => send_signal(shard, SHARD, Signal::SIGSTOP),
            5..8 => send_signal(shard, SHARD, Signal::SIGCONT),
            _ => send_signal(shard, SHARD, Signal::SIGKILL),
        };
        hits += u32::from(hit);
    });
    println!("{hits} hits, {totals:?}");
    assert!(hits > 0 && totals.stats.rounds_cut_short > 0, "{context}: {totals:?}");
}

/// Once broke: a round that was cut short waited for a stopped shard whose killer was stopped as well, for ever.
#[test]
fn a_stopped_supervisor_a_stopped_shard_and_a_killed_one_together_do_not_hang_the_block() {
    let mut scene = Scene::new(15, 60, false);
    let blocks = scene.expected([400, 400]);
    let phalanx = scene.launch(scene.builder(3).stall_limit(Duration::from_millis(200)));
    let health = phalanx.health();
    let supervisor = supervisor_of(&phalanx).unwrap();
    with_one_stopped(&scene, &phalanx, 0);
    let handle = phalanx.submit(&blocks[0].0, Instant::now() + Duration::from_secs(20)).unwrap();
    await_work_of_others(&phalanx, &health, 0);
    assert!(send_signal(supervisor, SUPERVISOR, Signal::SIGSTOP));
    assert!(send_signal(health[1].pid, SHARD, Signal::SIGKILL));
    let begun = Instant::now();
    let got = handle.wait();
    println!("done after {:?}", begun.elapsed());
    if got.is_err() {
        // Lets a coordinator that hangs go on, so that the test itself ends.
        send_signal(supervisor, SUPERVISOR, Signal::SIGCONT);
    }
    assert_same(&blocks[0].1, &got.unwrap(), "three at once");
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "afterwards");
}

/// Once broke: a replacement that was ready before anyone looked passed for the shard that had died, and the death went
/// unnoticed; and a death whose replacement came first had no pid.
#[test]
fn on_death_fail_names_the_death_and_leaves_the_state_for_the_next_block() {
    let mut scene = Scene::new(16, 60, false);
    let blocks = scene.expected([400, 400]);
    let builder = scene.builder(3).on_death(OnDeath::Fail).stall_limit(Duration::from_secs(30));
    let phalanx = scene.launch(builder);
    assert_same(&blocks[0].1, &phalanx.execute(&blocks[0].0, deadline()).unwrap(), "first");
    for turn in 0..25 {
        assert!(eventually(Duration::from_secs(10), || all_ready(&phalanx)));
        let before = (phalanx.digest(), phalanx.health());
        let victim = with_one_stopped(&scene, &phalanx, 1);
        let handle = phalanx.submit(&blocks[1].0, deadline()).unwrap();
        await_work_of_others(&phalanx, &before.1, 1);
        let begun = Instant::now();
        assert!(send_signal(victim.pid, SHARD, Signal::SIGKILL));
        let error = handle.wait().unwrap_err();
        println!("turn {turn}: {:?}: {error}", begun.elapsed());
        let ExecuteError::ShardDied(death) = &error else { panic!("turn {turn}: {error}") };
        assert_eq!(
            (death.shard, death.pid, death.generation.0, death.cause.clone()),
            (ShardId(1), victim.pid, victim.generation, DeathCause::Signal(9)),
            "turn {turn}: {error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(3), "turn {turn}: {:?}", begun.elapsed());
        assert_eq!(phalanx.digest(), before.0, "turn {turn}: nothing is committed");
    }
    assert_same(&blocks[1].1, &phalanx.execute(&blocks[1].0, deadline()).unwrap(), "the same block again");
    assert_eq!(phalanx.stats().failed_blocks, 25);
}

/// The other end of the tests that kill a coordinator: launches, tells its family, executes blocks until it is killed.
#[test]
fn a_coordinator_to_be_killed() {
    if !is_apart() {
        return;
    }
    let mut scene = Scene::new(17, 60, false);
    let phalanx = scene.phalanx(3);
    let pids: Vec<String> = phalanx.health().iter().map(|shard| shard.pid.to_string()).collect();
    println!("\nFAMILY {} {}", supervisor_of(&phalanx).unwrap(), pids.join(" "));
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        for (block, _) in scene.expected([500]) {
            phalanx.execute(&block, deadline()).unwrap();
        }
    }
}

#[test]
fn a_killed_coordinator_leaves_no_process_and_no_segment() {
    for pause_ms in [0, 5, 50] {
        let mut coordinator = apart("a_coordinator_to_be_killed");
        let pid = coordinator.pid();
        let family: Vec<i32> =
            coordinator.line("FAMILY").split(' ').map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(family.len(), 4);
        assert!(family.iter().all(|&pid| comm_of(pid).is_some_and(|comm| comm.starts_with("phx-"))));
        assert_eq!(segments_of(pid).len(), 1, "negative control: there is something to leave behind");
        std::thread::sleep(Duration::from_millis(pause_ms));
        coordinator.kill();
        let begun = Instant::now();
        // Whoever inherits the orphans may take its time to reap them.
        let gone = |&pid: &i32| state_of(pid).is_none_or(|state| matches!(state, 'Z' | 'X'));
        let clean = || family.iter().all(gone) && segments_of(pid).is_empty();
        assert!(
            eventually(Duration::from_secs(1), clean),
            "{:?} {:?}",
            family.iter().map(|&pid| (pid, comm_of(pid), state_of(pid))).collect::<Vec<_>>(),
            segments_of(pid)
        );
        println!("clean after {:?}", begun.elapsed());
    }
}

#[test]
fn two_hundred_respawns_leave_no_descriptor_and_no_zombie() {
    alone("two_hundred_respawns_leave_no_descriptor_and_no_zombie", || {
        let seed = seed();
        let mut scene = Scene::new(seed, 60, false);
        let blocks = scene.expected(std::iter::repeat_n(50, 20));
        let phalanx = scene.launch(scene.builder(2).pacing(patient_pacing()));
        let own = i32::try_from(std::process::id()).unwrap();
        let supervisor = supervisor_of(&phalanx).unwrap();
        let count = || (fds_of(own).len(), fds_of(supervisor).len());
        let mut first = None;
        for (turn, (block, expected)) in blocks.iter().enumerate() {
            for shard in (0..10).map(|kill| kill % 2) {
                let victim = phalanx.health()[shard].clone();
                assert!(send_signal(victim.pid, SHARD, Signal::SIGKILL));
                let back = || {
                    let now = phalanx.health()[shard].clone();
                    now.ready && now.generation == victim.generation + 1
                };
                assert!(eventually(Duration::from_secs(10), back), "{:?}", phalanx.health());
            }
            let got = phalanx.execute(block, deadline()).unwrap();
            assert_same(expected, &got, &format!("turn {turn}, reproduce with PHALANX_SEED={seed}"));
            first.get_or_insert_with(count);
        }
        println!("descriptors {first:?}, then {:?}", count());
        assert_eq!(Some(count()), first, "descriptors of coordinator and supervisor");
        assert_eq!(spawns(&phalanx), 202);
        assert_eq!(supervisor_of(&phalanx), Some(supervisor));
        let whole = || {
            let children = children_of(supervisor);
            children.len() == 2 && children.iter().all(|&pid| state_of(pid) != Some('Z'))
        };
        assert!(eventually(Duration::from_secs(2), whole), "{:?}", children_of(supervisor));
        phalanx.shutdown(deadline()).unwrap();
        assert_eq!(children_of(own), Vec::<i32>::new(), "of the coordinator");
        assert!(state_of(supervisor).is_none());
        assert_eq!(segments_of(own), Vec::<String>::new());
    });
}

#[test]
fn repeated_supervisor_deaths_leave_no_descriptor_no_zombie_and_no_segment() {
    alone("repeated_supervisor_deaths_leave_no_descriptor_no_zombie_and_no_segment", || {
        let mut scene = Scene::new(18, 60, false);
        let blocks = scene.expected(std::iter::repeat_n(50, 15));
        let phalanx = scene.phalanx(2);
        let own = i32::try_from(std::process::id()).unwrap();
        let mut first = None;
        for (block, expected) in &blocks {
            let supervisor = supervisor_of(&phalanx).unwrap();
            assert!(send_signal(supervisor, SUPERVISOR, Signal::SIGKILL));
            let ended = || state_of(supervisor).is_none_or(|state| state == 'Z');
            assert!(eventually(Duration::from_secs(5), ended));
            assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "after a supervisor's death");
            assert!(eventually(Duration::from_secs(10), || all_ready(&phalanx)));
            first.get_or_insert_with(|| fds_of(own).len());
        }
        assert_eq!(Some(fds_of(own).len()), first);
        assert_eq!(children_of(own).len(), 1, "one supervisor");
        assert_eq!(segments_of(own).len(), 1);
        assert!(phalanx.stats().supervisor_restarts >= 10, "{:?}", phalanx.stats());
        phalanx.shutdown(deadline()).unwrap();
        assert_eq!(children_of(own), Vec::<i32>::new());
        assert_eq!(segments_of(own), Vec::<String>::new());
    });
}

#[test]
fn shards_hold_no_descriptor_have_one_thread_and_sit_on_the_planned_core() {
    let scene = Scene::new(19, 60, false);
    let phalanx = scene.phalanx(5);
    let own = i32::try_from(std::process::id()).unwrap();
    let cores = listed(&allowed_cores(own, own).unwrap());
    let supervisor = supervisor_of(&phalanx).unwrap();
    assert!(fds_of(supervisor).len() > 3, "negative control: there is something to inherit");
    for (place, shard) in phalanx.health().iter().enumerate() {
        let fds = fds_of(shard.pid);
        assert!(fds.iter().all(|&fd| fd <= 2), "shard {place} holds {fds:?}");
        assert_eq!(threads_of(shard.pid), [shard.pid], "shard {place}");
        let core = cores[place % cores.len()];
        assert_eq!(allowed_cores(shard.pid, shard.pid), Some(core.to_string()), "shard {place}");
    }
}

/// `0-2,5` as numbers.
fn listed(cores: &str) -> Vec<usize> {
    let ends = cores.split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    ends.flat_map(|(first, last)| first.parse::<usize>().unwrap()..=last.parse().unwrap()).collect()
}
