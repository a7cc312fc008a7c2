//! The coordinator, or all processes at once, are killed for real at every step on the way to the disk while blocks flow,
//! again and again, on one state directory.
//!
//! Oracle: the sequential executor. After each death the directory must stand at some block: not before the last one that
//! was reported durable, not behind the last one that was begun, with exactly the state that the oracle has there; its log and
//! store must be whole; a block submitted again must be known; and the run goes on. What would break it: a record that is
//! applied before it is durable, a mark that runs ahead, half a record or half a transaction taken for a whole one, a lock
//! that outlives its owner. Negative controls: see docs/decisions/0011-log-before-state.md.
//!
//! `PHALANX_KILLS` says how many deaths; 40 by default, 1,000 for the long run. `PHALANX_SEED` repeats the choices, not the
//! timing.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Dice, PATIENCE, Scene, apart_with, children_of, deadline, eventually, is_apart, scratch, seed,
    segments_of, send_signal, small_durable,
};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use phalanx::durable::{DurableConfig, Step, StepHook, verify};
use phalanx::state::StateDigest;
use phalanx::types::Block;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks until a new directory is begun, blocks that one process executes, and transactions in each.
const BLOCKS: usize = 300;
const BLOCKS_AT_ONCE: u64 = 40;
const BLOCK_SIZE: usize = 12;
const CHILD: &str = "a_run_that_is_killed";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Every second directory has a cache that holds a fifth of the state.
fn config(directory: &Path) -> DurableConfig {
    let number = directory.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
    let cache_bytes = number.is_some_and(|number| number.is_multiple_of(2)).then_some(64 << 10);
    DurableConfig { segment_bytes: 4 << 10, keep_blocks: 5, cache_bytes, ..small_durable(directory) }
}

fn scene() -> Scene {
    Scene::new(77, 1_700, false)
}

/// Dies at a step's `n`-th pass.
fn dies_at(step: Step, n: u64) -> StepHook {
    let passes = AtomicU64::new(0);
    StepHook::new(move |passed| {
        if passed == step && passes.fetch_add(1, Ordering::SeqCst) + 1 == n {
            raise(Signal::SIGKILL).unwrap();
        }
        Ok(())
    })
}

/// The process that is killed. Tells what it has done, one line each.
#[test]
fn a_run_that_is_killed() {
    if !is_apart() {
        return;
    }
    let mut scene = scene();
    let directory = variable("PHALANX_KILL_DIRECTORY");
    let (step, pass) = (variable("PHALANX_KILL_STEP"), variable("PHALANX_KILL_PASS"));
    let step = step.parse::<usize>().ok().and_then(|step| Step::ALL.get(step).copied());
    let hook = step.map(|step| dies_at(step, pass.parse().unwrap()));
    let state = scene.open(&DurableConfig { hook, ..config(Path::new(&directory)) }).unwrap();
    let opened = state.head().height().unwrap_or(0);
    println!("opened {opened} {}", state.state().digest().0);
    let phalanx = scene.builder(2).launch_durable(state).unwrap();
    let all: Vec<Block> = (0..BLOCKS).map(|_| scene.workload.next_block(BLOCK_SIZE)).collect();
    let from = usize::try_from(opened.saturating_sub(1)).unwrap();
    let mut dice = Dice::new(pass.parse().unwrap());
    for block in all.iter().skip(from).take(usize::try_from(BLOCKS_AT_ONCE).unwrap()) {
        let height = block.header.height;
        println!("begun {height} 0");
        let output = phalanx.execute(&scene.prepare(block), deadline()).unwrap();
        assert_eq!(output.is_recalled(), height == opened);
        println!("executed {height} {}", output.digest().0);
        if dice.chance(40) {
            phalanx.wait_durable(height, deadline()).unwrap();
            println!("durable {height} {}", output.digest().0);
        }
    }
    drop(phalanx);
    println!("finished 0 0");
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// By its own hand, at a step.
    Step(usize),
    /// From outside, after so many lines.
    Coordinator,
    /// With its supervisor and shards.
    Everything,
}

/// What one process told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    opened: Option<(u64, StateDigest)>,
    begun: u64,
    durable: u64,
    finished: bool,
    pid: i32,
}

/// Runs one process to its end.
fn run(directory: &Path, how: How, dice: &mut Dice, oracle: &[StateDigest]) -> Told {
    // Segments and transactions of the store are begun rarely, appends with every block.
    let often = [
        Step::AboutToAppend,
        Step::RecordHalfWritten,
        Step::RecordWritten,
        Step::Appended,
        Step::Applied,
        Step::AboutToSync,
        Step::Synced,
        Step::Marked,
    ];
    let (step, pass) = match how {
        How::Step(step) if Step::ALL.get(step).is_some_and(|step| often.contains(step)) => {
            (step.to_string(), dice.below(25) + 1)
        }
        How::Step(step) => (step.to_string(), dice.below(2) + 1),
        How::Coordinator | How::Everything => ("none".to_owned(), dice.below(1_000) + 1),
    };
    let variables = [
        ("PHALANX_KILL_DIRECTORY", directory.to_str().unwrap().to_owned()),
        ("PHALANX_KILL_STEP", step),
        ("PHALANX_KILL_PASS", pass.to_string()),
    ];
    let mut child = apart_with(CHILD, &variables);
    let mut told = Told { pid: child.pid(), ..Told::default() };
    let (mut lines, last_line) = (
        0,
        match how {
            How::Step(_) => usize::MAX,
            How::Coordinator | How::Everything => dice.below(80) + 1,
        },
    );
    while let Some(line) = child.any_line() {
        if !note(&line, &mut told, oracle) {
            continue;
        }
        lines += 1;
        if lines == last_line {
            kill_family(child.pid(), how);
        }
    }
    let status = child.wait();
    let killed = status.signal() == Some(Signal::SIGKILL as i32);
    // Anything else is a failure of the other end's own checks.
    assert!(killed || (told.finished && status.success()), "{how:?}: {status}, {told:?}");
    told.finished &= !killed;
    told
}

