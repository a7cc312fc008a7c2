//! Making processes, tying them to their parent, and cleaning up what they inherit.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getppid};

use crate::os::OsCause;

/// The descriptor at which [`spawn_image`] leaves the socket.
pub const SPAWN_SOCKET_FD: RawFd = 3;
/// Longest process name that the kernel keeps, in bytes.
pub const PROCESS_NAME_BYTES: usize = 15;

/// In which of the two processes a fork returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The caller.
    Parent {
        /// The process just made; the caller must reap it.
        child: Pid,
    },
    /// The process just made.
    Child,
}

/// Why no process was forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The caller has more than one thread: a lock that another one holds would stay locked in the child for ever.
    #[error(
        "cannot fork with {threads} threads; fork before the first one starts, or spawn an image instead"
    )]
    NotSingleThreaded {
        /// Threads of the caller.
        threads: usize,
    },
    /// `/proc` does not show the caller's threads.
    #[error("cannot count the threads of this process: {cause}; mount /proc")]
    NoProc {
        /// What the kernel said.
        cause: OsCause,
    },
    /// The kernel refused.
    #[error("cannot fork: {cause}; RLIMIT_NPROC is {process_limit}, see also pids.max of the control group")]
    Os {
        /// The caller's own limit of processes (`u64::MAX`: none).
        process_limit: u64,
        /// What the kernel said.
        cause: OsCause,
    },
}

/// Why a property of the calling process could not be set.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The kernel refused a step.
    #[error("cannot {step}: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// What the kernel said.
        cause: OsCause,
    },
    /// The parent died before the caller could be tied to it.
    #[error("parent {expected} is gone (parent now {found}); exit")]
    ParentGone {
        /// The parent that was to be followed.
        expected: Pid,
        /// The parent that the kernel names now.
        found: Pid,
    },
    /// A process name with a zero byte.
    #[error("a process name cannot hold a zero byte; remove it")]
    BadName,
}

/// Why an image was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The socket could not be prepared.
    #[error("cannot prepare the socket for {image}: {cause}")]
    Socket {
        /// The image.
        image: PathBuf,
        /// What the kernel said.
        cause: OsCause,
    },
    /// The image could not be executed.
    #[error("cannot start {image}: {cause}")]
    Image {
        /// The image.
        image: PathBuf,
        /// What the kernel said.
        cause: OsCause,
    },
}

/// The limit of open files cannot be raised far enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} open files are needed, the limits are {soft} (soft) and {hard} (hard); raise them with ulimit -Hn {needed}"
)]
pub struct LimitError {
    /// Open files needed.
    pub needed: u64,
    /// The soft limit found.
    pub soft: u64,
    /// The hard limit found.
    pub hard: u64,
}

/// Forks. The child is a copy of a process that has one thread, so every lock and heap is whole in it.
///
/// Refuses a caller that has more than one thread. The child inherits descriptors, mappings, handlers, the signal mask
/// and the state of every random number generator: see [`close_all_fds_except`] and
/// [`SignalSetup::child`](crate::SignalSetup::child), and seed anew.
pub fn fork_single_threaded() -> Result<Fork, ForkError> {
    let tasks =
        std::fs::read_dir("/proc/self/task").map_err(|error| ForkError::NoProc { cause: error.into() })?;
    let threads = tasks.count();
    if threads != 1 {
        return Err(ForkError::NotSingleThreaded { threads });
    }
    // SAFETY: the only rule of fork is that the child of a threaded process may do next to nothing; there is one thread,
    // just counted, and it is here, so no other can have started since.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => Ok(Fork::Parent { child }),
        Ok(ForkResult::Child) => Ok(Fork::Child),
        Err(errno) => {
            let process_limit = getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft);
            Err(ForkError::Os { process_limit, cause: errno.into() })
        }
    }
}

/// Has the kernel kill the caller when the thread that forked it dies.
///
/// `expected_parent` is the parent's pid, taken before the fork. Errors with [`ProcessError::ParentGone`] if that
/// process died before the tie was made: then exit. The tie is lost over a change of user and in the caller's own children.
pub fn die_with_parent(expected_parent: Pid) -> Result<(), ProcessError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("tie this process to its parent"))?;
    match getppid() {
        found if found == expected_parent => Ok(()),
        found => Err(ProcessError::ParentGone { expected: expected_parent, found }),
    }
}

/// Names the calling thread, as shown by `ps` and `top`; cut to [`PROCESS_NAME_BYTES`] bytes by the kernel.
pub fn set_process_name(name: &str) -> Result<(), ProcessError> {
    let name = std::ffi::CString::new(name).map_err(|_| ProcessError::BadName)?;
    prctl::set_name(&name).map_err(refused("set the name of this process"))
}

/// Closes every descriptor but 0, 1, 2 and those in `keep` (in any order).
///
/// For a process just forked: whatever in it still owns one of the closed descriptors must not be dropped afterwards.
pub fn close_all_fds_except(keep: &[RawFd]) -> Result<(), ProcessError> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut first: u32 = 3;
    for fd in kept.into_iter().filter(|&fd| fd >= 3) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), ProcessError> {
    // SAFETY: close_range takes two numbers and flags and touches no memory; which descriptors may go is the contract of
    // close_all_fds_except.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(ProcessError::Os { step: "close inherited descriptors", cause: OsCause::last() }),
    }
}

/// Starts `image` with one variable added to its environment and `socket` at descriptor [`SPAWN_SOCKET_FD`].
///
/// Works from a threaded process. Standard input is empty; output and errors are shared with the caller; signals are
/// unmasked. Returns when the image runs or has failed to. The caller must wait for the child.
pub fn spawn_image(image: &Path, marker_env: (&str, &str), socket: OwnedFd) -> Result<Child, SpawnError> {
    let failed = |cause: OsCause| SpawnError::Socket { image: image.to_owned(), cause };
    // Held until the child runs, this takes descriptor 3 if it is free. So no internal descriptor of the library that
    // reports a failed exec can be the one that the child overwrites.
    let _placeholder = match fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(SPAWN_SOCKET_FD)) {
        // SAFETY: the descriptor was just made and nobody else knows it.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(errno) => return Err(failed(errno.into())),
    };
    let socket_fd = socket.as_raw_fd();
    let mut command = Command::new(image);
    command.env(marker_env.0, marker_env.1).stdin(Stdio::null());
    // SAFETY: the closure runs between fork and exec; it makes system calls on numbers and on its own stack only, and
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || place_socket(socket_fd)) };
    let child = command.spawn();
    drop(socket);
    child.map_err(|error| SpawnError::Image { image: image.to_owned(), cause: error.into() })
}

/// Moves the socket to its place, open over exec, and unmasks all signals. Async-signal-safe.
fn place_socket(socket: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on descriptors of this process; the mask is a local that sigemptyset initialises.
    let answer = unsafe {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        // dup2 clears close-on-exec on the copy, but does nothing at all if both are the same.
        if socket == SPAWN_SOCKET_FD {
            libc::fcntl(socket, libc::F_SETFD, 0)
        } else {
            libc::dup2(socket, SPAWN_SOCKET_FD)
        }
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sees to it that the process may have `needed` descriptors open; raises the soft limit, and the hard one if allowed.
pub fn raise_fd_limit(needed: u64) -> Result<(), LimitError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    if soft >= needed {
        return Ok(());
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    raised.map_err(|_| LimitError { needed, soft, hard })
}

fn refused(step: &'static str) -> impl FnOnce(nix::errno::Errno) -> ProcessError {
    move |errno| ProcessError::Os { step, cause: errno.into() }
}
