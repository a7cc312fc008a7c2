//! A ring end is killed after every single instruction of what it does; the other end and the successor must find order.
//!
//! Each step forks a child, has the kernel execute N instructions of it one by one, and sends a real SIGKILL; N counts up
//! until the child gets to its end. What would break without it: an order of stores that is right only as long as
//! nobody dies between two of them. Negative controls, caught by the same harness: a producer that publishes before it
//! writes, a consumer that releases before it has used what it popped.
//!
//! Kills show program order only; what the memory model allows beyond that is checked in `loom.rs`.

#![cfg(all(not(loom), target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::{Kid, SharedRing, cell, number_of};
use phalanx_ipc::{Consumer, Doorbell, Producer, Region};

/// No section here is longer, by far; more means that the child is stuck.
const INSTRUCTIONS_MAX: usize = 20_000;

/// Forks a child that runs `section`, steps it `count` instructions and kills it. True if it got to its end before.
fn kill_after(count: usize, section: impl FnOnce()) -> bool {
    let mut kid = Kid::fork(|| {
        // SAFETY: plain system calls of the child on itself.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        section();
    });
    assert!(libc::WIFSTOPPED(kid.wait()));
    for _ in 0..count {
        // SAFETY: the child is stopped under this thread's trace.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, kid.pid, 0, 0) };
        assert_eq!(stepped, 0, "{}", std::io::Error::last_os_error());
        let status = kid.wait();
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0);
            return true;
        }
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP, "status {status:#x}");
    }
    kid.kill();
    false
}

/// Kills at 0, 1, 2... instructions until the section ends by itself; `check` gets the world that each kill left.
/// Errors with the first violation; otherwise tells the number of kills.
fn sweep<World>(
    make: impl Fn() -> World,
    section: impl Fn(&World),
    check: impl Fn(&World) -> Result<(), String>,
) -> Result<usize, String> {
    for count in 0..INSTRUCTIONS_MAX {
        let world = make();
        let finished = kill_after(count, || section(&world));
        check(&world).map_err(|broken| format!("after {count} instructions: {broken}"))?;
        if finished {
            return Ok(count);
        }
    }
    Err("the section never ended".to_owned())
}

/// A ring of 4 whose cells are stale from an earlier lap, with cell 10 published; plus a doorbell and a log.
struct World {
    ring: SharedRing,
    shared: Region,
}

impl World {
    fn new(published: u64) -> World {
        let ring = SharedRing::new(4);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for number in 1..=3 {
            producer.try_push(cell(number)).unwrap();
            producer.publish();
            consumer.pop().unwrap().unwrap();
            consumer.release();
        }
        for number in 0..published {
            producer.try_push(cell(10 + number)).unwrap();
        }
        producer.publish();
        World { ring, shared: Region::create("test-log", 4096).unwrap() }
    }

    fn bell(&self) -> &Doorbell {
        // SAFETY: the region is a zeroed page; the doorbell takes its first 256 bytes and nothing else uses them.
        unsafe { self.shared.slice::<u8>(0, 256).unwrap().as_ptr().cast::<Doorbell>().as_ref().unwrap() }
    }

    /// A list in shared memory: its length, then its numbers.
    fn log(&self) -> &[AtomicU64] {
        // SAFETY: the rest of the page is used as atomics only.
        unsafe { std::slice::from_raw_parts(self.shared.slice::<u64>(256, 16).unwrap().as_ptr().cast(), 16) }
    }

    fn note(&self, number: u64) {
        let length = self.log()[0].load(Ordering::Relaxed);
        self.log()[1 + length as usize].store(number, Ordering::Relaxed);
        self.log()[0].store(length + 1, Ordering::Release);
    }

    fn noted(&self) -> Vec<u64> {
        let length = self.log()[0].load(Ordering::Relaxed) as usize;
        self.log()[1..=length].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }
}

/// Pops all there is; errors if a cell is torn or the ring damaged.
fn pop_all(consumer: &mut Consumer) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    while let Some(found) = consumer.pop().map_err(|error| error.to_string())? {
        numbers.push(number_of(&found).ok_or_else(|| format!("torn cell {found:x?}"))?);
    }
    Ok(numbers)
}

/// Publishes cells 11 and 12 together, then 13, ringing each time.
fn publish(world: &World) {
    let mut producer = world.ring.producer();
    for number in [11, 12, 13] {
        if producer.try_push(cell(number)).is_err() {
            return;
        }
        if number != 11 && producer.publish() {
            world.bell().ring_from(70);
        }
    }
}

/// The same with the tail published before the cell is written.
fn publish_in_the_wrong_order(world: &World) {
    let words = world.ring.words();
    for number in [11, 12, 13] {
        let tail = words[0].load(Ordering::Relaxed);
        words[0].store(tail + 1, Ordering::Release);
        for (index, word) in cell(number).0.into_iter().enumerate() {
            words[48 + (tail as usize % 4) * 8 + index].store(word, Ordering::Relaxed);
        }
        world.bell().ring_from(70);
    }
}

