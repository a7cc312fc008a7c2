//! The mempool.
//!
//! What would break: a sender's transactions out of order, which would fail; one that is pulled twice; memory without bound.

use super::support::*;
use crate::quorum_store::*;
use std::collections::HashMap;
use std::sync::Arc;

fn mempool(config: MempoolConfig) -> Mempool {
    Mempool::new(config, HashMap::new())
}

fn small() -> MempoolConfig {
    MempoolConfig { capacity: 4, per_sender: 3, ..QuorumStoreConfig::default().mempool }
}

fn pulled(mempool: &Mempool, most: u64, in_progress: &InProgress) -> Vec<(u64, u64)> {
    let pulled = mempool.pull(START, most, u64::MAX, in_progress);
    let sender = |txn: &PooledTxn| u64::from_le_bytes(txn.summary.sender.0[..8].try_into().unwrap());
    pulled.iter().map(|txn| (sender(txn), txn.summary.sequence)).collect()
}

#[test]
fn the_best_paying_go_first_and_each_sender_in_its_order() {
    let mut mempool = mempool(QuorumStoreConfig::default().mempool);
    for (sender, sequence, price) in [(1, 0, 5), (1, 1, 900), (1, 2, 7), (2, 0, 100), (3, 1, 1_000)] {
        mempool.submit(START, txn(sender, sequence, price)).unwrap();
    }
    let nothing = InProgress::default();
    assert_eq!(pulled(&mempool, 10, &nothing), [(2, 0), (1, 0), (1, 1), (1, 2)], "sender 3 lacks its first");
    assert_eq!(pulled(&mempool, 2, &nothing), [(2, 0), (1, 0)]);
    let mut in_progress = InProgress::default();
    in_progress.insert(BatchKey::default(), START, summaries(&[txn(1, 0, 5), txn(3, 0, 1)]));
    assert_eq!(
        pulled(&mempool, 10, &in_progress),
        [(3, 1), (1, 1), (2, 0), (1, 2)],
        "predecessors are in a batch"
    );
}

#[test]
fn what_is_refused_has_its_reason_and_is_counted() {
    let mut mempool = mempool(small());
    mempool.submit(START, txn(1, 0, 5)).unwrap();
    for (refused, refusal) in [
        (txn(1, 0, 5), Refusal::Known),
        (txn(1, 0, 4), Refusal::Underpriced),
        (txn(1, 3, 5), Refusal::SequenceTooFar),
        (txn_until(2, 0, 5, START.minus(secs(1))), Refusal::Expired),
    ] {
        assert_eq!(mempool.submit(START, refused), Err(refusal));
        assert_eq!(mempool.refusals().of(refusal), 1);
    }
    mempool.submit(START, txn(1, 0, 6)).unwrap();
    assert_eq!(mempool.take_departures(), [(txn(1, 0, 5).summary.hash, Departure::Replaced)]);
    (2..5).for_each(|sender| mempool.submit(START, txn(sender, 0, 1)).unwrap());
    assert_eq!(mempool.submit(START, txn(9, 0, 99)), Err(Refusal::MempoolFull));
    assert_eq!(mempool.len(), 4);
}

#[test]
fn a_commit_takes_its_transactions_out_keeps_those_that_came_too_early_and_drops_those_that_came_too_late() {
    let bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut mempool = mempool(QuorumStoreConfig::default().mempool);
    let txns = [txn(1, 0, 5), txn(1, 2, 5), txn(2, 0, 5), txn(3, 0, 5)];
    txns.iter().chain(&[txn(1, 1, 5)]).for_each(|txn| mempool.submit(START, txn.clone()).unwrap());
    let one = batch(1, 1, 0, START.plus(secs(60)), &txns);
    bench.store.persist(&[Arc::new(one.clone())]);
    let exceptions = vec![
        TxnException { hash: txns[1].summary.hash, outcome: TxnOutcome::WithoutEffect { again: true } },
        TxnException { hash: txns[2].summary.hash, outcome: TxnOutcome::WithoutEffect { again: false } },
    ];
    let content = Committed::Block { height: 1, batches: vec![one.info], exceptions };
    let step = CommitStep::Entry(Arc::new(CommitEntry { sequence: 1, timestamp: START, content }));
    assert!(mempool.apply(&step, &bench.store) && !mempool.apply(&step, &bench.store));
    let left = [(1, 1), (1, 2)];
    assert_eq!(pulled(&mempool, 10, &InProgress::default()), left);
    assert_eq!(
        (mempool.next_of(address(1)), mempool.next_of(address(2)), mempool.next_of(address(3))),
        (1, 0, 1)
    );
    assert_eq!(mempool.submit(START, txn(3, 0, 9)), Err(Refusal::SequenceTooOld));
    assert_eq!(mempool.take_departures().len(), 3);
}

/// A batch that was given up and made anew stands behind its sender's next one. Once its transaction was called replaced.
#[test]
fn a_block_with_a_senders_later_transaction_in_an_earlier_batch_has_committed_both() {
    let bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut mempool = mempool(QuorumStoreConfig::default().mempool);
    let (first, second, other) = (txn(1, 0, 5), txn(1, 1, 5), txn(2, 0, 5));
    [&first, &second, &other]
        .map(|one| mempool.submit(START, one.clone()))
        .into_iter()
        .for_each(Result::unwrap);
    let until = START.plus(secs(60));
    let batches = [batch(1, 1, 0, until, &[second, other]), batch(1, 2, 0, until, &[first])];
    bench.store.persist(&batches.clone().map(Arc::new));
    assert!(mempool.apply(&commit(1, START, batches.map(|batch| batch.info).to_vec()), &bench.store));
    let committed = Departure::Committed { height: 1, outcome: TxnOutcome::Success };
    let departures = mempool.take_departures();
    assert_eq!(departures.iter().map(|&(_, departure)| departure).collect::<Vec<_>>(), [committed; 3]);
    assert_eq!((mempool.next_of(address(1)), mempool.len()), (2, 0));
}

#[test]
fn what_waits_too_long_or_expires_leaves_and_says_so() {
    let mut mempool = mempool(QuorumStoreConfig::default().mempool);
    mempool.submit(START, txn_until(1, 0, 1, START.plus(secs(10)))).unwrap();
    mempool.submit(START, txn(2, 0, 1)).unwrap();
    mempool.expire(START.plus(secs(11)));
    assert_eq!(
        mempool.take_departures(),
        [(txn_until(1, 0, 1, START.plus(secs(10))).summary.hash, Departure::Expired)]
    );
    mempool.expire(START.plus(secs(600)));
    assert!(mempool.is_empty());
    assert!(mempool.pull(START, 1, u64::MAX, &InProgress::default()).is_empty());
}
