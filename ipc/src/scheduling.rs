//! What a thread asks of the kernel's scheduler.

use std::mem::size_of;
use std::time::Duration;

use crate::os::OsCause;

/// How the kernel is to run a thread, and what is forked from it, among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// Its nice value: -20 (first) to 19 (last). Less than the present one needs `CAP_SYS_NICE` or `RLIMIT_NICE`.
    pub nice: i32,
    /// How long it wants to run at a stretch, 0.1 ms to 100 ms; zero asks for the kernel's own default.
    ///
    /// Who sleeps mostly and must run soon when woken asks for a short one: it may then take the processor from a thread
    /// with a longer stretch in hand. The share stays the same. In effect from Linux 6.12 on; older kernels ignore it.
    pub slice: Duration,
}

impl Turns {
    /// Asks for this on behalf of the calling thread. Never waits.
    ///
    /// # Errors
    /// What the kernel says, `EPERM` for a nice value that this process may not have; nothing has changed then.
    pub fn ask(self) -> Result<(), OsCause> {
        // SAFETY: all bytes zero is a valid sched_attr: numbers only.
        let mut wish: libc::sched_attr = unsafe { std::mem::zeroed() };
        wish.size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0);
        wish.sched_policy = libc::SCHED_OTHER.cast_unsigned();
        wish.sched_nice = self.nice;
        wish.sched_runtime = u64::try_from(self.slice.as_nanos()).unwrap_or(0);
        // SAFETY: the kernel reads `size` bytes of the structure, which lives until the call returns; 0 is this thread.
        let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) };
        if answer == 0 { Ok(()) } else { Err(OsCause::last()) }
    }
}

/// The nice value of the calling thread.
#[must_use]
pub fn nice_now() -> i32 {
    // SAFETY: a plain system call on the calling thread, which always has one; -1 is a value like any other.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slice of the calling thread in nanoseconds, as the kernel says.
    fn slice_now() -> u64 {
        // SAFETY: all bytes zero is a valid sched_attr.
        let mut found: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes at most the bytes named into the structure.
        let answer = unsafe {
            libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size_of::<libc::sched_attr>(), 0)
        };
        assert_eq!(answer, 0);
        found.sched_runtime
    }

    #[test]
    fn the_kernel_takes_the_wish_and_takes_it_back() {
        let before = slice_now();
        let nice = nice_now();
        Turns { nice, slice: Duration::from_micros(200) }.ask().unwrap();
        let asked = slice_now();
        Turns { nice, slice: Duration::ZERO }.ask().unwrap();
        // A kernel before 6.12 says 0 all the time.
        assert!(asked == 200_000 || before == 0, "{asked}");
        assert_eq!(slice_now(), before);
    }

    #[test]
    fn a_higher_nice_value_is_always_granted() {
        let found = std::thread::spawn(|| {
            Turns { nice: nice_now().max(7), slice: Duration::ZERO }.ask().unwrap();
            nice_now()
        });
        assert!(found.join().unwrap() >= 7);
    }
}
