//! What a family of processes uses: CPU time and memory.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const KIB: u64 = 1 << 10;
/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// CPU time that a process has used, to the nanosecond; zero if it is gone.
pub(super) fn cpu_of(pid: i32) -> Duration {
    let now = clock_getcpuclockid(Pid::from_raw(pid)).and_then(nix::time::ClockId::now);
    now.map_or(Duration::ZERO, Duration::from)
}

/// CPU time of this process, all its threads, and of others.
pub(super) fn cpu_with(others: &[i32]) -> Duration {
    let own = getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let time = usage.user_time() + usage.system_time();
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
    });
    others.iter().fold(own, |sum, &pid| sum + cpu_of(pid))
}

/// Memory of this process in which several executors live: what one of them takes is what is added in its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnMemory {
    anonymous: u64,
    shared: u64,
}

impl OwnMemory {
    pub(super) fn now() -> OwnMemory {
        OwnMemory { anonymous: anonymous_of("self"), shared: shared() }
    }

    /// What was added since `before`; negative if memory was given back.
    pub(super) fn growth_since(self, before: OwnMemory) -> i64 {
        let all = |memory: OwnMemory| i64::try_from(memory.anonymous + memory.shared).unwrap_or(i64::MAX);
        all(self) - all(before)
    }
}

/// Anonymous memory of other processes, in bytes.
pub(super) fn anonymous_of_all(pids: &[i32]) -> u64 {
    pids.iter().map(|pid| anonymous_of(&pid.to_string())).sum()
}

fn anonymous_of(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    anonymous_in(&status).unwrap_or(0) * KIB
}

fn anonymous_in(status: &str) -> Option<u64> {
    kib_in(status, "RssAnon:")
}

/// The number of KiB on the line that begins so.
fn kib_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Shared memory that this process has mapped by huge pages, in bytes. A state on small pages costs each shard that is a process of its
/// own more than one that is a thread: contenders compare only if they have the same.
pub(super) fn on_huge_pages() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    kib_in(&rollup, "ShmemPmdMapped:").unwrap_or(0) * KIB
}

/// Memory behind all memfds that this process holds open, whoever touched it, in bytes. Each file counts once.
fn shared() -> u64 {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return 0 };
    let mut files = HashMap::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let is_memory =
            fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"));
        if let (true, Ok(file)) = (is_memory, fs::metadata(&path)) {
            files.insert((file.dev(), file.ino()), file.blocks() * STAT_BLOCK_BYTES);
        }
    }
    files.into_values().sum()
}

#[cfg(test)]
mod tests {
    //! What would break: CPU time that leaves the children out, memory that is counted per descriptor or not at all.

    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::time::Instant;

    #[test]
    fn work_of_this_process_is_in_its_cpu_time() {
        let before = cpu_with(&[]);
        let begun = Instant::now();
        while cpu_with(&[]) < before + Duration::from_millis(20) {
            assert!(begun.elapsed() < Duration::from_secs(60), "20 ms of CPU time never came");
        }
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(cpu_of(own) >= Duration::from_millis(20));
        assert!(cpu_with(&[own]) >= cpu_with(&[]), "others count in");
    }

    #[test]
    fn memory_behind_a_memfd_counts_once_however_many_descriptors_there_are() {
        let memfd = nix::sys::memfd::memfd_create(c"phalanx-usage-test", nix::sys::memfd::MFdFlags::empty());
        let mut file = File::from(memfd.unwrap());
        let before = shared();
        file.write_all(&vec![1; 64 << 20]).unwrap();
        let once = shared();
        let _again = file.try_clone().unwrap();
        let twice = shared();
        // Other tests of this program may hold memfds of their own, far smaller ones.
        assert!((56 << 20..=128 << 20).contains(&(once - before)), "{before} {once}");
        assert!(twice < once + (32 << 20), "{once} {twice}");
    }

    #[test]
    fn anonymous_memory_is_found_in_a_status() {
        assert_eq!(anonymous_in("Name:\tx\nRssAnon:\t    1234 kB\nRssFile:\t 5 kB\n"), Some(1234));
        assert_eq!(anonymous_in("Name:\tx\n"), None);
        assert!(anonymous_of("self") > 0);
        assert_eq!(kib_in("Rss:  8 kB\nShmemPmdMapped:     30720 kB\n", "ShmemPmdMapped:"), Some(30_720));
    }
}
