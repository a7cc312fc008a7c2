//! The proof manager and its queue: scenarios 19 to 37.
//!
//! What would break: a committed batch that is proposed again; counts that drift, and with them back pressure for ever; a
//! message with a colliding number that takes the place of an honest batch.
//!
//! Control that was run: with one proof counted too many at each commit, scenarios 28 and 36, the test of back pressure and
//! invariant 5 in the simulation fail.

use super::support::*;
use crate::quorum_store::*;
use std::sync::Arc;

const UNTIL: Micros = Micros(START.0 + 60_000_000);

fn all() -> PullRequest {
    PullRequest {
        max_txns: 1_000,
        max_bytes: 1 << 20,
        max_unique: 1_000,
        soft_max_unique: 1_000,
        return_non_full: true,
        block_time: START,
        ..PullRequest::default()
    }
}

/// A batch of one transaction.
fn one(author: u16, number: u64, bucket: u64) -> (BatchInfo, Arc<[TxnSummary]>) {
    let txns = [txn(u64::from(author) * 1_000 + number, 0, bucket)];
    (batch(author, number, bucket, UNTIL, &txns).info, summaries(&txns))
}

fn keys_of(pulled: &Pulled) -> Vec<(u16, u64)> {
    pulled.batches.iter().map(|(info, _)| (info.author.0, info.id.number)).collect()
}

fn hear_proof(manager: &mut ProofManager, info: BatchInfo, out: &mut Outbox) {
    manager.hear(START, QueueNews::Proofs(ValidatorId(1), vec![proof(info, 4)]), out);
}

fn pull(manager: &mut ProofManager) -> Vec<BatchInfo> {
    let request = PayloadRequest { pull: all(), ..PayloadRequest::default() };
    manager.pull(START, Gate::Open, &request).unwrap().batches()
}

fn manager() -> (Bench, ProofManager) {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let manager = bench.manager(START);
    bench.out.clear();
    (bench, manager)
}

/// Scenarios 19 and 20.
#[test]
fn a_pull_returns_the_proof_with_what_it_says_of_its_batch() {
    let (mut bench, mut manager) = manager();
    let (info, _) = one(1, 1, 300);
    hear_proof(&mut manager, info, &mut bench.out);
    let request = PayloadRequest { pull: all(), ..PayloadRequest::default() };
    let payload = manager.pull(START, Gate::Open, &request).unwrap();
    assert_eq!((payload.proofs, payload.full), (vec![proof(info, 4)], false));
    assert!(pull(&mut manager) == [info], "nothing is reserved");
    let none =
        PayloadRequest { pull: PullRequest { return_non_full: false, ..all() }, ..PayloadRequest::default() };
    assert!(manager.pull(START, Gate::Open, &none).unwrap().is_empty(), "it is not full");
}

/// Scenario 21.
#[test]
fn time_that_commits_bring_hides_what_has_expired() {
    let (mut bench, mut manager) = manager();
    hear_proof(&mut manager, one(1, 1, 0).0, &mut bench.out);
    assert!(manager.apply(&commit(1, UNTIL.minus(millis(1)), vec![]), &mut bench.out));
    assert_eq!(pull(&mut manager).len(), 1);
    assert!(manager.apply(&commit(2, UNTIL, vec![]), &mut bench.out));
    assert!(pull(&mut manager).is_empty() && manager.queue().is_empty());
}

/// Scenario 22, and 25: whatever comes again, before or after commit and expiration.
#[test]
fn a_committed_batch_is_never_pulled_again_whatever_comes_late() {
    let (mut bench, mut manager) = manager();
    let (info, txns) = one(1, 1, 0);
    for round in 0..2 {
        hear_proof(&mut manager, info, &mut bench.out);
        assert_eq!(pull(&mut manager).len(), 1 - round);
        manager.apply(&commit(1, START, vec![info]), &mut bench.out);
        manager.hear(START, QueueNews::Batches(vec![(info, Arc::clone(&txns))]), &mut bench.out);
        assert!(pull(&mut manager).is_empty());
    }
    assert_eq!(manager.refusals().of(Refusal::TooLate), 3);
    manager.apply(&commit(2, UNTIL, vec![]), &mut bench.out);
    assert!(manager.queue().is_empty());
    hear_proof(&mut manager, info, &mut bench.out);
    assert_eq!((manager.refusals().of(Refusal::Expired), manager.queue().len()), (1, 0));
}

