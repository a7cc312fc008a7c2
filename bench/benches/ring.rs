//! Push and pop of 64-byte cells: in one thread, which is the cost of the instructions, and between two, which adds the
//! way between the cores. `phalanx bench ring` compares them with others, between processes.

use criterion::{BenchmarkId, Criterion, Throughput};
use phalanx_ipc::{CELL_WORDS, Cell, Inbox, InboxLayout, Outlet, Region};
use std::error::Error;
use std::time::{Duration, Instant};

/// Cells of the ring.
const CAPACITY: usize = 16_384;
/// Cells per turn in one thread.
const TURN: u64 = 1024;
/// Turns of waiting before the core is given away: there may be only one.
const SPINS: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("ring_one_thread");
    group.throughput(Throughput::Elements(TURN));
    for chunk in [1, 64] {
        let (mut outlet, mut inbox) = ends()?;
        group.bench_function(BenchmarkId::from_parameter(chunk), |bencher| {
            bencher.iter(|| {
                let mut received = 0;
                for first in (0..TURN).step_by(chunk) {
                    push(&mut outlet, first, first + chunk as u64);
                    inbox.drain(|_, cell| received += cell.0[0]);
                }
                received
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("ring_two_threads");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for chunk in [1, 64] {
        let (mut outlet, mut inbox) = ends()?;
        group.bench_function(BenchmarkId::from_parameter(chunk), |bencher| {
            bencher.iter_custom(|cells| pass(&mut outlet, &mut inbox, cells, chunk));
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn ends() -> Result<(Outlet, Inbox), Box<dyn Error>> {
    let layout = InboxLayout::new(1, CAPACITY)?;
    let region = Region::create("phalanx-bench-ring", layout.bytes())?;
    let other = Region::map_writer(region.writer_fd()?)?;
    Ok((Outlet::attach(other, layout, 0)?, Inbox::attach(region, layout)?))
}

/// Pushes cells until the ring is full, and publishes them at once. The number of the first that was not pushed.
fn push(outlet: &mut Outlet, first: u64, end: u64) -> u64 {
    let pushed = (first..end).find(|&number| outlet.try_push(Cell([number; CELL_WORDS])).is_err());
    outlet.publish();
    pushed.unwrap_or(end)
}

/// Passes so many cells from this thread to another one.
fn pass(outlet: &mut Outlet, inbox: &mut Inbox, cells: u64, chunk: usize) -> Duration {
    let begun = Instant::now();
    let faults = std::thread::scope(|threads| {
        let reader = threads.spawn(move || {
            let (mut received, mut faults, mut spins) = (0, 0_u64, 0);
            while received < cells {
                let drained = inbox.drain(|_, cell| {
                    faults += u64::from(cell.0[0] != received);
                    received += 1;
                });
                wait_if(drained.cells == 0, &mut spins);
            }
            faults
        });
        let (mut next, mut spins) = (0, 0);
        while next < cells {
            let end = cells.min(next + chunk as u64);
            let pushed = push(outlet, next, end);
            wait_if(pushed == next, &mut spins);
            next = pushed;
        }
        reader.join()
    });
    let spent = begun.elapsed();
    assert!(matches!(faults, Ok(0)), "cells out of order: {faults:?}");
    spent
}

fn wait_if(nothing: bool, spins: &mut u32) {
    if !nothing {
        *spins = 0;
    } else if *spins < SPINS {
        *spins += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
