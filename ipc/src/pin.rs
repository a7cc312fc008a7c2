//! Pinning: one thread, one core, and proof that it took.

use core_affinity::CoreId;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::os::OsCause;

/// Why a thread is not pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The core's number is beyond what the kernel interface used here can name.
    #[error("core {core} is beyond the {limit} cores that can be named; use a lower one")]
    BeyondRange {
        /// The core asked for.
        core: usize,
        /// Cores that can be named.
        limit: usize,
    },
    /// The kernel refused: the core is offline or not allowed to this process.
    #[error("cannot pin to core {core}: allowed are {allowed:?}; change the cpuset, or choose one of these")]
    Refused {
        /// The core asked for.
        core: usize,
        /// The cores that this thread may use.
        allowed: Vec<usize>,
    },
    /// The kernel agreed and did something else.
    #[error(
        "pinned to core {core}, but the kernel reports {found:?}; look for a tool that changes affinities"
    )]
    NotTaken {
        /// The core asked for.
        core: usize,
        /// The cores that the kernel reports.
        found: Vec<usize>,
    },
    /// The allowed cores could not be read.
    #[error("cannot read the allowed cores: {cause}")]
    Unreadable {
        /// What the kernel said.
        cause: OsCause,
    },
}

/// Pins the calling thread to one core, reads the affinity back, and errors if it is not exactly that core.
///
/// The pin may be lost later without notice (the core goes offline, the cpuset changes): read it back now and then.
pub fn pin_current_thread(core: usize) -> Result<(), PinError> {
    if core >= CpuSet::count() {
        return Err(PinError::BeyondRange { core, limit: CpuSet::count() });
    }
    if !core_affinity::set_for_current(CoreId { id: core }) {
        return Err(PinError::Refused { core, allowed: allowed_cores()? });
    }
    let found = allowed_cores()?;
    if found == [core] { Ok(()) } else { Err(PinError::NotTaken { core, found }) }
}

/// Pins the first thread of another process to one core, reads its affinity back, and errors if it is not exactly that
/// core. 0 is the calling thread.
pub fn pin(pid: i32, core: usize) -> Result<(), PinError> {
    let mut set = CpuSet::new();
    if set.set(core).is_err() {
        return Err(PinError::BeyondRange { core, limit: CpuSet::count() });
    }
    if sched_setaffinity(Pid::from_raw(pid), &set).is_err() {
        return Err(PinError::Refused { core, allowed: allowed_cores_of(pid)? });
    }
    let found = allowed_cores_of(pid)?;
    if found == [core] { Ok(()) } else { Err(PinError::NotTaken { core, found }) }
}

/// Lets the calling thread run on these cores, of which the process must be allowed at least one.
///
/// # Errors
/// [`PinError::Refused`] when it is allowed none; nothing has changed then. Never waits.
pub fn allow_cores(cores: &[usize]) -> Result<(), PinError> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).map_err(|_| PinError::BeyondRange { core, limit: CpuSet::count() })?;
    }
    if sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        let core = cores.first().copied().unwrap_or(0);
        return Err(PinError::Refused { core, allowed: allowed_cores()? });
    }
    Ok(())
}

/// The cores that the calling thread may run on, ascending. Knows cpusets and taskset, not CPU quotas.
pub fn allowed_cores() -> Result<Vec<usize>, PinError> {
    allowed_cores_of(0)
}

/// As [`allowed_cores`], of the first thread of a process.
pub fn allowed_cores_of(pid: i32) -> Result<Vec<usize>, PinError> {
    let unreadable = |errno: nix::errno::Errno| PinError::Unreadable { cause: errno.into() };
    let set = sched_getaffinity(Pid::from_raw(pid)).map_err(unreadable)?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect())
}