/// Scenario 26.
#[test]
fn the_same_proof_twice_is_one_until_it_expires() {
    let (mut bench, mut manager) = manager();
    let (info, _) = one(1, 1, 0);
    for _ in 0..2 {
        hear_proof(&mut manager, info, &mut bench.out);
    }
    assert_eq!((pull(&mut manager).len(), manager.queue().remaining_proofs()), (1, 1));
    assert_eq!(manager.refusals().of(Refusal::Known), 1);
    // By the clock alone, while nothing is committed.
    manager.tick(UNTIL.plus(secs(5)), &mut bench.out);
    assert_eq!((manager.queue().remaining_proofs(), manager.queue().len()), (0, 0));
}

/// Scenario 23.
#[test]
fn the_highest_bucket_goes_first_then_the_oldest_batch() {
    let mut queue = ProofQueue::new(1);
    for (number, bucket) in [(1, 0), (4, 300), (3, 300), (2, 1_000)] {
        queue.insert_proof(START, proof(one(1, number, bucket).0, 4)).unwrap();
    }
    let mut request = all();
    assert_eq!(keys_of(&queue.pull_proofs(&request)), [(1, 2), (1, 3), (1, 4), (1, 1)]);
    request.max_txns = 2;
    let pulled = queue.pull_proofs(&request);
    assert_eq!((keys_of(&pulled), pulled.full), (vec![(1, 2), (1, 3)], true));
}

/// Scenarios 24 and 27.
#[test]
fn authors_take_turns_and_excluded_batches_and_authors_are_left_out() {
    let mut queue = ProofQueue::new(3);
    for author in 1..3 {
        (0..4).for_each(|number| queue.insert_proof(START, proof(one(author, number, 0).0, 4)).unwrap());
    }
    for most in [2, 4, 6] {
        let pulled = queue.pull_proofs(&PullRequest { max_txns: most, ..all() });
        let of = |author| keys_of(&pulled).iter().filter(|key| key.0 == author).count() as u64;
        assert_eq!((of(1), of(2)), (most / 2, most / 2));
    }
    let mut request = PullRequest { max_txns: 3, ..all() };
    request.exclude.extend((0..3).map(|number| one(1, number, 0).0.key()));
    let pulled = queue.pull_proofs(&request);
    let mut keys = keys_of(&pulled);
    keys.sort_unstable();
    assert_eq!(keys, [(1, 3), (2, 0), (2, 1)]);
    request.exclude_authors.insert(ValidatorId(2));
    assert_eq!(keys_of(&queue.pull_proofs(&request)), [(1, 3)]);
}

fn counts(queue: &ProofQueue) -> (u64, u64) {
    let counts = (queue.remaining_txns(), queue.remaining_proofs());
    assert_eq!(counts, queue.recount());
    counts
}

/// Scenario 28.
#[test]
fn what_remains_is_right_in_any_order_of_batch_proof_commit_and_expiration() {
    let mut queue = ProofQueue::new(1);
    let shared = txn(1, 0, 1);
    let make = |number, extra| {
        let txns = [shared.clone(), txn(extra, 0, 1)];
        (batch(1, number, 0, START.plus(secs(number)), &txns).info, summaries(&txns))
    };
    let (first, second) = (make(10, 5), make(20, 6));
    queue.insert_batch(START, first.0, Arc::clone(&first.1)).unwrap();
    assert_eq!(counts(&queue), (0, 0), "no proof");
    queue.insert_proof(START, proof(first.0, 4)).unwrap();
    assert_eq!(counts(&queue), (2, 1));
    queue.insert_proof(START, proof(second.0, 4)).unwrap();
    assert_eq!(counts(&queue), (4, 2), "unknown ones count as distinct");
    queue.insert_batch(START, second.0, Arc::clone(&second.1)).unwrap();
    assert_eq!(counts(&queue), (3, 2), "one is in both");
    queue.mark_committed(&first.0);
    queue.mark_committed(&first.0);
    assert_eq!(counts(&queue), (2, 1));
    assert_eq!(queue.insert_proof(START, proof(first.0, 4)), Err(Refusal::TooLate));
    assert_eq!(queue.insert_batch(START, first.0, first.1), Err(Refusal::TooLate));
    queue.expire(START.plus(secs(20)));
    assert_eq!((counts(&queue), queue.len()), ((0, 0), 0));
}

