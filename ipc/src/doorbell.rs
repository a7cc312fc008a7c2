//! Doorbells: how a process sleeps until somebody has something for it, at no cost to those who find it awake.
//!
//! A doorbell has one owner, who waits, and any number of ringers. The owner says ASLEEP before it sleeps; a ringer
//! that sees ASLEEP says AWAKE and wakes it. No wake-up is lost, because both sides use the same pattern of store, full
//! fence, load, so at least one of them sees what the other stored:
//!
//! | ringer | owner |
//! |---|---|
//! | publish the data | say ASLEEP |
//! | **fence** | **fence** |
//! | look at the word; ASLEEP: say AWAKE, wake | look at the data; there is some: say AWAKE, go on |
//!
//! and the kernel compares the word once more before it lets the owner sleep. The ringer may die between saying AWAKE
//! and waking. Then the owner sleeps although the word says AWAKE, and plain rings pass it by: whoever learns of a
//! death calls [`Doorbell::ring_for_the_dead`], which wakes in any case.

use std::time::{Duration, Instant};

use crate::futex::{Futex, Sleep};
#[cfg(not(loom))]
use crate::lifeline::{Lifeline, Vigil};
use crate::sync::{AtomicU64, Ordering, doorbell_fence as fence};

/// Most producers that one doorbell tells apart.
pub const MAX_PRODUCERS: usize = 384;
/// Words of the bitmap of producers with news.
pub const NEWS_WORDS: usize = MAX_PRODUCERS.div_ceil(NEWS_BITS);
/// Producers per word of that bitmap.
pub const NEWS_BITS: usize = 64;

/// How long the owner sleeps at most when nothing would wake it at a death.
#[cfg(not(loom))]
const LOOK_INTERVAL: Duration = Duration::from_micros(250);

/// The owner looks for work by itself.
const AWAKE: u32 = 0;
/// The owner must be woken.
const ASLEEP: u32 = 1;

/// Why [`Doorbell::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeCause {
    /// `ready` answered true.
    Ready,
    /// Somebody rang, or a producer has news.
    Rung,
    /// A lifeline waited beside is held by nobody alive.
    Died,
    /// The time was up.
    TimedOut,
}

/// A futex word and a bitmap of producers with news, each on lines of its own. All zero bytes is a fresh doorbell.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(128))]
pub struct Doorbell {
    futex: Futex,
    news: News,
}

/// Bit p set: producer p has published since the owner last took the word.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(128))]
struct News {
    words: [AtomicU64; NEWS_WORDS],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Doorbell>() == 256 && align_of::<Doorbell>() == 128);
    assert!(std::mem::offset_of!(Doorbell, futex) == 0 && std::mem::offset_of!(Doorbell, news) == 128);
};

