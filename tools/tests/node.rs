//! Whole nodes, as processes: a loaded one whose components and shards are killed, one that goes on where the last one ended, one that
//! is killed with everything in it again and again.
//!
//! What would break: a transaction without an end, a component that stays behind, an exclusion that is never lifted, a block that
//! is executed twice or differently, a directory that does not open, a signal that is not obeyed, processes that are left behind.
//! Oracle: every node executes each of its blocks again, sequentially, on a state of its own, and its sums must add up.
//! Negative controls that were run: one block whose transactions get no end (they are counted as expired after a minute, and the first
//! test fails); validators whose directories are emptied at the start (both tests of restarts fail);
//! a second signal that does not remove the temporary directory.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::http::{get, post_json};
use common::{Ended, LIMIT, Run};
use nix::sys::signal::Signal;
use phalanx::vm::ledger::{Payload, RawTransaction};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ACCOUNTS: usize = 200;
const SMALL: [&str; 8] = ["--validators", "4", "--shards", "2", "--accounts", "200", "--format", "json"];

fn node(options: &[&str]) -> Run {
    Run::start_command(&["node"], &[&SMALL[..], options].concat())
}

fn listening(run: &mut Run) -> SocketAddr {
    run.await_said("listening on http://").parse().unwrap()
}

/// The report, which a node prints however it ends.
fn report(ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.code(), code, "{} {}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr))
}

fn number(json: &Value, key: &str) -> u64 {
    json[key].as_u64().unwrap_or_else(|| panic!("no {key} in {json}"))
}

/// Everything that was submitted has its end, nothing is excluded, all components of all validators are where the log ends.
fn assert_settled(json: &Value) {
    let ends = number(json, "committed") + number(json, "expired") + number(json, "rejected");
    assert_eq!((number(json, "submitted"), number(json, "unfinished")), (ends, 0), "{json}");
    assert_eq!(number(json, "exclusion_size"), 0, "{json}");
    for standing in json["cursors"].as_array().unwrap() {
        assert_eq!(standing["head"], json["height"], "{json}");
        let cursors = standing["cursors"].as_object().unwrap();
        assert!(cursors.len() >= 5 && cursors.values().all(|cursor| cursor == &standing["head"]), "{json}");
    }
    assert_eq!(json["verified"], true, "{json}");
    assert_eq!(json["violations"], json!([]), "{json}");
}

