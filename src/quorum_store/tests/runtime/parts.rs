//! The parts that tasks are made of, each alone: mailboxes, the order of blocks, the order within a block, the network.
//!
//! What would break: bulk that holds control up, one peer that takes all the room, a block that two validators disagree on, turns that
//! nobody gets.
//!
//! Controls that were run: without limits of bulk, without the order by sequence numbers, and with a partition that cuts nothing, the
//! test of each fails.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::pipeline::in_order;
use crate::quorum_store::*;
use parking_lot::Mutex;
use std::sync::Arc;

#[test]
fn control_is_taken_first_and_what_one_peer_sends_takes_no_room_of_another() {
    let limits = MailboxConfig { control: 2, bulk: 3, bulk_bytes: 100 };
    let mailbox: Mailbox<&str> = Mailbox::new(limits, 2);
    let (one, two) = (ValidatorId(0), ValidatorId(1));
    assert_eq!(mailbox.control("early"), Err(Refusal::MailboxClosed));
    assert_eq!(mailbox.bulk(one, "early", 1), Err(Refusal::MailboxClosed));
    mailbox.open();
    for _ in 0..3 {
        mailbox.bulk(one, "bulk of one", 30).unwrap();
    }
    assert_eq!(mailbox.bulk(one, "a fourth", 1), Err(Refusal::MailboxFull));
    mailbox.bulk(two, "longer than all", 1_000).unwrap();
    assert_eq!(mailbox.bulk(two, "over its bytes", 1), Err(Refusal::MailboxFull));
    assert_eq!(mailbox.bulk(ValidatorId(2), "of nobody", 1), Err(Refusal::UnknownPeer));
    mailbox.control("control").unwrap();
    mailbox.control("control").unwrap();
    assert!(!mailbox.is_overrun());
    assert_eq!(mailbox.control("too much"), Err(Refusal::MailboxFull));
    assert!(mailbox.is_overrun());
    let taken = mailbox.take(3);
    assert_eq!(taken, ["control", "control", "bulk of one", "longer than all", "bulk of one"]);
    assert_eq!(mailbox.take(3), ["bulk of one"]);
    let counts = mailbox.counts();
    assert_eq!(counts, MailboxCounts { control_closed: 1, control_full: 1, bulk_closed: 1, bulk_full: 2 });
    mailbox.bulk(one, "left behind", 1).unwrap();
    mailbox.close();
    mailbox.open();
    assert_eq!(mailbox.take(3), Vec::<&str>::new());
    assert!(!mailbox.is_overrun());
}

fn agreement() -> Agreement {
    Agreement::new(Arc::new(RoundRobin::new(4)), 4, 2)
}

fn block(height: u64, timestamp: Micros) -> OrderedBlock {
    OrderedBlock { height, timestamp, batches: Vec::new() }
}

#[test]
fn turns_go_round_a_late_proposal_is_refused_and_nobody_runs_ahead_of_a_quorum() {
    let agreement = agreement();
    agreement.begin();
    let first = agreement.turn().unwrap();
    assert_eq!((first.height, first.proposer), (1, ValidatorId(1)));
    agreement.pass(first);
    agreement.pass(first);
    let second = agreement.turn().unwrap();
    assert_eq!((second.height, second.attempt, second.proposer), (1, 1, ValidatorId(2)));
    assert!(!agreement.propose(first, block(1, START)), "too late");
    assert!(agreement.propose(second, block(1, START)));
    assert!(!agreement.propose(second, block(1, START)), "twice");
    let third = agreement.turn().unwrap();
    assert!(agreement.propose(third, block(2, START)));
    assert_eq!(agreement.turn(), None, "two are ordered and nobody has committed any");
    agreement.committed(ValidatorId(0), 1);
    agreement.committed(ValidatorId(1), 1);
    assert_eq!(agreement.turn(), None, "two of four are no quorum");
    agreement.committed(ValidatorId(3), 1);
    assert_eq!(agreement.turn().map(|turn| turn.height), Some(3));
}

#[test]
fn a_validator_that_is_too_far_behind_is_told_where_to_go_on() {
    let agreement = agreement();
    agreement.begin();
    for height in 1..=2_100 {
        let turn = agreement.turn().unwrap();
        assert!(agreement.propose(turn, block(height, START.plus(secs(height)))));
        (0..3).for_each(|one| agreement.committed(ValidatorId(one), height));
    }
    assert_eq!(agreement.next(0), NextBlock::TooLate(100, START.plus(secs(100))));
    assert_eq!(agreement.under_way(50), None);
    let NextBlock::Ordered(next) = agreement.next(100) else { panic!("it is kept") };
    assert_eq!(next.height, 101);
    assert_eq!(agreement.next(2_100), NextBlock::NotYet);
}