/// Takes in what a process tells; false if the line is none of its own.
fn note(line: &str, told: &mut Told, oracle: &[StateDigest]) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // The harness writes the test's name in front of the first line.
    let Some(&[what, height, digest]) = words.last_chunk::<3>() else { return false };
    let (Ok(height), Ok(digest)) = (height.parse::<u64>(), digest.parse()) else { return false };
    let is_oracles = || assert_eq!(StateDigest(digest), oracle[usize::try_from(height).unwrap()], "{line}");
    match what {
        "opened" => told.opened = Some((height, StateDigest(digest))),
        "begun" => told.begun = height,
        "executed" => is_oracles(),
        "durable" => {
            is_oracles();
            told.durable = height;
        }
        "finished" => told.finished = true,
        _ => return false,
    }
    true
}

/// Kills the process, and with [`How::Everything`] its supervisor and shards in the same moment.
fn kill_family(pid: i32, how: How) {
    let supervisors = if how == How::Everything { children_of(pid) } else { Vec::new() };
    let shards: Vec<i32> = supervisors.iter().flat_map(|&supervisor| children_of(supervisor)).collect();
    // The child that was just started, not yet reaped: its pid is its own.
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    supervisors.iter().for_each(|&pid| _ = send_signal(pid, "phx-supervisor", Signal::SIGKILL));
    shards.iter().for_each(|&pid| _ = send_signal(pid, "phx-shard", Signal::SIGKILL));
}

/// Digests after every block, that of the first state first.
fn oracle_digests() -> Vec<StateDigest> {
    let mut scene = scene();
    let first = scene.state().digest();
    let blocks = scene.expected([BLOCK_SIZE; BLOCKS]);
    [first].into_iter().chain(blocks.iter().map(|(_, output)| output.digest())).collect()
}

#[test]
fn whoever_dies_at_whatever_step_every_durable_block_is_there_and_none_is_half_there() {
    let seed = seed();
    let kills: usize = std::env::var("PHALANX_KILLS").map_or(40, |kills| kills.parse().unwrap());
    println!("PHALANX_SEED={seed} PHALANX_KILLS={kills}");
    let (oracle, scene, mut dice) = (oracle_digests(), scene(), Dice::new(seed));
    let directory = scratch();
    let (mut deaths, mut by_cause, mut round) = (0, BTreeMap::<How, usize>::new(), 0);
    let (mut homes, mut reported, mut begun) = (0, 0, 0);
    let mut home = directory.path().join("0");
    let (mut pids, mut recovered) = (Vec::new(), 0);
    while deaths < kills {
        let context = format!("PHALANX_SEED={seed}, round {round}");
        let how = match round % (Step::ALL.len() + 4) {
            step if step < Step::ALL.len() => How::Step(step),
            other if other.is_multiple_of(2) => How::Coordinator,
            _ => How::Everything,
        };
        round += 1;
        assert!(round < kills * 4 + 20, "{context}: too few deaths: {by_cause:?}");
        let told = run(&home, how, &mut dice, &oracle);
        pids.push(told.pid);
        if let Some((height, digest)) = told.opened {
            assert!(height >= reported, "{context}: opened at {height}, {reported} was durable");
            assert!(height <= begun, "{context}: opened at {height}, only {begun} was begun");
            assert_eq!(digest, oracle[usize::try_from(height).unwrap()], "{context}: opened at {height}");
            recovered += 1;
            (begun, reported) = (height, height);
        }
        begun = begun.max(told.begun);
        reported = reported.max(told.durable);
        if told.finished {
            reported = begun;
        } else {
            deaths += 1;
            *by_cause.entry(how).or_default() += 1;
        }
        // Half of the time the next process is the one that recovers, and may be killed doing it.
        if dice.chance(50) {
            let state = scene.open(&config(&home)).unwrap();
            let height = state.head().height().unwrap_or(0);
            assert!((reported..=begun).contains(&height), "{context}: {reported} <= {height} <= {begun}");
            assert_eq!(state.state().digest(), oracle[usize::try_from(height).unwrap()], "{context}");
            assert_eq!(state.state().is_whole(), config(&home).cache_bytes.is_none(), "{context}");
            drop(state);
            verify(&home, |_, _| {}).unwrap();
            (reported, begun) = (height, height);
        }
        if begun + BLOCKS_AT_ONCE >= BLOCKS as u64 {
            homes += 1;
            home = directory.path().join(homes.to_string());
            (reported, begun) = (0, 0);
        }
    }
    println!("{deaths} deaths in {round} runs, {recovered} of them opened: {by_cause:?}");
    assert!(kills < 40 || by_cause.len() >= Step::ALL.len(), "steps are missing: {by_cause:?}");
    // The next one that starts removes what the dead left.
    let last = run(&directory.path().join("last"), How::Step(usize::MAX), &mut dice, &oracle);
    assert!(last.finished);
    pids.push(last.pid);
    assert!(eventually(PATIENCE, || pids.iter().all(|&pid| segments_of(pid).is_empty())));
}
