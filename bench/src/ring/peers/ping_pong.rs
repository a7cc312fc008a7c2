//! The floor: cache lines that two threads write in turns.

use crate::ring::clock::{nanos_between, reading_cost};
use crate::ring::patience::Patience;
use crate::ring::{Job, PeerError, Sample, role, threads};
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Says that there are no more turns.
const END: u64 = u64::MAX;
/// Most turns that are timed.
const TURNS_MAX: usize = 1 << 20;

/// Times turns over one line or two.
///
/// # Errors
/// When a turn takes for ever.
pub fn run(job: &Job, lines: usize) -> Result<Sample, PeerError> {
    let words: [CachePadded<AtomicU64>; 2] = Default::default();
    let (there, back) = (&words[0], &words[lines - 1]);
    threads::both(job, || ask(job, there, back, lines).map(Some), || answer(job, there, back, lines).map(|()| None))
}

/// With one line, odd values are questions and even ones answers; with two, both ends count the turns.
fn ask(job: &Job, there: &AtomicU64, back: &AtomicU64, lines: usize) -> Result<Sample, PeerError> {
    let mut patience = Patience::new("a turn", job.cores.is_none());
    let mut nanos = Vec::with_capacity(TURNS_MAX);
    let begun = Instant::now();
    let (warm, mut last, mut turn) = (begun + job.duration() / 10, begun, 1);
    while nanos.len() < TURNS_MAX && last.saturating_duration_since(begun) < job.duration() {
        there.store(turn, Ordering::Release);
        turn += u64::from(lines == 1);
        while back.load(Ordering::Acquire) != turn {
            patience.pause()?;
        }
        patience.rest();
        turn += 1;
        let now = Instant::now();
        if last >= warm {
            nanos.push(nanos_between(last, now));
        }
        last = now;
    }
    there.store(END, Ordering::Release);
    role::summary(nanos, reading_cost())
}

fn answer(job: &Job, there: &AtomicU64, back: &AtomicU64, lines: usize) -> Result<(), PeerError> {
    let mut patience = Patience::new("a turn", job.cores.is_none());
    let mut turn = 1;
    loop {
        let found = there.load(Ordering::Acquire);
        if found == END {
            return Ok(());
        }
        if found != turn {
            patience.pause()?;
            continue;
        }
        patience.rest();
        turn += u64::from(lines == 1);
        back.store(turn, Ordering::Release);
        turn += 1;
    }
}
