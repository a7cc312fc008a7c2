//! What the kernel refused, in words an operator can act on.

use std::fmt;
use std::io;

use nix::errno::Errno;

const _: () = assert!(usize::BITS == 64, "indices are 64 bits wide throughout");

/// Why a system call was refused, and what to do about it.
///
/// Its text is the kernel's own message followed by the limit behind it and the way out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OsCause(Errno);

impl OsCause {
    /// The raw error number.
    pub fn errno(self) -> i32 {
        self.0 as i32
    }

    /// The cause that the calling thread's last failed call left behind.
    pub(crate) fn last() -> Self {
        Self(Errno::last())
    }

    fn next_move(self) -> &'static str {
        match self.errno() {
            libc::EMFILE => "raise the limit of open files of this process (ulimit -n)",
            libc::ENFILE => "raise fs.file-max, the limit of open files of the host",
            libc::ENOMEM => "raise the memory limit (memory.max, ulimit -v) or vm.max_map_count",
            libc::ENOSPC => "give the tmpfs behind /dev/shm or the memory limit more room",
            libc::EAGAIN => "raise the limit of processes (ulimit -u, pids.max) or try again later",
            libc::EPERM | libc::EACCES => "check the seals, the mode and the owner of the object",
            libc::EEXIST => "another process uses this name; remove it if that process is gone",
            libc::ENOENT => "check that the process that made it is still alive",
            libc::ENOSYS => "run a Linux kernel of version 5.10 or newer",
            libc::EINVAL => "check the size and the flags against what this kernel supports",
            _ => "look the error up in errno(3)",
        }
    }
}

impl From<Errno> for OsCause {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<io::Error> for OsCause {
    fn from(error: io::Error) -> Self {
        Self(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl fmt::Display for OsCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}); {}", self.0.desc(), self.0, self.next_move())
    }
}

impl fmt::Debug for OsCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
