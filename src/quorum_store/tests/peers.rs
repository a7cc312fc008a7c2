//! What peers send, and what is asked of them: scenarios 11, 12, 38, 39, 40 and 45, and peers that mean no good.
//!
//! What would break: a batch that pins memory for ever by its expiration; one that nobody has keeping a block waiting for ever.
//!
//! Control that was run: without the bound on expirations the test of batches of any expiration fails, and invariant 9 in the
//! simulation.

use super::support::*;
use crate::quorum_store::*;
use std::collections::HashSet;

fn receive(filter: TxnFilter, batches: Vec<Batch>) -> (Bench, BatchCoordinator) {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut coordinator = bench.coordinator(filter);
    coordinator.receive(START, ValidatorId(1), batches, &mut bench.out);
    (bench, coordinator)
}

fn reached_generator(bench: &Bench) -> usize {
    bench
        .out
        .iter()
        .filter(|effect| matches!(effect, Effect::Generator(GeneratorNews::RemoteBatch(..))))
        .count()
}

fn good(number: u64) -> Batch {
    batch(1, number, 0, START.plus(secs(60)), &[txn(number, 0, 1)])
}

/// Scenario 11.
#[test]
fn without_a_filter_a_batch_is_kept_signed_and_told_to_the_generator() {
    let (bench, _) = receive(TxnFilter::Off, vec![good(1)]);
    assert_eq!((reached_generator(&bench), bench.store.len()), (1, 1));
    let signed = bench.out.iter().any(|effect| {
        matches!(effect, Effect::Send(ValidatorId(1), Message::Signatures(signed)) if signed[0].info == good(1).info)
    });
    assert!(signed);
}

/// Scenario 12.
#[test]
fn a_filtered_sender_keeps_its_batch_from_the_generator_and_no_other() {
    let deny = TxnFilter::Deny(HashSet::from([address(1)]));
    let (bench, coordinator) = receive(deny, vec![good(1), good(2)]);
    assert_eq!((reached_generator(&bench), bench.store.len()), (1, 1));
    assert_eq!(coordinator.refusals().of(Refusal::Filtered), 1);
}

#[test]
fn a_batch_of_any_size_or_expiration_is_refused_with_its_reason_and_the_good_one_beside_it_is_kept() {
    let (now, txns) = (START, [txn(0, 0, 1)]);
    let with = |expiration: Micros| batch(1, 7, 0, expiration, &txns);
    let many: Vec<PooledTxn> = (0..151).map(|sender| txn(sender, 0, 1)).collect();
    let mut lying = good(8);
    lying.info.txns = 0;
    let mut epoch = good(8);
    epoch.info.epoch = Epoch(2);
    let rubbish = Batch::new(good(8).info, vec![TxnBytes(vec![1, 2, 3].into())]);
    let cases = [
        (with(Micros(0)), Refusal::Expired),
        (with(Micros(1)), Refusal::Expired),
        (with(now.plus(secs(66))), Refusal::ExpirationTooFar),
        (with(Micros(u64::MAX)), Refusal::ExpirationTooFar),
        (batch(1, 7, 0, now.plus(secs(60)), &many), Refusal::TooManyTxns),
        (batch(1, 7, 0, now.plus(secs(60)), &[]), Refusal::Empty),
        (batch(2, 7, 0, now.plus(secs(60)), &txns), Refusal::NotSender),
        (lying, Refusal::WrongDigest),
        (epoch, Refusal::OtherEpoch),
        (rubbish, Refusal::BadTransaction),
    ];
    for (bad, refusal) in cases {
        let (bench, coordinator) = receive(TxnFilter::Off, vec![bad, good(1)]);
        assert_eq!(coordinator.refusals().iter().collect::<Vec<_>>(), [(refusal, 1)]);
        assert_eq!((bench.store.len(), reached_generator(&bench)), (1, 1), "{refusal}");
    }
    for (bad, refusal) in [
        (Vec::new(), Refusal::Empty),
        ((0..21).map(good).collect(), Refusal::TooManyBatches),
        (
            vec![Batch { info: BatchInfo { txns: u64::MAX, ..good(1).info }, txns: vec![] }; 2],
            Refusal::TooManyTxns,
        ),
        (
            vec![Batch { info: BatchInfo { bytes: u64::MAX, ..good(1).info }, txns: vec![] }; 2],
            Refusal::TooManyBytes,
        ),
    ] {
        let (bench, coordinator) = receive(TxnFilter::Off, bad);
        assert_eq!(coordinator.refusals().iter().collect::<Vec<_>>(), [(refusal, 1)]);
        assert!(bench.store.is_empty() && bench.out.is_empty());
    }
}

/// Two digests under one number, and two expirations of one digest. In the original both got a proof.
#[test]
fn an_author_that_uses_a_number_twice_gets_no_signature_for_the_second_batch() {
    let (mut bench, mut coordinator) = receive(TxnFilter::Off, vec![good(1)]);
    bench.out.clear();
    let other = batch(1, 1, 0, START.plus(secs(60)), &[txn(7, 0, 1)]);
    let longer = batch(1, 1, 0, START.plus(secs(61)), &[txn(1, 0, 1)]);
    coordinator.receive(START, ValidatorId(1), vec![other, longer], &mut bench.out);
    assert!(bench.out.is_empty());
    assert_eq!((coordinator.refusals().of(Refusal::KeyCollision), bench.store.len()), (2, 1));
    // When the first one is gone, its number is nothing that anybody could still prove.
    assert!(bench.store.apply(&commit(1, START.plus(secs(120)), Vec::new())));
    assert!(bench.store.is_empty());
}

