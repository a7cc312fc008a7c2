//! Where and how a benchmark ran.

use serde::Serialize;
use std::fs::read_to_string;
use std::process::{Command, Stdio};

const UNKNOWN: &str = "unknown";

/// The host, as far as it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Cores that this process may use.
    pub cores: usize,
    /// Name of the processor.
    pub model: String,
    /// Release of the kernel.
    pub kernel: String,
}

impl Host {
    /// Asks the host. What it does not tell is `unknown`.
    pub fn read() -> Host {
        let cores = phalanx_ipc::allowed_cores().map_or(1, |cores| cores.len());
        let processors = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or(UNKNOWN, |(_, name)| name.trim());
        let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or(UNKNOWN.to_owned());
        Host { cores, model: model.to_owned(), kernel: kernel.trim().to_owned() }
    }
}

/// The commit of the repository in the working directory, `-dirty` appended if tracked files differ from it; `unknown`
/// if there is no repository or no git.
pub fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = git
        .ok()
        .filter(|git| git.status.success())
        .map(|git| String::from_utf8_lossy(&git.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or(UNKNOWN.to_owned())
}

/// The command line of this process, the program by its name alone.
pub fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_its_cores_and_its_kernel() {
        let host = Host::read();
        assert!(host.cores >= 1);
        assert!(host.kernel.starts_with(|first: char| first.is_ascii_digit()), "{host:?}");
        assert!(!command_line().contains('/') || std::env::args().count() > 1);
    }
}
