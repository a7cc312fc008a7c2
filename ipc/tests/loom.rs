//! Model checks of the doorbell and the ring: every interleaving, and every stale value that the memory model allows.
//!
//! What would break without them: a wake-up or a request for room lost once in millions, which no test on real hardware
//! finds. Negative controls, each of which the same model must catch: the fences taken out, a ring before the
//! publication, a plain ring after a ringer died halfway, a cell written after it was published, a claim that is read and
//! written in two steps.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p phalanx-ipc --test loom --release`.

#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

use std::ptr::NonNull;
use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use phalanx_ipc::{
    Cell, CellSpace, Claims, Consumer, Doorbell, Producer, RingHeader, without_doorbell_fences,
    without_ring_fences,
};

const CAPACITY: usize = 2;

/// Explores every schedule with at most this many preemptions: enough for every known lost-wake-up pattern.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

#[derive(Default)]
struct Ring {
    header: RingHeader,
    cells: [CellSpace; CAPACITY],
    consumer_bell: Doorbell,
    producer_bell: Doorbell,
}

impl Ring {
    fn cells(&self) -> NonNull<CellSpace> {
        NonNull::from(&self.cells).cast()
    }

    fn producer(&self) -> Producer {
        // SAFETY: the Arc of every thread keeps the ring alive; each model attaches one producer.
        unsafe { Producer::attach(NonNull::from(&self.header), self.cells(), CAPACITY).unwrap() }
    }

    fn consumer(&self) -> Consumer {
        // SAFETY: as for the producer.
        unsafe { Consumer::attach(NonNull::from(&self.header), self.cells(), CAPACITY).unwrap() }
    }
}

fn cell(number: u64) -> Cell {
    Cell([number, !number, 0, 0, 0, 0, 0, 0])
}

fn assert_whole(cell: Cell, number: u64) {
    assert_eq!((cell.0[0], cell.0[1]), (number, !number), "torn or wrong cell");
}

/// The owner waits for a word that a ringer publishes with `publish_and_ring`.
fn wait_for_word(publish_and_ring: fn(&AtomicU64, &Doorbell)) {
    let shared = Arc::new((AtomicU64::new(0), Doorbell::default()));
    let ringer = Arc::clone(&shared);
    let ringer = thread::spawn(move || publish_and_ring(&ringer.0, &ringer.1));
    while shared.0.load(Ordering::Relaxed) == 0 {
        shared.1.wait(0, None, || shared.0.load(Ordering::Relaxed) != 0);
    }
    ringer.join().unwrap();
}

fn publish_then_ring(word: &AtomicU64, bell: &Doorbell) {
    word.store(1, Ordering::Relaxed);
    bell.ring();
}

