//! Two real processes pass cells through an inbox; one of them is killed.
//!
//! What would break without them: everything that holds between threads but not between address spaces. Every sleep has a
//! limit, and reaching it fails the test: a lost wake-up cannot hide. Negative control: a ringer that does not ring leaves
//! the sleeper to its limit (`nobody_rings_and_the_sleeper_reaches_its_limit`).

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::{Kid, PATIENCE, cell, eventually, number_of};
use phalanx_ipc::{Inbox, InboxLayout, Outlet, ProcessIdentity, Region, WakeCause, cpu_time_of, state_of};

struct Pair {
    inbox: Inbox,
    outlet: Outlet,
    layout: InboxLayout,
    region: OwnedFd,
}

/// Both ends of an inbox of three producers, of which the last is used; a fork gives each process its own.
fn pair(capacity: usize) -> Pair {
    let layout = InboxLayout::new(3, capacity).unwrap();
    let region = Region::create("test-inbox", layout.bytes()).unwrap();
    let fd = region.writer_fd().unwrap();
    let inbox = Inbox::attach(region, layout).unwrap();
    Pair { inbox, outlet: outlet_of(&fd, layout), layout, region: fd }
}

fn outlet_of(region: &OwnedFd, layout: InboxLayout) -> Outlet {
    Outlet::attach(Region::map_writer(region.try_clone().unwrap()).unwrap(), layout, 2).unwrap()
}

fn fail_child(code: i32) -> ! {
    // SAFETY: ends the child.
    unsafe { libc::_exit(code) }
}

/// Sends 0..count, `chunk` cells per publication, and sleeps at `own_bell` while the ring is full.
fn send(outlet: &mut Outlet, own: &Inbox, count: u64, chunk: u64) {
    for number in 0..count {
        while outlet.try_push(cell(number)).is_err() {
            if outlet.request_space() {
                continue;
            }
            if own.doorbell().wait(20, Some(PATIENCE), || outlet.free() > 0) == WakeCause::TimedOut {
                fail_child(7);
            }
        }
        if number % chunk == chunk - 1 {
            outlet.publish();
        }
    }
    outlet.publish();
}

fn pass(count: u64, capacity: usize, chunk: u64) {
    let (mut there, back) = (pair(capacity), pair(16));
    let mut kid = Kid::fork(|| send(&mut there.outlet, &back.inbox, count, chunk));
    let mut next = 0;
    while next < count {
        let drained = there.inbox.drain(|producer, found| {
            assert_eq!((producer, number_of(found)), (2, Some(next)));
            next += 1;
        });
        assert_eq!(drained.corrupt, None);
        if !drained.freed_for.is_empty() {
            assert!(drained.freed_for.iter().eq([2]));
            back.outlet.doorbell().ring();
        }
        if drained.cells == 0 {
            let cause = there.inbox.wait(20, Some(PATIENCE), || false);
            assert_ne!(cause, WakeCause::TimedOut, "a wake-up was lost at cell {next}");
        }
    }
    assert_eq!(kid.wait(), 0);
    assert_eq!(there.inbox.drain_all(|_, _| ()).cells, 0);
}

#[test]
fn a_million_cells_pass_whole_and_in_order() {
    pass(1_000_000, 4096, 16);
}

#[test]
fn two_hundred_thousand_cells_pass_through_a_ring_of_sixteen_whose_ends_sleep() {
    pass(200_000, 16, 1);
}

#[test]
fn a_killed_producer_leaves_a_readable_prefix_and_its_successor_goes_on() {
    for round in 1..=8_u64 {
        let mut there = pair(64);
        let mut kid = Kid::fork(|| {
            for number in 0.. {
                while there.outlet.try_push(cell(number)).is_err() {
                    there.outlet.publish();
                    std::hint::spin_loop();
                }
                if number % 3 == 0 {
                    there.outlet.publish();
                }
            }
        });
        let mut next = 0;
        while next < round * 4_001 {
            there.inbox.drain(|_, found| {
                assert_eq!(number_of(found), Some(next), "round {round}");
                next += 1;
            });
        }
        kid.kill();
        there.inbox.drain_all(|_, found| {
            assert_eq!(number_of(found), Some(next), "after the kill, round {round}");
            next += 1;
        });
        let mut successor = outlet_of(&there.region, there.layout);
        successor.try_push(cell(u64::MAX)).unwrap();
        successor.publish();
        let mut last = None;
        assert_eq!(there.inbox.drain(|_, found| last = number_of(found)).cells, 1);
        assert_eq!(last, Some(u64::MAX));
    }
}

#[test]
fn nobody_rings_and_the_sleeper_reaches_its_limit() {
    let pair = pair(16);
    let cause = pair.inbox.doorbell().wait(10, Some(Duration::from_millis(20)), || false);
    assert_eq!(cause, WakeCause::TimedOut);
    assert_eq!(pair.inbox.doorbell().wait(0, Some(Duration::ZERO), || true), WakeCause::Ready);
}

/// After a drain that delivered something the news bit is still set; a reader that left it so could not sleep.
#[test]
fn a_reader_whose_news_lasted_sleeps_and_is_woken_again() {
    let mut there = pair(16);
    let push = |outlet: &mut Outlet, number| {
        outlet.try_push(cell(number)).unwrap();
        outlet.publish();
    };
    for number in 0..3 {
        push(&mut there.outlet, number);
        assert_eq!(there.inbox.wait(0, Some(PATIENCE), || false), WakeCause::Rung);
        assert_eq!(there.inbox.drain(|_, _| ()).cells, 1);
        assert!(there.inbox.doorbell().has_news(), "the next cell is found by its ring's index");
        let begun = Instant::now();
        assert_eq!(there.inbox.wait(9, Some(Duration::from_millis(20)), || false), WakeCause::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(20) && !there.inbox.doorbell().has_news());
    }
    let mut kid = Kid::fork(|| {
        std::thread::sleep(Duration::from_millis(50));
        push(&mut there.outlet, 7);
    });
    assert_eq!(there.inbox.wait(0, Some(PATIENCE), || false), WakeCause::Rung);
    assert_eq!(there.inbox.drain(|_, _| ()).cells, 1);
    assert_eq!(kid.wait(), 0);
}

#[test]
fn a_sleeper_without_a_limit_uses_no_time_and_wakes_when_rung() {
    let pair = pair(16);
    let mut kid = Kid::fork(|| {
        pair.inbox.doorbell().wait(0, None, || false);
    });
    let look = || (voluntary_switches(kid.pid), cpu_time_of(kid.pid));
    // On its way to sleep it may be held up by the host.
    eventually("the child sleeps", || {
        let before = look();
        std::thread::sleep(Duration::from_millis(20));
        state_of(kid.pid) == Some('S') && before.0.is_some() && look() == before
    });
    let before = look();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(look(), before, "it woke up by itself");
    assert!(ProcessIdentity::of(kid.pid).unwrap().is_alive());
    pair.outlet.doorbell().ring_for_the_dead();
    assert_eq!(kid.wait(), 0);
}

fn voluntary_switches(pid: i32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned)
}
