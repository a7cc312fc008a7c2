//! `phalanx bench executor` on a loaded host, with tiny blocks.
//!
//! What would break without it: an executor that no longer starts or differs from sequential execution, rows that vanish
//! from the JSON object, figures that contradict each other. Speeds are not looked at.
//! Negative control: with a Block-STM that does not start the first test failed at its row.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::Run;
use serde_json::Value;
use std::collections::BTreeSet;

const WORKLOADS: [&str; 7] = ["uniform", "zipf-0.8", "zipf-1.2", "hot", "hot-plain", "batch", "trace"];
const EXECUTORS: [&str; 4] = ["threads", "block-stm", "processes", "processes-ahead"];

fn start(options: &[&str]) -> Run {
    Run::start_command(&["bench", "executor", "--quick", "--format", "json"], options)
}

fn bench(options: &[&str]) -> Value {
    let run = start(options);
    let traces = run.traces();
    let json = run.finish().json();
    traces.assert_gone();
    json
}

fn rows<'a>(report: &'a Value, kind: &'a str) -> Vec<&'a Value> {
    report["rows"].as_array().unwrap().iter().filter(|row| row["kind"] == kind).collect()
}

fn number(row: &Value, path: &str) -> f64 {
    row.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path} in {row}"))
}

/// A CSV file of transfers among a few accounts.
fn trace_file() -> tempfile::NamedTempFile {
    let address = |account: usize| format!("0x{account:040x}");
    let row = |index: usize| {
        format!("1,{index},{},{},{}\n", address(index % 40), address((index * 7 + 1) % 40), 10_u64.pow(15))
    };
    let different = (0..300).filter(|index| index % 40 != (index * 7 + 1) % 40);
    let text: String = different.map(row).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("block,index,from,to,value_wei\n{text}")).unwrap();
    file
}

#[test]
fn every_executor_has_a_sound_row_for_every_workload() {
    let trace = trace_file();
    let report = bench(&["--trace-file", trace.path().to_str().unwrap()]);
    assert_eq!(report["schema"], 1);
    assert!(report["command"].as_str().unwrap().starts_with("phalanx bench executor"), "{report}");
    let settings = rows(&report, "setting");
    let names: BTreeSet<(&str, bool)> = settings.iter().map(|row| setting_of(row)).collect();
    let expected = WORKLOADS.iter().flat_map(|&workload| [(workload, false), (workload, true)]);
    assert_eq!(names, expected.collect());
    for row in settings {
        assert_eq!((&row["skipped"], &row["rounds"]), (&Value::Null, &Value::from(2)), "{row}");
        assert!(number(row, "/generate_ns/median") > 0.0 && number(row, "/prepare_ns/median") > 0.0);
        // Three rounds, the one to warm up among them, of two blocks on the clock and two beside it.
        assert_eq!(row["verified_blocks"], 12, "{row}");
        assert_eq!(row["commutative"], row["workload"] != "hot-plain", "{row}");
        let chain = number(row, "/chain_share");
        let is_chain = row["workload"] == "hot-plain";
        assert!(if is_chain { chain == 1.0 } else { 0.0 < chain && chain < 1.0 }, "{row}");
    }
    let cells = rows(&report, "cell");
    let names: BTreeSet<_> = cells
        .iter()
        .map(|row| (setting_of(row), row["executor"].as_str().unwrap(), row["shards"].as_u64().unwrap()))
        .collect();
    assert_eq!((names.len(), cells.len()), (7 * 2 * 9, 7 * 2 * 9), "{names:?}");
    for (setting, executor, _) in &names {
        assert!(executor == &"sequential" || EXECUTORS.contains(executor), "{setting:?} {executor}");
    }
    cells.iter().for_each(|row| assert_sound(row));
    assert_rest(&report);
}

fn setting_of(row: &Value) -> (&str, bool) {
    assert_eq!(row["block_size"], 200, "{row}");
    (row["workload"].as_str().unwrap(), row["signed"].as_bool().unwrap())
}

