//! Which process is meant, for certain: a pid and the moment it started.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process, told apart from any later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

impl ProcessIdentity {
    /// The process that has this pid now; none if there is none or `/proc` does not show it.
    pub fn of(pid: i32) -> Option<ProcessIdentity> {
        Some(ProcessIdentity { pid, start_time: Stat::read(pid)?.start_time })
    }

    /// The calling process.
    pub fn current() -> Option<ProcessIdentity> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Whether this very process still runs. A zombie is dead. May be stale at once.
    ///
    /// True also if the kernel refuses to tell (no descriptor is left to look with, say): what belongs to the dead may
    /// be removed, so nobody is called dead on a guess.
    pub fn is_alive(&self) -> bool {
        match fs::read_to_string(stat_path(self.pid)) {
            Ok(line) => Stat::parse(&line).is_none_or(|stat| {
                stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X' | 'x')
            }),
            // The process may end between the opening and the reading.
            Err(error) => {
                let gone =
                    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH);
                // Without /proc everyone seems gone.
                !gone || Self::current().is_none()
            }
        }
    }
}

/// State letter of a process as in `/proc/PID/stat`: R, S, D, T (stopped), t (traced), Z (zombie)...; none if unknown.
pub fn state_of(pid: i32) -> Option<char> {
    Some(Stat::read(pid)?.state)
}

/// Whether a process is writing its core dump now. False if unknown.
pub fn is_dumping_core(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("CoreDumping:"));
    field.is_some_and(|value| value.trim() != "0")
}

/// The parent of a process; none if unknown. It changes when the parent dies.
pub fn parent_of(pid: i32) -> Option<i32> {
    Some(Stat::read(pid)?.parent)
}

/// CPU time that all threads of a process have used, user and system; none if unknown. Where the kernel does not know what a hypervisor
/// takes, that counts, too.
pub fn cpu_time_of(pid: i32) -> Option<Duration> {
    // 0 would be the caller.
    let pid = Some(Pid::from_raw(pid)).filter(|pid| pid.as_raw() > 0)?;
    Some(clock_gettime(clock_getcpuclockid(pid).ok()?).ok()?.into())
}

/// The core that a process ran on last; none if unknown.
pub fn last_core_of(pid: i32) -> Option<usize> {
    let line = fs::read_to_string(stat_path(pid)).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    // The state is field 3, the core field 39.
    after_name.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// Processes that the kernel of this host has killed for want of memory since boot, over all control groups; none if it
/// does not tell (kernels before 4.13).
pub fn oom_kills() -> Option<u64> {
    oom_kills_in(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn oom_kills_in(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn stat_path(pid: i32) -> String {
    format!("/proc/{pid}/stat")
}

/// The fields of `/proc/PID/stat` that matter here.
struct Stat {
    state: char,
    parent: i32,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Self::parse(&fs::read_to_string(stat_path(pid)).ok()?)
    }

    /// The second field is the name in brackets and may hold anything, brackets and spaces too: count from its end.
    fn parse(line: &str) -> Option<Stat> {
        let (_, after_name) = line.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Now at field 5; the start time is field 22.
        let start_time = fields.nth(17)?.parse().ok()?;
        Some(Stat { state, parent, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stat, oom_kills_in};

    #[test]
    fn the_kills_of_the_kernel_are_found_among_its_other_counters() {
        assert_eq!(oom_kills_in("nr_free_pages 7\noom_kill_x 3\noom_kill 12\nnuma_hit 9\n"), Some(12));
        assert_eq!(oom_kills_in("nr_free_pages 7\n"), None);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 17 18 777 20";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_time), ('S', 1, 777));
    }
}
