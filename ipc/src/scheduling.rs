//! What a thread asks of the kernel's scheduler.

use std::mem::size_of;
use std::time::Duration;

use crate::os::OsCause;

/// Asks the kernel to give the calling thread, and what is forked from it, its share of the processor in stretches of
/// this length, 0.1 ms to 100 ms; zero asks for the kernel's own default.
///
/// Who sleeps mostly and must run soon when woken asks for a short one: it may then take the processor from a thread with a
/// longer stretch in hand. The share stays the same. A request, in effect from Linux 6.12 on; older kernels ignore it.
/// Never waits.
pub fn ask_for_slice(slice: Duration) -> Result<(), OsCause> {
    // SAFETY: all bytes zero is a valid sched_attr: numbers only.
    let mut wish: libc::sched_attr = unsafe { std::mem::zeroed() };
    wish.size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0);
    wish.sched_policy = libc::SCHED_OTHER.cast_unsigned();
    // SAFETY: a plain system call. An error would be -1, which is a nice value too; then the thread keeps that one.
    wish.sched_nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    wish.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(0);
    // SAFETY: the kernel reads `size` bytes of the structure, which lives until the call returns; 0 is this thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) };
    if answer == 0 { Ok(()) } else { Err(OsCause::last()) }
}

/// Has the calling thread run only on processors that nobody else wants (`SCHED_IDLE`). Whoever wakes up takes the
/// processor from it at once, which a low priority alone does not promise. Never waits.
pub fn give_way() -> Result<(), OsCause> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the structure during the call; 0 is this thread.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) };
    if answer == 0 { Ok(()) } else { Err(OsCause::last()) }
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
        ask_for_slice(Duration::from_micros(200)).unwrap();
        let asked = slice_now();
        ask_for_slice(Duration::ZERO).unwrap();
        // A kernel before 6.12 says 0 all the time.
        assert!(asked == 200_000 || before == 0, "{asked}");
        assert_eq!(slice_now(), before);
    }

    #[test]
    fn who_gives_way_is_of_the_idle_class() {
        let policy = std::thread::spawn(|| {
            give_way().unwrap();
            // SAFETY: a plain system call; 0 is this thread.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_IDLE);
    }
}
