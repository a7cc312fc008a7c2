//! What a block changes, counted before anything is changed: room, digest and conserved quantity.

use crate::executor::acceptance::Acceptance;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::{BaseState, Room, StateDigest};
use crate::vm::Vm;
use phalanx_ipc::{Turns, allow_cores, allowed_cores, nice_now};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, ScopedJoinHandle, park_timeout, scope};
use std::time::{Duration, Instant};

/// How much of the conserved quantity a key holds with a value; see [`crate::vm::Vm::conserved`].
pub(crate) type Conserved = Box<dyn Fn(&[u8], Option<&[u8]>) -> i128 + Send>;

/// Threads that count at most: more wait for the same memory.
const COUNTERS_MAX: usize = 4;
/// Fewest changed keys for which another thread is worth its start: several times the 20 us that it takes.
const KEYS_PER_THREAD: usize = 2_048;
/// Keys that a thread takes at a time, so that all are done at the same time.
const RUN: usize = 512;
/// Between two looks at the shards while other threads are not done.
const PATROL_EVERY: Duration = Duration::from_micros(100);

/// Who counts the changes of a block.
pub(crate) struct Counters {
    own: Conserved,
    /// Of further threads; each has one to itself.
    others: Vec<Conserved>,
    /// Where those may run: shards are quiet meanwhile.
    cores: Vec<usize>,
}

impl Counters {
    /// One for each core that the calling thread may use, [`COUNTERS_MAX`] at most.
    pub(crate) fn of<V: Vm>(vm: &V) -> Counters {
        // Where the kernel does not tell, one thread will do.
        let cores = allowed_cores().unwrap_or_default();
        let counter = || -> Conserved {
            let vm = vm.clone();
            Box::new(move |key, value| vm.conserved(key, value))
        };
        let others = (1..cores.len().min(COUNTERS_MAX)).map(|_| counter()).collect();
        Counters { own: counter(), others, cores }
    }
}

/// What changes come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) room: Room,
    pub(super) difference: i128,
    pub(super) changes: StateDigest,
}

impl Tally {
    /// Counts all changed keys of a complete block, on several threads if they are many.
    pub(super) fn of(
        acceptance: &Acceptance,
        memory: (&ArenaWriter, &BaseState),
        counters: &mut Counters,
        watch: &Watch<'_>,
    ) -> Tally {
        let (keys, next) = (acceptance.changed(), AtomicUsize::new(0));
        let (next, cores, own) = (&next, &counters.cores, &counters.own);
        let take = move || {
            let start = next.fetch_add(RUN, Ordering::Relaxed);
            (start < keys).then(|| start..keys.min(start + RUN))
        };
        scope(|scope| {
            let more = (keys / KEYS_PER_THREAD).saturating_sub(1);
            let threads = counters.others.iter_mut().take(more).map_while(|counter| {
                let count = move || {
                    as_counter(cores);
                    let runs = std::iter::from_fn(take);
                    runs.fold(Tally::default(), |tally, run| {
                        tally.merged(Tally::of_run(acceptance, run, memory, counter, |_| {}, |_, _| {}))
                    })
                };
                // Without the thread the others have more to do.
                Builder::new().name("phx-commit".to_owned()).spawn_scoped(scope, count).ok()
            });
            let threads: Vec<_> = threads.collect();
            let patrol = |place| watch.patrol_at(place);
            let count_here = |run| Tally::of_run(acceptance, run, memory, own, patrol, |_, _| {});
            let mut tally = Tally::default();
            while let Some(run) = take() {
                tally = tally.merged(count_here(run));
            }
            for thread in threads {
                match await_counter(thread, watch) {
                    Some(counted) => tally = tally.merged(counted),
                    // It panicked, in the machine's own count of what is conserved. Here others see it.
                    None => return count_here(0..keys),
                }
            }
            tally
        })
    }

    /// Counts the changed keys of a complete block on this thread, and tells `each` in order which hold another value than before.
    pub(super) fn in_order(
        acceptance: &Acceptance,
        memory: (&ArenaWriter, &BaseState),
        counters: &Counters,
        watch: &Watch<'_>,
        each: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Tally {
        let (all, patrol) = (0..acceptance.changed(), |place| watch.patrol_at(place));
        Tally::of_run(acceptance, all, memory, &counters.own, patrol, each)
    }

    fn of_run(
        acceptance: &Acceptance,
        run: Range<usize>,
        (arena, base): (&ArenaWriter, &BaseState),
        conserved: &Conserved,
        patrol: impl Fn(usize),
        mut each: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Tally {
        let mut tally = Tally::default();
        acceptance.final_values(run, (arena, base), patrol, |key, old, new| {
            if old == new {
                return;
            }
            let gained = conserved(key, new).wrapping_sub(conserved(key, old));
            tally.difference = tally.difference.wrapping_add(gained);
            tally.room.count(key, old, new);
            if new.is_none() && base.is_cache() {
                // What is removed stays, as a key without a value.
                tally.room.count(key, old, Some(&[]));
            }
            if let Some(old) = old {
                tally.changes.remove(key, old);
            }
            if let Some(new) = new {
                tally.changes.insert(key, new);
            }
            each(key, new);
        });
        tally
    }

    fn merged(mut self, other: Tally) -> Tally {
        self.room.merge(other.room);
        self.difference = self.difference.wrapping_add(other.difference);
        self.changes.merge(other.changes);
        self
    }
}

/// The coordinator runs before everybody and beside the shards' cores; who counts for it does not.
fn as_counter(cores: &[usize]) {
    if let Err(error) = (Turns::Fair { nice: nice_now().max(0) }).ask() {
        tracing::debug!(%error, "a counting thread keeps the coordinator's turns");
    }
    if let Err(error) = allow_cores(cores) {
        tracing::debug!(%error, "a counting thread keeps the coordinator's cores");
    }
}

/// Waits for a thread, and looks after the shards meanwhile; `None` if it panicked.
fn await_counter(thread: ScopedJoinHandle<'_, Tally>, watch: &Watch<'_>) -> Option<Tally> {
    while !thread.is_finished() {
        watch.patrol(Instant::now());
        park_timeout(PATROL_EVERY);
    }
    thread.join().ok()
}
