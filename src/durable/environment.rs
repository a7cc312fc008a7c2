//! Opening an LMDB environment: the one place where its mapping is asked for.

use heed::{Env, EnvFlags, EnvOpenOptions, WithTls};
use std::path::Path;

/// The size of an environment is a multiple of this on every host.
const SIZE_STEP: u64 = 64 << 10;

/// What an environment is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnvironmentOptions {
    /// The most bytes it may hold; as it was made if none.
    pub(super) bytes: Option<u64>,
    /// Named databases.
    pub(super) databases: u32,
    /// Processes and threads that may read at once.
    pub(super) readers: u32,
    /// Whether nothing is written.
    pub(super) read_only: bool,
}

/// Opens the environment in a directory that only LMDB writes to. Makes it if it may write and there is none.
///
/// # Errors
/// What LMDB says.
pub(super) fn open(directory: &Path, options: EnvironmentOptions) -> Result<Env<WithTls>, heed::Error> {
    let mut with = EnvOpenOptions::new();
    with.max_dbs(options.databases).max_readers(options.readers);
    if let Some(bytes) = options.bytes {
        with.map_size(usize::try_from(bytes.next_multiple_of(SIZE_STEP)).unwrap_or(usize::MAX));
    }
    let flags = if options.read_only { EnvFlags::READ_ONLY } else { EnvFlags::empty() };
    // SAFETY: flags are none or READ_ONLY, which takes nothing from LMDB's own locking. The files in the directory are
    // written by LMDB alone, under its lock file, which nobody removes; every directory of ours has one owner, and readers are
    // other environments of LMDB.
    #[allow(unsafe_code, reason = "LMDB maps its file")]
    let env = unsafe { with.flags(flags).open(directory) };
    env
}

/// Opens an environment for reading and writing in threads of this process.
///
/// # Errors
/// What LMDB says.
pub(crate) fn open_environment(
    directory: &Path,
    bytes: u64,
    databases: u32,
) -> Result<Env<WithTls>, heed::Error> {
    open(directory, EnvironmentOptions { bytes: Some(bytes), databases, readers: 512, read_only: false })
}
