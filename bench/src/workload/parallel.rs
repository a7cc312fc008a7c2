//! Splits a range of independent pieces of work over the available cores.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// Fewest items that are worth a thread.
const ITEMS_PER_THREAD_MIN: usize = 64;

/// The results of `work` on consecutive parts of `0..count`, in order. `work` returns one result per item.
pub(super) fn in_parallel<R: Send>(count: usize, work: impl Fn(Range<usize>) -> Vec<R> + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(count / ITEMS_PER_THREAD_MIN).max(1);
    if threads == 1 {
        return work(0..count);
    }
    let part = count.div_ceil(threads);
    thread::scope(|scope| {
        let work = &work;
        let parts: Vec<_> = (0..count)
            .step_by(part)
            .map(|start| scope.spawn(move || work(start..(start + part).min(count))))
            .collect();
        let mut results = Vec::with_capacity(count);
        for part in parts {
            // A panic of the part is a panic of the whole.
            results.extend(part.join().unwrap_or_else(|payload| resume_unwind(payload)));
        }
        results
    })
}