/// A cell that was measured, and whose figures agree with each other.
fn assert_sound(row: &Value) {
    assert_eq!((&row["error"], &row["transactions"]), (&Value::Null, &Value::from(800)), "{row}");
    let [min, median, max] =
        ["min", "median", "max"].map(|key| number(row, &format!("/transactions_per_s/{key}")));
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    let [low, ratio, high] =
        ["low", "median", "high"].map(|key| number(row, &format!("/ratio_to_sequential/{key}")));
    assert!(0.0 < low && low <= ratio && ratio <= high, "{row}");
    let phase = |name: &str| number(row, &format!("/phases/{name}_ns"));
    // The middle of times is not that of speeds when one of two rounds was disturbed; both lie within the same bounds.
    let (slowest, fastest) = (min * (1.0 - 1e-9), max * (1.0 + 1e-9));
    assert!((slowest..=fastest).contains(&(1e9 / phase("total"))), "{row}");
    assert!(0.0 < phase("execute"), "{row}");
    assert!(phase("serial") >= 0.0, "{row}");
    assert!(number(row, "/cpu_s_per_transaction") > 0.0, "{row}");
    assert!(number(row, "/rounds_per_block") >= 1.0, "{row}");
    let executor = row["executor"].as_str().unwrap();
    let is_planned = ["threads", "processes", "processes-ahead"].contains(&executor);
    assert_eq!(phase("plan") > 0.0 && phase("validate") > 0.0 && phase("commit") > 0.0, is_planned, "{row}");
    // What an executor takes within this process may have been free before; processes are its own.
    let memory = number(row, "/memory_mib");
    assert!(memory > 0.0 || memory == 0.0 && !executor.starts_with("processes"), "{row}");
    assert_eq!(row["phases"]["wait_ns"].is_number(), is_planned, "{row}");
    assert_eq!(row["phases"]["wait_reason"].is_string(), !is_planned, "{row}");
    if is_planned {
        assert!(phase("wait") <= phase("execute"), "{row}");
        assert!(row["shards"] == 2 || number(row, "/edges_per_transaction") == 0.0, "{row}");
    }
    if executor == "sequential" {
        assert_eq!((low, ratio, high), (1.0, 1.0, 1.0));
    }
}

