//! Schedules: validators with lossy, slow, reordering and partitioned networks, components that die and come back, validators
//! that lose their memory, hostile messages, readers of the log that are slow and apply steps twice. The reference is the one
//! list of what was ordered and a ledger that counts.
//!
//! What would break: whatever the invariants of the original's analysis name; each violation says its number. The controls are
//! tests here: the fan-out of the original, the patch that was suggested for it, and planted faults are all found.
//! PHALANX_SEED chooses the first schedule, PHALANX_SCHEDULES their number.

mod checks;
mod validator;
mod world;

use super::support::*;
use crate::quorum_store::{CommitEntry, Committed};
use std::sync::Arc;
use std::time::Instant;
use world::{Delivery, Plant, World};

/// Violations of one schedule, and its events.
fn run(seed: u64, delivery: Delivery, plant: Plant) -> (Vec<String>, u64) {
    let mut world = World::new(seed, delivery, plant);
    world.run_until(START.plus(millis(1_000)));
    world.plant_now();
    world.run_until(START.plus(secs(2)));
    world.heal();
    world.run_until(START.plus(secs(14)));
    if world.violations.is_empty() {
        checks::at_rest(&mut world);
    }
    // Time goes on by an empty commit: what has expired goes everywhere.
    let (late, sequence) = (START.plus(secs(40)), world.ordered.len() as u64 + 1);
    let entry = CommitEntry { sequence, timestamp: late, content: Committed::Synced { height: sequence } };
    if world.violations.is_empty() {
        world.ordered.push(Arc::new(entry.clone()));
        for validator in world.validators.iter_mut().flatten() {
            validator.log.append(entry.clone()).unwrap();
        }
        world.run_until(START.plus(millis(14_500)));
        for validator in world.validators.iter_mut().flatten() {
            validator.tick(late, &mut Vec::new());
        }
        checks::at_the_end(&mut world);
    }
    (world.violations, world.events)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn in_no_schedule_is_an_invariant_broken() {
    let first = number("PHALANX_SEED", any_seed() >> 12);
    let schedules = number("PHALANX_SCHEDULES", 1_000);
    println!("PHALANX_SEED={first} PHALANX_SCHEDULES={schedules}");
    let (begun, mut events) = (Instant::now(), 0);
    for seed in first..first + schedules {
        let (violations, count) = run(seed, Delivery::Cursors, Plant::Nothing);
        assert!(violations.is_empty(), "PHALANX_SEED={seed} PHALANX_SCHEDULES=1: {violations:#?}");
        events += count;
    }
    println!("{schedules} schedules, {events} events in {:?}", begun.elapsed());
}

/// How many of some schedules break an invariant.
fn broken(delivery: Delivery, plant: Plant) -> (usize, Vec<String>) {
    let runs = (1..=100).map(|seed| run(seed, delivery, plant).0).filter(|violations| !violations.is_empty());
    let runs: Vec<Vec<String>> = runs.collect();
    (runs.len(), runs.into_iter().next().unwrap_or_default())
}

#[test]
fn the_fan_out_of_the_original_is_found_out() {
    let (count, first) = broken(Delivery::SequentialSends, Plant::Nothing);
    println!("{count} of 100, such as {first:?}");
    assert!(count > 10);
}

#[test]
fn the_patch_that_logs_and_continues_is_found_out() {
    let (count, first) = broken(Delivery::LogAndContinue, Plant::Nothing);
    println!("{count} of 100, such as {first:?}");
    assert!(count > 10);
}

#[test]
fn planted_faults_are_found() {
    for plant in [Plant::GeneratorSkips, Plant::ManagerSkips, Plant::IdsGoBack, Plant::EndlessBatches] {
        let (count, first) = broken(Delivery::Cursors, plant);
        println!("{plant:?}: {count} of 100, such as {first:?}");
        assert!(count > 10, "{plant:?}: {count}");
    }
}

#[test]
fn a_seed_gives_the_same_schedule_again() {
    for seed in 0..5 {
        assert_eq!(run(seed, Delivery::Cursors, Plant::Nothing), run(seed, Delivery::Cursors, Plant::Nothing));
    }
}