#[test]
fn a_replayed_batch_is_signed_again_and_kept_once() {
    let (mut bench, mut coordinator) = receive(TxnFilter::Off, vec![good(1)]);
    coordinator.receive(START, ValidatorId(1), vec![good(1)], &mut bench.out);
    assert_eq!((bench.store.len(), bench.store.held(ValidatorId(1)).0), (1, 1));
    let signatures =
        bench.out.iter().filter(|effect| matches!(effect, Effect::Send(_, Message::Signatures(_))));
    assert_eq!(signatures.count(), 2, "the first one may have been lost");
}

#[test]
fn a_peer_that_sends_too_much_is_cut_off_for_its_second_and_nobody_else() {
    let mut listener = NetworkListener::new(3, 2);
    let frame = Message::Fetch { digest: BatchDigest::default(), epoch: Epoch(1) }.encode().unwrap();
    let mut receive = |now, from| listener.receive(now, ValidatorId(from), &frame).err();
    assert_eq!(
        [receive(START, 1), receive(START, 1), receive(START, 1)],
        [None, None, Some(Refusal::TooFast)]
    );
    assert_eq!(receive(START, 2), None);
    assert_eq!(receive(START.plus(secs(1)), 1), None);
    assert_eq!(receive(START, 3), Some(Refusal::UnknownPeer));
}

fn asked(out: &mut Outbox) -> Vec<u16> {
    let all = std::mem::take(out).into_iter();
    all.filter_map(|effect| match effect {
        Effect::Send(peer, Message::Fetch { .. }) => Some(peer.0),
        _ => None,
    })
    .collect()
}

fn ends(out: &mut Outbox) -> Vec<FetchEnd> {
    let all = std::mem::take(out).into_iter();
    all.filter_map(|effect| match effect {
        Effect::Fetched(_, end) => Some(end),
        _ => None,
    })
    .collect()
}

/// Scenario 38.
#[test]
fn a_batch_that_a_peer_has_is_fetched_kept_and_given_on() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut requester = bench.requester();
    let one = good(1);
    let responders: SignerSet = (0..4).map(ValidatorId).collect();
    requester.request(START, one.info, responders, &mut bench.out);
    requester.request(START, one.info, responders, &mut bench.out);
    let mut peers = asked(&mut bench.out);
    peers.sort_unstable();
    assert_eq!(peers, [1, 2, 3], "each once, oneself not");
    let mut forged = one.clone();
    forged.info.gas_bucket = 1;
    requester.fetched(START, ValidatorId(1), forged, &mut bench.out);
    assert!(ends(&mut bench.out).is_empty());
    requester.fetched(START, ValidatorId(1), one.clone(), &mut bench.out);
    requester.fetched(START, ValidatorId(2), one.clone(), &mut bench.out);
    assert_eq!(ends(&mut bench.out), [FetchEnd::Found(one.clone().into())]);
    assert_eq!(
        (requester.refusals().of(Refusal::NotAsked), bench.store.len(), requester.pending()),
        (1, 1, 0)
    );
    requester.serve(ValidatorId(3), one.info.digest, Epoch(1), &mut bench.out);
    assert!(
        matches!(&bench.out[..], [Effect::Send(ValidatorId(3), Message::Fetched(batch))] if *batch == one)
    );
}

/// Scenario 39.
#[test]
fn a_batch_that_nobody_has_yet_is_asked_for_again_and_given_up_in_the_end() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut requester = bench.requester();
    let (one, mut now, mut attempts) = (good(1), START, 0);
    requester.request(now, one.info, (1..4).map(ValidatorId).collect(), &mut bench.out);
    loop {
        let ended = bench.out.iter().any(|effect| matches!(effect, Effect::Fetched(..)));
        if ended {
            break;
        }
        assert_eq!(asked(&mut bench.out).len(), 3);
        attempts += 1;
        requester.not_found(ValidatorId(1), one.info.digest, Epoch(1), one.info.expiration, &mut bench.out);
        requester.not_found(ValidatorId(1), one.info.digest, Epoch(2), Micros(u64::MAX), &mut bench.out);
        now = now.plus(millis(500));
        requester.tick(now, &mut bench.out);
    }
    assert_eq!((attempts, ends(&mut bench.out)), (10, vec![FetchEnd::Failed(Refusal::NotFound)]));
}

/// Scenario 40.
#[test]
fn a_batch_that_has_expired_everywhere_is_given_up_at_once() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut requester = bench.requester();
    let one = good(1);
    requester.request(START, one.info, (1..4).map(ValidatorId).collect(), &mut bench.out);
    asked(&mut bench.out);
    let after = one.info.expiration.plus(millis(1));
    requester.not_found(ValidatorId(0), one.info.digest, Epoch(1), after, &mut bench.out);
    assert!(ends(&mut bench.out).is_empty(), "who was not asked has no say");
    requester.not_found(ValidatorId(2), one.info.digest, Epoch(1), after, &mut bench.out);
    assert_eq!(ends(&mut bench.out), [FetchEnd::Failed(Refusal::Expired)]);
    // Nobody to ask: the original divided by zero.
    requester.request(START, good(2).info, SignerSet::default(), &mut bench.out);
    requester.request(START, good(2).info, SignerSet::from_iter([ValidatorId(0)]), &mut bench.out);
    assert_eq!(
        ends(&mut bench.out),
        [FetchEnd::Failed(Refusal::NotFound), FetchEnd::Failed(Refusal::NotFound)]
    );
}
