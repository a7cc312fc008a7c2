//! Signals: what a child does with those it inherits, and how a parent hears of its children.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd as RawSignalFd};

use crate::os::OsCause;

/// Why signals could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {cause}")]
pub struct SignalError {
    /// The step that failed, as a verb.
    pub step: &'static str,
    /// What the kernel said.
    pub cause: OsCause,
}

/// Ready-made signal setups.
#[derive(Debug)]
pub struct SignalSetup;

impl SignalSetup {
    /// What a process just forked should do first: forget every inherited handler, ignore SIGINT, SIGTERM and SIGPIPE
    /// (a terminal sends the first to the whole group; the parent decides who stops), and unmask all signals.
    ///
    /// Async-signal-safe.
    pub fn child() -> Result<(), SignalError> {
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP))
        {
            let ignored = matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGPIPE);
            let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: no handler function is installed, so nothing can run at a bad moment.
            unsafe { sigaction(signal, &action) }.map_err(refused("reset a signal handler"))?;
        }
        for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            // SAFETY: as above.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(refused("reset a signal handler")(Errno::last()));
            }
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .map_err(refused("unmask all signals"))
    }
}

/// A descriptor that is readable after children changed state. Never waits.
///
/// Several deaths may give one notice: reap with `waitpid` until it has nothing more. The mask is inherited by children:
/// call [`SignalSetup::child`] in them.
#[derive(Debug)]
pub struct SignalFd(RawSignalFd);

impl SignalFd {
    /// Masks SIGCHLD in the calling thread and hears it on a descriptor. In a process of one thread that is all of it.
    pub fn for_children() -> Result<SignalFd, SignalError> {
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None).map_err(refused("mask SIGCHLD"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        RawSignalFd::with_flags(&children, flags).map(SignalFd).map_err(refused("make a signal descriptor"))
    }

    /// Takes all notices that are there; true if there were any.
    pub fn drain(&self) -> Result<bool, SignalError> {
        let mut any = false;
        loop {
            match self.0.read_signal() {
                Ok(Some(_)) => any = true,
                Ok(None) => return Ok(any),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(refused("read a signal descriptor")(errno)),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn refused(step: &'static str) -> impl FnOnce(Errno) -> SignalError {
    move |errno| SignalError { step, cause: errno.into() }
}
