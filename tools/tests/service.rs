//! The service manager's side: a socket of the test's own stands for systemd's.
//!
//! What would break it: `READY=1` before the shards are up or never, a watchdog that is not fed, no word of the end. Negative
//! control, built in: without `WATCHDOG_USEC` nobody feeds a watchdog.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a run of three blocks tells its service manager.
fn told(watchdog: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_phalanx"));
    command.args([
        "run",
        "--unsigned",
        "--blocks",
        "3",
        "--block-size",
        "50",
        "--accounts",
        "20",
        "--shards",
        "2",
    ]);
    command.env("NOTIFY_SOCKET", &path).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
    if watchdog {
        command.env("WATCHDOG_USEC", "3000");
    }
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut words = Vec::new();
    let mut buffer = [0; 4096];
    // The last word is that of the end; without it this fails after a minute.
    while !words.iter().any(|word| word == "STOPPING=1") {
        let length = socket.recv(&mut buffer).unwrap();
        words.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
    }
    assert!(child.wait().unwrap().success());
    words
}

#[test]
fn a_service_manager_hears_that_a_run_is_ready_lives_and_stops() {
    let words = told(true);
    let place = |word: &str| words.iter().position(|told| told == word);
    assert_eq!(place("READY=1"), Some(0), "{words:?}");
    assert!(place("STATUS=2 shards").is_some(), "{words:?}");
    assert!(place("WATCHDOG=1") > place("READY=1"), "{words:?}");
    assert!(words.iter().any(|word| word.starts_with("STATUS=block 1 of 3")), "{words:?}");
    assert!(!told(false).iter().any(|word| word == "WATCHDOG=1"));
}
