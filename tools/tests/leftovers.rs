//! `phalanx doctor --clean` on what a run that was killed as a whole leaves behind: it goes, and nothing of a living run does.
//!
//! The leftovers are real: supervisor and coordinator of a run are killed at once, so that nobody is left to remove the control
//! segment; then of another run the supervisor is stopped first, so that it stays with its shards. What would break it: a segment
//! whose owner's pid somebody else has now, a supervisor that is taken for an orphan while its coordinator lives. Built in: the
//! leftovers are there before the cleaning, and a look without `--clean` says so and removes nothing.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{LIMIT, Run, Traces};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const ENDLESS: [&str; 10] = [
    "--unsigned",
    "--blocks",
    "1000000",
    "--block-size",
    "200",
    "--accounts",
    "100",
    "--shards",
    "2",
    "--no-verify",
];

fn endless() -> Run {
    let mut run = Run::start(&ENDLESS);
    run.await_shards(2);
    run
}

fn supervisor_of(traces: &Traces) -> i32 {
    traces.processes().into_iter().find(|(_, name)| name == "phx-supervisor").unwrap().0
}

fn strike(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the doctor says of one thing. It may warn or fail of others on this host.
fn doctor(options: &[&str], check: &str) -> (String, String) {
    let ended = Run::start_command(&["doctor", "--format", "json"], options).finish();
    assert!([0, 8].contains(&ended.code()), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().find(|found| found["name"] == check).unwrap();
    (found["verdict"].as_str().unwrap().to_lowercase(), found["value"].as_str().unwrap().to_owned())
}

fn name_of(path: &Path) -> String {
    format!("/{}", path.file_name().unwrap().to_str().unwrap())
}

/// Kills a run as a whole and cleans; false if its segment was gone before that could be looked at.
fn segment_is_cleaned_away(living: &Path) -> bool {
    // Coordinator and supervisor at once: the stopped coordinator can do nothing between the two.
    let killed = endless();
    let left = killed.traces();
    killed.signal(Signal::SIGSTOP);
    strike(supervisor_of(&left), Signal::SIGKILL);
    killed.signal(Signal::SIGKILL);
    until("the shards die with their supervisor", || left.processes().is_empty());
    drop(killed);
    let Some(segment) = left.segments().pop() else { return false };
    let (verdict, value) = doctor(&[], "segments of dead owners");
    if !segment.exists() {
        return false;
    }
    assert!(verdict == "warn" && value.contains(&name_of(&segment)), "{verdict} {value}");
    let (_, value) = doctor(&["--clean"], "segments of dead owners");
    assert!(!segment.exists() && !value.contains(&name_of(living)), "{value}");
    value.contains(&name_of(&segment))
}

/// Leaves a supervisor that does not see its coordinator die, and cleans; false if it was gone before that could be looked at.
fn orphans_are_cleaned_away(lives: &Traces) -> bool {
    let killed = endless();
    let left = killed.traces();
    let supervisor = supervisor_of(&left);
    // A stopped coordinator does not see that its supervisor does not answer.
    killed.signal(Signal::SIGSTOP);
    strike(supervisor, Signal::SIGSTOP);
    killed.signal(Signal::SIGKILL);
    drop(killed);
    until("it is an orphan", || left.processes().len() <= 3);
    let is_gone = || left.processes().iter().all(|&(pid, _)| pid != supervisor);
    let is_told = |value: &str| value.split(' ').any(|pid| pid == supervisor.to_string());
    let (verdict, value) = doctor(&[], "processes without a coordinator");
    let found = verdict == "warn" && is_told(&value);
    assert!(found || is_gone(), "{verdict} {value}");
    let (_, value) = doctor(&["--clean"], "processes without a coordinator");
    let living_ones: Vec<String> = lives.processes().iter().map(|(pid, _)| pid.to_string()).collect();
    assert!(!value.split(' ').any(|pid| living_ones.iter().any(|living| living == pid)), "{value}");
    until("they are gone", || left.processes().is_empty());
    doctor(&["--clean"], "segments of dead owners");
    left.assert_gone();
    found && is_told(&value)
}

#[test]
fn what_a_killed_run_left_is_cleaned_away_and_a_living_run_is_left_alone() {
    let mut living = endless();
    let lives = living.traces();
    let (processes, segments) = (lives.processes().len(), lives.segments());
    assert_eq!(segments.len(), 1);

    // Whoever launches a family meanwhile removes it too: then once more.
    assert!((0..50).any(|_| segment_is_cleaned_away(&segments[0])), "somebody was faster every time");

    // Another doctor may be at work, too.
    assert!((0..50).any(|_| orphans_are_cleaned_away(&lives)), "somebody was faster every time");

    assert!(!living.is_over());
    assert_eq!(
        (lives.processes().len(), lives.segments()),
        (processes, segments),
        "nobody touched the living run"
    );
    living.signal(Signal::SIGINT);
    assert_eq!(living.finish().code(), 130);
    lives.assert_gone();
}