/// A transfer of one account, as the hexadecimal digits of its bytes.
fn transfer(accounts: &Accounts, from: usize, sequence_number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let raw = RawTransaction {
        chain_id: WORKLOAD_CHAIN_ID,
        sender: accounts.addresses()[from],
        sequence_number,
        max_gas: 5_000,
        gas_price: 1,
        expiration_s: now + 300,
        payload: Payload::Transfer { to: accounts.addresses()[from + 1], amount: 7 },
    };
    accounts.encode(raw, from).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Submits a transfer and waits until a durable block has it.
fn commit(address: SocketAddr, transaction: &str) -> u64 {
    let status = end_of(address, transaction);
    assert_eq!((&status["status"], &status["outcome"]), (&json!("committed"), &json!("success")), "{status}");
    number(&status, "height")
}

/// Submits a transfer and waits until it is no longer pending.
fn end_of(address: SocketAddr, transaction: &str) -> Value {
    let reply = post_json(address, &json!({ "transaction": transaction }));
    assert_eq!(reply.status, 202, "{}", reply.json);
    let path = format!("/transactions/{}", reply.json["hash"].as_str().unwrap());
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = get(address, &path).json;
        if status["status"] != "pending" {
            return status;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_loaded_node_whose_components_and_shards_are_killed_brings_every_transaction_to_its_end() {
    let run = node(&[
        "--load=300",
        "--duration=5s",
        "--kill-components-every=300ms",
        "--kill-shards-every=400ms",
        "--seed=7",
    ]);
    let traces = run.traces();
    let json = report(&run.finish(), 0);
    assert_settled(&json);
    // Nothing is so slow here that it expires, and nothing that was lost may look as if.
    let others = (number(&json, "rejected"), number(&json, "expired"));
    assert!(number(&json, "committed") > 0 && others == (0, 0), "{json}");
    assert!(number(&json, "component_kills") > 3 && number(&json, "component_restarts") > 3, "{json}");
    assert!(number(&json, "shard_kills") > 3 && number(&json, "shard_respawns") > 0, "{json}");
    assert!(
        json["submit_to_commit_ms"]["p99"].as_f64() >= json["submit_to_commit_ms"]["p50"].as_f64(),
        "{json}"
    );
    assert!(number(&json["memory_bytes"]["end"], "rss") > 1 << 20, "{json}");
    traces.assert_gone();
}

#[test]
fn a_second_node_goes_on_where_the_first_one_ended() {
    let home = tempfile::tempdir().unwrap();
    let directory = ["--state-dir", home.path().to_str().unwrap()];
    let accounts = Accounts::derive(1, ACCOUNTS, true);
    let mut first = node(&directory);
    let address = listening(&mut first);
    let sent = transfer(&accounts, 3, 0);
    let height = commit(address, &sent);
    let hash = post_json(address, &json!({ "transaction": sent })).json["hash"].clone();
    let locked = node(&directory).finish();
    assert_eq!(locked.code(), 7, "{}", locked.stderr);
    assert!(locked.stderr.contains(&format!("belongs to process {}", first.pid())), "{}", locked.stderr);
    first.signal(Signal::SIGTERM);
    let json = report(&first.finish(), 143);
    assert_eq!((&json["ended_by"], &json["committed"]), (&json!("SIGTERM"), &json!(1)));
    assert!(number(&json, "height") >= height && json["resumed_after"].is_null(), "{json}");

    let mut second = node(&directory);
    let address = listening(&mut second);
    let reply = get(address, &format!("/transactions/{}", hash.as_str().unwrap()));
    let recalled = json!({"hash": hash, "status": "committed", "height": height, "outcome": "success"});
    assert_eq!((reply.status, &reply.json), (200, &recalled));
    let again = post_json(address, &json!({ "transaction": sent }));
    assert_eq!((again.status, again.json), (202, recalled));
    // Another one, since it expires in another second.
    std::thread::sleep(Duration::from_millis(1_100));
    let again = post_json(address, &json!({ "transaction": transfer(&accounts, 3, 0) }));
    assert_eq!((again.status, &again.json["error"]["code"]), (422, &json!("sequence_too_old")));
    assert!(commit(address, &transfer(&accounts, 3, 1)) > height);
    second.signal(Signal::SIGINT);
    let json = report(&second.finish(), 130);
    assert_eq!((&json["verified"], &json["violations"]), (&json!(true), &json!([])));
    assert!(number(&json, "resumed_after") >= height, "{json}");

    for (changed, kept) in
        [("--validators=3", "--validators 4"), ("--accounts=201", "--accounts 200"), ("--seed=2", "--seed 1")]
    {
        let (name, value) = changed.split_once('=').unwrap();
        let mut options: Vec<&str> = SMALL.to_vec();
        match options.iter().position(|option| *option == name) {
            Some(place) => options[place + 1] = value,
            None => options.extend([name, value]),
        }
        let other = Run::start_command(&["node"], &[&options[..], &directory].concat()).finish();
        assert_eq!(other.code(), 7, "{changed}: {}", other.stderr);
        assert!(other.stderr.contains(&format!("made with {kept}")), "{}", other.stderr);
    }
}

/// Rounds of killing; more by the environment.
fn rounds() -> u64 {
    std::env::var("PHALANX_NODE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Once broke, with three of them at once: a transaction whose sequence number a batch of the life before used stayed open for ever.
#[test]
fn a_node_that_is_killed_again_and_again_loses_nothing_that_it_called_committed() {
    let home = tempfile::tempdir().unwrap();
    let directory = ["--state-dir", home.path().to_str().unwrap()];
    let accounts = Accounts::derive(1, ACCOUNTS, true);
    let mut height = 0;
    for round in 0..rounds() {
        let load = if round % 2 == 0 { &["--load=200"][..] } else { &[] };
        let mut run = node(&[&directory[..], load].concat());
        let traces = run.traces();
        let address = listening(&mut run);
        let resumed = number(&get(address, "/health").json, "height");
        assert!(resumed >= height, "round {round}: resumed at {resumed}, {height} was committed");
        if load.is_empty() {
            height = commit_next(address, &accounts);
        } else {
            height = await_height(address, resumed + 3);
        }
        run.signal(Signal::SIGKILL);
        assert_eq!(run.finish().status.code(), None);
        traces.assert_gone();
    }
    let json = report(&node(&[&directory[..], &["--load=200", "--duration=2s"]].concat()).finish(), 0);
    let committed = number(&json, "committed");
    assert!(committed > 0 && number(&json, "resumed_after") >= height, "{json}");
    assert_settled(&json);
    assert!(Path::new(&home.path().join("validator-3")).is_dir());
}

/// Commits a transfer of account 3, whose next sequence number is found by trying: batches of the life before may bring
/// further transactions of the account at any time.
fn commit_next(address: SocketAddr, accounts: &Accounts) -> u64 {
    let mut sequence = 0;
    loop {
        let transaction = transfer(accounts, 3, sequence);
        sequence += 1;
        let reply = post_json(address, &json!({ "transaction": transaction }));
        if reply.json["error"]["code"] == "sequence_too_old" {
            continue;
        }
        // Submitted once more, it is the same one.
        let status = end_of(address, &transaction);
        if status["outcome"] != "sequence too old" {
            assert_eq!(status["status"], "committed", "{status}");
            return number(&status, "height");
        }
    }
}

fn await_height(address: SocketAddr, height: u64) -> u64 {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = number(&get(address, "/health").json, "height");
        if now >= height {
            return now;
        }
        assert!(Instant::now() < deadline, "stays at {now}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The orderly end waits for a request under way; nobody has to wait for that.
#[test]
fn a_second_signal_ends_a_node_at_once_and_leaves_nothing() {
    let mut run = node(&["--load=100"]);
    let traces = run.traces();
    let address = listening(&mut run);
    await_height(address, 2);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"POST /transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 100\r\n\r\n").unwrap();
    // The node has begun to read it.
    std::thread::sleep(Duration::from_millis(200));
    run.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!run.is_over(), "it waits for the request");
    run.signal(Signal::SIGINT);
    let ended = run.finish();
    // The code is that of the second one, and there is no report.
    assert_eq!((ended.code(), ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
    traces.assert_gone();
}

#[test]
fn a_node_that_cannot_keep_its_components_alive_gives_up_with_10() {
    let run = node(&["--load=50", "--kill-components-every=20ms", "--restarts-per-minute=3"]);
    let traces = run.traces();
    let json = report(&run.finish(), 10);
    assert_eq!(json["ended_by"], "gave up", "{json}");
    assert!(json["violations"][0].as_str().unwrap().contains("over the limit"), "{json}");
    assert_eq!(json["verified"], true, "{json}");
    traces.assert_gone();
}

#[test]
fn what_the_quorum_store_is_measured_against_brings_everything_to_its_end_too() {
    let options = ["--plain", "--shards=2", "--accounts=200", "--load=300", "--duration=2s", "--format=json"];
    let run = Run::start_command(&["node"], &options);
    let traces = run.traces();
    let json = report(&run.finish(), 0);
    assert_settled(&json);
    assert_eq!((&json["validators"], &json["cursors"]), (&json!(0), &json!([])), "{json}");
    assert!(
        number(&json, "committed") > 0 && number(&json, "verified_blocks") == number(&json, "blocks"),
        "{json}"
    );
    traces.assert_gone();
    let both = Run::start_command(&["node"], &["--plain", "--validators=4"]).finish();
    assert_eq!(both.code(), 2, "{}", both.stderr);
}

#[test]
fn the_benchmark_of_the_quorum_store_has_a_row_for_every_step_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let options = ["--directory", home.path().to_str().unwrap(), "--transactions=500", "--format=json"];
    let json = Run::start_command(&["bench", "quorum"], &options).finish().json();
    let rows = json["rows"].as_array().unwrap();
    let steps: Vec<&str> = rows.iter().filter_map(|row| row["step"].as_str()).collect();
    assert_eq!(
        steps,
        [
            "intake",
            "batch",
            "encode",
            "decode",
            "store_and_sign",
            "proof",
            "check_proof",
            "order",
            "commit",
            "apply"
        ]
    );
    assert!(rows.iter().all(|row| row["us_per_transaction"].as_f64() > Some(0.0)), "{json}");
    assert_eq!((&rows[10]["kind"], &rows[10]["transactions"]), (&json!("total"), &json!(500)), "{json}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "the disks are removed");
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_starts() {
    for options in [
        &["--validators", "0"][..],
        &["--validators", "17"],
        &["--accounts", "1"],
        &["--load", "0"],
        &["--duration", "0s"],
        &["--listen", "nowhere"],
        &["--kill-shards-every", "often"],
        &["--restarts-per-minute", "0"],
        &["--shards", "385"],
    ] {
        let ended = Run::start_command(&["node"], options).finish();
        assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{options:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(options[0]), "{}", ended.stderr);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = node(&["--listen", &address]);
    let traces = run.traces();
    let ended = run.finish();
    assert_eq!((ended.code(), ended.stdout.as_str()), (5, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("--listen"), "{}", ended.stderr);
    traces.assert_gone();
}
