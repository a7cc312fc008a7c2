//! A futex word: a 32-bit atomic that a thread can sleep on until it changes.
//!
//! Under loom the kernel's part is played by a lock and a condition variable, which promise the same: the comparison
//! with the expected value and the falling asleep are one step with respect to every wake-up.

#[cfg(not(loom))]
pub(crate) use real::Futex;

#[cfg(loom)]
pub(crate) use model::Futex;

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Woken, or interrupted, or the word had another value: look again.
    Over,
    /// The time was up.
    TimedOut,
}

#[cfg(not(loom))]
mod real {
    use std::ptr;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use super::Sleep;

    /// The word, which may lie in memory shared between processes.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct Futex {
        pub(crate) word: AtomicU32,
    }

    impl Futex {
        /// Sleeps while the word is `expected`, at most for `timeout`; without one until woken.
        pub(crate) fn sleep(&self, expected: u32, timeout: Option<Duration>) -> Sleep {
            let limit = timeout.map(|left| libc::timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the word is a live, aligned u32; the limit is null or points to a timespec that outlives the call;
            // FUTEX_WAIT without the private flag works across processes and only reads the word.
            let answer = unsafe {
                libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAIT, expected, limit)
            };
            match answer {
                0 => Sleep::Over,
                _ if nix::errno::Errno::last_raw() == libc::ETIMEDOUT => Sleep::TimedOut,
                _ => Sleep::Over,
            }
        }

        /// Wakes everyone who sleeps on the word.
        pub(crate) fn wake(&self) {
            // SAFETY: FUTEX_WAKE uses the address as a name only; the word is live.
            unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        }
    }
}

#[cfg(loom)]
mod model {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    use super::Sleep;

    /// The word, and the kernel's queue of sleepers.
    #[derive(Debug)]
    pub(crate) struct Futex {
        pub(crate) word: AtomicU32,
        queue: Mutex<()>,
        woken: Condvar,
    }

    impl Default for Futex {
        fn default() -> Self {
            Self { word: AtomicU32::new(0), queue: Mutex::new(()), woken: Condvar::new() }
        }
    }

    impl Futex {
        pub(crate) fn sleep(&self, expected: u32, _timeout: Option<Duration>) -> Sleep {
            let Ok(queue) = self.queue.lock() else {
                return Sleep::Over;
            };
            if self.word.load(Ordering::Relaxed) == expected {
                drop(self.woken.wait(queue));
            }
            Sleep::Over
        }

        pub(crate) fn wake(&self) {
            let queue = self.queue.lock();
            self.woken.notify_all();
            drop(queue);
        }
    }
}
