//! The ring against a queue, and against hostile words.
//!
//! What would break without them: a wrong index rule shows only after wrap-around, re-attachment or damage, which normal
//! use never reaches. Negative control of the property: `a_ring_that_forgets_its_capacity_differs_from_the_queue`. Of the
//! scribble: `a_write_past_the_ring_is_seen_by_the_canaries`.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{SharedRing, cell, number_of};
use phalanx_ipc::{Full, Inbox, InboxLayout, Outlet, Producer, Region, RingError, WakeCause};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    Publish,
    Pop,
    Release,
    RequestSpace,
    ReplaceProducer,
    ReplaceConsumer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Push),
        4 => Just(Step::Publish),
        8 => Just(Step::Pop),
        4 => Just(Step::Release),
        1 => Just(Step::RequestSpace),
        1 => Just(Step::ReplaceProducer),
        1 => Just(Step::ReplaceConsumer),
    ]
}

/// The oracle: everything from the oldest unreleased cell on, and how much of it is popped and published.
#[derive(Default)]
struct Model {
    queue: VecDeque<u64>,
    popped: usize,
    published: usize,
    next: u64,
    /// Cells released so far.
    released: u64,
    /// The position for which the producer wants room.
    wanted: Option<u64>,
    answered: Option<u64>,
}

/// Plays the steps on both and compares after each. `capacity` is the model's; the ring may be given another.
fn play(ring: &SharedRing, capacity: usize, start: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    ring.words()[0].store(start, Ordering::Relaxed);
    ring.words()[16].store(start, Ordering::Relaxed);
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Push => {
                let expected = if model.queue.len() < capacity { Ok(()) } else { Err(Full) };
                prop_assert_eq!(producer.try_push(cell(model.next)), expected);
                if expected.is_ok() {
                    model.queue.push_back(model.next);
                    model.next += 1;
                }
            }
            Step::Publish => {
                prop_assert_eq!(producer.publish(), model.published < model.queue.len());
                model.published = model.queue.len();
            }
            Step::Pop => {
                let expected = (model.popped < model.published).then(|| model.queue[model.popped]);
                let found = consumer.pop().unwrap();
                prop_assert_eq!(found, expected.map(cell));
                model.popped += usize::from(expected.is_some());
            }
            Step::Release => {
                model.queue.drain(..model.popped);
                model.published -= model.popped;
                model.released += model.popped as u64;
                model.popped = 0;
                // A request for a cell that was pushed and released long since is void.
                let room = |wanted: u64| (model.released..model.released + capacity as u64).contains(&wanted);
                let due = model.wanted.filter(|&wanted| model.answered != Some(wanted) && room(wanted));
                prop_assert_eq!(consumer.release(), due.is_some());
                model.answered = due.or(model.answered);
            }
            Step::RequestSpace => {
                let full = model.queue.len() == capacity;
                prop_assert_eq!(producer.request_space(), !full);
                model.published = model.queue.len();
                model.wanted = full.then_some(model.released + capacity as u64);
            }
            Step::ReplaceProducer => {
                producer = ring.producer();
                model.queue.truncate(model.published);
                model.wanted = None;
            }
            Step::ReplaceConsumer => {
                consumer = ring.consumer();
                model.popped = 0;
                model.answered = None;
            }
        }
        prop_assert_eq!(consumer.pending().unwrap(), (model.published - model.popped) as u64);
    }
    prop_assert!(ring.canaries_are_intact());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_ring_behaves_like_a_queue_over_replaced_ends_and_index_wrap(
        power in 1_u32..5,
        before_wrap in 0_u64..40,
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let capacity = 1 << power;
        // Some cases start just below the end of u64.
        let start = if before_wrap < 20 { before_wrap } else { u64::MAX - before_wrap };
        play(&SharedRing::new(capacity), capacity, start, &steps)?;
    }
}

#[test]
fn a_ring_that_forgets_its_capacity_differs_from_the_queue() {
    let fill = [Step::Push; 8];
    assert!(play(&SharedRing::new(8), 8, 0, &fill).is_ok());
    assert!(play(&SharedRing::new(8), 4, 0, &fill).is_err());
}

#[test]
fn an_impossible_capacity_is_refused() {
    let ring = SharedRing::new(8);
    for capacity in [0, 1, 3, 12, usize::MAX] {
        // SAFETY: the capacity is refused before any cell is touched.
        let refused = unsafe { Producer::attach(ring.header(), ring.cells(), capacity) };
        assert_eq!(refused.unwrap_err(), RingError::BadCapacity { capacity });
    }
}

