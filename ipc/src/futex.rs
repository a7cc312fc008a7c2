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
    #[cfg_attr(loom, allow(dead_code, reason = "the model has no clock"))]
    TimedOut,
    /// What was watched besides is over.
    #[cfg_attr(loom, allow(dead_code, reason = "the model has one word"))]
    Beside,
}

#[cfg(not(loom))]
mod real {
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use super::Sleep;
    use crate::clock::monotonic_now;

    /// Most words beside its own that one sleep may watch: the kernel takes 128.
    const BESIDE_MAX: usize = 127;
    /// A word of 32 bits, shared between processes (`FUTEX2_SIZE_U32` without `FUTEX2_PRIVATE`).
    const SHARED_WORD: u32 = 2;

    /// One entry of `futex_waitv`, as the kernel lays it out.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Watched {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }

    impl Watched {
        fn new(word: &AtomicU32, value: u32) -> Watched {
            Watched { value: value.into(), address: word.as_ptr() as u64, flags: SHARED_WORD, reserved: 0 }
        }
    }

    /// Whether the kernel refused `futex_waitv` once: it is older than 5.16, or a filter forbids the call.
    static REFUSED: AtomicBool = AtomicBool::new(false);

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

        /// As [`sleep`](Self::sleep), while besides each of `others` has its value. None if that cannot be had: too many
        /// words, or a kernel that has no such call.
        pub(crate) fn sleep_beside<'a>(
            &self,
            expected: u32,
            others: impl Iterator<Item = (&'a AtomicU32, u32)>,
            timeout: Option<Duration>,
        ) -> Option<Sleep> {
            if REFUSED.load(Ordering::Relaxed) {
                return None;
            }
            let mut words = [Watched::new(&self.word, expected); BESIDE_MAX + 1];
            let mut count = 1;
            for (word, value) in others {
                *words.get_mut(count)? = Watched::new(word, value);
                count += 1;
            }
            let until = timeout.map(|timeout| monotonic_now().saturating_add(timeout));
            let until = until.map(|until| libc::timespec {
                tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(until.subsec_nanos()),
            });
            let until = until.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: `count` initialised entries, each naming a live, aligned u32 that is borrowed for the call; the kernel
            // only reads entries, words and the limit, which is null or outlives the call.
            let answer = unsafe {
                libc::syscall(libc::SYS_futex_waitv, words.as_ptr(), count, 0, until, libc::CLOCK_MONOTONIC)
            };
            match answer {
                0.. => Some(Sleep::Over),
                _ => match nix::errno::Errno::last_raw() {
                    libc::ETIMEDOUT => Some(Sleep::TimedOut),
                    libc::EAGAIN | libc::EINTR => Some(Sleep::Over),
                    _ => {
                        REFUSED.store(true, Ordering::Relaxed);
                        None
                    }
                },
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
