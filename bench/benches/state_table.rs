//! The base state's table with 100,000 accounts: look-ups that hit and miss, and changes.

mod common;

use common::Transfers;
use criterion::{Criterion, Throughput};
use phalanx::state::{BaseState, Room, StateConfig};
use std::error::Error;
use std::hint::black_box;

/// Keys per turn: enough to leave the near caches.
const KEYS: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let entries = Transfers::new()?.genesis()?;
    let mut state =
        BaseState::with_entries(StateConfig::default(), entries.iter().map(|(key, value)| (key, value)))?;
    let hasher = state.hasher();
    // A stride that is prime to the number of entries visits them in no order that the table knows.
    let all = (0..KEYS).filter_map(|turn| entries.get(turn * 7919 % entries.len()));
    let hits: Vec<(u64, &[u8], &[u8])> =
        all.map(|(key, value)| (hasher.hash(key), key.as_slice(), value.as_slice())).collect();
    let absent: Vec<Vec<u8>> = hits.iter().map(|(_, key, _)| [key, &b"-"[..]].concat()).collect();
    let misses: Vec<(u64, &[u8])> = absent.iter().map(|key| (hasher.hash(key), key.as_slice())).collect();

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("state_table");
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function("get_hit", |bencher| {
        bencher
            .iter(|| hits.iter().filter(|(hash, key, _)| black_box(state.get(*hash, key)).is_some()).count());
    });
    group.bench_function("get_miss", |bencher| {
        bencher
            .iter(|| misses.iter().filter(|(hash, key)| black_box(state.get(*hash, key)).is_some()).count());
    });
    group.bench_function("apply", |bencher| {
        bencher.iter(|| -> Result<(), Box<dyn Error>> {
            let mut room = Room::default();
            for (_, key, value) in &hits {
                room.count(key, Some(value), Some(value));
            }
            state.reserve(room)?;
            for (hash, key, value) in &hits {
                state.put(*hash, key, Some(value))?;
            }
            Ok(())
        });
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}
