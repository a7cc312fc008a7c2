//! What `phalanx run` prints and how it ends. Scripts and dashboards read it: a key that goes, a line too many on
//! standard output or a mismatch that ends with 0 would break or, worse, calm them.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{LIMIT, run};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Enough to have several blocks and conflicts, little enough for an unoptimised build.
const SMALL: [&str; 6] = ["--accounts", "60", "--blocks", "3", "--block-size", "150"];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], &["--format", "json"], more].concat()
}

#[test]
fn the_json_object_has_all_keys_and_nothing_is_beside_it() {
    let ended = run(&small(&["--shards", "2", "--seed", "7", "-v"]));
    let json = ended.json();
    assert_eq!(ended.stdout.lines().count(), 1);
    assert!(!ended.stderr.is_empty(), "-v logs to standard error");
    let strings = ["executor", "workload", "state_digest"];
    let numbers = [
        "schema_version",
        "shards",
        "seed",
        "blocks",
        "transactions",
        "succeeded",
        "failed",
        "wall_ms",
        "transactions_per_s",
        "prepare_ns_per_txn",
        "plan_ns_per_txn",
        "execute_ns_per_txn",
        "validate_ns_per_txn",
        "commit_ns_per_txn",
        "cross_shard_edges",
        "reexecuted",
        "rounds",
        "rounds_cut_short",
        "respawns",
        "supervisor_restarts",
    ];
    assert!(strings.iter().all(|key| json[key].is_string()), "{json}");
    assert!(numbers.iter().all(|key| json[key].is_number()), "{json}");
    assert_eq!((&json["verified"], &json["commutative"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!((&json["executor"], &json["workload"]), (&Value::from("processes"), &Value::from("uniform")));
    assert_eq!((&json["shards"], &json["seed"], &json["blocks"]), (&2.into(), &7.into(), &3.into()));
    assert_eq!((&json["transactions"], &json["succeeded"]), (&450.into(), &450.into()));
    assert_eq!(json["state_digest"].as_str().unwrap().len(), 32);
}

#[test]
fn without_verification_verified_is_null() {
    let json = run(&small(&["--no-verify", "--executor", "sequential", "--unsigned"])).json();
    assert_eq!(json["verified"], Value::Null);
}

#[test]
fn the_table_says_that_every_block_was_verified() {
    let ended = run(&[&SMALL[..], &["--unsigned", "--shards", "2"]].concat());
    assert_eq!(ended.code(), 0);
    assert!(ended.stdout.contains("every block equals sequential execution"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "", "no bar where there is no terminal, and nothing to warn of");
}

#[test]
fn every_executor_and_shard_count_comes_to_the_same_digest() {
    for workload in
        [&["--workload", "uniform"][..], &["--workload", "zipf", "--skew", "1.2"], &["--workload", "hot"]]
    {
        let digest = |options: &[&str]| {
            let json = run(&small(&[workload, &["--seed", "7"], options].concat())).json();
            assert_eq!(json["verified"], Value::Bool(true), "{json}");
            json["state_digest"].as_str().unwrap().to_owned()
        };
        let expected = digest(&["--executor", "sequential"]);
        for executor in ["threads", "processes", "block-stm"] {
            for shards in ["1", "2", "3", "8"] {
                let found = digest(&["--executor", executor, "--shards", shards]);
                assert_eq!(found, expected, "{workload:?}, {executor}, {shards} shards");
            }
        }
    }
}

#[test]
fn another_seed_comes_to_another_digest() {
    let digest = |seed| run(&small(&["--unsigned", "--seed", seed])).json()["state_digest"].clone();
    assert_ne!(digest("1"), digest("2"));
}

#[test]
fn usage_errors_end_with_2_and_print_nothing_on_standard_output() {
    let wrong: [&[&str]; 6] = [
        &["--shards", "0"],
        &["--shards", "100000"],
        &["--executor", "gpu"],
        &["--skew", "NaN"],
        &["--blocks", "none"],
        &["--no-such-option"],
    ];
    for options in wrong {
        let ended = run(options);
        assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{options:?}");
        assert!(ended.stderr.contains("error:"), "{options:?}: {}", ended.stderr);
    }
}

#[test]
fn a_block_past_its_deadline_ends_with_1_and_names_the_option() {
    let ended = run(&["--deadline-ms", "1", "--blocks", "1", "--accounts", "1000", "--format", "json"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: block 1 ") && last.contains("--deadline-ms"), "{}", ended.stderr);
}

#[test]
fn a_missing_file_ends_with_4_and_is_named() {
    let ended = run(&["--workload", "no/such/trace.csv", "--format", "json"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("no/such/trace.csv"), "{}", ended.stderr);
}

#[test]
fn rows_of_a_file_become_transfers_cut_into_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.csv");
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(file, "block,index,from,to,value_wei").unwrap();
    for row in 0..25 {
        let (from, to) = (row % 4, (row + 1) % 4);
        writeln!(file, "{},{row},0x{from:040x},0x{to:040x},{}000000000000", 100 + row / 10, row + 1).unwrap();
    }
    let digest = |executor| {
        let options = [
            "--workload",
            path.to_str().unwrap(),
            "--block-size",
            "10",
            "--executor",
            executor,
            "--format",
            "json",
        ];
        let json = run(&options).json();
        assert_eq!((&json["blocks"], &json["transactions"]), (&3.into(), &25.into()));
        assert_eq!(json["succeeded"], json["transactions"]);
        assert_eq!(json["workload"].as_str(), path.to_str());
        json["state_digest"].clone()
    };
    assert_eq!(digest("sequential"), digest("processes"));
}

#[test]
fn a_file_with_a_bad_row_ends_with_4_and_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    std::fs::write(&path, "block,index,from,to,value_wei\n1,0,0x12,0x13,5\n").unwrap();
    let ended = run(&["--workload", path.to_str().unwrap()]);
    assert_eq!(ended.code(), 4);
    assert!(ended.stderr.contains("line 2"), "{}", ended.stderr);
}

#[test]
fn a_recorded_trace_is_the_same_for_every_executor() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/ethereum_transfers.csv");
    let path = std::env::var_os("PHALANX_TRACE").map_or(default, PathBuf::from);
    if !path.exists() {
        eprintln!("not run: there is no trace at {}; name one in PHALANX_TRACE", path.display());
        return;
    }
    let digest = |options: &[&str]| {
        let trace =
            ["--workload", path.to_str().unwrap(), "--unsigned", "--block-size", "1000", "--format", "json"];
        let json = run(&[&trace[..], options].concat()).json();
        assert_eq!(json["verified"], Value::Bool(true), "{json}");
        json["state_digest"].clone()
    };
    let expected = digest(&["--executor", "sequential"]);
    assert_eq!(digest(&["--executor", "threads", "--shards", "3"]), expected);
    assert_eq!(digest(&["--shards", "3"]), expected);
}

/// A panic on a closed pipe would end with 101 and a stack trace.
#[test]
fn a_reader_who_has_left_is_no_reason_to_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_phalanx"))
        .arg("run")
        .args(small(&["--unsigned", "--executor", "sequential", "-vv"]))
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "did not end in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
}
