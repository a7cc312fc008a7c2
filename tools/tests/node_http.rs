//! The node's intake over HTTP, with real sockets and a client that knows no more than the documentation.
//!
//! What would break: a transaction that is taken and never found again, one that is refused without a reason, a request that ends the
//! connection without an answer, a limit that is none. Oracle: the ledger's own rules, and the status codes of the documentation.
//! Negative control that was run: without a limit of the body the long one is read to its end, and the answer is another one.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::http::{Reply, ask, get, post_json, reply};
use common::{LIMIT, Run};
use nix::sys::signal::Signal;
use phalanx::vm::ledger::{Payload, RawTransaction};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A transfer of account `from`, changed by `change` before it is signed.
fn transfer(accounts: &Accounts, from: usize, change: impl FnOnce(&mut RawTransaction)) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut raw = RawTransaction {
        chain_id: WORKLOAD_CHAIN_ID,
        sender: accounts.addresses()[from],
        sequence_number: 0,
        max_gas: 5_000,
        gas_price: 1,
        expiration_s: now + 300,
        payload: Payload::Transfer { to: accounts.addresses()[from + 1], amount: 7 },
    };
    change(&mut raw);
    accounts.encode(raw, from)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn post(address: SocketAddr, transaction: &[u8]) -> Reply {
    post_json(address, &json!({ "transaction": hex(transaction) }))
}

fn assert_problem(reply: &Reply, status: u16, code: &str) {
    let error = &reply.json["error"];
    assert_eq!((reply.status, error["code"].as_str()), (status, Some(code)), "{}", reply.json);
    let message = error["message"].as_str().unwrap();
    assert!(message.len() > 10 && !message.ends_with('.'), "{message}");
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
}

/// The status once it is no longer pending.
fn end_of(address: SocketAddr, hash: &str) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let reply = get(address, &format!("/transactions/{hash}"));
        assert_eq!(reply.status, 200, "{}", reply.json);
        if reply.json["status"] != "pending" {
            return reply.json;
        }
        assert!(Instant::now() < deadline, "stays pending");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clients_submit_ask_and_are_told_what_is_wrong() {
    let accounts = Accounts::derive(1, 50, true);
    let mut run =
        Run::start_command(&["node"], &["--validators=4", "--shards=2", "--accounts=50", "--format=json"]);
    let traces = run.traces();
    let address: SocketAddr = run.await_said("listening on http://").parse().unwrap();

    taken_in_both_forms(address, &accounts);
    refused_with_a_reason(address, &accounts);
    nonsense_is_answered(address);

    past_the_limit_clients_are_turned_away(address);

    let health = get(address, "/health");
    assert!(health.json["connections_turned_away"].as_u64() >= Some(1), "{}", health.json);
    assert_eq!((health.status, &health.json["status"]), (200, &json!("ok")));
    assert_eq!(health.json["validators"].as_array().unwrap().len(), 4, "{}", health.json);
    assert_eq!(health.json["shards"].as_array().unwrap().len(), 2, "{}", health.json);
    assert!(health.json["height"].as_u64() > Some(0), "{}", health.json);

    run.signal(Signal::SIGTERM);
    let ended = run.finish();
    assert_eq!(ended.code(), 143, "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&json["submitted"], &json["committed"], &json["failed"]),
        (&json!(3), &json!(3), &json!(1)),
        "{json}"
    );
    assert_eq!((&json["verified"], &json["violations"]), (&json!(true), &json!([])), "{json}");
    traces.assert_gone();
}

/// Clients at a time, by the documentation.
const CLIENTS_MAX: usize = 256;

