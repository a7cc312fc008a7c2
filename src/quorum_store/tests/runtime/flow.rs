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
    // So few frames may do that all of them arrive.
    let counts = (0..10).find_map(|_| {
        spread(&mut town, 10);
        town.wait_for_commits("every commit");
        town.check_rest("rest");
        Some(town.committee.network().counts()).filter(|counts| counts.lost > 0)
    });
    println!("{counts:?}");
    assert!(counts.is_some(), "nothing was lost: {:?}", town.committee.network().counts());
    town.shut_down();
}

/// As a node starts it: with its own disks and with BLS signatures.
#[test]
fn a_committee_with_real_signatures_proves_and_commits() {
    let (directory, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let committee_config = CommitteeConfig {
        validators: 4,
        directory: directory.path().to_owned(),
        disk_bytes: 64 << 20,
        seed: 1,
        faults: NetworkFaults::default(),
        validator: config(),
    };
    let ledger = std::sync::Arc::new(Ledger::default());
    let executor = std::sync::Arc::clone(&ledger) as std::sync::Arc<dyn BlockExecutor>;
    let committee =
        Committee::start(committee_config, executor, &std::collections::HashMap::new(), runtime.handle())
            .unwrap();
    let submit =
        |place: usize| committee.validators()[place].submit(real_txn(place as u64, 0, 1).bytes).unwrap();
    let hashes: Vec<TxnHash> = (0..4).map(submit).collect();
    let done = || {
        let all = hashes.iter().zip(committee.validators());
        all.clone().all(|(hash, one)| matches!(one.status(hash), Some(TxnStatus::Committed { .. })))
    };
    eventually("every commit", done, || format!("{:#?}", committee.validators()[0].counters()));
    let proofs: u64 = committee.validators().iter().map(|one| one.counters().proofs).sum();
    assert_eq!((proofs, ledger.books.lock().effects.len()), (4, 4));
    let reports = runtime.block_on(committee.shutdown(secs(30)));
    assert!(reports.iter().all(ShutdownReport::is_closed), "{reports:?}");
}
