//! Runs on a state directory, and `phalanx state`. What would break: a second run that begins anew or executes a block
//! twice, a snapshot of half a block, a kill that costs a block, an exit code that hides damage.
//!
//! Oracle: one run over all blocks in memory, which is itself verified against sequential execution; every run here
//! verifies its blocks too. Negative control: a digest after another number of blocks must differ.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Ended, LIMIT, Run, run};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const SMALL: [&str; 8] = ["--accounts", "80", "--block-size", "150", "--shards", "2", "--format", "json"];

fn state_dir(path: &Path) -> [&str; 2] {
    ["--state-dir", path.to_str().unwrap()]
}

/// A run of so many blocks more.
fn blocks(count: &str, more: &[&str]) -> Ended {
    run(&[&SMALL[..], &["--blocks", count], more].concat())
}

fn state(options: &[&str]) -> Ended {
    Run::start_command(&["state"], options).finish()
}

fn digest(json: &Value) -> &str {
    json["state_digest"].as_str().unwrap()
}

#[test]
fn a_second_run_goes_on_where_the_first_one_ended() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("state");
    let first = blocks("3", &state_dir(&directory)).json();
    assert_eq!((&first["resumed_after"], &first["verified"]), (&Value::Null, &Value::Bool(true)));
    let second = blocks("2", &state_dir(&directory)).json();
    assert_eq!((&second["resumed_after"], &second["blocks"]), (&3.into(), &2.into()));
    assert_eq!(second["failed"], 0, "sequence numbers go on too");
    let all = blocks("5", &[]).json();
    assert_eq!(digest(&second), digest(&all));
    assert_ne!(digest(&first), digest(&all));

    let path = directory.to_str().unwrap();
    let stat = state(&["stat", path, "--format", "json"]).json();
    assert_eq!((&stat["height"], digest(&stat)), (&5.into(), digest(&all)));
    assert_eq!((&stat["backlog_blocks"], &stat["verified"]), (&0.into(), &Value::Bool(false)));
    let verified = state(&["verify", path]);
    assert_eq!(verified.code(), 0, "{}", verified.stderr);
    assert!(verified.stdout.contains("log and store are whole"), "{}", verified.stdout);

    for (changed, kept, given) in [
        (&["--accounts", "90"][..], "made with --accounts 80", "has --accounts 90"),
        (&["--seed", "2"], "made with --seed 1", "has --seed 2"),
        (&["--unsigned"], "made with no --unsigned", "has --unsigned"),
    ] {
        let options: Vec<&str> = SMALL
            .iter()
            .copied()
            .filter(|&option| changed[0] != "--accounts" || !["--accounts", "80"].contains(&option))
            .collect();
        let other = run(&[&options[..], changed, &["--state-dir", path]].concat());
        assert_eq!(other.code(), 7);
        assert!(other.stderr.contains(kept) && other.stderr.contains(given), "{}", other.stderr);
    }
    // Without its note the first states are compared.
    std::fs::remove_file(directory.join("workload.json")).unwrap();
    let other = run(&["--accounts", "90", "--state-dir", path]);
    assert_eq!(other.code(), 7);
    assert!(other.stderr.contains("began with a first state of digest"), "{}", other.stderr);
    let threads = run(&["--executor", "threads", "--state-dir", path]);
    assert_eq!(threads.code(), 2);
    assert!(threads.stderr.contains("take --executor processes"), "{}", threads.stderr);
}

