//! Bytes of messages: scenarios 43 and 44, and frames that no honest peer sends.
//!
//! What would break: a peer that brings a validator down, or has it allocate without bound, with one frame.

use super::support::*;
use crate::quorum_store::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn messages() -> Vec<Message> {
    let one = batch(1, 1, 300, START, &[txn(0, 0, 1), txn(1, 0, 5)]);
    let info = one.info;
    let signed = SignedBatchInfo { info, signer: ValidatorId(2), signature: proof(info, 4).signature };
    vec![
        Message::Batches(vec![one.clone(), batch(1, 2, 0, START, &[])]),
        Message::Signatures(vec![signed; 3]),
        Message::Proofs(vec![proof(info, 4)]),
        Message::Fetch { digest: info.digest, epoch: Epoch(3) },
        Message::Fetched(one),
        Message::NotFound { digest: info.digest, epoch: Epoch(3), committed: START },
    ]
}

#[test]
fn every_message_comes_out_as_it_went_in() {
    for message in messages() {
        assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
    }
}

/// Scenario 43.
#[test]
fn a_digest_holds_for_its_batch_and_for_no_other() {
    let one = batch(1, 1, 0, START, &[txn(0, 0, 1), txn(1, 0, 1)]);
    assert!(one.holds());
    let mut other = one.clone();
    other.txns.swap(0, 1);
    assert!(!other.holds());
    let mut other = one.clone();
    other.info.bytes += 1;
    assert!(!other.holds());
    let mut other = one;
    other.info.author = ValidatorId(2);
    assert!(!other.holds());
}

/// Scenario 44: nothing to pull is an empty payload.
#[test]
fn a_pull_of_nothing_is_an_empty_payload() {
    let mut bench = Bench::new(QuorumStoreConfig::default(), 4);
    let mut manager = bench.manager(START);
    let pull = PullRequest {
        max_txns: 100,
        max_bytes: 1_000,
        max_unique: 100,
        soft_max_unique: 100,
        return_non_full: true,
        ..PullRequest::default()
    };
    let payload = manager.pull(START, Gate::Open, &PayloadRequest { pull, ..PayloadRequest::default() });
    assert!(payload.unwrap().is_empty());
}

#[test]
fn a_frame_that_claims_more_than_it_holds_is_refused() {
    // Batches, 2^31 - 1 of them.
    let frame = [0, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert_eq!(Message::decode(&frame), Err(Refusal::Malformed));
    assert_eq!(Message::decode(&vec![0; MAX_FRAME_BYTES + 1]), Err(Refusal::FrameTooLong));
    let infos = usize::try_from(MAX_INFOS_PER_MESSAGE).unwrap();
    let one = proof(batch(1, 1, 0, START, &[]).info, 4);
    assert!(Message::decode(&Message::Proofs(vec![one; infos]).encode().unwrap()).is_ok());
    assert_eq!(
        Message::decode(&Message::Proofs(vec![one; infos + 1]).encode().unwrap()),
        Err(Refusal::Malformed)
    );
    let long = TxnBytes(vec![0; (64 << 10) + 1].into());
    let batches = Message::Batches(vec![Batch::new(BatchInfo::default(), vec![long])]);
    assert_eq!(Message::decode(&batches.encode().unwrap()), Err(Refusal::Malformed));
}

/// The fuzz target of every decoder: messages with flipped, cut, repeated and random bytes. PHALANX_SEED and PHALANX_FRAMES
/// choose others, and more.
#[test]
fn no_frame_brings_a_validator_down_and_what_decodes_has_one_encoding() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("PHALANX_SEED").unwrap_or_else(any_seed);
    let frames = number("PHALANX_FRAMES").unwrap_or(20_000);
    println!("PHALANX_SEED={seed} PHALANX_FRAMES={frames}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let whole: Vec<Vec<u8>> = messages().iter().map(|message| message.encode().unwrap()).collect();
    let mut listener = NetworkListener::new(4, u64::MAX);
    let (mut decoded, mut refused) = (0, 0);
    for _ in 0..frames {
        let mut frame = whole[random.random_range(0..whole.len())].clone();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..frame.len().max(1));
            match random.random_range(0..5) {
                0 => frame.truncate(at),
                1 => frame.extend_from_slice(&random.next_u64().to_le_bytes()),
                2 => frame.insert(at.min(frame.len()), 0xff),
                _ => {
                    frame.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8))
                }
            }
        }
        match listener.receive(START, ValidatorId(1), &frame) {
            Ok(_) => {
                decoded += 1;
                assert_eq!(Message::decode(&frame).unwrap().encode(), Ok(frame), "PHALANX_SEED={seed}");
            }
            Err(_) => refused += 1,
        }
    }
    println!("{decoded} decoded, {refused} refused");
    assert!(decoded > 0 && refused > 0);
    assert_eq!(listener.refusals().of(Refusal::Malformed), refused);
}
