//! Lifelines: a lock that a process holds for life, so that others see its death before it can be reaped.
//!
//! The kernel reports a death to `waitpid` only after the address space is torn down, which takes tens of
//! milliseconds for a large process. Robust locks are released first. A lifeline is a robust process-shared pthread
//! mutex: taken through libc, so that the thread's robust list stays libc's own and other users of robust mutexes in
//! the same process (an embedded database, say) keep working.
//!
//! # Why a probe is one load
//!
//! `pthread_mutex_trylock` would answer as well, but it believes what it finds: the mutex's kind and the links of the
//! robust list lie inside the mutex, in memory that a damaged peer may have scribbled on, and a prober that gets the
//! lock by accident has to give it back. The kernel's robust-futex contract makes the lock word alone sufficient:
//!
//! 1. While a thread owns the mutex, the low 30 bits of the word are its thread id (the kernel relies on that).
//! 2. When a thread dies, by whatever cause, the kernel walks its robust list and, in each word that still names this
//!    thread, clears the id and sets `FUTEX_OWNER_DIED` (bit 30). It does so in `exit_mm`, before the address space goes.
//! 3. libc clears that bit only when a later locker takes the mutex over.
//!
//! So: bit 30 set means gone; else id 0 means free; else held. Any scribble on the word yields one of those three
//! answers and nothing worse; a wrong one is corrected by `waitpid`, which remains the authority.
//!
//! # Being told
//!
//! The holder sets `FUTEX_WAITERS` (bit 31) in the word, as libc does for whoever waits for a lock. The kernel then wakes one
//! sleeper on the word when it marks the death, and so [`Doorbell::wait_beside`](crate::Doorbell::wait_beside) ends at
//! once, with no looks in between.
//!
//! Where the word lies inside `pthread_mutex_t` is libc's secret. It is found once per process, by locking a fresh mutex
//! and looking for the word that was 0 before and is this thread's id after.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::{MaybeUninit, align_of, size_of};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::os::OsCause;

/// Longest wait of [`Lifeline::hold`] for a former owner that is still dying.
const HOLD_LIMIT: Duration = Duration::from_millis(200);
/// Set by the kernel in the word of a lock whose owner died.
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// Set while somebody sleeps on the word: the kernel then wakes him at the owner's death.
const FUTEX_WAITERS: u32 = 0x8000_0000;
/// The bits of the word that name the owner.
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// 32-bit words of a mutex.
const MUTEX_WORDS: usize = size_of::<libc::pthread_mutex_t>() / size_of::<u32>();

const _: () = assert!(align_of::<libc::pthread_mutex_t>() >= align_of::<u32>());
const _: () = assert!((FUTEX_OWNER_DIED | FUTEX_WAITERS) & FUTEX_TID_MASK == 0);

/// What a probe saw. Held may be stale at once; Gone stays true until the lifeline is reset or taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifelineState {
    /// A living thread holds it.
    Held,
    /// The thread that held it is dead.
    Gone,
    /// Nobody has held it since the last reset.
    Free,
}

/// What there is to sleep on until the owner's death.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vigil<'a> {
    /// Nothing: no living thread holds it.
    Over,
    /// The word, and its value as long as the owner lives.
    Word(&'a AtomicU32, u32),
    /// Nobody would be woken: it must be looked at.
    Deaf,
}

/// Why a lifeline could not be made or held.
#[derive(Debug, thiserror::Error)]
pub enum LifelineError {
    /// libc refused a step.
    #[error("cannot {step} a lifeline: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// What libc said.
        cause: OsCause,
    },
    /// Another living thread holds it.
    #[error(
        "the lifeline is held by thread {owner} and stayed so for {waited_ms} ms; reset it for a new generation"
    )]
    Taken {
        /// Id of the thread that the lock word names.
        owner: u32,
        /// How long the caller waited, in milliseconds.
        waited_ms: u128,
    },
    /// The lock word was not found inside this libc's mutex.
    #[error("no word of this libc's mutex ({words} words) names its owner; use glibc or musl")]
    UnknownMutex {
        /// 32-bit words searched.
        words: usize,
    },
}

/// A robust process-shared mutex that lives in shared memory. All zero bytes until [`reset`](Self::reset).
#[repr(C)]
pub struct Lifeline {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
}

// SAFETY: all access goes through libc's mutex calls, made for use by many threads and processes, or through one atomic
// load of the lock word; a pthread mutex in shared memory is not bound to the thread that made it.
unsafe impl Send for Lifeline {}
// SAFETY: as for Send.
unsafe impl Sync for Lifeline {}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lifeline").field(&self.probe()).finish()
    }
}

impl Lifeline {
    /// Makes the lock anew: afterwards it is [`LifelineState::Free`].
    ///
    /// Only for the supervisor, while nobody holds the lock: before a generation that is to use it starts, its last
    /// owner being dead. Never waits. Fails if this libc's mutex is of an unknown shape.
    pub fn reset(&self) -> Result<(), LifelineError> {
        word_index()?;
        // SAFETY: the pointer is to a live, aligned mutex of this Lifeline; by this function's contract nobody holds it,
        // so initialising it again takes it away from no one.
        unsafe { init_robust(self.mutex.get()) }
    }

