//! `phalanx topology` and `phalanx doctor` as an operator runs them.
//!
//! What would break it: a plan that differs from what a launch does, a drawing that lacks a shard, a JSON object of another
//! shape, an exit code that hides a failure. The oracle of the plan is the recorded machine.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::Value;
use std::process::{Command, Output};

fn phalanx(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_phalanx")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn dump(machine: &str) -> String {
    format!("{}/../tests/data/numa/{machine}.txt", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_plan_for_a_recorded_machine_is_drawn_and_told_as_json() {
    let path = dump("4n");
    let drawing = text(&phalanx(&["topology", "--sysfs-root", &path, "--plan"]));
    for part in ["4 nodes", "1 shard 1", "0 kept free", "7 shard 3", "spread over nodes 0-3", "only node 2"] {
        assert!(drawing.contains(part), "{part} is not in:\n{drawing}");
    }
    let json =
        text(&phalanx(&["topology", "--sysfs-root", &path, "--plan", "--shards", "2", "--format", "json"]));
    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["topology"]["nodes"].as_array().unwrap().len(), 4);
    assert_eq!(object["plan"]["layout"]["seats"][1]["cpu"], 1);
    assert_eq!(object["plan"]["costs_tenths"][0][1], 12);
    assert_eq!(object["plan"]["regions"][5]["placing"]["only"], 1);
    let plain: Value = serde_json::from_str(&text(&phalanx(&["topology", "--format", "json"]))).unwrap();
    assert!(plain["plan"].is_null() && !plain["topology"]["cpus"].as_array().unwrap().is_empty());
}

#[test]
fn a_wish_that_cannot_be_granted_names_what_is_wrong() {
    let path = dump("cpuless");
    let refused = phalanx(&["topology", "--sysfs-root", &path, "--plan", "--nodes", "2"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("node 2 has no CPU"));
    let missing = phalanx(&["topology", "--sysfs-root", "/no/such/folder"]);
    assert_eq!(missing.status.code(), Some(4));
    let run = phalanx(&["run", "--cores", "4095", "--blocks", "1", "--unsigned"]);
    assert_eq!(run.status.code(), Some(5), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stderr).contains("CPU 4095 does not exist"));
}

#[test]
fn a_run_tells_that_all_pages_and_pins_are_where_they_were_planned() {
    let line =
        ["run", "--unsigned", "--blocks", "2", "--block-size", "100", "--accounts", "50", "--shards", "2"];
    let output = phalanx(&[&line[..], &["--placement-report", "--format", "json"]].concat());
    let object: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(object["placement"]["shards"].as_array().unwrap().len(), 2);
    let regions = object["placement"]["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 5 + 2 * 2);
    assert!(regions.iter().all(|region| region["misplaced"] == 0));
}

#[test]
fn huge_pages_that_were_asked_for_and_are_not_given_are_told_at_the_launch_and_in_the_report() {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap();
    let refused = ["[never]", "[deny]"].iter().any(|choice| setting.contains(choice));
    let line =
        ["run", "--unsigned", "--blocks", "1", "--block-size", "100", "--accounts", "50", "--shards", "2"];
    let with = |more: &[&str]| phalanx(&[&line[..], &["--placement-report"], more].concat());
    let loud = "transparent huge pages were asked for";
    for (asked, told) in [(&["--huge-pages", "transparent"][..], refused), (&[], false)] {
        let output = with(asked);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(errors.contains(loud), told, "{setting}: {errors}");
        assert_eq!(text(&output).contains("MISSING"), told, "{setting}");
    }
    // Of the reserve: more than there can be.
    if phalanx_ipc::free_huge_pages() == 0 {
        let output = with(&["--huge-pages", "reserved"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains("no huge pages for its rings") && errors.contains("nr_hugepages"),
            "{errors}"
        );
        assert!(text(&output).contains("MISSING, on ordinary pages: inbox of shard 0, inbox of shard 1"));
    }
}

#[test]
fn the_doctor_says_of_every_check_how_it_came_out_and_what_mends_it() {
    let output = phalanx(&["doctor", "--format", "json"]);
    let code = output.status.code().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = object["checks"].as_array().unwrap();
    assert!(checks.len() >= 30);
    for check in checks {
        let fine = check["verdict"] == "OK";
        assert!(fine || !check["mend"].as_str().unwrap().is_empty(), "{check}");
        assert!(
            !check["value"].as_str().unwrap().is_empty() && !check["reason"].as_str().unwrap().is_empty()
        );
    }
    assert_eq!(code, if object["worst"] == "FAIL" { 8 } else { 0 });
    // More shards than the limits of this session allow: the exit code tells.
    let limited = format!("ulimit -n 200; exec {} doctor --shards 300", env!("CARGO_BIN_EXE_phalanx"));
    let output = Command::new("sh").args(["-c", &limited]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(8), "{table}");
    assert!(table.contains("LimitNOFILE=3128"), "{table}");
}
