//! From the mempool to the durable commit, with nothing and with much going wrong in the network.
//!
//! What would break: a transaction that is lost or has an effect twice, logs that differ, a batch in two blocks.
//!
//! Controls that were run: with a proof manager that leaves nothing of what is ordered out of a payload, both tests find a batch in two
//! blocks.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::*;

fn spread(town: &mut Town, rounds: u64) {
    for round in 0..rounds {
        for sender in 0..8 {
            town.submit((sender % 4) as usize, sender * 10, 1 + round % 3);
        }
    }
}

#[test]
fn everything_that_is_submitted_is_committed_once_and_all_logs_agree() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = Town::new(directory.path(), config(), NetworkFaults::default(), 1);
    spread(&mut town, 20);
    town.wait_for_commits("every commit");
    town.check_rest("rest");
    println!("{:?}", town.state()[0]);
    town.shut_down();
}

#[test]
fn frames_that_are_lost_late_doubled_and_out_of_order_lose_no_transaction() {
    let (directory, seed) = (tempfile::tempdir().unwrap(), any_seed());
    println!("seed {seed}");
    let faults = NetworkFaults {
        min_delay: millis(1),
        max_delay: millis(40),
        lost_per_mille: 100,
        doubled_per_mille: 100,
    };
    let mut town = Town::new(directory.path(), config(), faults, seed);
    spread(&mut town, 10);
    town.wait_for_commits("every commit");
    town.check_rest("rest");
    let counts = town.committee.network().counts();
    println!("{counts:?}");
    assert!(counts.lost > 0, "nothing was lost: {counts:?}");
    town.shut_down();
}