fn check_published(world: &World) -> Result<(), String> {
    let mut consumer = world.ring.consumer();
    let seen = pop_all(&mut consumer)?;
    let whole_prefixes: [&[u64]; 3] = [&[10], &[10, 11, 12], &[10, 11, 12, 13]];
    if !whole_prefixes.contains(&seen.as_slice()) {
        return Err(format!("no prefix of what was published: {seen:?}"));
    }
    consumer.release();
    // A successor goes on exactly behind it.
    let mut successor: Producer = world.ring.producer();
    successor.try_push(cell(20)).map_err(|full| full.to_string())?;
    successor.publish();
    match pop_all(&mut consumer)?.as_slice() {
        [20] => Ok(()),
        other => Err(format!("the successor's cell 20 arrived as {other:?}")),
    }
}

#[test]
fn a_producer_killed_at_any_instruction_leaves_a_whole_prefix() {
    let kills = sweep(|| World::new(1), publish, check_published).unwrap();
    assert!(kills > 50, "only {kills} instructions were seen");
}

#[test]
fn a_producer_that_publishes_before_it_writes_is_caught() {
    let broken = sweep(|| World::new(1), publish_in_the_wrong_order, check_published).unwrap_err();
    // The kill between the two stores shows the cell of the lap before, a later one half of the new cell.
    assert!(broken.contains("no prefix") || broken.contains("torn cell"), "{broken}");
}

/// Pops two cells, uses them and releases them; then one more.
fn consume(world: &World) {
    let mut consumer = world.ring.consumer();
    for batch in [2, 1] {
        for _ in 0..batch {
            if let Ok(Some(found)) = consumer.pop() {
                world.note(found.0[0]);
            }
        }
        consumer.release();
    }
}

/// The same with the release before the use.
fn consume_in_the_wrong_order(world: &World) {
    let mut consumer = world.ring.consumer();
    for _ in 0..3 {
        let popped = consumer.pop();
        consumer.release();
        if let Ok(Some(found)) = popped {
            world.note(found.0[0]);
        }
    }
}

fn check_consumed(world: &World) -> Result<(), String> {
    let used = world.noted();
    let mut producer = world.ring.producer();
    let free_before = producer.free();
    let again = pop_all(&mut world.ring.consumer())?;
    if free_before + again.len() as u64 != 4 {
        return Err(format!("{free_before} free cells beside {again:?}"));
    }
    // Each cell was used or is delivered now; used and delivered again is what was not released, two at most.
    let first_again = again.first().copied().unwrap_or(14);
    let twice = used.iter().filter(|number| **number >= first_again).count();
    let used_in_order = used.iter().copied().eq((10..).take(used.len()));
    let again_in_order = again.iter().copied().eq(first_again..14);
    if !used_in_order || !again_in_order || twice > 2 {
        return Err(format!("used {used:?}, delivered again {again:?}"));
    }
    if used.last().map_or(10, |last| last + 1) < first_again {
        return Err(format!("lost a cell: used {used:?}, delivered again {again:?}"));
    }
    Ok(())
}

#[test]
fn a_consumer_killed_at_any_instruction_loses_nothing_and_repeats_only_what_it_had_not_released() {
    let kills = sweep(|| World::new(4), consume, check_consumed).unwrap();
    assert!(kills > 50, "only {kills} instructions were seen");
}

#[test]
fn a_consumer_that_releases_before_it_uses_is_caught() {
    let broken = sweep(|| World::new(4), consume_in_the_wrong_order, check_consumed).unwrap_err();
    assert!(broken.contains("lost a cell"), "{broken}");
}

#[test]
fn a_ringer_killed_at_any_instruction_leaves_no_sleeper_that_a_ring_for_the_dead_cannot_wake() {
    // The owner said that it sleeps (word 1) and would sleep on: after the kill and a ring for the dead the word must say
    // awake, and the news of whatever was published must not be lost for a drain of everything.
    let make = || {
        let world = World::new(1);
        // SAFETY: the doorbell's first word, which is atomic, of a live mapping.
        let word =
            unsafe { std::sync::atomic::AtomicU32::from_ptr((&raw const *world.bell()).cast_mut().cast()) };
        word.store(1, Ordering::Relaxed);
        world
    };
    let check = |world: &World| {
        world.bell().ring_for_the_dead();
        // SAFETY: as above.
        let word =
            unsafe { std::sync::atomic::AtomicU32::from_ptr((&raw const *world.bell()).cast_mut().cast()) };
        match word.load(Ordering::Relaxed) {
            0 => check_published(world),
            other => Err(format!("doorbell word {other}")),
        }
    };
    sweep(make, publish, check).unwrap();
}
