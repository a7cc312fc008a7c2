//! What a family may leave on the host: zombies, orphans, segments, core files; and where its processes are.

use crate::proc;
use phalanx_ipc::{parent_of, state_of};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Asks again until the answer is good, for `limit` at most; the last answer.
pub fn eventually<T, E>(limit: Duration, mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask();
        if answer.is_ok() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether no child of these processes is a zombie.
///
/// # Errors
/// The zombies, in words.
pub fn no_zombies(parents: &[i32]) -> Result<String, String> {
    let is_theirs = |pid: &i32| parent_of(*pid).is_some_and(|parent| parents.contains(&parent));
    let zombies = proc::pids().into_iter().filter(|pid| is_theirs(pid) && state_of(*pid) == Some('Z'));
    let zombies: Vec<String> = zombies.map(named).collect();
    if zombies.is_empty() { Ok("none".to_owned()) } else { Err(format!("zombies: {}", zombies.join(", "))) }
}

/// Whether no process but the calling one maps the segment, whether that has been removed or not.
///
/// # Errors
/// Those that do, in words.
pub fn no_orphans(segment: &str) -> Result<String, String> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let left = proc::pids().into_iter().filter(|&pid| pid != own && proc::maps_file(pid, segment));
    let left: Vec<String> = left.map(named).collect();
    if left.is_empty() { Ok("none".to_owned()) } else { Err(format!("still there: {}", left.join(", "))) }
}

fn named(pid: i32) -> String {
    format!("{pid} ({})", proc::name_of(pid).unwrap_or_default())
}

/// Whether no segment carries the calling process's pid.
///
/// # Errors
/// Those that do, in words.
pub fn no_segments() -> Result<String, String> {
    let prefix = format!("phalanx-{}-", std::process::id());
    let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let left: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    if left.is_empty() {
        Ok("none".to_owned())
    } else {
        Err(format!("left in /dev/shm: {}", left.join(", ")))
    }
}

/// Core files in the working directory, where processes leave them unless the host says otherwise.
pub fn core_files() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(".").into_iter().flatten().flatten();
    let cores = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.strip_prefix("core").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    cores.map(|entry| entry.path()).collect()
}

/// Whether no core file is there that was not there before.
///
/// # Errors
/// Those that are, in words.
pub fn no_new_core_files(before: &BTreeSet<PathBuf>) -> Result<String, String> {
    let new: Vec<String> = core_files().difference(before).map(|path| path.display().to_string()).collect();
    if new.is_empty() { Ok("none".to_owned()) } else { Err(format!("core files: {}", new.join(", "))) }
}
