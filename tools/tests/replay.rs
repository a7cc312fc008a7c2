//! `phalanx replay` as its users meet it, on a small block made by hand.
//!
//! What would break: an error that does not say which file and field to mend; a wrong access list that changes a result, or that
//! nobody notices; a replay that outlives Ctrl-C; a killed shard that changes a result. No control was run.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Ended, Run};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SENDER: &str = "0x1111111111111111111111111111111111111111";
const OTHER: &str = "0x2222222222222222222222222222222222222222";
const MINER: &str = "0x3333333333333333333333333333333333333333";
/// Asks for the hash of the block before.
const ASKING: &str = "0x4444444444444444444444444444444444444444";
const ASKING_CODE: &str = "0x600143034000";

fn transfer(nonce: u64, to: &str, value: u64) -> Value {
    json!({ "from": SENDER, "to": to, "gas": "0x5208", "gasPrice": "0x1", "value": format!("{value:#x}"),
        "input": "0x", "nonce": format!("{nonce:#x}") })
}

/// Forty transfers in a block of the first rules, whose receipts have no root to compare.
fn block() -> Value {
    let transfers: Vec<Value> = (0..40).map(|nonce| transfer(nonce, OTHER, 5 + nonce)).collect();
    json!({
        "number": "0x64", "timestamp": "0x55ba4300", "miner": MINER, "gasLimit": "0x1000000",
        "difficulty": "0x400", "gasUsed": format!("{:#x}", 21_000 * 40), "transactions": transfers,
        "receiptsRoot": format!("0x{}", "00".repeat(32)), "parentHash": format!("0x{}", "11".repeat(32)),
        "logsBloom": format!("0x{}", "00".repeat(256)),
    })
}

fn prestate() -> Value {
    json!({ SENDER: { "balance": "0xffffffffff" }, ASKING: { "balance": "0x0", "code": ASKING_CODE } })
}

/// A folder with a block in it.
fn folder(block: &Value, prestate: &Value) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("block.json"), block.to_string()).unwrap();
    fs::write(folder.path().join("prestate.json"), prestate.to_string()).unwrap();
    folder
}

fn replay(folder: &Path, options: &[&str]) -> Ended {
    let all = [&[folder.to_str().unwrap(), "--format", "json"], options].concat();
    Run::start_command(&["replay"], &all).finish()
}

/// What would break: a block that is executed again although it is there, or taken for right although what is there is not.
#[test]
fn a_block_becomes_durable_is_recalled_and_another_one_at_its_height_is_refused() {
    let (folder, states) = (folder(&block(), &prestate()), TempDir::new().unwrap());
    let place = states.path().join("states");
    let place = place.to_str().unwrap();
    let first = rows(&replay(folder.path(), &["--state-dir", place, "--shards", "2"]));
    assert_eq!((&first[0]["recalled"], &first[0]["logs_bloom_ok"]), (&json!(false), &json!(true)));
    let again = rows(&replay(folder.path(), &["--state-dir", place, "--shards", "3"]));
    assert_eq!((&again[0]["recalled"], &again[0]["logs_bloom_ok"]), (&json!(true), &Value::Null));
    assert_eq!((&again[0]["gas_used"], &again[0]["rounds"]), (&first[0]["gas_used"], &json!(0)));
    let verified = Run::start_command(&["state", "verify"], &[&format!("{place}/100")]).finish();
    assert_eq!(verified.code(), 0, "{}{}", verified.stdout, verified.stderr);

    let mut other = block();
    other["transactions"][3]["value"] = json!("0x7");
    fs::write(folder.path().join("block.json"), other.to_string()).unwrap();
    let refused = replay(folder.path(), &["--state-dir", place]);
    assert_eq!(refused.code(), 7, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("block 100"), "{}", refused.stderr);
    fs::write(folder.path().join("block.json"), block().to_string()).unwrap();
    let other_state = json!({ SENDER: { "balance": "0xfffffffffff" } });
    fs::write(folder.path().join("prestate.json"), other_state.to_string()).unwrap();
    let refused = replay(folder.path(), &["--state-dir", place]);
    assert_eq!(refused.code(), 7, "{}{}", refused.stdout, refused.stderr);
    let threads = replay(folder.path(), &["--state-dir", place, "--executor", "threads"]);
    assert_eq!(threads.code(), 2, "{}{}", threads.stdout, threads.stderr);
}

/// The objects that a replay printed; its last one says that all is right.
fn rows(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    let rows: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.last().unwrap()["ok"], json!(true), "{}", ended.stdout);
    rows
}

fn refused(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code(), 4, "{}{}", ended.stdout, ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
}

