//! Schedules: validators with lossy, slow, reordering and partitioned networks, components that die and come back, validators
//! that lose their memory, hostile messages, readers of the log that are slow and apply steps twice. The reference is the one
//! list of what was ordered and a ledger that counts.
//!
//! What would break: whatever the invariants of the original's analysis name; each violation says its number. The controls are
//! tests here: the fan-out of the original, the patch that was suggested for it, and planted faults are all found. By hand it was
//! tried that a proof manager that starts again and goes on where the store stands in the log, instead of at its first step,
//! breaks invariant 2.
//! PHALANX_SEED chooses the first schedule, PHALANX_SCHEDULES their number.

mod checks;
mod validator;
mod world;

use super::support::*;
use crate::quorum_store::{CommitEntry, Committed, Component, Gate};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use validator::{Part, Validator};
use world::{Delivery, Plant, World};

/// What came of one schedule.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    violations: Vec<String>,
    events: u64,
    /// Components and validators that died.
    deaths: u64,
}

fn run(seed: u64, delivery: Delivery, plant: Plant) -> Ran {
    let mut world = World::new(seed, delivery, plant);
    world.plant_now();
    world.run_until(START.plus(secs(2)));
    world.heal();
    // What was committed has not expired yet: what was missed shows.
    world.run_until(START.plus(millis(2_700)));
    world.pause();
    if world.violations.is_empty() {
        checks::converged(&mut world);
    }
    world.run_until(START.plus(secs(14)));
    world.pause();
    if world.violations.is_empty() {
        checks::converged(&mut world);
        checks::at_rest(&mut world);
    }
    // Time goes on by an empty commit: what has expired goes everywhere.
    let (late, sequence) = (START.plus(secs(40)), world.ordered.len() as u64 + 1);
    let entry = CommitEntry { sequence, timestamp: late, content: Committed::Synced { height: sequence } };
    if world.violations.is_empty() && delivery == Delivery::Cursors {
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
    Ran { violations: world.violations, events: world.events, deaths: world.deaths }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn in_no_schedule_is_an_invariant_broken() {
    let first = number("PHALANX_SEED", any_seed() >> 12);
    let schedules = number("PHALANX_SCHEDULES", 1_000);
    println!("PHALANX_SEED={first} PHALANX_SCHEDULES={schedules}");
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (begun, next) = (Instant::now(), AtomicU64::new(first));
    // Every worker takes the next seed; what a schedule does rests on its seed alone.
    let run_all = || {
        let mut events = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + schedules {
                return events;
            }
            let Ran { violations, events: more, .. } = run(seed, Delivery::Cursors, Plant::Nothing);
            assert!(violations.is_empty(), "PHALANX_SEED={seed} PHALANX_SCHEDULES=1: {violations:#?}");
            events += more;
        }
    };
    let events: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(run_all)).collect();
        running.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let per_second = schedules as f64 / begun.elapsed().as_secs_f64();
    println!("{schedules} schedules, {events} events, {per_second:.0} schedules per second");
}

/// How many of a hundred schedules break an invariant.
fn broken(delivery: Delivery, plant: Plant) -> usize {
    let runs: Vec<Ran> = (1..=100).map(|seed| run(seed, delivery, plant)).collect();
    let broken = runs.iter().filter(|ran| !ran.violations.is_empty());
    let (count, first) =
        (broken.clone().count(), broken.clone().next().and_then(|ran| ran.violations.first()));
    println!("{delivery:?}, {plant:?}: {count} of 100, such as {first:?}");
    if plant == Plant::Nothing {
        // Where nobody dies all ways do: it is not the measure that is at fault.
        let calm = runs.iter().filter(|ran| ran.deaths == 0);
        assert!(calm.clone().count() > 0);
        calm.for_each(|ran| assert!(ran.violations.is_empty(), "without a death: {ran:?}"));
    }
    count
}

#[test]
fn the_fan_out_of_the_original_is_found_out() {
    assert!(broken(Delivery::SequentialSends, Plant::Nothing) > 10);
}

#[test]
fn the_patch_that_logs_and_continues_is_found_out() {
    assert!(broken(Delivery::LogAndContinue, Plant::Nothing) > 10);
}

#[test]
fn planted_faults_are_found() {
    for plant in [Plant::GeneratorSkips, Plant::ManagerSkips, Plant::IdsGoBack, Plant::EndlessBatches] {
        assert!(broken(Delivery::Cursors, plant) > 0, "{plant:?}");
    }
}

#[test]
fn a_seed_gives_the_same_schedule_again() {
    for seed in 0..5 {
        assert_eq!(
            run(seed, Delivery::Cursors, Plant::Nothing),
            run(seed, Delivery::Cursors, Plant::Nothing)
        );
    }
}

/// A reader that is dead, or alive and hung, in each position: nobody else waits for it, what it holds up is refused visibly,
/// and it has everything when it is back.
#[test]
fn one_dead_or_hung_reader_of_commits_in_each_position_holds_nobody_else_up() {
    for (part, reader) in [
        (Part::Generator, Component::BatchGenerator),
        (Part::Proofs, Component::ProofCoordinator),
        (Part::Manager, Component::ProofManager),
    ] {
        for dead in [true, false] {
            let config = Arc::new(world::config());
            let (mut validator, mut out) = (Validator::new(0, 1, &config, START), Vec::new());
            let own = batch(0, 1, 0, START.plus(secs(6)), &[txn(0, 0, 1)]);
            validator.store.persist(&[Arc::new(own.clone())]);
            if dead {
                validator.kill(part);
            }
            let commits = config.lag_limit + 1;
            for sequence in 1..=commits {
                assert_eq!(validator.gate(), Gate::Open, "{reader}, dead: {dead}, before commit {sequence}");
                let batches = if sequence == 1 { vec![own.info] } else { Vec::new() };
                let content = Committed::Block { height: sequence, batches, exceptions: Vec::new() };
                validator.log.append(CommitEntry { sequence, timestamp: START, content }).unwrap();
                validator.catch_up_but(if dead { None } else { Some(part) }, &mut out);
            }
            for (component, applied) in validator.board().iter() {
                assert_eq!(
                    applied,
                    if component == reader { 0 } else { commits },
                    "{component}, dead: {dead}"
                );
            }
            let closed = Gate::Closed { component: reader, lag: commits };
            assert_eq!(validator.gate(), closed);
            validator.start(part, START, &mut out);
            validator.catch_up(usize::MAX, true, Plant::Nothing, &mut out);
            assert_eq!(validator.gate(), Gate::Open);
            assert!(validator.board().iter().all(|(_, applied)| applied == commits));
            assert!(validator.generator.as_ref().unwrap().in_progress().is_empty());
            assert!(!validator.manager.as_ref().unwrap().queue().is_open(own.info.key()));
        }
    }
}
