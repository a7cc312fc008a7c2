//! `phalanx bench recovery` with a small state: every kill is measured, in the middle of a round and with the state touched.
//!
//! What would break: a figure that leaves out the kills that went badly, or that was measured with nothing mapped. No
//! figure is judged here: that needs a quiet host and the whole state. Control that was run: before a shard that noted
//! its fault counted as dead, `known_us` after SIGSEGV was the time of a core dump, 34 ms in the median; after, 0.5 ms.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::Run;

#[test]
fn every_kill_is_measured_with_the_state_touched() {
    let options =
        ["--state-mib", "8", "--kills", "6", "--shards", "2", "--block-size", "1000", "--format", "json"];
    let run = Run::start_command(&["bench", "recovery"], &options);
    let traces = run.traces();
    let json = run.finish().json();
    traces.assert_gone();
    assert_eq!((&json["state_mib"], &json["kills"]), (&8.into(), &18.into()), "{json}");
    for all in ["known_us", "ready_us"] {
        assert!(json[all]["count"].as_u64().unwrap() > 0, "{json}");
        assert!(json[all]["p99"].as_u64() <= json[all]["max"].as_u64(), "{json}");
    }
    let rows = json["rows"].as_array().unwrap();
    let signals: Vec<&str> = rows.iter().map(|row| row["signal"].as_str().unwrap()).collect();
    assert_eq!(signals, ["SIGKILL", "SIGSEGV", "SIGABRT"], "{json}");
    for row in rows {
        assert_eq!(
            (&row["kills"], &row["measured"], &row["kind"]),
            (&6.into(), &6.into(), &"recovery".into()),
            "{json}"
        );
        assert!(row["touched_mib_min"].as_u64().unwrap() >= 8, "{json}");
        for (times, verdict) in [("known_us", "known_verdict"), ("ready_us", "ready_verdict")] {
            let [p50, p99, max] = ["p50", "p99", "max"].map(|key| row[times][key].as_u64().unwrap());
            assert!(p50 <= p99 && p99 <= max, "{json}");
            assert_eq!(row[verdict], "OPEN", "six kills over a small state say nothing about the targets");
        }
        assert!(row["known_us"]["p50"].as_u64() <= row["ready_us"]["p50"].as_u64(), "{json}");
    }
    assert_eq!(rows[0]["core_dumps"], 0, "{json}");
}
