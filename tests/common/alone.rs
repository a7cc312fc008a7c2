//! Tests that need a process of their own: for counting descriptors and children, or to be killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const MARKER: &str = "PHALANX_TEST_APART";

/// Whether this process was started by [`apart`] or [`alone`].
pub fn is_apart() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// Runs `test`, which must be the body of the test called `name`, with no other test in the process.
pub fn alone(name: &str, test: impl FnOnce()) {
    if is_apart() {
        return test();
    }
    let output = command(name).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} in a process of its own: {}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "{name} is no test: {text}");
}

/// Runs the test called `name`, which must look at [`is_apart`], in a process of its own; returns what it and its
/// children print.
pub fn output_of(name: &str) -> String {
    let output = command(name).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {}\n{text}", output.status);
    text
}

fn command(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(MARKER, "1");
    command
}

/// A test running in a process of its own. Killed and reaped when dropped.
pub struct Apart {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts the test called `name` in a process of its own.
pub fn apart(name: &str) -> Apart {
    let mut child = command(name).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    Apart { child, lines }
}

impl Apart {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The rest of the next line that begins with `mark`. The other end must print it or exit.
    pub fn line(&mut self, mark: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the other end exited without a line {mark}");
    }

    /// SIGKILL, and the end of the process itself.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
