//! The least that a wake-up costs: one word, and the system call on either side.

use crate::ring::clock::{now, summary};
use crate::ring::patience::{Patience, STALL_LIMIT};
use crate::ring::{Job, PeerError, Sample, role, threads};
use crossbeam::utils::CachePadded;
use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec, wait, wake};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// The time stamp that ends it.
const END: u64 = u64::MAX;

/// A word to sleep on, and a time stamp. The word is 0 while nothing is there.
#[derive(Debug, Default)]
struct Letterbox {
    full: CachePadded<AtomicU32>,
    stamp: CachePadded<AtomicU64>,
}

/// Times wake-ups.
///
/// # Errors
/// When one does not come.
pub fn run(job: &Job) -> Result<Sample, PeerError> {
    let letterbox = Letterbox::default();
    threads::both(job, || ring(job, &letterbox).map(|()| None), || sleep(&letterbox).map(Some))
}

fn ring(job: &Job, letterbox: &Letterbox) -> Result<(), PeerError> {
    let yields = job.cores.is_none();
    let mut patience = Patience::new("an empty letterbox", yields);
    let begun = Instant::now();
    let mut over = false;
    while !over {
        role::give_time_to_sleep(yields);
        while letterbox.full.load(Ordering::Acquire) != 0 {
            patience.pause()?;
        }
        patience.rest();
        over = begun.elapsed() >= job.duration();
        letterbox.stamp.store(if over { END } else { now() }, Ordering::Relaxed);
        letterbox.full.store(1, Ordering::Release);
        // Not the private flavour: what is measured must hold between processes.
        wake(&letterbox.full, Flags::empty(), 1).map_err(PeerError::refused("wake a futex"))?;
    }
    Ok(())
}

fn sleep(letterbox: &Letterbox) -> Result<Sample, PeerError> {
    let (mut nanos, mut heard) = (Vec::with_capacity(4096), Instant::now());
    let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
    loop {
        match wait(&letterbox.full, Flags::empty(), 0, Some(&limit)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(errno) => return Err(PeerError::refused("wait for a futex")(errno)),
        }
        if letterbox.full.load(Ordering::Acquire) == 0 {
            if heard.elapsed() > STALL_LIMIT {
                return Err(PeerError::Stalled { what: "a wake-up", limit_ms: STALL_LIMIT.as_millis() });
            }
            continue;
        }
        heard = Instant::now();
        let sent = letterbox.stamp.load(Ordering::Relaxed);
        if sent == END {
            return summary(nanos);
        }
        nanos.push(now().saturating_sub(sent));
        letterbox.full.store(0, Ordering::Release);
    }
}