impl Doorbell {
    /// Wakes the owner if it sleeps. Whoever publishes with plain atomics does so first, then rings.
    ///
    /// Costs a fence and a load when the owner is awake, a system call when it sleeps. Never waits.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        self.wake_a_sleeper();
    }

    /// Notes that `producer` has news, then rings. A producer out of range rings without a note.
    #[inline]
    pub fn ring_from(&self, producer: usize) {
        // This fence stands between the producer's index store and the look at its bit: if the bit is still set from an
        // earlier ring, the owner has yet to take it, and its own fence after that lets it see the index.
        fence(Ordering::SeqCst);
        if let Some(word) = self.news.words.get(producer / NEWS_BITS) {
            let bit = 1 << (producer % NEWS_BITS);
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Release);
                fence(Ordering::SeqCst);
            }
        }
        self.wake_a_sleeper();
    }

    /// Wakes the owner whatever the word says: for whoever learns that a process died, which may have died halfway
    /// through a ring. Costs a system call. Never waits.
    pub fn ring_for_the_dead(&self) {
        fence(Ordering::SeqCst);
        self.futex.word.swap(AWAKE, Ordering::Release);
        self.futex.wake();
    }

    /// A ring whose ringer dies before it wakes the owner.
    #[cfg(loom)]
    pub fn ring_and_die(&self) {
        fence(Ordering::SeqCst);
        if self.futex.word.load(Ordering::Relaxed) == ASLEEP {
            self.futex.word.swap(AWAKE, Ordering::Release);
        }
    }

    /// Takes the news bits of one word (bit b is producer `64 * word + b`) and clears them. For the owner only.
    ///
    /// Read the rings of these producers after the call: whatever they publish too late to be seen sets the bit again.
    /// A word out of range has no news.
    #[inline]
    pub fn take_news(&self, word: usize) -> u64 {
        let Some(word) = self.news.words.get(word) else {
            return 0;
        };
        if word.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let news = word.swap(0, Ordering::Acquire);
        fence(Ordering::SeqCst);
        news
    }

    /// The news bits of one word, which stay: a producer whose bit is set rings without writing to this doorbell.
    ///
    /// What these producers published before they set their bits is visible afterwards. Take the news before sleeping.
    #[inline]
    pub fn look_at_news(&self, word: usize) -> u64 {
        self.news.words.get(word).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Sets a producer's news bit without ringing, so that the owner looks at that ring again. For the owner only.
    #[cfg(not(loom))]
    pub(crate) fn note_news(&self, producer: usize) {
        if let Some(word) = self.news.words.get(producer / NEWS_BITS) {
            word.fetch_or(1 << (producer % NEWS_BITS), Ordering::Relaxed);
        }
    }

    /// Whether any producer has news that was not taken yet. May turn true at any moment.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.news.words.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Waits until `ready` answers true, a producer has news, somebody rings, or the time is up. For the owner only.
    ///
    /// Looks `spins` times first, then sleeps; without a timeout it sleeps for ever, with no periodic wake-up. `ready`
    /// must look at what ringers publish before they ring. The owner may be rung for nothing: look, and wait again.
    pub fn wait(&self, spins: u32, timeout: Option<Duration>, ready: impl FnMut() -> bool) -> WakeCause {
        self.wait_by(spins, timeout, ready, |futex, left| futex.sleep(ASLEEP, left))
    }

    /// As [`wait`](Self::wait), and also until somebody who holds one of `lifelines` dies: the kernel wakes the owner then.
    ///
    /// Where the kernel cannot (older than 5.16), or there are more than 127, they are looked at every 250 us.
    #[cfg(not(loom))]
    pub fn wait_beside<'a>(
        &self,
        lifelines: impl Iterator<Item = &'a Lifeline> + Clone,
        spins: u32,
        timeout: Duration,
        ready: impl FnMut() -> bool,
    ) -> WakeCause {
        self.wait_by(spins, Some(timeout), ready, |futex, left| {
            let watched = lifelines.clone().map(Lifeline::vigil);
            if watched.clone().any(|vigil| matches!(vigil, Vigil::Over)) {
                return Sleep::Beside;
            }
            let is_deaf = watched.clone().any(|vigil| matches!(vigil, Vigil::Deaf));
            let words = watched.filter_map(|vigil| match vigil {
                Vigil::Word(word, value) => Some((word, value)),
                Vigil::Over | Vigil::Deaf => None,
            });
            let told = if is_deaf { None } else { futex.sleep_beside(ASLEEP, words, left) };
            told.unwrap_or_else(|| {
                let slice = left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
                match futex.sleep(ASLEEP, Some(slice)) {
                    Sleep::TimedOut if left != Some(slice) => Sleep::Over,
                    sleep @ (Sleep::Over | Sleep::TimedOut | Sleep::Beside) => sleep,
                }
            })
        })
    }

    fn wait_by(
        &self,
        spins: u32,
        timeout: Option<Duration>,
        mut ready: impl FnMut() -> bool,
        sleep: impl Fn(&Futex, Option<Duration>) -> Sleep,
    ) -> WakeCause {
        for _ in 0..spins {
            if let Some(cause) = self.look(&mut ready) {
                return cause;
            }
            crate::sync::spin_loop();
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // The word changes by read-modify-write only, on both sides: each change then knows the one before it.
            self.futex.word.swap(ASLEEP, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(cause) = self.look(&mut ready) {
                self.futex.word.swap(AWAKE, Ordering::Relaxed);
                return cause;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let sleep = sleep(&self.futex, left);
            // Taking the word back tells whether a ringer was here. Any other value than ASLEEP counts as a ring.
            if self.futex.word.swap(AWAKE, Ordering::Acquire) != ASLEEP {
                return WakeCause::Rung;
            }
            match sleep {
                Sleep::Over => {}
                Sleep::TimedOut => return self.look(&mut ready).unwrap_or(WakeCause::TimedOut),
                Sleep::Beside => return self.look(&mut ready).unwrap_or(WakeCause::Died),
            }
        }
    }

    fn look(&self, ready: &mut impl FnMut() -> bool) -> Option<WakeCause> {
        if ready() {
            return Some(WakeCause::Ready);
        }
        self.has_news().then_some(WakeCause::Rung)
    }

    /// A full fence must stand between what the caller published and this.
    #[inline]
    fn wake_a_sleeper(&self) {
        let word = &self.futex.word;
        if word.load(Ordering::Relaxed) == ASLEEP && word.swap(AWAKE, Ordering::Release) == ASLEEP {
            self.futex.wake();
        }
    }
}