#[test]
fn a_run_whose_cache_is_smaller_than_its_state_goes_on_with_the_same_command() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("state");
    let options =
        ["--unsigned", "--accounts", "40000", "--block-size", "500", "--shards", "2", "--format", "json"];
    let more = ["--cache-mib", "1", "--blocks", "3"];
    let command = [&options[..], &more, &state_dir(&directory)].concat();
    let (first, second) = (run(&command).json(), run(&command).json());
    assert_eq!((&first["verified"], &second["verified"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(second["resumed_after"], 3);
    let all = run(&[&options[..], &["--blocks", "6"]].concat()).json();
    assert_eq!(digest(&second), digest(&all));
    let alone = run(&["--cache-mib", "1"]);
    assert_eq!(alone.code(), 2, "{}", alone.stderr);
}

#[test]
fn a_killed_run_loses_nothing_durable_and_snapshots_are_taken_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let (directory, snapshot) = (home.path().join("state"), home.path().join("snapshot"));
    let (path, file) = (directory.to_str().unwrap(), snapshot.to_str().unwrap());
    let mut endless = Run::start(&[&SMALL[..], &["--blocks", "1000000"], &state_dir(&directory)].concat());
    let deadline = Instant::now() + LIMIT;
    let height_of = |ended: &Ended| match ended.code() {
        0 => ended.json()["height"].as_u64().unwrap_or(0),
        // There is nothing yet.
        7 => 0,
        code => panic!("{code}: {}", ended.stderr),
    };
    while height_of(&state(&["stat", path, "--format", "json"])) < 3 {
        assert!(!endless.is_over() && Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let locked = blocks("1", &state_dir(&directory));
    assert_eq!(locked.code(), 7);
    let owner = format!("belongs to process {}", endless.pid());
    assert!(locked.stderr.contains(&owner), "{}", locked.stderr);
    let exported = state(&["export", path, file]);
    assert_eq!(exported.code(), 0, "{}", exported.stderr);
    assert_eq!(state(&["verify", path]).code(), 0);
    let seen = height_of(&state(&["stat", path, "--format", "json"]));
    endless.signal(nix::sys::signal::Signal::SIGKILL);
    let traces = endless.traces();
    drop(endless.finish());
    traces.assert_gone();

    assert_eq!(state(&["verify", path]).code(), 0);
    let next = blocks("2", &state_dir(&directory)).json();
    let resumed = next["resumed_after"].as_u64().unwrap();
    assert!(resumed >= seen, "{resumed} < {seen}");
    assert_eq!(next["verified"], true);
    let all = blocks(&(resumed + 2).to_string(), &["--no-verify"]).json();
    assert_eq!(digest(&next), digest(&all));

    // The snapshot is the state after some block, and runs go on from it.
    let copy = home.path().join("copy");
    let imported = state(&["import", file, copy.to_str().unwrap()]);
    assert_eq!(imported.code(), 0, "{}", imported.stderr);
    let of_copy = blocks("1", &state_dir(&copy)).json();
    let from = of_copy["resumed_after"].as_u64().unwrap();
    assert!(from >= 3);
    let all = blocks(&(from + 1).to_string(), &["--no-verify"]).json();
    assert_eq!(digest(&of_copy), digest(&all));
}

#[test]
fn damage_ends_with_7_and_names_the_file() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("state");
    let path = directory.to_str().unwrap();
    for command in ["stat", "verify"] {
        let nothing = state(&[command, path]);
        assert_eq!(nothing.code(), 7);
        assert!(nothing.stderr.contains("holds no state"), "{}", nothing.stderr);
    }
    assert_eq!(blocks("2", &state_dir(&directory)).code(), 0);
    let segment = directory.join("log/00000000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    for ended in [state(&["verify", path]), blocks("1", &state_dir(&directory))] {
        assert_eq!((ended.code(), ended.stdout.as_str()), (7, ""));
        assert!(
            ended.stderr.contains(segment.to_str().unwrap()) && ended.stderr.contains("is damaged at offset"),
            "{}",
            ended.stderr
        );
    }
    let garbage = home.path().join("garbage");
    std::fs::write(&garbage, vec![3; 4_000]).unwrap();
    let elsewhere = home.path().join("elsewhere");
    let imported = state(&["import", garbage.to_str().unwrap(), elsewhere.to_str().unwrap()]);
    assert_eq!(imported.code(), 7);
    assert!(imported.stderr.contains("this is no snapshot"), "{}", imported.stderr);
    assert!(!elsewhere.exists());
}

#[test]
fn the_benchmark_of_durable_state_has_all_its_rows() {
    let home = tempfile::tempdir().unwrap();
    let options = [
        "--directory",
        home.path().to_str().unwrap(),
        "--rounds=2",
        "--blocks=2",
        "--block-size=100",
        "--accounts=50",
        "--recovery-blocks=20",
        "--unsigned",
        "--format=json",
    ];
    let json = Run::start_command(&["bench", "durable"], &options).finish().json();
    let kinds: Vec<&str> =
        json["rows"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["throughput", "throughput", "ratio", "executed_to_durable", "cache_miss", "recovery"]);
    assert_eq!(json["rows"][3]["times_us"]["count"], 4);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "the directories are removed");
}