/// Scenario 29.
#[test]
fn a_pull_counts_each_living_transaction_once_and_not_those_of_blocks_under_way() {
    let mut queue = ProofQueue::new(1);
    let (early, late) = (START.plus(secs(10)), START.plus(secs(100)));
    let txns = [txn_until(1, 0, 1, early), txn_until(2, 0, 1, late), txn_until(3, 0, 1, late)];
    let mut add = |number, txns: &[PooledTxn], expiration| {
        let info = batch(1, number, 0, expiration, txns).info;
        queue.insert_batch(START, info, summaries(txns)).unwrap();
        queue.insert_proof(START, proof(info, 4)).unwrap();
        info
    };
    let (a, b) = (add(1, &txns[..2], START.plus(secs(50))), add(2, &txns[1..], START.plus(secs(70))));
    let mut look = |time: Micros, exclude: &[BatchInfo]| {
        let exclude = exclude.iter().map(BatchInfo::key).collect();
        let pulled = queue.pull_proofs(&PullRequest { block_time: time, exclude, ..all() });
        (pulled.batches.len(), pulled.txns, pulled.unique)
    };
    assert_eq!(look(START, &[]), (2, 4, 3));
    assert_eq!(look(START, &[a]), (1, 2, 1), "the other one is under way");
    assert_eq!(look(START.plus(secs(20)), &[]), (2, 4, 2), "one has expired");
    assert_eq!(look(START.plus(secs(50)), &[]), (1, 2, 2), "a batch has");
    assert_eq!(look(START.plus(secs(50)), &[b]), (0, 0, 0));
}

/// Scenario 30.
#[test]
fn the_batch_that_crosses_the_soft_limit_stays_and_the_hard_one_is_never_crossed() {
    let mut queue = ProofQueue::new(1);
    for number in 0..5 {
        let txns: Vec<PooledTxn> = (0..10).map(|sender| txn(number * 100 + sender, 0, 1)).collect();
        let info = batch(1, number, 0, UNTIL, &txns).info;
        queue.insert_batch(START, info, summaries(&txns)).unwrap();
        queue.insert_proof(START, proof(info, 4)).unwrap();
    }
    for (soft, hard, batches) in [(15, 100, 2), (20, 100, 2), (21, 100, 3), (100, 35, 3), (100, 50, 5)] {
        let pulled = queue.pull_proofs(&PullRequest { soft_max_unique: soft, max_unique: hard, ..all() });
        assert_eq!((pulled.batches.len(), pulled.full), (batches, true), "soft {soft}, hard {hard}");
    }
}

/// Scenario 31.
#[test]
fn a_proof_that_comes_after_its_commit_is_ignored_and_the_queue_ends_empty() {
    let mut queue = ProofQueue::new(1);
    let (info, txns) = one(1, 1, 0);
    queue.mark_committed(&info);
    assert_eq!(queue.insert_proof(START, proof(info, 4)), Err(Refusal::TooLate));
    assert_eq!(queue.insert_batch(START, info, txns), Err(Refusal::TooLate));
    assert_eq!((counts(&queue), queue.pull_proofs(&all()).batches.len()), ((0, 0), 0));
    queue.expire(UNTIL);
    assert!(queue.is_empty());
}

/// Scenario 32.
#[test]
fn a_pull_says_whether_a_limit_ended_it() {
    let mut queue = ProofQueue::new(1);
    let infos: Vec<BatchInfo> = (0..3).map(|number| one(1, number, 0).0).collect();
    infos.iter().for_each(|&info| queue.insert_proof(START, proof(info, 4)).unwrap());
    let bytes = infos[0].bytes;
    for (request, full) in [
        (all(), false),
        (PullRequest { max_txns: 3, ..all() }, true),
        (PullRequest { max_txns: 2, ..all() }, true),
        (PullRequest { max_bytes: bytes * 3 - 1, ..all() }, true),
        (PullRequest { max_bytes: bytes * 3 + 1, ..all() }, false),
    ] {
        assert_eq!(queue.pull_proofs(&request).full, full, "{request:?}");
    }
}