#[test]
fn an_agreement_begins_with_all_that_its_validators_know_and_refuses_what_contradicts() {
    let first = agreement();
    let known =
        |heights: std::ops::Range<u64>| heights.map(|height| (block(height, START), Some(Arc::from([]))));
    first.join(ValidatorId(0), (7, START), known(5..8)).unwrap();
    first.join(ValidatorId(1), (6, START), known(3..7)).unwrap();
    first.join(ValidatorId(2), (7, START), [(block(8, START), None)]).unwrap();
    first.join(ValidatorId(3), (0, Micros(0)), []).unwrap();
    first.begin();
    assert_eq!(first.head(), 8);
    assert_eq!(first.turn(), None, "a quorum has committed 6, and 8 is ordered");
    first.committed(ValidatorId(1), 7);
    assert_eq!(first.turn().map(|turn| turn.height), Some(9));
    assert_eq!(first.next(0), NextBlock::TooLate(2, START));
    assert!(matches!(first.next(6), NextBlock::Ordered(_)));
    assert_eq!((first.exceptions(7).is_some(), first.exceptions(8)), (true, None));

    let second = agreement();
    second.join(ValidatorId(0), (7, START), known(5..8)).unwrap();
    let other = second.join(ValidatorId(2), (6, START), [(block(7, START.plus(secs(1))), None)]);
    assert_eq!(
        other,
        Err(Disagreement { height: 7, first: ValidatorId(0), second: ValidatorId(2) }),
        "another block"
    );
    // What is known of a block is not enough to begin behind a commit that nobody tells of.
    let third = agreement();
    third.join(ValidatorId(0), (9, START), known(5..8)).unwrap();
    third.begin();
    assert_eq!((third.head(), third.next(7)), (9, NextBlock::TooLate(9, START)));
}

#[test]
fn a_sender_s_transactions_keep_their_places_in_a_block_and_stand_there_by_their_numbers() {
    let (late, early) = ([txn(1, 1, 9), txn(2, 0, 9)], [txn(1, 0, 5), txn(2, 0, 9), txn(3, 4, 5)]);
    let batches = [batch(0, 1, 0, START, &late), batch(1, 1, 0, START, &early)].map(Arc::new);
    let order: Vec<TxnHash> = in_order(&batches).iter().map(|txn| txn.summary.hash).collect();
    let expected = [&early[0], &late[1], &late[0], &early[2]].map(|txn| txn.summary.hash);
    assert_eq!(order, expected);
}

#[derive(Debug, Default)]
struct Ears(Mutex<Vec<u8>>);

impl FrameSink for Ears {
    fn deliver(&self, _from: ValidatorId, frame: Arc<[u8]>) {
        self.0.lock().push(frame[0]);
    }
}

#[test]
fn a_network_loses_and_doubles_by_its_seed_and_a_partition_lets_nothing_through() {
    let runtime = runtime();
    let hear = |seed: u64| {
        let faults =
            NetworkFaults { lost_per_mille: 300, doubled_per_mille: 300, ..NetworkFaults::default() };
        let (network, ears) = (LocalNetwork::new(runtime.handle(), seed, faults), Arc::new(Ears::default()));
        network.attach(ValidatorId(1), Arc::clone(&ears) as Arc<dyn FrameSink>);
        let send = |number: u8| network.send(ValidatorId(0), ValidatorId(1), Arc::from([number]));
        (0..200).for_each(send);
        let heard = ears.0.lock().clone();
        network.partition([ValidatorId(1)].into_iter().collect());
        send(0);
        network.send(ValidatorId(0), ValidatorId(2), Arc::from([0]));
        network.send(ValidatorId(0), ValidatorId(1), vec![0; MAX_FRAME_BYTES + 1].into());
        assert_eq!(*ears.0.lock(), heard);
        let counts = network.counts();
        assert_eq!((counts.sent, counts.cut, counts.refused), (203, 1, 2), "{counts:?}");
        assert!(counts.lost > 20 && heard.len() as u64 == counts.delivered, "{counts:?}");
        heard
    };
    assert_eq!(hear(7), hear(7));
    assert_ne!(hear(7), hear(8));
}

#[test]
fn late_frames_come_and_may_overtake_each_other() {
    let runtime = runtime();
    let faults = NetworkFaults { min_delay: millis(1), max_delay: millis(50), ..NetworkFaults::default() };
    let (network, ears) = (LocalNetwork::new(runtime.handle(), 1, faults), Arc::new(Ears::default()));
    network.attach(ValidatorId(1), Arc::clone(&ears) as Arc<dyn FrameSink>);
    (0..50).for_each(|number: u8| network.send(ValidatorId(0), ValidatorId(1), Arc::from([number])));
    eventually("all frames", || ears.0.lock().len() == 50, || format!("{:?}", network.counts()));
    let mut heard = ears.0.lock().clone();
    assert!(!heard.is_sorted(), "{heard:?}");
    heard.sort_unstable();
    assert_eq!(heard, (0..50).collect::<Vec<u8>>());
}