/// Budget, crossing, wake-ups and predictions.
fn assert_rest(report: &Value) {
    let budget = rows(report, "budget");
    // Three of the coordinator, two rivals with 1 and 2 shards each, and one beside sequential execution.
    assert_eq!(budget.len(), 7 * 2 * 8);
    for row in budget {
        let [low, median, high] = ["low", "median", "high"].map(|key| number(row, &format!("/{key}")));
        assert!(0.0 < low && low <= median && median <= high, "{row}");
        let judged = number(row, &format!("/{}", row["judged"].as_str().unwrap()));
        let (most, least) = (row.pointer("/target/at_most"), row.pointer("/target/at_least"));
        let verdict = match (most.and_then(Value::as_f64), least.and_then(Value::as_f64)) {
            (Some(most), None) => Value::from(if judged <= most { "PASS" } else { "MISS" }),
            (None, Some(least)) => Value::from(if judged >= least { "PASS" } else { "MISS" }),
            (None, None) => Value::Null,
            (Some(_), Some(_)) => panic!("two targets: {row}"),
        };
        assert_eq!(row["verdict"], verdict, "{row}");
        assert_eq!(row["note"].is_string(), verdict.is_null(), "{row}");
    }
    let cores = report["host"]["cores"].as_u64().unwrap();
    let crossings = rows(report, "crossing");
    assert_eq!(crossings.len(), 2);
    for row in crossings.iter().filter(|_| cores > 1) {
        assert_eq!((&row["skipped"], &row["rounds"]), (&Value::Null, &Value::from(2)), "{row}");
        assert_eq!((number(row, "/edges_per_pair/0"), number(row, "/edges_per_pair/1")), (0.0, 1.0), "{row}");
        assert!(number(row, "/same_shard_ns") > 0.0, "{row}");
        assert!(row["writer_ns"].is_object() && row["reader_ns"].is_object() && row["wall_ns"].is_object());
    }
    let wakeups = rows(report, "wakeup");
    assert_eq!(wakeups.iter().map(|row| row["shards"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(wakeups.iter().all(|row| number(row, "/round_ns/median") > 0.0), "{wakeups:?}");
    // That nobody wakes up is for `tests/quiet.rs` to prove; here, that it is counted: at work they do.
    let silences = rows(report, "idle");
    assert_eq!(silences.iter().map(|row| row["shards"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for row in silences {
        assert!(number(row, "/at_work") > 0.0, "{row}");
        let verdict = if number(row, "/idle") == 0.0 { "PASS" } else { "MISS" };
        assert_eq!(row["verdict"], verdict, "{row}");
    }
    assert_scaling(report);
}

fn assert_scaling(report: &Value) {
    let points = rows(report, "scaling");
    for workload in WORKLOADS {
        let of = |row: &&&Value| row["workload"] == workload && row["signed"] == true;
        let own: Vec<&&Value> = points.iter().filter(of).collect();
        let shards: BTreeSet<u64> = own.iter().map(|row| row["shards"].as_u64().unwrap()).collect();
        let nodes: BTreeSet<u64> = own.iter().map(|row| row["nodes"].as_u64().unwrap()).collect();
        assert!([4, 64, 384].iter().all(|point| shards.contains(point)), "{workload}: {shards:?}");
        assert_eq!(nodes, BTreeSet::from([1, 2, 4, 8]));
        let calibrated: Vec<_> = own.iter().filter(|row| row["predicted"] == false).collect();
        let [calibrated] = calibrated.as_slice() else { panic!("{workload}: {calibrated:?}") };
        let (model, host) =
            (number(calibrated, "/transactions_per_s"), number(calibrated, "/measured/median"));
        assert!((model / host - 1.0).abs() < 1e-6, "{calibrated}");
        for row in own {
            assert!(number(row, "/transactions_per_s") > 0.0, "{row}");
            let bounds = ["execution", "coordinator", "chain"];
            assert!(bounds.contains(&row["bound_by"].as_str().unwrap()), "{row}");
        }
    }
}

#[test]
fn filters_leave_out_what_was_not_asked_for_and_a_missing_trace_is_told() {
    let report = bench(&[
        "--workloads",
        "trace,hot",
        "--executors",
        "threads",
        "--signatures",
        "unsigned",
        "--shards",
        "3",
        "--block-sizes",
        "50,200",
        "--rounds",
        "1",
    ]);
    let settings: Vec<(&str, u64, bool)> = rows(&report, "setting")
        .into_iter()
        .map(|row| {
            let skipped = row["skipped"].as_str().is_some_and(|why| why.contains("--trace-file"));
            assert_eq!((&row["signed"], skipped), (&Value::from(false), row["workload"] == "trace"), "{row}");
            (row["workload"].as_str().unwrap(), row["block_size"].as_u64().unwrap(), skipped)
        })
        .collect();
    assert_eq!(
        settings,
        [("hot", 50, false), ("hot", 200, false), ("trace", 50, true), ("trace", 200, true)]
    );
    let cells: Vec<(&str, u64)> = rows(&report, "cell")
        .into_iter()
        .map(|row| (row["executor"].as_str().unwrap(), row["shards"].as_u64().unwrap()))
        .collect();
    assert_eq!(cells, [("sequential", 1), ("threads", 3), ("sequential", 1), ("threads", 3)]);
    let budget = rows(&report, "budget");
    assert!(budget.iter().all(|row| row["block_size"] == 200 && row["median"].is_null()), "{budget:?}");
    assert!(budget.iter().all(|row| row["verdict"] == "OPEN" || row["note"].is_string()), "{budget:?}");
    assert!(rows(&report, "scaling").is_empty(), "planning ahead was not measured");
}

#[test]
fn a_trace_that_cannot_be_read_is_an_error_and_no_report() {
    let ended = start(&["--workloads", "trace", "--trace-file", "no/such/file.csv"]).finish();
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, ""));
    assert!(ended.stderr.contains("no/such/file.csv"), "{}", ended.stderr);
}

#[test]
fn people_get_tables() {
    let run = Run::start_command(
        &["bench", "executor", "--quick", "--workloads", "uniform", "--signatures", "unsigned"],
        &[],
    );
    let ended = run.finish();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for said in [
        "uniform, unsigned, blocks of 200",
        "block-stm",
        "processes-ahead",
        "budget",
        "price of crossing",
        "scaling",
        "PASS",
    ] {
        assert!(ended.stdout.contains(said), "no {said} in {}", ended.stdout);
    }
}
