//! Lifelines of real processes: alive, killed, exited, taken over, scribbled on.
//!
//! What would break without them: the position of the lock word inside libc's mutex, and the kernel's promise about it,
//! are taken on trust. Control: libc's own trylock must agree with the probe on the same mutex, before and after a death.
//! So is the kernel's promise to wake who sleeps on the word. Controls that were run: without the bit that asks for it the
//! sleeper looks every 250 us (hundreds of sleeps instead of a few); with the bit forgotten and no looks, it is never woken.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use common::{Kid, eventually};
use phalanx_ipc::{Doorbell, Lifeline, LifelineError, LifelineState, Region, WakeCause};
use std::time::{Duration, Instant};

/// A page of shared memory with one lifeline, reset.
struct Shared(Region);

impl Shared {
    fn new() -> Shared {
        let shared = Shared(Region::create("test-lifeline", 4096).unwrap());
        shared.get().reset().unwrap();
        shared
    }

    fn get(&self) -> &Lifeline {
        // SAFETY: a lifeline may be zero bytes; the page is mapped as long as `self` and holds nothing else.
        unsafe { self.0.slice::<u8>(0, 4096).unwrap().as_ptr().cast::<Lifeline>().as_ref().unwrap() }
    }

    /// A doorbell behind the lifeline.
    fn bell(&self) -> &Doorbell {
        // SAFETY: a doorbell may be zero bytes; it lies in the page, aligned, behind the lifeline.
        unsafe { self.0.slice::<u8>(1024, 1024).unwrap().as_ptr().cast::<Doorbell>().as_ref().unwrap() }
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        std::ptr::from_ref(self.get()).cast_mut().cast()
    }

    /// A child that holds the lifeline and then does `rest`.
    fn held_by(&self, rest: impl FnOnce()) -> Kid {
        let kid = Kid::fork(|| {
            if self.get().hold().is_err() {
                // SAFETY: ends the child.
                unsafe { libc::_exit(9) };
            }
            rest();
        });
        eventually("the child holds its lifeline", || self.get().probe() != LifelineState::Free);
        kid
    }
}

