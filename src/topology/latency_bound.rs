//! A bound on how long cores take to wake up, held of the kernel for some time.
//!
//! The kernel's CPU latency quality of service (PM QoS, `/dev/cpu_dma_latency`, `power/pm_qos_interface` in its documentation) keeps
//! a bound for as long as a file is open: it ends with the process, however that ends. The file is closed over exec.

use crate::topology::IdleLatency;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write;

/// A bound is written here, as four bytes in the host's order: microseconds.
pub const LATENCY_DEVICE: &str = "/dev/cpu_dma_latency";

/// What an executor does for [`IdleLatency`] from time to time. It ends when this is dropped; of several on a host, the tightest
/// one is in force.
#[derive(Debug)]
pub struct LatencyBound {
    wish: IdleLatency,
    state: State,
}

#[derive(Debug)]
enum State {
    /// There is nothing to ask for, or this process will never be allowed to.
    Nothing,
    Released {
        micros: u32,
    },
    Held {
        micros: u32,
        /// Open while the bound holds.
        _file: File,
    },
}

impl LatencyBound {
    /// A bound that is not held yet: `None` if there is nothing to ask for.
    pub(super) fn new(wish: IdleLatency, micros: Option<u32>) -> LatencyBound {
        LatencyBound { wish, state: micros.map_or(State::Nothing, |micros| State::Released { micros }) }
    }

    /// Has the bound hold from now on. Who has no right to it (the device is root's) is told so once in the log, and everything stays as
    /// it is; any other refusal is for this time. Costs two system calls, and the kernel wakes every idle core of the host if the bound is the
    /// tightest one; nothing where it holds already.
    pub fn hold(&mut self) {
        let Err(error) = self.try_hold() else { return };
        if !is_for_good(&error) {
            tracing::debug!(%error, "idle cores may sleep as deeply as the host lets them this time");
            return;
        }
        self.state = State::Nothing;
        let mend = "phalanx doctor says what to do";
        match self.wish {
            IdleLatency::AtMostMicros(micros) => {
                tracing::warn!(%error, micros, mend, "cannot bound how long idle cores take to wake up");
            }
            IdleLatency::Any | IdleLatency::Auto => {
                tracing::info!(%error, mend, "cannot bound how long idle cores take to wake up");
            }
        }
    }

    /// As [`hold`](Self::hold), for who wants to know.
    ///
    /// # Errors
    /// What the kernel answered, opening [`LATENCY_DEVICE`] or writing to it; the bound is not held then.
    pub fn try_hold(&mut self) -> std::io::Result<()> {
        if let State::Released { micros } = self.state {
            let mut file = OpenOptions::new().write(true).open(LATENCY_DEVICE)?;
            file.write_all(&i32::try_from(micros).unwrap_or(i32::MAX).to_ne_bytes())?;
            self.state = State::Held { micros, _file: file };
        }
        Ok(())
    }

    /// Ends the bound until it is to hold again.
    pub fn release(&mut self) {
        if let State::Held { micros, .. } = self.state {
            self.state = State::Released { micros };
        }
    }
}

/// Whether asking again is in vain: there is no such device here, or it is not for this user.
fn is_for_good(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::EACCES | Errno::EPERM | Errno::ENODEV | Errno::ENXIO))
}

#[cfg(test)]
mod tests {
    //! What would break: a service that gives the bound up for good because descriptors ran out for a moment, or one that asks with
    //! every block for what it may not have. tests/idle_latency.rs has the bound itself.

    use super::*;

    #[test]
    fn only_who_may_not_ask_gives_up() {
        for (errno, for_good) in [
            (Errno::ENOENT, true),
            (Errno::EACCES, true),
            (Errno::EPERM, true),
            (Errno::ENODEV, true),
            (Errno::EMFILE, false),
            (Errno::ENFILE, false),
            (Errno::ENOMEM, false),
            (Errno::EINTR, false),
        ] {
            let error = std::io::Error::from(errno);
            assert_eq!(is_for_good(&error), for_good, "{error}");
        }
    }
}
