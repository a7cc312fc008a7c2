//! Runs that are ended from outside, and shards that are. What would break: an operator's Ctrl-C that hangs, a shard
//! that lives on and holds memory after its coordinator, a segment that stays in /dev/shm for ever, a killed shard that
//! changes a result.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Run, Traces};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::time::{Duration, Instant};

/// An orderly end takes at most a second; the rest is for a loaded host.
const END_LIMIT: Duration = Duration::from_secs(5);

/// More blocks than any test waits for, over few accounts so that it starts at once.
const ENDLESS: [&str; 8] =
    ["--accounts", "500", "--blocks", "1000000", "--block-size", "2000", "--shards", "3"];

/// A run in the midst of its blocks.
fn endless(more: &[&str]) -> (Run, Traces) {
    let mut run = Run::start(&[&ENDLESS[..], more].concat());
    run.await_shards(3);
    let traces = run.traces();
    assert_eq!(traces.segments().len(), 1);
    std::thread::sleep(Duration::from_millis(150));
    (run, traces)
}

fn ends_orderly(signal: Signal, code: i32, options: &[&str]) {
    let (run, traces) = endless(options);
    let sent = Instant::now();
    run.signal(signal);
    let ended = run.finish();
    let took = sent.elapsed();
    assert_eq!((ended.code(), ended.stdout.as_str()), (code, ""), "{}", ended.stderr);
    assert!(took < END_LIMIT, "{signal} took {took:?}");
    assert!(ended.stderr.contains(signal.as_str()), "{}", ended.stderr);
    traces.assert_gone();
}

#[test]
fn sigint_ends_everything_with_130() {
    ends_orderly(Signal::SIGINT, 130, &["--unsigned"]);
}

#[test]
fn sigterm_ends_everything_with_143() {
    ends_orderly(Signal::SIGTERM, 143, &["--format", "json"]);
}

#[test]
fn sigint_ends_a_run_that_has_not_started_its_shards() {
    let run = Run::start(&["--accounts", "3000000", "--executor", "sequential"]);
    let traces = run.traces();
    // Before the handlers are in place the signal itself ends the process.
    let deadline = Instant::now() + common::LIMIT;
    while !catches_sigint(run.pid()) {
        assert!(Instant::now() < deadline, "no handler is put in place");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.signal(Signal::SIGINT);
    assert_eq!(run.finish().code(), 130);
    traces.assert_gone();
}

fn catches_sigint(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() & 1 << (Signal::SIGINT as u64 - 1) != 0
}

#[test]
fn a_second_signal_ends_it_too() {
    let (run, traces) = endless(&["--unsigned"]);
    run.signal(Signal::SIGINT);
    // The process may be gone by now: as a zombie it takes the signal without effect.
    run.signal(Signal::SIGTERM);
    let code = run.finish().code();
    assert!([130, 143].contains(&code), "{code}");
    traces.assert_gone();
}

#[test]
fn kill_9_of_the_main_process_leaves_nothing_and_the_next_run_starts() {
    let (run, traces) = endless(&["--unsigned"]);
    assert!(traces.processes().len() >= 5, "main process, supervisor and shards: {:?}", traces.processes());
    run.signal(Signal::SIGKILL);
    let ended = run.finish();
    assert_eq!(ended.status.code(), None);
    traces.assert_gone();
    let next = common::run(&["--accounts", "50", "--blocks", "1", "--block-size", "50", "--format", "json"]);
    assert_eq!(next.json()["verified"], Value::Bool(true));
}

#[test]
fn shards_that_are_killed_all_the_time_change_no_result() {
    let blocks =
        ["--accounts", "500", "--blocks", "30", "--block-size", "2000", "--seed", "3", "--format", "json"];
    for more in [&["--unsigned"][..], &[]] {
        let quiet =
            common::run(&[&blocks[..], &["--executor", "sequential", "--no-verify"], more].concat()).json();
        let mut run = Run::start(&[&blocks[..], &["--shards", "3"], more].concat());
        run.await_shards(3);
        let (traces, kills) = (run.traces(), run.kill_shards_until_over(Duration::from_millis(20)));
        let json = run.finish().json();
        assert_eq!(json["verified"], Value::Bool(true), "{json}");
        assert_eq!(json["state_digest"], quiet["state_digest"], "{json}");
        assert!(kills > 0 && json["respawns"].as_u64().unwrap() > 0, "{kills} kills: {json}");
        traces.assert_gone();
    }
}

#[test]
fn a_death_ends_the_run_with_1_when_asked_so() {
    let (run, traces) = endless(&["--on-death", "fail"]);
    for pid in traces.shards() {
        // A shard that died with an earlier one's run is no matter.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut run = run;
    while !run.is_over() {
        assert!(Instant::now() < deadline, "goes on after deaths");
        for pid in traces.shards() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = run.finish();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("signal 9") && ended.stderr.contains("--on-death"), "{}", ended.stderr);
    traces.assert_gone();
}
