//! `phalanx bench ring` on a loaded host, with little time for each measurement.
//!
//! What would break without it: a peer that no longer starts, a far process that hangs or stays, rows that vanish from
//! the JSON object. Figures are not looked at. Negative control: with far processes that end without a word at one of the
//! sizes the first test failed at that row; without the removal of iceoryx2's segments at the segments left behind.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::Run;
use serde_json::Value;

/// Name, throughput single, throughput batched, round trip, wake-up.
const TRANSPORTS: [(&str, [bool; 4]); 11] = [
    ("phalanx", [true, true, true, true]),
    ("phalanx-ring", [true, true, true, false]),
    ("rtrb", [true, true, true, false]),
    ("crossbeam", [true, false, true, true]),
    ("iceoryx2", [true, false, true, true]),
    ("unix-socket", [true, true, true, true]),
    ("pipe", [true, true, true, true]),
    ("tonic", [true, true, true, false]),
    ("ping-pong-1", [false, false, true, false]),
    ("ping-pong-2", [false, false, true, false]),
    ("futex", [false, false, false, true]),
];

fn bench(options: &[&str]) -> Value {
    let run =
        Run::start_command(&["bench", "ring", "--rounds", "1", "--millis", "5", "--format", "json"], options);
    let traces = run.traces();
    let json = run.finish().json();
    traces.assert_gone();
    json
}

fn rows<'a>(report: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    report["rows"].as_array().unwrap().iter().filter(move |row| row["kind"] == kind)
}

fn is_built_in(transport: &str) -> bool {
    cfg!(feature = "peers") || !["iceoryx2", "tonic"].contains(&transport)
}

#[test]
fn every_transport_moves_messages_that_verify() {
    let report = bench(&[]);
    assert_eq!(report["schema"], 1);
    assert!(report["host"]["cores"].as_u64().unwrap() >= 1 && report["host"]["kernel"].is_string());
    assert!(report["commit"].is_string());
    assert!(report["command"].as_str().unwrap().starts_with("phalanx bench ring"), "{report}");
    for (transport, [single, batched, round_trip, wake]) in TRANSPORTS {
        let there = is_built_in(transport);
        let of = |row: &&Value| row["transport"] == transport;
        for (publication, expected) in [("single", single && there), ("batched", batched && there)] {
            let found =
                rows(&report, "throughput").filter(of).filter(|row| row["publication"] == publication);
            let sizes: Vec<u64> = found.map(moved).collect();
            let all: &[u64] = if expected { &[16, 64, 256, 4096] } else { &[] };
            assert_eq!(sizes, all, "{transport} {publication}");
        }
        for (kind, expected) in [("round_trip", round_trip && there), ("wake", wake && there)] {
            let found = rows(&report, kind).filter(of).map(timed).count();
            assert_eq!(found, usize::from(expected), "{transport} {kind}");
        }
    }
    let ratios: Vec<&Value> = rows(&report, "ratio").collect();
    assert_eq!(ratios.len(), 13);
    let verdicts = ["PASS", "MISS", "OPEN"];
    assert!(ratios.iter().all(|row| verdicts.contains(&row["verdict"].as_str().unwrap())), "{ratios:?}");
}

/// The size of a throughput row, in which messages arrived.
fn moved(row: &Value) -> u64 {
    assert_eq!(row["error"], Value::Null, "{row}");
    assert!(row["messages"].as_u64().unwrap() > 0, "{row}");
    let rate = &row["messages_per_s"];
    let [min, median, max] = ["min", "median", "max"].map(|key| rate[key].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    row["payload_bytes"].as_u64().unwrap()
}

fn timed(row: &Value) {
    assert_eq!(row["error"], Value::Null, "{row}");
    assert!(row["samples"].as_u64().unwrap() > 0, "{row}");
    let [p50, p99] = ["p50_ns", "p99_ns"].map(|key| row[key]["median"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99, "{row}");
}

#[test]
fn filters_leave_out_what_was_not_asked_for() {
    let report = bench(&["--transport", "rtrb,phalanx", "--payload", "256"]);
    let found: Vec<(&str, u64)> = rows(&report, "throughput")
        .map(|row| (row["transport"].as_str().unwrap(), row["payload_bytes"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, [("phalanx", 256), ("phalanx", 256), ("rtrb", 256), ("rtrb", 256)]);
    assert_eq!(
        rows(&report, "round_trip").count() + rows(&report, "wake").count(),
        0,
        "measured at 64 bytes only"
    );
    assert!(rows(&report, "ratio").all(|row| row["verdict"] == "OPEN" && row["median"].is_null()));
}

/// The test pins itself, and the command with it, to one core: spinning ends would wait for each other a time slice long.
#[test]
fn on_one_core_it_measures_without_pins_and_judges_nothing() {
    let core = first_core();
    let report = std::thread::spawn(move || {
        let mut one = nix::sched::CpuSet::new();
        one.set(core).unwrap();
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).unwrap();
        bench(&["--payload", "64"])
    });
    let report = report.join().unwrap();
    assert_eq!(report["host"]["cores"], 1);
    let pairs = rows(&report, "throughput").chain(rows(&report, "round_trip")).chain(rows(&report, "wake"));
    for row in pairs {
        assert_eq!((&row["pinned"], &row["error"]), (&Value::from(false), &Value::Null), "{row}");
    }
    assert!(rows(&report, "ratio").all(|row| row["verdict"] == "OPEN"));
}

/// A core that this process may use.
fn first_core() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    (0..nix::sched::CpuSet::count()).find(|&core| set.is_set(core).unwrap_or(false)).unwrap()
}

#[test]
fn a_far_end_without_its_near_end_ends_by_itself() {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_phalanx"))
        .env("PHALANX_BENCH_FAR_END", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(program.status.code(), Some(1));
}
