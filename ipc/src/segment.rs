//! Named segments: their names, their mode, their memory, and clearing away those whose owner is dead.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, posix_fallocate};

use crate::control::ControlError;
use crate::identity::ProcessIdentity;

/// Where the kernel shows named segments.
const DIRECTORY: &str = "/dev/shm";
/// What the names of our segments begin with, after the slash.
const PREFIX: &str = "phalanx-";
/// The only mode a segment may have: its owner reads and writes.
const MODE: u32 = 0o600;
/// Longest wait for another process that is clearing the directory.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

/// A name that no other segment has: the process, and a count within it.
pub(crate) fn fresh_name(owner: ProcessIdentity) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let count = MADE.fetch_add(1, Ordering::Relaxed);
    format!("/{PREFIX}{}-{}-{count}", owner.pid, owner.start_time)
}

/// Refuses whatever could lead out of the directory or is not ours.
pub(crate) fn check_name(os_id: &str) -> Result<(), ControlError> {
    if owner_named(os_id).is_some() { Ok(()) } else { Err(ControlError::BadName { name: os_id.to_owned() }) }
}

/// Sees to the mode, and takes the memory now, so that a full tmpfs is an error here and not a SIGBUS later.
pub(crate) fn make_private_and_reserve(os_id: &str, bytes: usize) -> Result<(), ControlError> {
    let file = File::options().read(true).write(true).open(path_of(os_id)).map_err(refused("open", os_id))?;
    let mode = file.metadata().map_err(refused("read the mode of", os_id))?.permissions().mode();
    if mode & 0o777 != MODE {
        file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(refused("set the mode of", os_id))?;
    }
    let size = i64::try_from(bytes)
        .map_err(|_| refused("reserve memory for", os_id)(io::Error::from(Errno::EFBIG)))?;
    posix_fallocate(&file, 0, size).map_err(|errno| refused("reserve memory for", os_id)(errno.into()))
}

/// Leaves a mapped segment out of core dumps.
pub(crate) fn keep_out_of_dumps(os_id: &str, start: *mut u8, len: usize) -> Result<(), ControlError> {
    // SAFETY: the range is a live mapping of the caller; this advice changes what a core dump holds and nothing else.
    match unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTDUMP) } {
        0 => Ok(()),
        _ => Err(refused("keep core dumps free of", os_id)(io::Error::last_os_error())),
    }
}

/// Removes the name. A missing one is fine.
pub(crate) fn unlink(os_id: &str) -> Result<(), ControlError> {
    match fs::remove_file(path_of(os_id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove", os_id)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the segments of dead owners, under a lock on the directory; see `Control::reclaim_stale`.
pub(crate) fn reclaim_stale() -> Result<Vec<String>, ControlError> {
    let _lock = lock_directory()?;
    let mut removed = Vec::new();
    for name in stale()? {
        match fs::remove_file(path_of(&name)) {
            Ok(()) => removed.push(name),
            // Another user's, or gone by itself: not ours to remove.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(error) => return Err(refused("remove", &name)(error)),
        }
    }
    Ok(removed)
}

/// The segments whose owner is dead; see `Control::stale`.
pub(crate) fn stale() -> Result<Vec<String>, ControlError> {
    let entries = fs::read_dir(DIRECTORY).map_err(refused("list", DIRECTORY))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let stale = names.filter(|file| owner_of(file).is_some_and(|owner| !owner.is_alive()));
    Ok(stale.map(|file| format!("/{file}")).collect())
}

fn lock_directory() -> Result<Flock<File>, ControlError> {
    let mut directory = File::open(DIRECTORY).map_err(refused("open", DIRECTORY))?;
    let started = Instant::now();
    loop {
        // Looked at before the try: one that comes late has its try all the same.
        let waited = started.elapsed();
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) if waited < LOCK_LIMIT => directory = file,
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                return Err(ControlError::Locked { directory: DIRECTORY, waited_ms: waited.as_millis() });
            }
            Err((_, errno)) => return Err(refused("lock", DIRECTORY)(errno.into())),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The owner that a segment's name tells; none if it is not the name of a control segment.
pub(crate) fn owner_named(os_id: &str) -> Option<ProcessIdentity> {
    owner_of(os_id.strip_prefix('/')?)
}

/// The owner that a file name tells; none if it is not the name of a control segment.
fn owner_of(file: &str) -> Option<ProcessIdentity> {
    let mut parts = file.strip_prefix(PREFIX)?.split('-');
    let pid: i32 = parts.next()?.parse().ok()?;
    let start_time = parts.next()?.parse().ok()?;
    let _count: u64 = parts.next()?.parse().ok()?;
    (pid > 0 && parts.next().is_none()).then_some(ProcessIdentity { pid, start_time })
}

pub(crate) fn path_of(os_id: &str) -> PathBuf {
    PathBuf::from(format!("{DIRECTORY}{os_id}"))
}

fn refused(step: &'static str, name: &str) -> impl FnOnce(io::Error) -> ControlError {
    move |error| ControlError::Os { step, name: name.to_owned(), cause: error.into() }
}

#[cfg(test)]
mod tests {
    use super::{check_name, owner_of};

    #[test]
    fn only_names_of_pid_start_time_and_count_have_an_owner() {
        assert!(owner_of("phalanx-12-34-0").is_some_and(|owner| owner.pid == 12 && owner.start_time == 34));
        for other in [
            "phalanx-12-34",
            "phalanx-12-34-0-1",
            "phalanx-x-1-2",
            "phalanx-0-1-2",
            "phalanx--1-1-2",
            "sem.x",
        ] {
            assert!(owner_of(other).is_none(), "{other}");
        }
        assert!(check_name("/../etc/passwd").is_err() && check_name("/phalanx-1-2-3/../x").is_err());
    }
}
