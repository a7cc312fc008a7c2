//! A hold on one process, through which a signal reaches that one or nobody.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::Signal;

use crate::identity::ProcessIdentity;
use crate::os::OsCause;

/// Why a process could not be held or signalled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The process is gone; its pid may belong to another one by now.
    #[error("process {pid} is gone; look for its successor")]
    Gone {
        /// Its pid.
        pid: i32,
    },
    /// The kernel refused a step.
    #[error("cannot {step} process {pid}: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// The process.
        pid: i32,
        /// What the kernel said.
        cause: OsCause,
    },
}

/// A process that was there when this was opened, by a pidfd. A signal sent through it never reaches a later process
/// with the same pid. Need not be a child.
#[derive(Debug)]
pub struct ProcessHandle {
    fd: OwnedFd,
    identity: ProcessIdentity,
}

impl ProcessHandle {
    /// Holds exactly this process. Errors with `Gone` if it does not run any more, as a zombie does not, or if the kernel does
    /// not show which process it is: nobody is signalled to on a guess.
    pub fn open(identity: ProcessIdentity) -> Result<ProcessHandle, HandleError> {
        let pid = identity.pid;
        // SAFETY: pidfd_open takes two numbers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let Some(fd) = i32::try_from(fd).ok().filter(|&fd| fd >= 0) else {
            return Err(failed("hold", pid, OsCause::last()));
        };
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Looked at after the descriptor was taken: if the start time is right now, it was the right process then, since
        // a pid is not given back to an earlier process.
        if ProcessIdentity::of(pid) != Some(identity) || !identity.is_alive() {
            return Err(HandleError::Gone { pid });
        }
        Ok(ProcessHandle { fd, identity })
    }

    /// Which process it is.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Sends a signal. `Gone` if the process has been reaped.
    pub fn signal(&self, signal: Signal) -> Result<(), HandleError> {
        let (fd, number) = (self.fd.as_raw_fd(), signal as i32);
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open as long as `self`; a null info lets the kernel fill it in; no memory is passed.
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, info, 0) } {
            0 => Ok(()),
            _ => Err(failed("signal", self.identity.pid, OsCause::last())),
        }
    }
}

/// Readable when the process has ended.
impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn failed(step: &'static str, pid: i32, cause: OsCause) -> HandleError {
    match cause.errno() {
        libc::ESRCH => HandleError::Gone { pid },
        _ => HandleError::Os { step, pid, cause },
    }
}
