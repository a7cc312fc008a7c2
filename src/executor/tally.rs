//! What a block changes, counted before anything is changed: room, digest and conserved quantity.

use crate::executor::acceptance::Acceptance;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::{BaseState, Room, StateDigest};
use crate::vm::Vm;
use std::num::NonZero;
use std::ops::Range;
use std::thread::{Builder, scope};

/// How much of the conserved quantity a key holds with a value; see [`crate::vm::Vm::conserved`].
pub(crate) type Conserved = Box<dyn Fn(&[u8], Option<&[u8]>) -> i128 + Send>;

/// Threads that count at most: more wait for the same memory.
const COUNTERS_MAX: usize = 4;

/// One for each thread that may count side by side on this host.
pub(crate) fn counters_of<V: Vm>(vm: &V) -> Vec<Conserved> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let counter = |vm: V| -> Conserved { Box::new(move |key, value| vm.conserved(key, value)) };
    (0..cores.min(COUNTERS_MAX)).map(|_| counter(vm.clone())).collect()
}

/// Fewest changed keys for which another thread is worth its start: several times the 20 us that it takes.
const KEYS_PER_THREAD: usize = 2_048;

/// What changes come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) room: Room,
    pub(super) difference: i128,
    pub(super) changes: StateDigest,
}

impl Tally {
    /// Counts the changed keys of a complete block on as many threads as there are `counters`, if it has so many.
    pub(super) fn of(
        acceptance: &Acceptance,
        memory: (&ArenaWriter, &BaseState),
        counters: &mut [Conserved],
        watch: &Watch<'_>,
    ) -> Tally {
        let Some((own, others)) = counters.split_first_mut() else { return Tally::default() };
        let keys = acceptance.changed();
        let hands = (keys / KEYS_PER_THREAD).clamp(1, others.len() + 1);
        let share = keys.div_ceil(hands);
        scope(|scope| {
            // Threads at work, and runs that no thread could be had for.
            let (mut started, mut left) = (Vec::new(), Vec::new());
            for (hand, counter) in (1..hands).zip(others) {
                let run = share * hand..keys.min(share * (hand + 1));
                let count = {
                    let run = run.clone();
                    move || Tally::of_run(acceptance, run, memory, counter, |_| {}, |_, _| {})
                };
                match Builder::new().name("phx-commit".to_owned()).spawn_scoped(scope, count) {
                    Ok(thread) => started.push((run, thread)),
                    Err(_) => left.push(run),
                }
            }
            let patrol = |place| watch.patrol_at(place);
            let count_here = |run| Tally::of_run(acceptance, run, memory, own, patrol, |_, _| {});
            let mut tally = count_here(0..share.min(keys));
            left.into_iter().for_each(|run| tally.merge(count_here(run)));
            for (run, thread) in started {
                // One that panicked, in the machine's own count of what is conserved, does so again here, where others see it.
                tally.merge(thread.join().unwrap_or_else(|_| count_here(run)));
            }
            tally
        })
    }

    /// Counts a run of the changed keys, and tells `each` about those that hold another value than before.
    pub(super) fn of_run(
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

    fn merge(&mut self, other: Tally) {
        self.room.merge(other.room);
        self.difference = self.difference.wrapping_add(other.difference);
        self.changes.merge(other.changes);
    }
}
