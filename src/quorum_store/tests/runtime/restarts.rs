//! What a later process finds: the runtime of a committee is dropped in the middle of its work, and the next one goes on.
//!
//! What would break: a block that is executed twice with another end, a staged block that is forgotten, a batch id that comes twice,
//! logs that differ.
//!
//! Controls that were run: with an agreement that is not told of staged blocks, another block takes the place of the staged one, and its
//! test says so; with books that forget the effects of a life, the first test misses what its clients were told.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Ends a committee as the death of its process would: nothing is stopped in order.
fn lose(town: Town) -> (Arc<Ledger>, HashMap<u64, u64>) {
    let Town { runtime, committee, ledger, next, .. } = town;
    runtime.shutdown_timeout(secs(30));
    drop(committee);
    (ledger, next)
}

/// What its validators say of those of the client's transactions that were committed.
fn said(town: &Town) -> Vec<(TxnHash, TxnOutcome)> {
    let status = |&(place, hash): &(usize, TxnHash)| match town.validator(place).status(&hash) {
        Some(TxnStatus::Committed { outcome, .. }) => Some((hash, outcome)),
        _ => None,
    };
    town.submitted.iter().filter_map(status).collect()
}

fn again(directory: &Path, ledger: Arc<Ledger>, seed: u64) -> Town {
    Town::of(4, directory, config(), NetworkFaults::default(), seed, ledger)
}

#[test]
fn a_committee_that_loses_its_process_at_any_moment_goes_on_where_it_was() {
    let (directory, seed) = (tempfile::tempdir().unwrap(), any_seed());
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut town = again(directory.path(), Arc::default(), seed);
    let mut all_logs: BTreeMap<u64, CommittedBlock> = BTreeMap::new();
    let mut ids: BTreeMap<BatchKey, BatchDigest> = BTreeMap::new();
    for life in 0..6 {
        for sender in 0..12 {
            town.submit_late((sender % 4) as usize, sender, random.random_range(1..6));
        }
        std::thread::sleep(millis(random.random_range(0..400)));
        let (said, numbers) = (said(&town), town.numbers.clone());
        let (ledger, _) = lose(town);
        // What was in memory only is lost with it: clients go on where the ledger is.
        town = again(directory.path(), ledger, seed + life);
        let books = town.ledger.books.lock();
        for (hash, outcome) in &said {
            // A batch of the life before may have brought another one with its sequence number.
            let has_effect = !matches!(outcome, TxnOutcome::WithoutEffect { .. });
            let found = books.effects.contains_key(hash);
            assert_eq!(found, has_effect, "seed {seed}: {hash} ended in life {life} with {outcome:?}");
            let (sender, sequence) = numbers[hash];
            assert!(
                books.next[&sender] > sequence,
                "seed {seed}: {hash} of life {life}: nothing took its place"
            );
        }
        town.next = (0..12).filter_map(|sender| Some((sender, *books.next.get(&address(sender))?))).collect();
        drop(books);
        // A staged block may come yet.
        let ordered = town.validator(0).agreement().head();
        let behind = || town.committee.validators().iter().all(|one| one.cursors().head >= ordered);
        eventually("what was staged", behind, || format!("{:#?}", town.state()));
        let books = town.ledger.books.lock();
        town.next = (0..12).filter_map(|sender| Some((sender, *books.next.get(&address(sender))?))).collect();
    }
    town.submit(1, 50, 3);
    town.wait_for_commits("every commit");
    town.check_rest(&format!("seed {seed}"));
    let head = town.validator(2).cursors().head;
    for block in town.runtime.block_on(read_log(town.validator(2).commits_after(0), head)) {
        for info in &block.batches {
            let before = ids.insert(info.key(), info.digest);
            assert!(
                before.is_none_or(|before| before == info.digest),
                "seed {seed}: {} comes twice",
                info.key()
            );
        }
        all_logs.insert(block.height, block);
    }
    let books = town.ledger.books.lock();
    println!("{} blocks, {} executed again, {} batches", all_logs.len(), books.again, ids.len());
    assert_eq!(all_logs.len(), books.blocks.len());
    drop(books);
    town.shut_down();
}

#[test]
fn a_block_that_was_staged_and_not_executed_is_executed_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = again(directory.path(), Arc::default(), 1);
    *town.ledger.refuses.lock() = Some(ExecutorError::Again { height: 1, reason: "not yet".to_owned() });
    town.submit(3, 1, 1);
    let staged = || town.validator(0).counters().executor_retries > 0;
    eventually("a staged block", staged, || format!("{:#?}", town.state()));
    let NextBlock::Ordered(block) = town.validator(0).agreement().next(0) else { panic!("it is ordered") };
    let submitted = town.submitted.clone();
    let (ledger, _) = lose(town);
    assert!(ledger.books.lock().blocks.is_empty());
    *ledger.refuses.lock() = None;
    let town = again(directory.path(), ledger, 2);
    let done = || submitted.iter().all(|(_, hash)| town.ledger.books.lock().effects.contains_key(hash));
    eventually("its execution", done, || format!("{:#?}", town.state()));
    let equal = || town.committee.validators().iter().all(|one| one.cursors().head == 1);
    eventually("its commit", equal, || format!("{:#?}", town.state()));
    // The very block, not another one of the same transactions.
    let log = town.runtime.block_on(read_log(town.validator(2).commits_after(0), 1));
    assert_eq!((log[0].timestamp, &log[0].batches), (block.timestamp, &block.batches));
    town.shut_down();
}

#[test]
fn a_validator_that_lost_its_directory_goes_on_with_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = again(directory.path(), Arc::default(), 1);
    for round in 0..5 {
        town.submit((round % 4) as usize, round, 2);
        town.wait_for_commits("every commit");
    }
    let head = town.validator(0).cursors().head;
    let (ledger, next) = lose(town);
    std::fs::remove_dir_all(directory.path().join("validator-3")).unwrap();
    let mut town = again(directory.path(), ledger, 2);
    town.next = next;
    town.submit(3, 3, 2);
    town.submit(1, 1, 2);
    town.wait_for_commits("every commit");
    let equal = || {
        let heads = town.committee.validators().iter().map(|one| one.cursors());
        heads.clone().all(|one| one.are_equal() && one.head > head)
    };
    eventually("equal cursors", equal, || format!("{:#?}", town.state()));
    town.shut_down();
}

/// Past the quorum store: blocks name batches that only their proposer has.
#[test]
fn the_mempool_feeds_blocks_directly_if_the_quorum_store_is_off() {
    let directory = tempfile::tempdir().unwrap();
    let config = ValidatorConfig { source: PayloadSource::DirectMempool, ..config() };
    let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
    for round in 0..6 {
        for place in 0..4 {
            town.submit(place, place as u64, 1 + round % 3);
        }
    }
    town.wait_for_commits("every commit");
    town.check_rest("rest");
    let counters = town.validator(1).counters();
    assert_eq!(counters.proofs, 0, "{counters:?}");
    assert!(counters.fetches > 0, "{counters:?}");
    town.shut_down();
}
