//! The state directory: what lies where in it, and who has it.

use crate::durable::error::DurableError;
use nix::fcntl::{Flock, FlockArg};
use phalanx_ipc::ProcessIdentity;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// The log's segments.
pub(super) fn log_of(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// The store's files.
pub(super) fn store_of(directory: &Path) -> PathBuf {
    directory.join("store")
}

/// Makes what is missing of a state directory, for its owner alone.
///
/// # Errors
/// `Io`.
pub(super) fn make(directory: &Path) -> Result<(), DurableError> {
    for path in [directory.to_owned(), log_of(directory), store_of(directory)] {
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(DurableError::Io { step: "make", path, cause: error });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Makes the names of all that is in a state directory durable, and its own.
///
/// # Errors
/// `Io`.
pub(super) fn sync(directory: &Path) -> Result<(), DurableError> {
    let above = match directory.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => directory,
    };
    for path in [&store_of(directory), &log_of(directory), directory, above] {
        let synced = File::open(path).and_then(|opened| opened.sync_all());
        synced.map_err(DurableError::io("sync", path))?;
    }
    Ok(())
}

/// The directory's owner holds it for life; the kernel takes it from the dead.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: Flock<File>,
}

impl DirectoryLock {
    /// Takes the lock without waiting and writes down who has it.
    ///
    /// # Errors
    /// `Locked`, `Io`.
    pub(super) fn take(directory: &Path) -> Result<DirectoryLock, DurableError> {
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(DurableError::io("open", &path))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => return Err(locked(directory, file)),
            Err((_, errno)) => return Err(DurableError::io("lock", &path)(errno.into())),
        };
        let (pid, start_time) =
            ProcessIdentity::current().map_or((0, 0), |identity| (identity.pid, identity.start_time));
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{pid} {start_time}\n").as_bytes()));
        written.map_err(DurableError::io("write", &path))?;
        Ok(DirectoryLock { _file: file })
    }
}

fn locked(directory: &Path, mut file: File) -> DurableError {
    let mut text = String::new();
    // The owner may be about to write it.
    let _ = file.read_to_string(&mut text);
    let mut words = text.split_ascii_whitespace();
    let pid = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let start_time = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    DurableError::Locked { directory: directory.to_owned(), pid, start_time }
}