fn pause_for_ever() {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

#[test]
fn a_killed_holder_is_seen_gone_before_it_is_reaped_and_libc_agrees() {
    let shared = Shared::new();
    assert_eq!(shared.get().probe(), LifelineState::Free);
    let mut kid = shared.held_by(pause_for_ever);
    assert_eq!(shared.get().probe(), LifelineState::Held);
    // SAFETY: the mutex is live and initialised.
    assert_eq!(unsafe { libc::pthread_mutex_trylock(shared.mutex()) }, libc::EBUSY);

    kid.signal(libc::SIGKILL);
    eventually("the death is seen", || shared.get().probe() == LifelineState::Gone);
    // Not reaped yet; and libc comes to the same conclusion. Then this thread owns the mutex and must give it back.
    // SAFETY: as above, and the mutex is consistent and unlocked again afterwards.
    unsafe {
        assert_eq!(libc::pthread_mutex_trylock(shared.mutex()), libc::EOWNERDEAD);
        assert_eq!(libc::pthread_mutex_consistent(shared.mutex()), 0);
        assert_eq!(libc::pthread_mutex_unlock(shared.mutex()), 0);
    }
    assert_eq!(shared.get().probe(), LifelineState::Free);
    kid.wait();
}

#[test]
fn a_holder_that_exits_is_gone() {
    let shared = Shared::new();
    let mut kid = shared.held_by(|| ());
    eventually("the exit is seen", || shared.get().probe() == LifelineState::Gone);
    assert_eq!(kid.wait(), 0);
}

#[test]
fn a_successor_takes_over_from_the_dead_and_a_reset_frees() {
    let shared = Shared::new();
    let mut first = shared.held_by(pause_for_ever);
    first.kill();
    assert_eq!(shared.get().probe(), LifelineState::Gone);
    let mut second = Kid::fork(|| {
        if shared.get().hold().is_ok() {
            pause_for_ever();
        }
    });
    eventually("the successor holds it", || shared.get().probe() == LifelineState::Held);
    second.kill();
    assert_eq!(shared.get().probe(), LifelineState::Gone);
    shared.get().reset().unwrap();
    assert_eq!(shared.get().probe(), LifelineState::Free);
}

#[test]
fn a_lifeline_that_a_living_process_holds_cannot_be_held_twice() {
    let shared = Shared::new();
    let kid = shared.held_by(pause_for_ever);
    match shared.get().hold() {
        Err(LifelineError::Taken { owner, .. }) => assert_eq!(owner, kid.pid.unsigned_abs()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stopped_holder_is_still_held() {
    let shared = Shared::new();
    let kid = shared.held_by(pause_for_ever);
    kid.signal(libc::SIGSTOP);
    eventually("it stopped", || phalanx_ipc::state_of(kid.pid) == Some('T'));
    assert_eq!(shared.get().probe(), LifelineState::Held);
}

#[test]
fn a_probe_of_scribbled_memory_gives_some_answer() {
    let mut shared = Shared::new();
    for byte in 0..=255 {
        shared.0.slice_mut::<u8>(0, size_of::<Lifeline>()).unwrap().fill(byte);
        let word = u32::from_ne_bytes([byte; 4]);
        let expected = match word {
            _ if word & 0x4000_0000 != 0 => LifelineState::Gone,
            _ if word & 0x3fff_ffff == 0 => LifelineState::Free,
            _ => LifelineState::Held,
        };
        assert_eq!(shared.get().probe(), expected, "byte {byte:#x}");
    }
}

/// How often the calling thread went to sleep so far.
fn sleeps() -> i64 {
    // SAFETY: all zero bytes are a valid rusage, which the kernel fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_nvcsw
    }
}

#[test]
fn who_sleeps_beside_a_lifeline_is_woken_by_the_death_and_by_nothing_else() {
    let shared = Shared::new();
    let mut kid = shared.held_by(pause_for_ever);
    let lifelines = std::iter::once(shared.get());
    let wait =
        |timeout| shared.bell().wait_beside(lifelines.clone(), 0, Duration::from_secs(timeout), || false);
    let begun = Instant::now();
    let (cause, slept) = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let before = sleeps();
            let cause = wait(common::PATIENCE.as_secs());
            (cause, sleeps() - before)
        });
        std::thread::sleep(Duration::from_millis(300));
        kid.signal(libc::SIGKILL);
        sleeper.join().unwrap()
    });
    assert_eq!(cause, WakeCause::Died, "after {:?}", begun.elapsed());
    assert!(slept < 20, "the sleeper slept {slept} times");
    assert_eq!(wait(60), WakeCause::Died, "nobody holds it any more: no sleep");
    kid.wait();
}

#[test]
fn who_sleeps_beside_a_lifeline_is_woken_by_a_ring_and_by_time() {
    let shared = Shared::new();
    let mut kid = shared.held_by(pause_for_ever);
    let wait = |timeout| {
        let lifelines = std::iter::repeat_n(shared.get(), 5);
        shared.bell().wait_beside(lifelines, 0, timeout, || false)
    };
    assert_eq!(wait(Duration::from_millis(20)), WakeCause::TimedOut);
    let cause = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| wait(common::PATIENCE));
        // A ring that finds nobody asleep says nothing to who comes later.
        while !sleeper.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            shared.bell().ring();
        }
        sleeper.join().unwrap()
    });
    assert_eq!(cause, WakeCause::Rung);
    kid.signal(libc::SIGKILL);
    kid.wait();
}

#[test]
fn more_lifelines_than_the_kernel_takes_are_looked_at() {
    let shared = Shared::new();
    let mut kid = shared.held_by(pause_for_ever);
    let lifelines = std::iter::repeat_n(shared.get(), 200);
    let cause = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| shared.bell().wait_beside(lifelines, 0, common::PATIENCE, || false));
        std::thread::sleep(Duration::from_millis(50));
        kid.signal(libc::SIGKILL);
        sleeper.join().unwrap()
    });
    assert_eq!(cause, WakeCause::Died);
    kid.wait();
}
