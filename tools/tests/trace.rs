//! `phalanx run --trace`: the file that Perfetto and Chrome are given.
//!
//! What would break: a file that no viewer opens, a shard or block that is not in it, spans that cross, a death that
//! nobody sees. Oracles: the format's rules, and the figures of the run's own report. Negative controls, each of which some test
//! here failed: rows that are named one number too low, durations in ns, no death told; and, under load, spans of a dead shard
//! that end when the coordinator took them in.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Run, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const COORDINATOR: u64 = 1;
const FIRST_SHARD: u64 = 10;

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let Value::Array(events) = serde_json::from_str(&text).unwrap() else { panic!("no array: {text}") };
    assert!(text.lines().count() >= events.len(), "an event on each line");
    events
}

fn of_phase<'a>(events: &'a [Value], phase: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["ph"] == phase)
}

fn times(span: &Value) -> (f64, f64) {
    let (start, took) = (span["ts"].as_f64().unwrap(), span["dur"].as_f64().unwrap());
    assert!(start >= 0.0 && took >= 0.0, "{span}");
    (start, start + took)
}

fn owner(event: &Value) -> u64 {
    assert_eq!(event["tid"], 1, "{event}");
    event["pid"].as_u64().unwrap()
}

/// Spans of one process lie apart or one inside the other. Ends are sums of decimals: a picosecond is nothing.
fn assert_nested(events: &[Value]) {
    let mut by_owner: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for span in of_phase(events, "X") {
        by_owner.entry(owner(span)).or_default().push(span);
    }
    for mut spans in by_owner.into_values() {
        let order = |span: &Value| (times(span).0, -times(span).1);
        spans.sort_by(|one, other| order(one).partial_cmp(&order(other)).unwrap());
        let mut open: Vec<&Value> = Vec::new();
        for span in spans {
            let (start, end) = times(span);
            while open.last().is_some_and(|outer| times(outer).1 <= start + 1e-6) {
                open.pop();
            }
            if let Some(outer) = open.last() {
                assert!(end <= times(outer).1 + 1e-6, "{outer} {span}");
            }
            open.push(span);
        }
    }
}

/// Milliseconds in spans of this kind.
fn sum(events: &[Value], category: &str, of: u64) -> f64 {
    let wanted = of_phase(events, "X").filter(|span| span["cat"] == category && owner(span) == of);
    wanted.map(|span| span["dur"].as_f64().unwrap() / 1e3).sum()
}