/// Scenarios 33 to 35.
#[test]
fn another_batch_with_the_same_number_is_refused_whichever_came_first() {
    let (first, txns) = one(1, 1, 0);
    let second = BatchInfo { txns: 9, ..first };
    type Add = fn(&mut ProofQueue, BatchInfo, Arc<[TxnSummary]>) -> Result<(), Refusal>;
    let by_proof: Add = |queue, info, _| queue.insert_proof(START, proof(info, 4));
    let by_batch: Add = |queue, info, txns| queue.insert_batch(START, info, txns);
    for (one, other) in
        [(by_batch, by_proof), (by_proof, by_proof), (by_proof, by_batch), (by_batch, by_batch)]
    {
        let mut queue = ProofQueue::new(1);
        one(&mut queue, first, Arc::clone(&txns)).unwrap();
        let before = counts(&queue);
        assert_eq!(other(&mut queue, second, Arc::clone(&txns)), Err(Refusal::KeyCollision));
        assert_eq!(counts(&queue), before);
    }
}

/// Scenario 36.
#[test]
fn a_commit_that_says_another_size_takes_away_what_was_counted() {
    let mut queue = ProofQueue::new(1);
    let (info, _) = one(1, 1, 0);
    queue.insert_proof(START, proof(info, 4)).unwrap();
    queue.mark_committed(&BatchInfo { txns: u64::MAX, expiration: Micros(1), ..info });
    assert_eq!(counts(&queue), (0, 0));
    queue.expire(UNTIL);
    assert!(queue.is_empty(), "it goes by the expiration that is known");
}

/// Scenario 37.
#[test]
fn what_is_sent_again_changes_nothing() {
    let mut queue = ProofQueue::new(1);
    let (info, txns) = one(1, 1, 0);
    for expected in [Ok(()), Err(Refusal::Known)] {
        assert_eq!(queue.insert_batch(START, info, Arc::clone(&txns)), expected);
        assert_eq!(queue.insert_proof(START, proof(info, 4)), expected);
        assert_eq!((counts(&queue), queue.len()), ((1, 1), 1));
    }
}

#[test]
fn proofs_that_prove_nothing_are_refused_with_their_reason() {
    let (mut bench, mut manager) = manager();
    let (info, _) = one(1, 1, 0);
    let good = proof(info, 4);
    let far = BatchInfo { expiration: START.plus(secs(66)), ..info };
    let epoch = BatchInfo { epoch: Epoch(9), ..info };
    for (bad, refusal) in [
        (ProofOfStore { signers: (0..2).map(ValidatorId).collect(), ..good }, Refusal::NoQuorum),
        (ProofOfStore { signers: (0..5).map(ValidatorId).collect(), ..good }, Refusal::UnknownPeer),
        (ProofOfStore { info: BatchInfo { gas_bucket: 5, ..info }, ..good }, Refusal::BadSignature),
        (proof(far, 4), Refusal::ExpirationTooFar),
        (proof(BatchInfo { expiration: Micros(1), ..info }, 4), Refusal::Expired),
        (proof(epoch, 4), Refusal::OtherEpoch),
    ] {
        manager.hear(START, QueueNews::Proofs(ValidatorId(2), vec![bad]), &mut bench.out);
        assert_eq!(manager.refusals().of(refusal), 1, "{refusal}");
    }
    assert!(manager.queue().is_empty());
}

