//! Tests that need a process of their own: for counting descriptors and children, or to be killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

const MARKER: &str = "PHALANX_TEST_APART";

/// Whether this process was started by [`apart`] or [`alone`].
pub fn is_apart() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// Runs `test`, which must be the body of the test called `name`, with no other test in the process.
pub fn alone(name: &str, test: impl FnOnce()) {
    run_alone(name, command(name), test);
}

fn run_alone(name: &str, mut command: Command, test: impl FnOnce()) {
    if is_apart() {
        return test();
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} in a process of its own: {}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "{name} is no test: {text}");
    print!("{text}");
}

/// As [`alone`], with the process started by a command that changes its surroundings (`unshare`, `setpriv`). Where
/// that is not permitted the test is skipped, and says so.
pub fn alone_under(name: &str, wrapper: &[&str], test: impl FnOnce()) {
    if !is_apart() {
        // Listing the tests shows that the program can be run in those surroundings at all.
        let probe = command_under(name, wrapper).arg("--list").output();
        if !probe.as_ref().is_ok_and(|probe| probe.status.success()) {
            println!("SKIPPED {name}: {wrapper:?} is not permitted here: {probe:?}");
            return;
        }
    }
    run_alone(name, command_under(name, wrapper), test);
}

fn command_under(name: &str, wrapper: &[&str]) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
    arguments(&mut command, name);
    command
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
    arguments(&mut command, name);
    command
}

fn arguments(command: &mut Command, name: &str) {
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(MARKER, "1");
}

/// A test running in a process of its own. Killed and reaped when dropped.
pub struct Apart {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts the test called `name` in a process of its own.
pub fn apart(name: &str) -> Apart {
    apart_with(name, &[])
}

/// As [`apart`], with these variables in its environment.
pub fn apart_with(name: &str, variables: &[(&str, String)]) -> Apart {
    let variables = variables.iter().map(|(name, value)| (name, value));
    let mut child = command(name).envs(variables).stdout(Stdio::piped()).spawn().unwrap();
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

    /// The next line, whatever it is; `None` when the other end has exited.
    pub fn any_line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.lines.read_line(&mut line).unwrap() > 0).then_some(line)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
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
