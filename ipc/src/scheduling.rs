//! What a thread asks of the kernel's scheduler.

use std::mem::size_of;

use crate::os::OsCause;

/// How the kernel is to run a thread, and what is forked from it, among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// When it is woken it runs at once, before everything that has fair turns, until it sleeps (`SCHED_FIFO`). For who
    /// sleeps mostly. Needs `CAP_SYS_NICE` or `RLIMIT_RTPRIO`.
    First {
        /// Among those that run first: 1 (last) to 99.
        priority: u32,
    },
    /// As everybody (`SCHED_OTHER`).
    Fair {
        /// Its nice value: -20 (most) to 19. Less than the present one needs `CAP_SYS_NICE` or `RLIMIT_NICE`.
        nice: i32,
    },
}

impl Turns {
    /// Asks for this on behalf of the calling thread. Never waits.
    ///
    /// # Errors
    /// What the kernel says, `EPERM` for what this process may not have; nothing has changed then.
    pub fn ask(self) -> Result<(), OsCause> {
        // SAFETY: all bytes zero is a valid sched_attr: numbers only.
        let mut wish: libc::sched_attr = unsafe { std::mem::zeroed() };
        wish.size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0);
        match self {
            Turns::First { priority } => {
                wish.sched_policy = libc::SCHED_FIFO.cast_unsigned();
                wish.sched_priority = priority;
            }
            Turns::Fair { nice } => {
                wish.sched_policy = libc::SCHED_OTHER.cast_unsigned();
                wish.sched_nice = nice;
            }
        }
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

    #[test]
    fn a_higher_nice_value_is_always_granted() {
        let found = std::thread::spawn(|| {
            Turns::Fair { nice: nice_now().max(7) }.ask().unwrap();
            nice_now()
        });
        assert!(found.join().unwrap() >= 7);
    }

    #[test]
    fn the_first_turns_are_had_or_refused_and_given_back() {
        let found = std::thread::spawn(|| {
            let nice = nice_now();
            let asked = Turns::First { priority: 1 }.ask();
            // SAFETY: a plain system call; 0 is this thread.
            let policy = unsafe { libc::sched_getscheduler(0) };
            Turns::Fair { nice }.ask().unwrap();
            // SAFETY: as above.
            (asked, policy, unsafe { libc::sched_getscheduler(0) }, nice_now() == nice)
        });
        let (asked, policy, after, same) = found.join().unwrap();
        assert_eq!(policy, if asked.is_ok() { libc::SCHED_FIFO } else { libc::SCHED_OTHER });
        assert_eq!((after, same), (libc::SCHED_OTHER, true));
    }
}