#[test]
fn back_pressure_follows_every_change_and_is_told_once() {
    let mut config = QuorumStoreConfig::default();
    config.back_pressure.backlog_txns = 2;
    config.back_pressure.backlog_proofs_per_validator = 1;
    let mut bench = Bench::new(config, 4);
    let mut manager = bench.manager(START);
    let told = |out: &mut Outbox| {
        let all = std::mem::take(out).into_iter();
        all.map(|effect| match effect {
            Effect::Generator(GeneratorNews::BackPressure(pressure)) => (pressure.txns, pressure.proofs),
            other => panic!("{other:?}"),
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut bench.out), [(false, false)], "a new one says how it is");
    let infos: Vec<BatchInfo> = (0..5).map(|number| one(1, number, 0).0).collect();
    infos.iter().for_each(|&info| hear_proof(&mut manager, info, &mut bench.out));
    assert_eq!(told(&mut bench.out), [(true, false), (true, true)]);
    manager.apply(&commit(1, START, infos[..3].to_vec()), &mut bench.out);
    assert_eq!(told(&mut bench.out), [(false, false)]);
    manager.tick(UNTIL.plus(secs(5)), &mut bench.out);
    assert!(bench.out.is_empty());
}

#[test]
fn a_closed_gate_refuses_pulls_visibly() {
    let (mut bench, mut manager) = manager();
    hear_proof(&mut manager, one(1, 1, 0).0, &mut bench.out);
    let gate = Gate::Closed { component: Component::BatchGenerator, lag: 101 };
    let request = PayloadRequest { pull: all(), ..PayloadRequest::default() };
    assert_eq!(manager.pull(START, gate, &request), Err(gate));
    assert_eq!((manager.gated(), pull(&mut manager).len()), (1, 1));
}

#[test]
fn the_gate_closes_for_the_slowest_component_and_opens_when_it_has_caught_up() {
    let mut board = CursorBoard::default();
    Component::ALL.into_iter().filter(|one| one.has_cursor()).for_each(|one| board.set(one, 50));
    assert_eq!(board.gate(150, 100), Gate::Open);
    board.set(Component::ProofManager, 49);
    assert_eq!(board.gate(150, 100), Gate::Closed { component: Component::ProofManager, lag: 101 });
    board.set(Component::ProofManager, 60);
    assert_eq!(board.gate(150, 100), Gate::Open);
}

/// Batches without a proof go in whole, or by name once they are old enough, if the block has room.
#[test]
fn a_block_with_room_takes_batches_without_a_proof_if_it_may() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let proven = batch(1, 1, 0, UNTIL, &[txn(1, 0, 1)]);
    let plain = batch(2, 2, 0, UNTIL, &[txn(2, 0, 1)]);
    bench.store.persist(&[Arc::new(proven.clone()), Arc::new(plain.clone())]);
    let mut manager = bench.manager(START);
    hear_proof(&mut manager, proven.info, &mut bench.out);
    let mut request = PayloadRequest { pull: all(), ..PayloadRequest::default() };
    let now = START.plus(millis(50));
    assert_eq!(manager.pull(now, Gate::Open, &request).unwrap().batches(), [proven.info]);
    request.inline = Some((100, 200 << 10));
    let payload = manager.pull(now, Gate::Open, &request).unwrap();
    assert_eq!((payload.proofs.len(), payload.inline), (1, vec![Arc::new(plain.clone())]));
    request.optimistic = Some(SignerSet::default());
    let payload = manager.pull(now, Gate::Open, &request).unwrap();
    assert_eq!((payload.optimistic.clone(), payload.inline.len()), (vec![plain.info], 0));
    assert_eq!(manager.pull(START, Gate::Open, &request).unwrap().optimistic, [], "too young");
    request.optimistic = Some(SignerSet::from_iter([ValidatorId(2)]));
    assert!(manager.pull(now, Gate::Open, &request).unwrap().optimistic.is_empty(), "unreliable");
    request.pull.max_txns = 1;
    let payload = manager.pull(now, Gate::Open, &request).unwrap();
    assert!(payload.full && payload.inline.is_empty());
}

#[test]
fn a_manager_that_starts_again_has_the_batches_and_proofs_of_the_store() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let own = batch(1, 1, 0, UNTIL, &[txn(1, 0, 1)]);
    bench.store.persist(&[Arc::new(own.clone())]);
    let mut manager = bench.manager(START);
    hear_proof(&mut manager, own.info, &mut bench.out);
    let mut again = bench.manager(START);
    assert_eq!((pull(&mut again), again.queue().remaining_txns()), (vec![own.info], 1));
    assert!(again.apply(&commit(1, START, vec![own.info]), &mut bench.out));
    assert!(pull(&mut again).is_empty());
}

/// Checking is what proofs cost: a proof coordinator that starts again tells all it has. Control that was run: with the check
/// first, the second proof is refused for its signature.
#[test]
fn a_proof_of_a_batch_that_has_one_or_is_committed_is_refused_unchecked() {
    let (mut bench, mut manager) = manager();
    let (info, _) = one(1, 1, 300);
    let bad = |info| ProofOfStore { signature: Signature([7; SIGNATURE_BYTES]), ..proof(info, 4) };
    let tell = |manager: &mut ProofManager, proof, out: &mut Outbox| {
        manager.hear(START, QueueNews::Proofs(ValidatorId(1), vec![proof]), out);
        [Refusal::BadSignature, Refusal::Known, Refusal::TooLate].map(|one| manager.refusals().of(one))
    };
    assert_eq!(tell(&mut manager, bad(info), &mut bench.out), [1, 0, 0]);
    assert_eq!(tell(&mut manager, proof(info, 4), &mut bench.out), [1, 0, 0]);
    assert_eq!(tell(&mut manager, bad(info), &mut bench.out), [1, 1, 0]);
    assert!(manager.apply(&commit(1, START, vec![info]), &mut bench.out));
    assert_eq!(tell(&mut manager, bad(info), &mut bench.out), [1, 1, 1]);
}