#[test]
fn a_damaged_index_is_reported_and_repaired_by_the_next_generation() {
    let ring = SharedRing::new(8);
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    producer.try_push(cell(1)).unwrap();
    producer.publish();
    ring.words()[0].store(1 << 40, Ordering::Relaxed);
    assert_eq!(consumer.pop(), Err(RingError::Corrupt { head: 0, tail: 1 << 40, capacity: 8 }));
    let mut successor = ring.producer();
    assert_eq!(consumer.pop(), Ok(None), "the successor made its index equal the head");
    successor.try_push(cell(2)).unwrap();
    successor.publish();
    assert_eq!(consumer.pop(), Ok(Some(cell(2))));
    assert!(!consumer.release());

    ring.words()[16].store(1 << 50, Ordering::Relaxed);
    assert!(successor.check().is_err());
    let mut successor_reader = ring.consumer();
    assert!(successor.check().is_ok());
    assert_eq!(successor_reader.pop(), Ok(None));
}

#[test]
fn a_scribble_on_the_own_index_lasts_until_the_next_publication_only() {
    let ring = SharedRing::new(8);
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    ring.words()[0].store(7, Ordering::Relaxed);
    producer.try_push(cell(1)).unwrap();
    producer.publish();
    assert_eq!(consumer.pop(), Ok(Some(cell(1))));
    assert_eq!(consumer.pop(), Ok(None));
}

/// A small generator: the seed is printed by the assertion that fails.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn random_words_in_header_and_cells_never_panic_hang_or_lead_out_of_the_ring() {
    for seed in 1..=4_u64 {
        let ring = SharedRing::new(16);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = seed;
                while !over.load(Ordering::Relaxed) {
                    let at = next_random(&mut state) as usize % ring.words().len();
                    let at = if next_random(&mut state).is_multiple_of(2) { at } else { at % 48 };
                    let near =
                        ring.words()[0].load(Ordering::Relaxed).wrapping_add(next_random(&mut state) % 40);
                    let word = if next_random(&mut state).is_multiple_of(2) {
                        near
                    } else {
                        next_random(&mut state)
                    };
                    ring.words()[at].store(word, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                for number in 0..100_000 {
                    let mut producer = ring.producer();
                    for _ in 0..number % 20 {
                        let _ = producer.try_push(cell(number));
                    }
                    producer.publish();
                    assert!(producer.free() <= 16, "seed {seed}");
                    producer.request_space();
                }
            });
            for _ in 0..100_000 {
                let mut consumer = ring.consumer();
                for _ in 0..20 {
                    let _ = consumer.pop();
                }
                assert!(consumer.pending().unwrap_or(0) <= 16, "seed {seed}");
                consumer.release();
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(ring.canaries_are_intact(), "seed {seed}");
    }
}

#[test]
fn a_write_past_the_ring_is_seen_by_the_canaries() {
    let ring = SharedRing::new(64);
    let past = ring.words().as_ptr().wrapping_add(4096 * 2 / 8).cast::<u8>().cast_mut();
    // SAFETY: the byte lies in the canary page behind the ring (two pages long), inside the mapping.
    unsafe { past.write(0) };
    assert!(!ring.canaries_are_intact());
}

#[test]
fn a_budget_is_shared_among_all_rings_within_bounds() {
    let layout = InboxLayout::for_budget(8, 64 * 1024 * 1024);
    assert_eq!((layout.producers, layout.capacity), (8, 8192));
    assert!(8 * layout.bytes() <= 64 * 1024 * 1024);
    assert_eq!(InboxLayout::for_budget(384, 1).capacity, 16);
    assert_eq!(InboxLayout::for_budget(1, usize::MAX).capacity, 16_384);
    assert_eq!(InboxLayout::for_budget(0, 0).producers, 1);
    for producers in 1..=384 {
        let layout = InboxLayout::for_budget(producers, 256 * 1024 * 1024);
        assert!(InboxLayout::new(producers, layout.capacity).is_ok());
    }
    for (producers, capacity) in [(0, 16), (385, 16), (4, 0), (4, 17), (4, usize::MAX)] {
        assert!(InboxLayout::new(producers, capacity).is_err());
    }
}

fn inbox_of(layout: InboxLayout) -> (Inbox, impl Fn(usize) -> Outlet) {
    let region = Region::create("test-inbox", layout.bytes()).unwrap();
    let writer = region.writer_fd().unwrap();
    let outlet = move |producer| {
        let region = Region::map_writer(writer.try_clone().unwrap()).unwrap();
        Outlet::attach(region, layout, producer).unwrap()
    };
    (Inbox::attach(region, layout).unwrap(), outlet)
}

#[test]
fn a_drain_delivers_every_producer_with_news_in_order_and_tells_who_wanted_room() {
    let (mut inbox, outlet) = inbox_of(InboxLayout::new(300, 16).unwrap());
    let mut outlets: Vec<Outlet> = (0..300).map(outlet).collect();
    for (producer, outlet) in outlets.iter_mut().enumerate().step_by(3) {
        for turn in 0..16 {
            outlet.try_push(cell((producer * 16 + turn) as u64)).unwrap();
        }
        assert_eq!(outlet.try_push(cell(0)), Err(Full));
        if producer.is_multiple_of(2) {
            assert!(!outlet.request_space());
        } else {
            outlet.publish();
        }
    }
    let mut seen = Vec::new();
    let drained = inbox.drain(|producer, found| seen.push((producer, number_of(found).unwrap())));
    let expected: Vec<_> = (0..300_usize)
        .step_by(3)
        .flat_map(|producer| (0..16).map(move |turn| (producer, (producer * 16 + turn) as u64)))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!((drained.cells, drained.corrupt), (1600, None));
    assert!(drained.freed_for.iter().eq((0..300).step_by(6)));
    assert!(drained.freed_for.contains(6) && !drained.freed_for.contains(3));
    assert_eq!(inbox.drain(|_, _| ()).cells, 0);
    assert!(!inbox.doorbell().has_news());
}

