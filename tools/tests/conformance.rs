//! `phalanx conformance` as its users see it: exit codes, reports, and what it says of broken files.
//!
//! Ethereum's own tests are read from the folder that `PHALANX_ETHEREUM` names, or `../shared/ethereum` beside the
//! repository; without them the tests that need them say so and look at nothing. `conformance/one_transfer.json` and `no_contracts.json`
//! are made by hand and always there: a chain of one block with the example transaction of EIP-155, and one without transactions.
//!
//! What would break: a command that calls tests passed without looking. The negative controls are tests of their own here: a
//! post state, a hash, a first state or an expectation that was tampered with must fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

mod common;

use common::Run;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const OWN: &str = include_str!("conformance/one_transfer.json");
/// A test of Prague without the contracts that the protocol calls.
const OUTDATED: &str = include_str!("conformance/no_contracts.json");

fn suite() -> Option<PathBuf> {
    let root = std::env::var_os("PHALANX_ETHEREUM").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/ethereum"),
        PathBuf::from,
    );
    let suite = root.join("blockchain_tests");
    if !suite.is_dir() {
        eprintln!("no BlockchainTests in {}: nothing is tested", suite.display());
        return None;
    }
    Some(suite)
}

/// Runs the command; its exit code and its report.
fn conformance(path: &Path, options: &[&str]) -> (i32, Value, String) {
    let path = path.to_str().unwrap();
    let options = [&[path, "--format", "json"], options].concat();
    let ended = Run::start_command(&["conformance"], &options).finish();
    let report = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (ended.code(), report, ended.stderr)
}

/// Writes tests into a file and runs them with the sequential executor.
fn of_json(tests: &Value) -> (i32, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tests.json");
    std::fs::write(&file, tests.to_string()).unwrap();
    conformance(&file, &["--executor", "sequential"])
}

fn own() -> Value {
    serde_json::from_str(OWN).unwrap()
}

fn cause(report: &Value) -> &str {
    report["failures"][0]["cause"].as_str().unwrap_or("")
}

#[test]
fn the_suite_passes_for_every_number_of_shards() {
    let Some(suite) = suite() else { return };
    for shards in ["1", "2", "4"] {
        let (code, report, stderr) = conformance(&suite, &["--shards", shards]);
        let failures = &report["failures"];
        assert_eq!(
            (code, &report["failed"], &report["skipped"]),
            (0, &json!(0), &json!(0)),
            "{failures} {stderr}"
        );
        assert_eq!(
            (&report["passed"], &report["blocks"], &report["rejected"]),
            (&json!(616), &json!(1076), &json!(4))
        );
    }
}

#[test]
fn a_part_of_the_suite_passes_on_every_executor() {
    let Some(suite) = suite() else { return };
    let part = suite.join("ValidBlocks/bcStateTests");
    let mut seen = Vec::new();
    for executor in ["sequential", "threads", "processes", "block-stm"] {
        let (code, report, stderr) = conformance(&part, &["--executor", executor, "--shards", "3"]);
        assert_eq!(code, 0, "{executor}: {report} {stderr}");
        seen.push((report["passed"].clone(), report["blocks"].clone(), report["transactions"].clone()));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}

#[test]
fn a_test_made_by_hand_passes_on_every_executor() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/one_transfer.json");
    for executor in ["sequential", "threads", "processes", "block-stm"] {
        let (code, report, stderr) = conformance(&path, &["--executor", executor, "--shards", "2"]);
        assert_eq!(code, 0, "{executor}: {report} {stderr}");
        for (field, count) in
            [("passed", 1), ("failed", 0), ("skipped", 0), ("blocks", 1), ("transactions", 1)]
        {
            assert_eq!(report[field], json!(count), "{executor}: {field}");
        }
    }
}

#[test]
fn what_a_test_claims_wrongly_fails_it() {
    let name = "one_transfer";
    type Tamper = fn(&mut Value);
    let wrong: [(Tamper, &str); 7] = [
        (
            |test| test["postState"]["0x3535353535353535353535353535353535353535"]["balance"] = json!("0x01"),
            "after the last block",
        ),
        (
            |test| {
                drop(
                    test["postState"]
                        .as_object_mut()
                        .unwrap()
                        .remove("0x3535353535353535353535353535353535353535"),
                )
            },
            "after the last block",
        ),
        (
            |test| test["pre"]["0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"]["nonce"] = json!("0x08"),
            "the first block: state root",
        ),
        (
            |test| test["blocks"][0]["expectException"] = json!("any"),
            "block 0 was accepted instead of being rejected",
        ),
        (
            |test| test["lastblockhash"] = test["genesisBlockHeader"]["hash"].clone(),
            "another branch counts more",
        ),
        (|test| test["lastblockhash"] = json!(format!("0x{}", "11".repeat(32))), "not among the valid ones"),
        (
            |test| test["blocks"][0]["blockHeader"]["hash"] = json!(format!("0x{}", "11".repeat(32))),
            "has the hash",
        ),
    ];
    for (tamper, expected) in wrong {
        let mut tests = own();
        tamper(&mut tests[name]);
        let (code, report, stderr) = of_json(&tests);
        assert_eq!((code, &report["failed"]), (3, &json!(1)), "{expected}: {report} {stderr}");
        assert!(cause(&report).contains(expected), "{report}");
    }
}

