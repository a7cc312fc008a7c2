//! Looks at processes through /proc, and signals to them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};

/// Sends a signal if the process still is what it is taken for; true if it went out.
pub fn send_signal(pid: i32, comm: &str, signal: Signal) -> bool {
    pid > 1
        && comm_of(pid).is_some_and(|found| found.starts_with(comm))
        && kill(Pid::from_raw(pid), signal).is_ok()
}

/// The short name of a process; `None` if there is none.
pub fn comm_of(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Fields of /proc/PID/stat from the state on.
fn stat_of(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

/// `R`, `S`, `T`, `Z`...; `None` if there is no such process.
pub fn state_of(pid: i32) -> Option<char> {
    stat_of(pid)?.first()?.chars().next()
}

pub fn parent_of(pid: i32) -> Option<i32> {
    stat_of(pid)?.get(1)?.parse().ok()
}

/// Children of a process, zombies included.
pub fn children_of(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| parent_of(pid) == Some(parent))
        .collect()
}

/// Numbers of the descriptors that a process holds.
pub fn fds_of(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub fn threads_of(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn status_field(pid: i32, tid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// How often a thread has been taken off or put on a core: it grows with every wake-up.
pub fn switches_of(pid: i32, tid: i32) -> Option<u64> {
    let field = |name| status_field(pid, tid, name)?.parse::<u64>().ok();
    Some(field("voluntary_ctxt_switches")? + field("nonvoluntary_ctxt_switches")?)
}

/// The cores that a thread may run on, as the kernel lists them.
pub fn allowed_cores(pid: i32, tid: i32) -> Option<String> {
    status_field(pid, tid, "Cpus_allowed_list")
}

/// Named segments of a coordinator.
pub fn segments_of(pid: i32) -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&format!("phalanx-{pid}-"))).collect()
}

/// Waits until `holds`; false if it does not within `limit`. A pause of the whole host, in which nobody got on, counts for
/// little of it.
pub fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    loop {
        let begun = Instant::now();
        if holds() {
            return true;
        }
        waited += begun.elapsed();
        if waited >= limit {
            return false;
        }
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        waited += begun.elapsed().min(PAUSE);
    }
}
