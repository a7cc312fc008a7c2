//! `phalanx chaos` on itself: trials with fixed seeds find nothing, and every planted violation is found.
//!
//! What would break: a check that can no longer fail would calm everyone for ever, so each has a planted violation that
//! it must find (`--break-check`); a schedule that depends on anything but the seed could not be repeated. Controls that
//! were run: without the plant, each of these trials ends with 0 (the first test does just that).

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Ended, Run};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;

/// Small enough for an unoptimised build on a loaded host.
const SMALL: [&str; 8] =
    ["--accounts", "500", "--block-size", "300", "--stall-limit", "200ms", "--format", "json"];

/// A trial; its processes and segments must all be gone afterwards, planted ones too.
fn trial(options: &[&str]) -> Ended {
    // Of its own: core files are looked for there.
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start_in(directory.path(), &["chaos"], &[&SMALL[..], options].concat());
    let traces = run.traces();
    let ended = run.finish();
    traces.assert_gone();
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "files are left behind");
    ended
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}; {}", ended.stdout, ended.stderr))
}

#[test]
fn trials_with_fixed_seeds_find_nothing_wrong() {
    for (seed, shards) in [("1", "2"), ("2", "8"), ("3", "1")] {
        let ended = trial(&["--duration", "4s", "--seed", seed, "--shards", shards]);
        let json = json_of(&ended);
        assert_eq!(ended.code(), 0, "seed {seed}, {shards} shards: {} {json}", ended.stderr);
        let faults = json["faults_injected"].as_object().unwrap();
        let injected: u64 = faults.values().map(|count| count.as_u64().unwrap()).sum();
        assert!(injected >= 20, "{json}");
        assert_eq!(json["verified"], Value::Bool(true));
        assert_eq!(json["leaks"], Value::Array(Vec::new()));
        assert!(json["deaths"].as_u64().unwrap() >= 10, "{json}");
        assert!(json["respawns"].as_u64().unwrap() >= 10, "{json}");
        for times in ["kill_to_known_us", "kill_to_ready_us"] {
            let [p50, p99, max] = ["p50", "p99", "max"].map(|key| json[times][key].as_u64().unwrap());
            assert!(p50 <= p99 && p99 <= max, "{json}");
        }
        for (check, finding) in json["checks"].as_object().unwrap() {
            assert_eq!(finding["result"], "ok", "{check}: {json}");
        }
    }
}

#[test]
fn faults_that_kill_nobody_kill_nobody() {
    let ended =
        trial(&["--duration", "2s", "--seed", "4", "--shards", "2", "--mix", "term,int", "--rate", "40"]);
    let json = json_of(&ended);
    assert_eq!(ended.code(), 0, "{} {json}", ended.stderr);
    assert_eq!((&json["deaths"], &json["respawns"]), (&0.into(), &0.into()), "{json}");
    assert!(json["signals_sent"].as_u64().unwrap() > 20, "{json}");
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_a_dry_run_injects_nothing() {
    let dry = |seed: &str| {
        let run = Run::start_command(
            &["chaos"],
            &["--dry-run", "--seed", seed, "--duration", "30s", "--format", "json"],
        );
        let traces = run.traces();
        let ended = run.finish();
        traces.assert_gone();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        json_of(&ended)
    };
    let (one, other) = (dry("9"), dry("10"));
    assert_eq!(one, dry("9"));
    assert_ne!(one["schedule_hash"], other["schedule_hash"]);
    assert!(one["faults"].as_array().unwrap().len() > 100, "{one}");
    let held = trial(&["--duration", "1s", "--seed", "9", "--shards", "2"]);
    let planned =
        Run::start_command(&["chaos"], &["--dry-run", "--seed", "9", "--duration", "1s", "--format", "json"]);
    assert_eq!(json_of(&held)["schedule_hash"], json_of(&planned.finish())["schedule_hash"]);
}

/// Every check, with a violation planted for it.
fn finds(check: &str) {
    let ended = trial(&["--duration", "2s", "--seed", "5", "--shards", "2", "--break-check", check]);
    let json = json_of(&ended);
    assert_eq!(ended.code(), 6, "{check}: {} {json}", ended.stderr);
    assert_eq!(json["checks"][check]["result"], "failed", "{check}: {json}");
    assert!(ended.stderr.contains(&format!("check {check} failed")), "{}", ended.stderr);
}

#[test]
fn a_block_that_is_wrong_lost_or_late_is_found() {
    finds("digest");
    finds("lost-block");
    finds("deadline");
}

#[test]
fn a_death_with_a_wrong_cause_without_one_or_that_never_was_is_found() {
    finds("cause");
    finds("unexplained");
    finds("missing");
}

#[test]
fn a_stop_that_is_cut_short_a_supervisor_and_a_recovery_that_are_not_as_reported_are_found() {
    finds("stall");
    finds("supervisor");
    finds("recovery");
}

#[test]
fn a_zombie_an_orphan_a_segment_and_a_core_file_are_found() {
    finds("zombie");
    finds("orphan");
    finds("segment");
    finds("core");
}

#[test]
fn leaked_descriptors_memory_and_threads_are_found() {
    finds("fd");
    finds("memory");
    finds("thread");
}

#[test]
fn a_lost_pin_and_a_family_that_cannot_start_again_are_found() {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        finds("pins");
    }
    finds("restart");
}

#[test]
fn sigint_ends_a_trial_in_order_with_its_report() {
    let mut run = Run::start_command(
        &["chaos"],
        &[&SMALL[..], &["--duration", "1h", "--seed", "6", "--shards", "3"]].concat(),
    );
    run.await_shards(3);
    let traces = run.traces();
    std::thread::sleep(Duration::from_secs(2));
    run.signal(Signal::SIGINT);
    let ended = run.finish();
    let json = json_of(&ended);
    assert_eq!(ended.code(), 130, "{} {json}", ended.stderr);
    assert_eq!(json["interrupted"], Value::Bool(true));
    assert!(json["blocks"].as_u64().unwrap() > 0, "{json}");
    traces.assert_gone();
}
