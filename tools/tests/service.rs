//! The service manager's side: a socket of the test's own stands for systemd's.
//!
//! What would break it: `READY=1` before the shards are up or never, a watchdog that is not fed while blocks come, one that is
//! fed while none do, no word of the end. Negative controls, built in: without `WATCHDOG_USEC` nobody feeds a watchdog, and
//! nobody feeds that of a run whose process is stopped.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time between two feedings is a third of it.
const WATCHDOG: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

/// A command whose service manager is this test.
struct Watched {
    child: Child,
    socket: UnixDatagram,
    words: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn start(options: &[&str], watchdog: Option<Duration>) -> Watched {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_phalanx"));
        command.current_dir(folder.path()).args(options).stdout(Stdio::null());
        command.env("NOTIFY_SOCKET", &path).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
        if let Some(period) = watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        let child = command.spawn().unwrap();
        Watched { child, socket, words: Vec::new(), _folder: folder }
    }

    /// The words of one message, if one comes within `limit`.
    fn hear(&mut self, limit: Duration) -> bool {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let Ok(length) = self.socket.recv(&mut buffer) else { return false };
        self.words.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        true
    }

    /// Listens until a word has been said so many times.
    fn await_word(&mut self, word: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.words.iter().filter(|said| *said == word).count() < times {
            assert!(
                self.hear(deadline.saturating_duration_since(Instant::now())),
                "no {word}: {:?}",
                self.words
            );
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn place(&self, word: &str) -> Option<usize> {
        self.words.iter().position(|said| said == word)
    }

    /// Everything that was said until the end, which must be in order.
    fn finish(mut self, code: i32) -> Vec<String> {
        self.await_word("STOPPING=1", 1);
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
        std::mem::take(&mut self.words)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // After the end there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const RUN: [&str; 10] = [
    "run",
    "--unsigned",
    "--block-size",
    "50",
    "--accounts",
    "20",
    "--shards",
    "2",
    "--no-verify",
    "--blocks",
];

fn run_options(blocks: &'static str) -> Vec<&'static str> {
    RUN.into_iter().chain([blocks]).collect()
}

#[test]
fn a_service_manager_hears_that_a_run_is_ready_lives_and_stops() {
    // A feeding is due after every block.
    let watched = Watched::start(&run_options("3"), Some(Duration::from_millis(3)));
    let words = watched.finish(0);
    let place = |word: &str| words.iter().position(|told| told == word);
    assert_eq!(place("READY=1"), Some(0), "{words:?}");
    assert!(place("STATUS=2 shards").is_some(), "{words:?}");
    assert!(place("WATCHDOG=1") > place("READY=1"), "{words:?}");
    assert!(words.iter().any(|word| word.starts_with("STATUS=block 1 of 3")), "{words:?}");
    let unwatched = Watched::start(&run_options("3"), None).finish(0);
    assert!(!unwatched.iter().any(|word| word == "WATCHDOG=1"), "{unwatched:?}");
}

#[test]
fn a_watchdog_is_fed_as_long_as_blocks_come_and_no_longer() {
    let mut run = Watched::start(&run_options("100000000"), Some(WATCHDOG));
    let begun = Instant::now();
    run.await_word("WATCHDOG=1", 10);
    let fed = begun.elapsed();
    // The first one comes at once.
    assert!(fed >= 9 * WATCHDOG / 3, "ten feedings in {fed:?}");
    run.signal(Signal::SIGSTOP);
    // What was said before it stopped.
    while run.hear(Duration::from_millis(1)) {}
    let before = run.words.len();
    assert!(!run.hear(2 * WATCHDOG), "a process that does nothing says nothing: {:?}", &run.words[before..]);
    run.signal(Signal::SIGCONT);
    run.await_word("WATCHDOG=1", 12);
    assert_eq!(run.place("STOPPING=1"), None);
    run.signal(Signal::SIGTERM);
    let words = run.finish(143);
    assert_eq!(words.iter().filter(|word| *word == "READY=1").count(), 1);
}

#[test]
fn a_service_manager_hears_that_a_chaos_trial_is_ready_lives_and_stops() {
    let options = [
        "chaos",
        "--seed",
        "5",
        "--duration",
        "2s",
        "--shards",
        "2",
        "--stall-limit",
        "50ms",
        "--rate",
        "10",
        "--block-size",
        "50",
        "--accounts",
        "20",
    ];
    let words = Watched::start(&options, Some(WATCHDOG)).finish(0);
    let place = |word: &str| words.iter().position(|told| told == word);
    assert_eq!((place("READY=1"), place("STATUS=chaos, seed 5")), (Some(0), Some(1)), "{words:?}");
    let fed = words.iter().filter(|word| *word == "WATCHDOG=1").count();
    assert!(fed >= 3 && place("WATCHDOG=1") < place("STOPPING=1"), "{words:?}");
    assert!(
        words.iter().any(|word| word.starts_with("STATUS=chaos, ") && word.ends_with(" blocks")),
        "{words:?}"
    );
}

/// Once it was fed once a second, however hungry.
#[test]
fn a_service_manager_hears_that_a_node_is_ready_lives_and_stops() {
    let options = ["node", "--validators=4", "--shards=2", "--accounts=20", "--load=20", "--duration=3s"];
    let words = Watched::start(&options, Some(WATCHDOG)).finish(0);
    let place = |word: &str| words.iter().position(|told| told == word);
    assert_eq!((place("READY=1"), place("STATUS=4 validators, 2 shards")), (Some(0), Some(1)), "{words:?}");
    let fed = words.iter().filter(|word| *word == "WATCHDOG=1").count();
    // Every 100 ms on an idle host; ten are more than one a second.
    assert!(fed >= 10 && place("WATCHDOG=1") < place("STOPPING=1"), "{words:?}");
    assert!(words.iter().any(|word| word.starts_with("STATUS=block ")), "{words:?}");
}
