//! What the command's exit code says.

use std::process::ExitCode;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was executed, and verified unless verification was off.
    Ok,
    /// A block could not be executed, or the report or trace could not be written.
    Failed,
    /// The options make no sense. The option parser ends with the same code by itself.
    Usage,
    /// An executor's result is not that of sequential execution, or not what a test says.
    Mismatch,
    /// The file that the workload comes from cannot be read.
    Workload,
    /// Memory, threads or shard processes could not be had.
    Start,
    /// Chaos found something wrong, lost or left behind.
    Violation,
    /// A state directory or snapshot cannot be opened, or is damaged.
    State,
    /// The doctor found something that shards cannot do with.
    Unfit,
    /// Pages or pins are not where they were planned.
    Misplaced,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

/// The table of `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  all blocks were executed, and verified unless --no-verify was given
    1  a block could not be executed, or the report or trace could not be written
    2  the options make no sense
    3  a result differs from sequential execution, or a conformance test failed
    4  the workload's file cannot be read, or a file with tests is broken
    5  memory, threads or shard processes could not be had
    6  chaos found a violation; its report names the check
    7  a state directory or snapshot cannot be opened, or is damaged
    8  the doctor found something that must be mended
    9  --placement-report found a page or a pin that is not where it was planned
  130  ended by SIGINT (Ctrl-C)
  143  ended by SIGTERM

A run that fails prints one line on standard error and nothing on standard output, in either format. Chaos prints its
report also with 6, and after a signal with 130 or 143 (with 6 if it had found a violation).";

impl Exit {
    /// The code that the caller of the command sees.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Mismatch => 3,
            Exit::Workload => 4,
            Exit::Start => 5,
            Exit::Violation => 6,
            Exit::State => 7,
            Exit::Unfit => 8,
            Exit::Misplaced => 9,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        let exits = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Mismatch,
            Exit::Workload,
            Exit::Start,
            Exit::Violation,
            Exit::State,
            Exit::Unfit,
            Exit::Misplaced,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        for exit in exits {
            let code = format!("{:>5}  ", exit.code());
            assert!(EXIT_CODES.lines().any(|line| line.starts_with(&code)), "{exit:?} is not documented");
        }
    }
}