#[test]
fn news_lasts_while_a_ring_delivers_and_is_taken_when_most_with_news_have_nothing() {
    let (mut inbox, outlet) = inbox_of(InboxLayout::new(20, 16).unwrap());
    let mut outlets: Vec<Outlet> = (0..20).map(outlet).collect();
    let push = |outlet: &mut Outlet| {
        outlet.try_push(cell(1)).unwrap();
        outlet.publish();
    };
    outlets.iter_mut().for_each(push);
    assert_eq!(inbox.drain(|_, _| ()).cells, 20);
    assert!(inbox.doorbell().has_news(), "all delivered: all may go on by their indices");
    push(&mut outlets[7]);
    assert_eq!(inbox.drain(|_, _| ()).cells, 1);
    assert!(!inbox.doorbell().has_news(), "one of twenty delivered");
    outlets.iter_mut().take(3).for_each(push);
    assert_eq!(inbox.drain(|_, _| ()).cells, 3);
    push(&mut outlets[2]);
    assert_eq!(inbox.drain(|_, _| ()).cells, 1);
    assert!(inbox.doorbell().has_news(), "three cost next to nothing to look at");
    assert_eq!(inbox.drain(|_, _| ()).cells, 0);
    assert!(!inbox.doorbell().has_news(), "nothing delivered");
}

#[test]
fn a_spin_answers_what_there_is_and_ends_when_there_is_nothing() {
    let (mut inbox, outlet) = inbox_of(InboxLayout::new(2, 16).unwrap());
    let mut outlet = outlet(1);
    assert_eq!(inbox.spin(100, || false), None);
    assert_eq!(inbox.spin(100, || true), Some(WakeCause::Ready));
    let mut turns = 0;
    let third = || {
        turns += 1;
        turns == 3
    };
    assert_eq!(inbox.spin(100, third), Some(WakeCause::Ready));
    // A stream: found at once again and again, however far the looks keep apart by then.
    for number in 0..20 {
        outlet.try_push(cell(number)).unwrap();
        outlet.publish();
        assert_eq!(inbox.spin(1, || false), Some(WakeCause::Rung), "cell {number}");
        assert_eq!(inbox.drain(|_, found| assert_eq!(number_of(found), Some(number))).cells, 1);
    }
    assert_eq!(inbox.spin(1, || false), None);
}

#[test]
fn damaged_rings_are_reported_one_by_one_while_the_others_go_on() {
    let layout = InboxLayout::new(4, 16).unwrap();
    let region = Region::create("test-inbox", layout.bytes()).unwrap();
    let mut scribbler = Region::map_writer(region.writer_fd().unwrap()).unwrap();
    let mut inbox = Inbox::attach(region, layout).unwrap();
    let fd = scribbler.writer_fd().unwrap();
    let mut outlets: Vec<Outlet> = (0..4)
        .map(|p| Outlet::attach(Region::map_writer(fd.try_clone().unwrap()).unwrap(), layout, p).unwrap())
        .collect();
    for outlet in &mut outlets {
        outlet.try_push(cell(9)).unwrap();
        outlet.publish();
    }
    for producer in [1, 2] {
        let tail = 256 + producer * (384 + 16 * 64);
        scribbler.slice_mut::<u64>(tail, 1).unwrap()[0] = u64::MAX / 2;
    }
    let first = inbox.drain(|_, _| ());
    assert_eq!((first.cells, first.corrupt), (2, Some(1)));
    let second = inbox.drain(|_, _| ());
    assert_eq!((second.cells, second.corrupt), (0, Some(2)));
    assert_eq!(inbox.drain_all(|_, _| ()).corrupt, Some(1));
    for producer in [1, 2] {
        outlets[producer] =
            Outlet::attach(Region::map_writer(fd.try_clone().unwrap()).unwrap(), layout, producer).unwrap();
    }
    assert_eq!(inbox.drain_all(|_, _| ()), phalanx_ipc::Drained::default());
}

#[test]
fn a_region_too_small_or_a_producer_too_many_is_refused() {
    let layout = InboxLayout::new(4, 1024).unwrap();
    let small = || Region::create("test-inbox", 4096).unwrap();
    assert!(Inbox::attach(small(), layout).is_err());
    assert!(Outlet::attach(small(), layout, 0).is_err());
    let enough = Region::create("test-inbox", layout.bytes()).unwrap();
    assert!(Outlet::attach(enough, layout, 4).is_err());
    assert!(Inbox::attach(small(), InboxLayout { producers: usize::MAX, capacity: usize::MAX }).is_err());
}
