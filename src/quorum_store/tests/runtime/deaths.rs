//! Every component dies at every step of its work; the end is as if none had.
//!
//! What would break: an effect that is done twice or never when its doer dies in between, state that a panic leaves half done,
//! transactions that stay excluded. PHALANX_SEED chooses the schedule of the chaos, PHALANX_CHAOS_SECONDS its length.
//!
//! Controls that were run: without restarts the second test fails; with a proof manager that does not see the batches of every third
//! commit, and with one that leaves nothing of what is ordered out of a payload, the chaos finds a batch in two blocks.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

#[test]
fn whoever_panics_at_whichever_step_nothing_is_lost_and_nothing_done_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config();
    config.quorum_store.batch_expiry = secs(4);
    config.quorum_store.clock_skew = millis(100);
    config.quorum_store.expiration_buffer = millis(100);
    // A batch whose signatures died with their collector is given up, and its transactions are in another one.
    config.quorum_store.proof_timeout = secs(1);
    let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
    let mut sender = 0;
    for step in Step::ALL {
        for when in [When::Before, When::After] {
            // The executing validator, and one that follows.
            for victim in [0, 1] {
                if step == Step::Execute && victim != 0 {
                    continue;
                }
                let trap = std::sync::Arc::clone(&town.traps[victim]);
                trap.arm(step, when, Act::Panic);
                let begun = Instant::now();
                while trap.sprung() == 0 {
                    assert!(begun.elapsed() < secs(60), "nobody comes to {step:?} of {victim}");
                    if step == Step::ReserveIds {
                        // Ids are taken at the first tick of a life.
                        assert!(
                            town.runtime.block_on(town.validator(victim).kill(Component::BatchGenerator))
                        );
                    }
                    sender += 1;
                    town.submit(victim, sender, 1);
                    town.submit(2, 100_000 + sender, 1);
                    std::thread::sleep(millis(30));
                }
                town.wait_for_commits(&format!("every commit after {when:?} {step:?} of {victim}"));
            }
        }
    }
    town.check_rest("rest");
    let panicked = || town.state().iter().map(|(_, _, restarts)| restarts.panicked).sum::<u64>();
    println!("{} panics, {} transactions", panicked(), town.submitted.len());
    // Of 34 those four count as killed that were struck when they panicked.
    eventually("30 panics", || panicked() >= 30, || format!("{:#?}", town.state()));
    town.shut_down();
}

#[test]
fn every_component_that_is_killed_comes_back_and_the_work_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = Town::new(directory.path(), config(), NetworkFaults::default(), 1);
    for component in Component::ALL {
        for victim in 0..4 {
            assert!(town.runtime.block_on(town.validator(victim).kill(component)));
            town.submit(victim, victim as u64, 1);
        }
        town.wait_for_commits(component.name());
        for victim in 0..4 {
            let back = || town.validator(victim).is_alive(component);
            eventually(component.name(), back, || format!("{:#?}", town.state()));
            assert!(town.validator(victim).restarts().of(component) > 0, "{component} of {victim}");
        }
    }
    town.check_rest("rest");
    town.shut_down();
}

/// Kills at random moments in a bad network, under load.
#[test]
fn while_components_die_at_random_and_frames_are_lost_everything_is_committed_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("PHALANX_SEED").unwrap_or_else(any_seed);
    let seconds = number("PHALANX_CHAOS_SECONDS").unwrap_or(4);
    println!("PHALANX_SEED={seed} PHALANX_CHAOS_SECONDS={seconds}");
    let (directory, mut random) = (tempfile::tempdir().unwrap(), ChaCha8Rng::seed_from_u64(seed));
    let faults = NetworkFaults {
        min_delay: millis(0),
        max_delay: millis(20),
        lost_per_mille: 20,
        doubled_per_mille: 20,
    };
    let mut config = config();
    config.quorum_store.batch_expiry = secs(5);
    config.quorum_store.clock_skew = millis(100);
    config.quorum_store.expiration_buffer = secs(1);
    config.quorum_store.proof_timeout = secs(1);
    let mut town = Town::new(directory.path(), config, faults, seed);
    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < secs(seconds) || kills < 60 {
        kills += 1;
        let (victim, part) = (random.random_range(0..4), random.random_range(0..Component::ALL.len()));
        assert!(town.runtime.block_on(town.validator(victim).kill(Component::ALL[part])));
        let sender = random.random_range(0..40);
        town.submit((sender % 4) as usize, sender, random.random_range(1..8));
        std::thread::sleep(millis(random.random_range(1..40)));
    }
    town.committee.network().set_faults(NetworkFaults::default());
    town.wait_for_commits(&format!("every commit, PHALANX_SEED={seed}"));
    town.check_rest(&format!("PHALANX_SEED={seed}"));
    let restarts: u64 = town.state().iter().map(|(_, _, restarts)| restarts.total()).sum();
    println!("{} transactions, {restarts} restarts, {} blocks", town.submitted.len(), town.state()[0].0.head);
    assert!(restarts > 20, "PHALANX_SEED={seed}: {restarts}");
    town.shut_down();
}