#[test]
fn a_block_that_must_be_rejected_is_reported_with_the_reason() {
    let mut tests = own();
    let test = &mut tests["one_transfer"];
    // One bit of the signature: another signer, who has nothing.
    let bytes = test["blocks"][0]["rlp"].as_str().unwrap().replace("28ef61340bd9", "28ef61340bd8");
    test["blocks"][0] = json!({ "rlp": bytes, "expectException": "TransactionException.X" });
    test["lastblockhash"] = test["genesisBlockHeader"]["hash"].clone();
    test["postState"] = test["pre"].clone();
    let (code, report, stderr) = of_json(&tests);
    assert_eq!((code, &report["rejected"]), (0, &json!(1)), "{report} {stderr}");
    assert_eq!(report["rejections"][0]["expected"], "TransactionException.X");
    let reason = report["rejections"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("transaction 0: "), "{reason}");
}

#[test]
fn a_broken_file_names_file_test_field_and_what_was_expected() {
    let mut tests = own();
    tests["one_transfer"]["blocks"][0]["rlp"] = json!("0xzz");
    let (code, report, _) = of_json(&tests);
    assert_eq!((code, &report["failed"]), (4, &json!(1)), "{report}");
    let words = ["tests.json", "one_transfer.blocks[0].rlp", "expected a string of hexadecimal bytes"];
    assert!(words.iter().all(|word| cause(&report).contains(word)), "{report}");

    let mut tests = own();
    tests["one_transfer"]["network"] = json!("Nowhere");
    let (code, report, _) = of_json(&tests);
    assert!(code == 4 && cause(&report).contains("one_transfer.network"), "{report}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{").unwrap();
    let (code, report, _) = conformance(folder.path(), &["--executor", "sequential"]);
    assert!(code == 4 && cause(&report).contains("is no JSON"), "{report}");
    let (code, _, stderr) = conformance(&folder.path().join("none"), &[]);
    assert!(code == 4 && stderr.contains("cannot be read"), "{stderr}");
}

#[test]
fn what_revm_has_no_rules_for_is_skipped_with_the_reason() {
    let mut tests = own();
    tests["one_transfer"]["network"] = json!("ByzantiumToConstantinopleAt5");
    let (code, report, _) = of_json(&tests);
    assert_eq!((code, &report["skipped"], &report["passed"]), (0, &json!(1), &json!(0)), "{report}");
    assert!(report["skips"][0]["reason"].as_str().unwrap().contains("EIP-1283"), "{report}");
}

#[test]
fn a_test_older_than_the_rule_that_the_protocol_finds_code_is_skipped_and_a_rejection_for_it_counts() {
    let mut tests: Value = serde_json::from_str(OUTDATED).unwrap();
    let (code, report, stderr) = of_json(&tests);
    assert_eq!((code, &report["skipped"], &report["passed"]), (0, &json!(1), &json!(0)), "{report} {stderr}");
    assert!(report["skips"][0]["reason"].as_str().unwrap().contains("EIP-7002"), "{report}");

    let test = &mut tests["no_contracts"];
    test["lastblockhash"] = test["genesisBlockHeader"]["hash"].clone();
    test["blocks"][0] = json!({ "rlp": test["blocks"][0]["rlp"], "expectException": "any" });
    let (code, report, stderr) = of_json(&tests);
    assert_eq!(
        (code, &report["passed"], &report["rejected"]),
        (0, &json!(1), &json!(1)),
        "{report} {stderr}"
    );
}

#[test]
fn older_forms_of_files_are_read() {
    let mut tests = own();
    let test = &mut tests["one_transfer"];
    // No code as an empty string, no seal engine, and an exception that is expected of another network.
    test["pre"]["0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"]["code"] = json!("");
    test["blocks"][0]["expectExceptionFrontier"] = json!("any");
    drop(test.as_object_mut().unwrap().remove("sealEngine"));
    let (code, report, stderr) = of_json(&tests);
    assert_eq!((code, &report["passed"]), (0, &json!(1)), "{report} {stderr}");
    tests["one_transfer"]["sealEngine"] = json!("NoReward");
    let (code, report, _) = of_json(&tests);
    assert!(code == 4 && cause(&report).contains("NoProof or Ethash"), "{report}");
}
