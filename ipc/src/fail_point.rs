//! Fail points: named steps at which a test has a process fail.
//!
//! One point can be armed at a time per family of processes. What is armed, and how often it was passed, stands in the
//! control region, so that passers are counted across the lives of the processes. Without the feature `fail-points`
//! passing one is nothing at all, and nothing here exists but [`fail_point`].

#[cfg(feature = "fail-points")]
pub use armed::{FailAction, FailPointError, FailSpec, attach_fail_points, fail_point, fail_point_of};

/// Passes the step called `name`: nothing, in a build without fail points.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub fn fail_point(_name: &'static str) {}

#[cfg(feature = "fail-points")]
mod armed {
    use crate::control::{Control, OWNER_WORDS};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, getpid};
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    use std::time::Duration;

    /// Places in the owner's words: the armed point (hash of its name, 0 for none), the first passer that fails, how
    /// many fail in a row, what they do, how often it was passed, how often it failed.
    const POINT: usize = 0;
    const FIRST: usize = 1;
    const TIMES: usize = 2;
    const ACTION: usize = 3;
    const PASSED: usize = 4;
    const FIRED: usize = 5;

    /// What happens to the process at an armed fail point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FailAction {
        /// Nothing: passers are counted.
        Count,
        /// It gets this signal and goes on if it survives that.
        Signal(i32),
        /// It exits with this code, without any cleaning up.
        Exit(u8),
        /// It goes on so many milliseconds later.
        Delay(u32),
        /// It panics.
        Panic,
    }

    impl FailAction {
        fn encode(self) -> u64 {
            let (kind, argument) = match self {
                FailAction::Count => (0, 0),
                FailAction::Signal(signal) => (1, u64::from(signal.cast_unsigned())),
                FailAction::Exit(code) => (2, u64::from(code)),
                FailAction::Delay(millis) => (3, u64::from(millis)),
                FailAction::Panic => (4, 0),
            };
            argument << 8 | kind
        }

        fn decode(word: u64) -> FailAction {
            let argument = word >> 8;
            match word & 0xff {
                1 => FailAction::Signal(i32::try_from(argument).unwrap_or(0)),
                2 => FailAction::Exit(u8::try_from(argument & 0xff).unwrap_or(0)),
                3 => FailAction::Delay(u32::try_from(argument).unwrap_or(0)),
                4 => FailAction::Panic,
                _ => FailAction::Count,
            }
        }
    }

    /// Which passers of which point fail, and how.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FailSpec {
        /// The point's name.
        pub point: &'static str,
        /// The first passer that fails, from 1, counted from now on over all processes.
        pub first: u64,
        /// How many fail in a row.
        pub times: u64,
        /// How they fail.
        pub action: FailAction,
    }

    /// The name is none that can be armed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("a fail point must have a name; name one of those listed")]
    pub struct FailPointError;

    /// The words of the family that this process belongs to. Null until attached.
    static WORDS: AtomicPtr<[AtomicU64; OWNER_WORDS]> = AtomicPtr::new(ptr::null_mut());

    /// From now on this process and its forked children pass their fail points in `control`'s family.
    ///
    /// # Safety
    ///
    /// `control` must stay mapped as long as fail points are passed.
    pub unsafe fn attach_fail_points(control: &Control) {
        WORDS.store(ptr::from_ref(control.words()).cast_mut(), Ordering::Release);
    }

    /// Passes the step called `name` in the calling process. Nothing unless the process is attached.
    #[inline]
    pub fn fail_point(name: &'static str) {
        // SAFETY: null, or words that stay mapped by the contract of attach_fail_points; they are atomics.
        if let Some(words) = unsafe { WORDS.load(Ordering::Acquire).as_ref() }
            && let Some(action) = pass(words, name)
        {
            act(action, getpid());
        }
    }

    /// Passes the step called `name` in the family's owner, which must not fail itself: `victim` does in its place.
    pub fn fail_point_of(control: &Control, name: &'static str, victim: i32) {
        if let Some(action) = pass(control.words(), name) {
            match action {
                FailAction::Delay(_) => act(action, getpid()),
                FailAction::Count | FailAction::Signal(_) | FailAction::Exit(_) | FailAction::Panic => {
                    act(action, Pid::from_raw(victim));
                }
            }
        }
    }

    fn pass(words: &[AtomicU64; OWNER_WORDS], name: &'static str) -> Option<FailAction> {
        if words[POINT].load(Ordering::Acquire) != hash(name) {
            return None;
        }
        let passer = words[PASSED].fetch_add(1, Ordering::AcqRel) + 1;
        let first = words[FIRST].load(Ordering::Relaxed);
        let fails = passer.checked_sub(first)? < words[TIMES].load(Ordering::Relaxed);
        fails.then(|| {
            words[FIRED].fetch_add(1, Ordering::AcqRel);
            FailAction::decode(words[ACTION].load(Ordering::Relaxed))
        })
    }

    fn act(action: FailAction, victim: Pid) {
        match action {
            FailAction::Count => {}
            FailAction::Signal(signal) => {
                if let Ok(signal) = Signal::try_from(signal)
                    && victim.as_raw() > 1
                {
                    // A victim that is gone already has failed as it should.
                    let _ = kill(victim, signal);
                }
            }
            FailAction::Exit(code) if victim == getpid() => {
                // SAFETY: _exit takes a number, runs no handler and does not return.
                unsafe { libc::_exit(i32::from(code)) }
            }
            FailAction::Delay(millis) => std::thread::sleep(Duration::from_millis(u64::from(millis))),
            #[allow(clippy::panic, reason = "that is what was asked for")]
            FailAction::Panic if victim == getpid() => panic!("panic at a fail point"),
            // Nobody can make another process exit or panic.
            FailAction::Exit(_) | FailAction::Panic => {}
        }
    }

    impl Control {
        /// Arms one point and forgets the one before.
        ///
        /// # Errors
        /// For a name that cannot be one.
        pub fn arm_fail_point(&self, spec: FailSpec) -> Result<(), FailPointError> {
            let point = hash(spec.point);
            if spec.point.is_empty() || point == 0 {
                return Err(FailPointError);
            }
            let words = self.words();
            words[POINT].store(0, Ordering::SeqCst);
            let settings = [(FIRST, spec.first), (TIMES, spec.times), (ACTION, spec.action.encode())];
            for (place, value) in settings.into_iter().chain([(PASSED, 0), (FIRED, 0)]) {
                words[place].store(value, Ordering::Relaxed);
            }
            words[POINT].store(point, Ordering::SeqCst);
            Ok(())
        }

        /// Disarms; returns how often the point was passed, and how often a passer failed.
        pub fn disarm_fail_point(&self) -> (u64, u64) {
            let words = self.words();
            words[POINT].store(0, Ordering::SeqCst);
            self.fail_point_counts()
        }

        /// How often the armed point was passed, and how often a passer failed.
        pub fn fail_point_counts(&self) -> (u64, u64) {
            let words = self.words();
            (words[PASSED].load(Ordering::Acquire), words[FIRED].load(Ordering::Acquire))
        }
    }

    /// FNV-1a over the name.
    fn hash(name: &str) -> u64 {
        name.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
