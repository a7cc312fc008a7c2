//! The floor: cache lines that two threads write in turns.

use crate::ring::clock::Laps;
use crate::ring::patience::Patience;
use crate::ring::{Job, PeerError, Sample, threads};
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says that there are no more turns.
const END: u64 = u64::MAX;

/// Times turns over one line or two.
///
/// # Errors
/// When a turn takes for ever.
pub fn run(job: &Job, lines: usize) -> Result<Sample, PeerError> {
    let words: [CachePadded<AtomicU64>; 2] = Default::default();
    let (there, back) = (&words[0], &words[lines - 1]);
    threads::both(
        job,
        || ask(job, there, back, lines).map(Some),
        || answer(job, there, back, lines).map(|()| None),
    )
}

/// With one line, odd values are questions and even ones answers; with two, both ends count the turns.
fn ask(job: &Job, there: &AtomicU64, back: &AtomicU64, lines: usize) -> Result<Sample, PeerError> {
    let mut patience = Patience::new("a turn", job.cores.is_none());
    let (mut laps, mut turn) = (Laps::begin(job.duration()), 1);
    loop {
        there.store(turn, Ordering::Release);
        turn += u64::from(lines == 1);
        while back.load(Ordering::Acquire) != turn {
            patience.pause()?;
        }
        patience.rest();
        turn += 1;
        if !laps.lap() {
            break;
        }
    }
    there.store(END, Ordering::Release);
    laps.summary()
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