/// So many are served; one more finds its connection closed, and when one of them has gone there is room again.
fn past_the_limit_clients_are_turned_away(address: SocketAddr) {
    let connect = || TcpStream::connect(address).unwrap();
    let mut seated: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| connect()).collect();
    let mut turned_away = connect();
    turned_away.set_read_timeout(Some(LIMIT)).unwrap();
    // An end, or a reset: never an answer.
    assert!(!turned_away.read(&mut [0]).is_ok_and(|bytes| bytes > 0));
    let mut last = seated.pop().unwrap();
    last.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(reply(&mut last).status, 200, "who has a seat is served");
    drop(seated);
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut next = connect();
        let asked = next.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        let mut answer = Vec::new();
        if asked.is_ok() && next.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
            return;
        }
        assert!(Instant::now() < deadline, "no seat is free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn taken_in_both_forms(address: SocketAddr, accounts: &Accounts) {
    let first = transfer(accounts, 0, |_| {});
    let taken = post(address, &first);
    assert_eq!((taken.status, &taken.json["status"]), (202, &json!("pending")), "{}", taken.json);
    let hash = taken.json["hash"].as_str().unwrap();
    let end = end_of(address, hash);
    assert_eq!((&end["status"], &end["outcome"]), (&json!("committed"), &json!("success")));
    assert!(end["height"].as_u64() > Some(0), "{end}");
    // The same again changes nothing, and tells what became of it.
    let again = post(address, &first);
    assert_eq!(
        (again.status, again.json["hash"].as_str(), &again.json["status"]),
        (202, Some(hash), &json!("committed"))
    );
    let upper = get(address, &format!("/transactions/0x{}", hash.to_uppercase()));
    assert_eq!(upper.json["status"], "committed");

    let octets = transfer(accounts, 1, |_| {});
    let taken = ask(address, "POST", "/transactions", "application/octet-stream", &octets);
    assert_eq!(taken.status, 202, "{}", taken.json);
    assert_eq!(end_of(address, taken.json["hash"].as_str().unwrap())["status"], "committed");

    // It pays for failing.
    let poor = transfer(accounts, 2, |raw| {
        raw.payload = Payload::Transfer { to: raw.sender, amount: u64::MAX / 2 };
    });
    let end = end_of(address, post(address, &poor).json["hash"].as_str().unwrap());
    assert_eq!((&end["status"], &end["outcome"]), (&json!("committed"), &json!("insufficient balance")));
}

fn refused_with_a_reason(address: SocketAddr, accounts: &Accounts) {
    let mut forged = transfer(accounts, 3, |_| {});
    *forged.last_mut().unwrap() ^= 1;
    assert_problem(&post(address, &forged), 422, "bad_signature");
    assert_problem(&post(address, &transfer(accounts, 3, |raw| raw.chain_id += 1)), 422, "wrong_chain");
    assert_problem(&post(address, &transfer(accounts, 3, |raw| raw.expiration_s = 1)), 422, "expired");
    let used = transfer(accounts, 0, |raw| raw.max_gas += 1);
    assert_problem(&post(address, &used), 422, "sequence_too_old");
    let far = post(address, &transfer(accounts, 3, |raw| raw.sequence_number = 1 << 40));
    assert_problem(&far, 503, "sequence_too_far");
    assert!(far.head.contains("retry-after"), "{}", far.head);
    let refused = transfer(accounts, 3, |raw| raw.expiration_s = 1);
    let hash =
        phalanx::quorum_store::PooledTxn::read(phalanx::quorum_store::TxnBytes(refused.into())).unwrap();
    let unknown = get(address, &format!("/transactions/{}", hash.summary.hash));
    assert_problem(&unknown, 404, "unknown_transaction");
}

fn nonsense_is_answered(address: SocketAddr) {
    let body = |text: &str| ask(address, "POST", "/transactions", "application/json", text.as_bytes());
    for text in [
        "",
        "{",
        "[]",
        "{\"transaction\": 3}",
        "{\"transaction\": \"0g\"}",
        "{\"transaction\": \"00\", \"x\": 1}",
    ] {
        assert_problem(&body(text), 400, "malformed");
    }
    assert_problem(&body("{\"transaction\": \"00ff\"}"), 400, "malformed");
    assert_problem(
        &ask(address, "POST", "/transactions", "text/plain", b"00"),
        415,
        "unsupported_media_type",
    );
    assert_problem(
        &ask(address, "POST", "/transactions", "application/json", &vec![b' '; 1 << 20]),
        413,
        "too_long",
    );
    let wrong_verb = ask(address, "DELETE", "/transactions", "application/json", b"");
    assert_problem(&wrong_verb, 405, "method_not_allowed");
    assert!(wrong_verb.head.contains("allow: post"), "{}", wrong_verb.head);
    assert_problem(&get(address, "/transactions/xyz"), 400, "no_hash");
    assert_problem(&get(address, &format!("/transactions/{}", "00".repeat(31))), 400, "no_hash");
    assert_problem(&get(address, "/"), 404, "no_such_path");
    // A client that is cut off in the middle, and one that speaks something else, disturb nobody.
    let mut cut = TcpStream::connect(address).unwrap();
    cut.write_all(b"POST /transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 100\r\n\r\n{").unwrap();
    drop(cut);
    let mut other = TcpStream::connect(address).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    other.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196]).unwrap();
    other.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(get(address, "/health").status, 200);
    // The body never comes: there is an answer all the same.
    let mut slow = TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    slow.write_all(b"POST /transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 100\r\n\r\n{").unwrap();
    assert_problem(&reply(&mut slow), 408, "too_slow");
}