fn assert_names(events: &[Value], shards: u64, processes: bool) {
    let names: BTreeMap<u64, &str> = of_phase(events, "M")
        .filter(|event| event["name"] == "process_name")
        .map(|event| (owner(event), event["args"]["name"].as_str().unwrap()))
        .collect();
    let mut expected: BTreeSet<u64> = (0..shards).map(|shard| FIRST_SHARD + shard).collect();
    expected.insert(COORDINATOR);
    expected.extend(processes.then_some(2));
    assert_eq!(names.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(names[&FIRST_SHARD].starts_with("shard 0"), "{names:?}");
}

/// What the trace and the report say of the same run.
fn assert_agrees(events: &[Value], report: &Value) {
    let transactions = report["transactions"].as_f64().unwrap();
    for (category, key) in [
        ("round", "execute_ns_per_txn"),
        ("validate", "validate_ns_per_txn"),
        ("commit", "commit_ns_per_txn"),
    ] {
        let (told, measured) =
            (sum(events, category, COORDINATOR), report[key].as_f64().unwrap() * transactions / 1e6);
        // Measured twice, a few instructions apart, on a host that may be loaded.
        let slack = told.max(measured) / 5.0 + 20.0;
        assert!((told - measured).abs() <= slack, "{category}: {told} ms, {key}: {measured} ms");
    }
}

fn trace(folder: &tempfile::TempDir, options: &[&str]) -> (Vec<Value>, Value) {
    let path = folder.path().join("trace.json");
    let always = ["--accounts", "300", "--format", "json", "--trace", path.to_str().unwrap()];
    let report = run(&[&always[..], options].concat()).json();
    (events(&path), report)
}

#[test]
fn all_blocks_and_shards_are_in_the_trace_and_agree_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    for (executor, shards) in [("processes", 3), ("threads", 2)] {
        let count = shards.to_string();
        let options = ["--executor", executor, "--shards", &count, "--blocks", "4", "--block-size", "250"];
        // A host that takes a core away for a second has a round cut short: then once more.
        let uncut = (0..10).map(|_| trace(&folder, &[&options[..], &["--trace-transactions"]].concat()));
        let (events, report) = uncut.into_iter().find(|(_, report)| report["rounds_cut_short"] == 0).unwrap();
        assert_names(&events, shards, executor == "processes");
        assert_nested(&events);
        assert_agrees(&events, &report);
        let of = |category: &'static str| of_phase(&events, "X").filter(move |span| span["cat"] == category);
        let heights: Vec<u64> = of("block").map(|span| span["args"]["height"].as_u64().unwrap()).collect();
        assert_eq!(heights, [1, 2, 3, 4], "{executor}");
        let workers: BTreeSet<u64> = of("running").map(owner).collect();
        assert_eq!(workers, (FIRST_SHARD..FIRST_SHARD + shards).collect(), "{executor}");
        let rounds = of("round").filter(|span| owner(span) == COORDINATOR).count() as u64;
        assert_eq!(rounds, report["rounds"].as_u64().unwrap(), "{executor}");
        let executed: u64 = of("running").map(|span| span["args"]["transactions"].as_u64().unwrap()).sum();
        assert_eq!(executed, 1000 + report["reexecuted"].as_u64().unwrap(), "{executor}");
        assert_eq!(of("transaction").count() as u64, executed, "{executor}");
    }
}

#[test]
fn without_the_option_no_transaction_is_in_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (events, _) = trace(&folder, &["--shards", "2", "--blocks", "2", "--block-size", "100"]);
    assert!(of_phase(&events, "X").count() > 0);
    assert!(of_phase(&events, "X").all(|span| span["cat"] != "transaction"));
}

#[test]
fn a_death_and_its_respawn_are_in_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let options =
        ["--accounts", "300", "--shards", "2", "--blocks", "160", "--block-size", "400", "--format", "json"];
    let mut run = Run::start(&[&options[..], &["--trace", path.to_str().unwrap()]].concat());
    run.await_shards(2);
    let victim = run.traces().shards()[0];
    std::thread::sleep(Duration::from_millis(100));
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    let report = run.finish().json();
    assert_eq!(report["respawns"], 1);
    let events = events(&path);
    assert_nested(&events);
    let named = |name: &str| -> Vec<Value> {
        of_phase(&events, "i").filter(|event| event["name"] == name).cloned().collect()
    };
    let (deaths, respawns) = (named("death"), named("respawn"));
    assert_eq!((deaths.len(), respawns.len()), (1, 1), "{events:?}");
    assert_eq!(deaths[0]["args"]["pid"], victim);
    assert!(deaths[0]["args"]["cause"].as_str().unwrap().contains('9'), "{deaths:?}");
    assert!(deaths[0]["ts"].as_f64() <= respawns[0]["ts"].as_f64(), "{deaths:?} {respawns:?}");
    assert_eq!(owner(&deaths[0]), owner(&respawns[0]));
}

#[test]
fn a_file_that_cannot_be_written_ends_with_1_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/trace.json");
    let ended = run(&["--trace", path.to_str().unwrap(), "--format", "json"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("no/such/folder") && ended.stderr.contains("--trace"), "{}", ended.stderr);
    let full = run(&["--trace", "/dev/full", "--format", "json"]);
    assert_eq!((full.code(), full.stdout.as_str()), (1, ""));
    assert!(full.stderr.contains("/dev/full"), "{}", full.stderr);
}

#[test]
fn the_sequential_executor_has_nothing_to_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let ended = run(&["--executor", "sequential", "--trace", path.to_str().unwrap()]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("--executor threads or processes"), "{}", ended.stderr);
    assert!(!path.exists());
}