    /// Takes the lock for the calling thread, for life: there is no way to give it back but to die.
    ///
    /// Takes it over from a dead owner. Waits at most 200 ms, for an owner that is dying just now; then
    /// [`LifelineError::Taken`]. Call it from a thread that lives as long as what it stands for.
    pub fn hold(&self) -> Result<(), LifelineError> {
        word_index()?;
        let started = Instant::now();
        loop {
            // SAFETY: the mutex is live and aligned, and was initialised by reset(); it is locked by its own process
            // only at start, before anything that could damage it runs.
            let answer = unsafe { libc::pthread_mutex_trylock(self.mutex.get()) };
            match answer {
                0 => return self.ask_for_a_wake_up(),
                libc::EOWNERDEAD => {
                    // SAFETY: trylock just returned EOWNERDEAD, so this thread owns the inconsistent mutex.
                    check("take over", unsafe { libc::pthread_mutex_consistent(self.mutex.get()) })?;
                    return self.ask_for_a_wake_up();
                }
                libc::EBUSY if started.elapsed() < HOLD_LIMIT => {
                    std::thread::sleep(Duration::from_micros(50))
                }
                libc::EBUSY => {
                    let owner = self.word()?.load(Ordering::Acquire) & FUTEX_TID_MASK;
                    return Err(LifelineError::Taken { owner, waited_ms: started.elapsed().as_millis() });
                }
                refusal => return check("hold", refusal),
            }
        }
    }

    /// Whether the owner lives, by one load: cheap enough for a hot wait. Never waits, never fails.
    ///
    /// If this libc's mutex is of an unknown shape (then [`reset`](Self::reset) has failed already), the answer is
    /// `Held`: no death is invented, and `waitpid` still tells.
    pub fn probe(&self) -> LifelineState {
        // Acquire: what the owner did before it died is visible afterwards.
        self.word().map_or(LifelineState::Held, |word| state_of(word.load(Ordering::Acquire)))
    }

    /// What to sleep on until the owner dies. Never waits, never fails.
    pub(crate) fn vigil(&self) -> Vigil<'_> {
        let Ok(word) = self.word() else { return Vigil::Deaf };
        let value = word.load(Ordering::Acquire);
        match state_of(value) {
            LifelineState::Gone | LifelineState::Free => Vigil::Over,
            LifelineState::Held if value & FUTEX_WAITERS != 0 => Vigil::Word(word, value),
            LifelineState::Held => Vigil::Deaf,
        }
    }

    /// Has the kernel wake a sleeper on the word when the calling thread, which holds it, dies.
    fn ask_for_a_wake_up(&self) -> Result<(), LifelineError> {
        self.word()?.fetch_or(FUTEX_WAITERS, Ordering::Relaxed);
        Ok(())
    }

    /// The lock word.
    fn word(&self) -> Result<&AtomicU32, LifelineError> {
        let index = word_index()?;
        // SAFETY: index < MUTEX_WORDS, so the word lies inside the mutex, aligned to 4; libc and the kernel change it by
        // 32-bit atomic operations only, and so atomic accesses to it are no data race.
        Ok(unsafe { AtomicU32::from_ptr(self.mutex.get().cast::<u32>().add(index)) })
    }
}

fn state_of(word: u32) -> LifelineState {
    if word & FUTEX_OWNER_DIED != 0 {
        LifelineState::Gone
    } else if word & FUTEX_TID_MASK == 0 {
        LifelineState::Free
    } else {
        LifelineState::Held
    }
}

fn check(step: &'static str, answer: libc::c_int) -> Result<(), LifelineError> {
    match answer {
        0 => Ok(()),
        refusal => Err(LifelineError::Os { step, cause: nix::errno::Errno::from_raw(refusal).into() }),
    }
}

/// Initialises a robust process-shared mutex.
///
/// # Safety
///
/// `mutex` must point to writable memory for a mutex that no thread holds or waits for.
unsafe fn init_robust(mutex: *mut libc::pthread_mutex_t) -> Result<(), LifelineError> {
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: init fills the attributes that the later calls use, in that order, and nothing uses them after destroy;
    // the mutex is free and writable by this function's contract.
    unsafe {
        check("prepare", libc::pthread_mutexattr_init(attributes))?;
        let made =
            check("share", libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
                .and_then(|()| {
                    check(
                        "make robust",
                        libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST),
                    )
                })
                .and_then(|()| check("initialise", libc::pthread_mutex_init(mutex, attributes)));
        libc::pthread_mutexattr_destroy(attributes);
        made
    }
}

/// Index of the lock word inside a mutex, in 32-bit words. Found once per process.
fn word_index() -> Result<usize, LifelineError> {
    static INDEX: OnceLock<Option<usize>> = OnceLock::new();
    let found = INDEX.get_or_init(|| find_word().ok().flatten());
    found.ok_or(LifelineError::UnknownMutex { words: MUTEX_WORDS })
}

fn find_word() -> Result<Option<usize>, LifelineError> {
    let mut mutex = MaybeUninit::<libc::pthread_mutex_t>::zeroed();
    let mutex = mutex.as_mut_ptr();
    // SAFETY: the mutex lives on this stack, unmoved until it is unlocked and destroyed below; only this thread knows
    // it, so the plain reads of its words (all of them initialised: zeroed above) race with nothing.
    unsafe {
        init_robust(mutex)?;
        let before = mutex.cast::<[u32; MUTEX_WORDS]>().read();
        check("lock", libc::pthread_mutex_lock(mutex))?;
        let after = mutex.cast::<[u32; MUTEX_WORDS]>().read();
        libc::pthread_mutex_unlock(mutex);
        libc::pthread_mutex_destroy(mutex);
        let tid = libc::gettid().unsigned_abs();
        Ok((0..MUTEX_WORDS).find(|&index| before[index] == 0 && after[index] == tid))
    }
}