#[test]
fn a_published_word_always_wakes_its_sleeper() {
    explore(6, || wait_for_word(publish_then_ring));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_doorbells_fences_the_wake_up_is_lost() {
    without_doorbell_fences(|| explore(4, || wait_for_word(publish_then_ring)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn ringing_before_publishing_loses_the_wake_up() {
    explore(4, || {
        wait_for_word(|word, bell| {
            bell.ring();
            word.store(1, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_ringer_that_dies_halfway_is_made_good_by_a_ring_for_the_dead() {
    explore(4, || {
        wait_for_word(|word, bell| {
            word.store(1, Ordering::Relaxed);
            bell.ring_and_die();
            bell.ring_for_the_dead();
        });
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_ringer_that_dies_halfway_is_not_made_good_by_a_plain_ring() {
    explore(4, || {
        wait_for_word(|word, bell| {
            word.store(1, Ordering::Relaxed);
            bell.ring_and_die();
            bell.ring();
        });
    });
}

/// A producer publishes twice and rings by its news bit; the owner reads only when the bit tells it to.
fn drain_by_news() {
    let shared = Arc::new(([AtomicU64::new(0), AtomicU64::new(0)], Doorbell::default()));
    let ringer = Arc::clone(&shared);
    let ringer = thread::spawn(move || {
        for number in 1..=2 {
            ringer.0[0].store(number, Ordering::Relaxed);
            ringer.1.ring_from(0);
        }
    });
    let mut seen = 0;
    while seen < 2 {
        shared.1.wait(0, None, || false);
        if shared.1.take_news(0) & 1 == 1 {
            seen = shared.0[0].load(Ordering::Relaxed);
        }
    }
    ringer.join().unwrap();
}

#[test]
fn a_producer_with_news_is_never_passed_over() {
    explore(4, drain_by_news);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_doorbells_fences_a_producer_with_news_is_passed_over() {
    without_doorbell_fences(|| explore(4, drain_by_news));
}

/// As before, but the owner leaves the bit set while there is more, and takes it when there is nothing left; whether it
/// looks once more after that is the question.
fn drain_by_lasting_news(looks_again: bool) {
    let shared = Arc::new(([AtomicU64::new(0), AtomicU64::new(0)], Doorbell::default()));
    let ringer = Arc::clone(&shared);
    let ringer = thread::spawn(move || {
        for number in 1..=2 {
            ringer.0[0].store(number, Ordering::Relaxed);
            ringer.1.ring_from(0);
        }
    });
    let mut seen = 0;
    while seen < 2 {
        shared.1.wait(0, None, || false);
        if shared.1.look_at_news(0) & 1 == 1 {
            let found = shared.0[0].load(Ordering::Relaxed);
            if found == seen && shared.1.take_news(0) & 1 == 1 && looks_again {
                seen = shared.0[0].load(Ordering::Relaxed);
            } else {
                seen = found;
            }
        }
    }
    ringer.join().unwrap();
}

#[test]
fn a_producer_whose_news_lasts_is_never_passed_over() {
    explore(4, || drain_by_lasting_news(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_takes_lasting_news_without_looking_again_passes_a_producer_over() {
    explore(4, || drain_by_lasting_news(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_doorbells_fences_a_producer_whose_news_lasts_is_passed_over() {
    without_doorbell_fences(|| explore(4, || drain_by_lasting_news(true)));
}

/// The producer sends `count` cells through a ring of two and sleeps whenever it is full; the consumer sleeps whenever
/// it is empty.
fn pass_cells(count: u64) {
    let ring = Arc::new(Ring::default());
    let mine = Arc::clone(&ring);
    let sender = thread::spawn(move || {
        let mut producer = mine.producer();
        for number in 1..=count {
            while producer.try_push(cell(number)).is_err() {
                if producer.publish() {
                    mine.consumer_bell.ring();
                }
                if !producer.request_space() {
                    mine.producer_bell.wait(0, None, || producer.free() > 0);
                }
            }
        }
        producer.publish();
        mine.consumer_bell.ring();
    });
    let mut consumer = ring.consumer();
    let mut next = 1;
    while next <= count {
        match consumer.pop().unwrap() {
            Some(cell) => {
                assert_whole(cell, next);
                next += 1;
                if consumer.release() {
                    ring.producer_bell.ring();
                }
            }
            None => {
                ring.consumer_bell.wait(0, None, || consumer.pending().unwrap() > 0);
            }
        }
    }
    sender.join().unwrap();
}

#[test]
fn a_request_for_room_is_never_lost() {
    explore(3, || pass_cells(5));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_rings_fences_a_request_for_room_is_lost() {
    without_ring_fences(|| explore(3, || pass_cells(5)));
}

/// The consumer looks at any moment, also over the reuse of a cell; what it sees must be whole and in order.
fn look_at_any_moment(push: fn(&mut Producer, Cell)) {
    let ring = Arc::new(Ring::default());
    let mine = Arc::clone(&ring);
    let sender = thread::spawn(move || {
        let mut producer = mine.producer();
        for number in 1..=3 {
            while producer.free() == 0 {
                thread::yield_now();
            }
            push(&mut producer, cell(number));
        }
    });
    let mut consumer = ring.consumer();
    let mut next = 1;
    while next <= 3 {
        match consumer.pop().unwrap() {
            Some(cell) => {
                assert_whole(cell, next);
                next += 1;
                consumer.release();
            }
            None => thread::yield_now(),
        }
    }
    sender.join().unwrap();
}

#[test]
fn published_cells_are_whole() {
    explore(5, || {
        look_at_any_moment(|producer, cell| {
            producer.try_push(cell).unwrap();
            producer.publish();
        });
    });
}

#[test]
#[should_panic(expected = "torn or wrong cell")]
fn cells_written_after_publication_are_seen_torn() {
    explore(5, || look_at_any_moment(|producer, cell| producer.push_after_publishing(cell)));
}

/// An owner and two thieves claim a list to its end; `take` claims one position from one end.
fn claim_all(take: fn(&Claims, &AtomicU64, bool) -> Option<u32>) {
    const POSITIONS: u32 = 3;
    let shared = Arc::new((Claims::default(), AtomicU64::new(u64::from(POSITIONS))));
    shared.0.lay_out(1, POSITIONS);
    let claimant = |front: bool| {
        let shared = Arc::clone(&shared);
        move || std::iter::from_fn(|| take(&shared.0, &shared.1, front)).collect::<Vec<u32>>()
    };
    let thieves = [thread::spawn(claimant(false)), thread::spawn(claimant(false))];
    let mut claimed = claimant(true)();
    for thief in thieves {
        claimed.extend(thief.join().unwrap());
    }
    claimed.sort_unstable();
    assert!(claimed.into_iter().eq(0..POSITIONS), "claimed twice or by nobody");
}

#[test]
fn every_position_is_claimed_once() {
    explore(3, || {
        claim_all(|claims, _, front| {
            let taken = if front { claims.take_front(1, 1) } else { claims.take_back(1, 1) };
            taken.map(|taken| taken.start)
        });
    });
}

/// Negative control: the same list as a count that is read and written in two steps.
#[test]
#[should_panic(expected = "claimed twice")]
fn a_claim_in_two_steps_is_claimed_twice() {
    explore(3, || {
        claim_all(|_, left, _| {
            let last = left.load(Ordering::Relaxed).checked_sub(1)?;
            left.store(last, Ordering::Relaxed);
            u32::try_from(last).ok()
        });
    });
}
