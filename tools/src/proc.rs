//! What the kernel tells of processes under `/proc`. Every answer may be stale at once; `None` is a process that is
//! gone.

use phalanx_ipc::parent_of;
use std::fs;

/// Its short name.
pub fn name_of(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// All processes.
pub fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Its children, zombies included.
pub fn children_of(parent: i32) -> Vec<i32> {
    pids().into_iter().filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

/// Number of descriptors that it holds.
pub fn descriptors_of(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Number of its threads.
pub fn threads_of(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/task")).ok()?.count())
}

/// Whether it maps a file whose path holds `text`, deleted or not.
pub fn maps_file(pid: i32, text: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(text))
}

/// The cores that it may run on, as the kernel lists them.
pub fn allowed_cores_of(pid: i32) -> Option<String> {
    Status::of(pid)?.field("Cpus_allowed_list").map(str::to_owned)
}

/// A process's status file, read once.
#[derive(Debug)]
pub struct Status(String);

impl Status {
    /// Reads it.
    pub fn of(pid: i32) -> Option<Status> {
        fs::read_to_string(format!("/proc/{pid}/status")).ok().map(Status)
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// A field in KiB, as bytes.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let kib: u64 = self.field(name)?.strip_suffix(" kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(pids().contains(&own) && name_of(own).is_some());
        assert!(descriptors_of(own).unwrap() >= 3 && threads_of(own).unwrap() >= 1);
        let status = Status::of(own).unwrap();
        assert!(status.bytes("VmRSS").unwrap() > 1 << 16);
        assert!(status.bytes("RssShmem").is_some() && status.bytes("Name").is_none());
        assert!(allowed_cores_of(own).is_some());
        assert!(maps_file(own, "phalanx") && !maps_file(own, "no file has this name"));
        assert_eq!(name_of(0), None);
    }
}
