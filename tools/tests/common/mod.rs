//! What the tests of the command share: running it with a limit, and finding the processes and segments of one run
//! among those of others.

#![allow(dead_code, missing_docs, reason = "each test program uses a part of it")]
#![allow(missing_debug_implementations, reason = "nothing here is printed")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

pub mod http;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far more than any run here needs, on a loaded host.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Children inherit the environment, so its first content tells which run a process belongs to, also when its parent
/// is gone.
const FAMILY_VARIABLE: &str = "PHALANX_TEST_FAMILY";

static RUNS: AtomicU32 = AtomicU32::new(0);

/// A run of the command.
pub struct Run {
    child: Child,
    family: String,
    stdout: fs::File,
    stderr: fs::File,
    /// What it takes for the system's directory of temporary files.
    temporary: Arc<TempDir>,
}

/// How a run ended, and what it printed.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> i32 {
        match self.status.code() {
            Some(code) => code,
            None => panic!("ended by signal {:?}; stderr: {}", self.status.signal(), self.stderr),
        }
    }

    /// The JSON object on standard output, which must be all that is there.
    pub fn json(&self) -> Value {
        assert_eq!(self.code(), 0, "stderr: {}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}; stderr: {}", self.stdout, self.stderr))
    }
}

impl Run {
    /// Starts `phalanx run` with these options.
    pub fn start(options: &[&str]) -> Run {
        Run::start_command(&["run"], options)
    }

    /// Starts another command with these options.
    pub fn start_command(command: &[&str], options: &[&str]) -> Run {
        Run::start_in(Path::new("."), command, options)
    }

    /// Starts another command in a directory of its own.
    pub fn start_in(directory: &Path, command: &[&str], options: &[&str]) -> Run {
        let family = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let temporary = Arc::new(tempfile::tempdir().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_phalanx"))
            .current_dir(directory)
            .args(command)
            .args(options)
            .env(FAMILY_VARIABLE, &family)
            .env("TMPDIR", temporary.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap();
        Run { child, family, stdout, stderr, temporary }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Whether the main process has ended; it stays a zombie until [`finish`](Self::finish).
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of the main process.
    pub fn finish(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "did not end in {LIMIT:?}: {}", text_of(&mut self.stderr));
            std::thread::sleep(Duration::from_millis(5));
        };
        Ended { status, stdout: text_of(&mut self.stdout), stderr: text_of(&mut self.stderr) }
    }

    /// Waits until a line on standard error begins so, and returns the rest of it.
    pub fn await_said(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let over = self.is_over();
            let said = text_so_far(&self.stderr);
            let found = said.split_inclusive('\n').find_map(|line| line.strip_prefix(beginning));
            if let Some(whole) = found.and_then(|rest| rest.strip_suffix('\n')) {
                return whole.to_owned();
            }
            assert!(!over && Instant::now() < deadline, "did not say {beginning:?}: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many shard processes of this run are there.
    pub fn await_shards(&mut self, shards: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.traces().shards().len() < shards {
            assert!(!self.is_over(), "ended before its shards started: {}", text_of(&mut self.stderr));
            assert!(Instant::now() < deadline, "shards did not start in {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills one of its shards after the other, `between` apart, until it is over; how many.
    pub fn kill_shards_until_over(&mut self, between: Duration) -> u32 {
        let (traces, mut victim, mut kills) = (self.traces(), 0, 0_u32);
        while !self.is_over() {
            let shards = traces.shards();
            victim += 1;
            if let Some(&pid) = shards.get(victim % shards.len().max(1)) {
                // It may have ended since the look at it.
                kills += u32::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
            }
            std::thread::sleep(between);
        }
        kills
    }

    /// What can be found of this run in the system, also after its end.
    pub fn traces(&self) -> Traces {
        Traces { family: self.family.clone(), pid: self.pid(), temporary: Arc::clone(&self.temporary) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // After `finish` there is nothing to kill, and the handle knows it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run has in the system.
pub struct Traces {
    family: String,
    pid: u32,
    temporary: Arc<TempDir>,
}

impl Traces {
    /// Living processes of the run (zombies have no environment): pid and short name.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let wanted = format!("{FAMILY_VARIABLE}={}", self.family);
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let ours = environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes());
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            ours.then(|| (pid, name.trim_end().to_owned()))
        })
        .collect()
    }

    /// Pids of its shards.
    pub fn shards(&self) -> Vec<i32> {
        let named = self.processes().into_iter().filter(|(_, name)| name.starts_with("phx-shard-"));
        named.map(|(pid, _)| pid).collect()
    }

    /// Segments of shared memory that carry the main process's pid in their names: control segments, and those of a peer that is
    /// measured.
    pub fn segments(&self) -> Vec<PathBuf> {
        let prefixes = [format!("phalanx-{}-", self.pid), format!("phalanx-bench-{}-", self.pid)];
        let entries = fs::read_dir("/dev/shm").unwrap().flatten();
        let is_own = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let own = entries.filter(|entry| is_own(&entry.file_name().to_string_lossy()));
        own.map(|entry| entry.path()).collect()
    }

    /// Temporary files and directories.
    pub fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.temporary.path()).unwrap().flatten().map(|entry| entry.path()).collect()
    }

    /// Asserts that nothing is left, within the time that a loaded host takes to end processes.
    pub fn assert_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (processes, segments, files) = (self.processes(), self.segments(), self.files());
            if processes.is_empty() && segments.is_empty() && files.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {processes:?} {segments:?} {files:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs to the end.
pub fn run(options: &[&str]) -> Ended {
    Run::start(options).finish()
}

/// What is in a file that its writer has not finished: the place at which it writes, which is shared, stays where it is.
fn text_so_far(file: &fs::File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let read = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text_of(file: &mut fs::File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