#[test]
fn a_block_is_right_with_every_executor_and_every_kind_of_hints() {
    let folder = folder(&block(), &prestate());
    let sidecar = folder.path().join("access.jsonl");
    let lists = folder.path().join("lists.jsonl");
    let files = [sidecar.to_str().unwrap(), lists.to_str().unwrap()];
    let written = replay(
        folder.path(),
        &["--shards", "2", "--write-access", files[0], "--write-access-list", files[1]],
    );
    assert_eq!(rows(&written)[0]["gas_ok"], json!(true));
    for executor in ["sequential", "threads", "processes", "block-stm"] {
        for hints in [
            &["--hints", "cold"][..],
            &["--hints", "learned"],
            &["--hints", "oracle", "--access", files[0]],
            &["--hints", "oracle", "--access", files[1]],
        ] {
            let ended = replay(folder.path(), &[&["--executor", executor, "--shards", "2"], hints].concat());
            let rows = rows(&ended);
            assert_eq!(rows[0]["matches_sequential"], json!(true), "{executor} {hints:?}");
            let by_list = hints.last() == Some(&files[1]);
            assert_eq!(rows[0]["access_list_ok"], if by_list { json!(true) } else { json!(null) });
        }
    }
}

#[test]
fn a_wrong_list_in_the_block_s_own_file_is_named_and_does_no_harm() {
    let mut block = block();
    block["blockAccessList"] =
        json!([{ "address": SENDER, "nonceChanges": [{ "index": "0x3", "value": "0x9" }] }]);
    let folder = folder(&block, &prestate());
    let ended = replay(folder.path(), &["--shards", "2", "--hints", "oracle"]);
    let row = &rows(&ended)[0];
    assert_eq!(row["access_list_ok"], json!(false));
    let named = row["access_list_difference"].as_str().unwrap();
    assert!(named.contains(SENDER) && named.contains("index"), "{named}");
}

#[test]
fn a_broken_input_names_file_field_and_what_was_expected() {
    let folder = folder(&block(), &prestate());
    let (path, state) = (folder.path().join("block.json"), folder.path().join("prestate.json"));
    refused(&replay(folder.path(), &["--hints", "oracle"]), &["block.json", "access list of block 100"]);

    let mut wrong = block();
    wrong["transactions"][3]["gas"] = json!("21000");
    fs::write(&path, wrong.to_string()).unwrap();
    let parts = ["block.json", "transactions[3].gas", "expected a number", "found \"21000\""];
    refused(&replay(folder.path(), &[]), &parts);

    let whole = block().to_string();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&replay(folder.path(), &[]), &["block.json is no JSON", "line 1"]);

    fs::write(&path, &whole).unwrap();
    fs::write(&state, json!({ OTHER: { "balance": "0x1" } }).to_string()).unwrap();
    refused(&replay(folder.path(), &[]), &["block 100", "transaction 0", "prestate.json"]);

    fs::remove_file(&state).unwrap();
    refused(&replay(folder.path(), &[]), &["prestate.json cannot be read", "No such file"]);
}

#[test]
fn a_block_hash_that_is_not_there_is_asked_for() {
    let mut asking = block();
    let mut call = transfer(0, ASKING, 0);
    call["gas"] = json!("0xffff");
    asking["transactions"] = json!([call]);
    let folder = folder(&asking, &prestate());
    refused(&replay(folder.path(), &[]), &["block_hashes.json", "99", "expected the hash of that block"]);
}

#[test]
fn sigint_ends_a_replay_with_130_and_leaves_nothing() {
    let folder = folder(&block(), &prestate());
    let options = [folder.path().to_str().unwrap(), "--shards", "3", "--repeat", "10000"];
    let mut run = Run::start_command(&["replay"], &options);
    run.await_shards(3);
    let traces = run.traces();
    run.signal(Signal::SIGINT);
    let ended = run.finish();
    assert_eq!(ended.code(), 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("SIGINT"), "{}", ended.stderr);
    traces.assert_gone();
}

#[test]
fn shards_that_are_killed_every_20_ms_change_nothing() {
    let folder = folder(&block(), &prestate());
    let options = [folder.path().to_str().unwrap(), "--shards", "3", "--repeat", "1500", "--format", "json"];
    let mut run = Run::start_command(&["replay"], &options);
    run.await_shards(3);
    let (traces, kills) = (run.traces(), run.kill_shards_until_over(std::time::Duration::from_millis(20)));
    let ended = run.finish();
    assert_eq!(rows(&ended)[0]["matches_sequential"], json!(true), "{kills} kills");
    assert!(kills > 0);
    traces.assert_gone();
}

#[test]
fn a_trial_of_chaos_on_blocks_of_ethereum_finds_nothing_wrong() {
    let mut other = block();
    other["number"] = json!("0x65");
    other["transactions"] = Value::Array((0..30).map(|nonce| transfer(nonce, MINER, 1)).collect());
    let (first, second, directory) =
        (folder(&block(), &prestate()), folder(&other, &prestate()), TempDir::new().unwrap());
    let run = Run::start_in(
        directory.path(),
        &["chaos", "--workload", "ethereum", "--blocks"],
        &[
            first.path().to_str().unwrap(),
            second.path().to_str().unwrap(),
            "--duration",
            "3s",
            "--seed",
            "5",
            "--shards",
            "3",
            "--format",
            "json",
        ],
    );
    let traces = run.traces();
    let ended = run.finish();
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["verified"], &json["folders"]), (&json!(true), &json!(2)));
    assert!(json["deaths"].as_u64().unwrap() > 0 && json["blocks"].as_u64().unwrap() > 4, "{json}");
    traces.assert_gone();
}
