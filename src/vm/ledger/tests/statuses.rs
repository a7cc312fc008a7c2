//! Each status once, with what it leaves behind.

use super::*;
use crate::types::{AccessMode, PreparedBlock, TxnIndex, number_of};
use crate::vm::ledger::*;
use ed25519_dalek::SigningKey;

const SENDER: u8 = 1;
const FRIEND: u8 = 2;
const BENEFICIARY: u8 = 9;
const STRANGER: u8 = 77;
const FUNDS: u64 = 1_000_000;

fn state() -> State {
    genesis([(address(SENDER), FUNDS), (address(FRIEND), 50)]).unwrap().collect()
}

fn balance(state: &State, tag: u8) -> u128 {
    number_of(state.get(&balance_key(&address(tag))[..]).map(Vec::as_slice)).unwrap()
}

/// Executes on `state`, applies, and checks that the fee was paid exactly if the status says so.
fn execute(state: &mut State, raw: RawTransaction) -> (LedgerStatus, Trace) {
    let sequence = sequence_key(&raw.sender).to_vec();
    let before = state.clone();
    let trace = run(&mut machine(SignatureMode::Skip, address(BENEFICIARY)), state, &encode(raw));
    let status = LedgerStatus::from_code(trace.outcome.0).unwrap();
    assert_eq!(trace.view.refused, 0);
    trace.view.apply(state);
    let bumped = number_of(state.get(&sequence).map(Vec::as_slice))
        > number_of(before.get(&sequence).map(Vec::as_slice));
    assert_eq!(bumped, status.pays(), "{status:?}");
    if !status.pays() {
        assert!(trace.view.has_no_effect() && trace.outcome.1 == 0 && *state == before, "{status:?}");
    }
    (status, trace)
}

fn status_of(state: &mut State, raw: RawTransaction) -> LedgerStatus {
    execute(state, raw).0
}

#[test]
fn a_transfer_moves_the_amount_and_pays_for_its_gas() {
    let mut state = state();
    let (status, trace) = execute(&mut state, transfer(address(SENDER), address(FRIEND), 500));
    assert_eq!(status, LedgerStatus::Success);
    let fee = u128::from(trace.outcome.1);
    assert_eq!(balance(&state, FRIEND), 550);
    assert_eq!(balance(&state, BENEFICIARY), fee);
    assert_eq!(balance(&state, SENDER), u128::from(FUNDS) - 500 - fee);
    assert!(trace.view.events.is_empty());
}

#[test]
fn a_batch_moves_all_amounts_and_says_so() {
    let recipients = vec![(address(FRIEND), 5), (address(SENDER), 6), (address(FRIEND), 7)];
    let mut state = state();
    let (status, trace) = execute(&mut state, raw(address(SENDER), Payload::BatchTransfer { recipients }));
    assert_eq!(status, LedgerStatus::Success);
    assert_eq!(balance(&state, FRIEND), 62);
    let data = [&3_u32.to_le_bytes()[..], &18_u64.to_le_bytes()].concat();
    assert_eq!(trace.view.events, [(EVENT_BATCH_TRANSFERRED, data)]);
}

#[test]
fn a_created_account_exists_with_its_balance() {
    let mut state = state();
    let payload = Payload::CreateAccount { account: address(STRANGER), balance: 33 };
    let (status, trace) = execute(&mut state, raw(address(SENDER), payload));
    assert_eq!(status, LedgerStatus::Success);
    assert_eq!(state.get(&account_key(&address(STRANGER))[..]), Some(&ACCOUNT_RECORD.to_vec()));
    assert_eq!(balance(&state, STRANGER), 33);
    assert_eq!(trace.view.events, [(EVENT_ACCOUNT_CREATED, vec![STRANGER; 32])]);
}

#[test]
fn what_is_refused_without_state_reads_nothing() {
    let plain = transfer(address(SENDER), address(FRIEND), 1);
    let cases = [
        (RawTransaction { chain_id: 8, ..plain.clone() }, LedgerStatus::WrongChain),
        (RawTransaction { expiration_s: NOW_S - 1, ..plain.clone() }, LedgerStatus::Expired),
        (RawTransaction { max_gas: u64::MAX, gas_price: 2, ..plain.clone() }, LedgerStatus::FeeOverflow),
        (RawTransaction { sequence_number: u64::MAX, ..plain }, LedgerStatus::SequenceExhausted),
    ];
    for (raw, expected) in cases {
        let (status, trace) = execute(&mut state(), raw);
        assert_eq!(status, expected);
        assert!(trace.view.reads.is_empty() && trace.view.deltas.is_empty(), "{status:?}");
    }
    let trace = run(&mut machine(SignatureMode::Verify, address(BENEFICIARY)), &state(), b"");
    assert_eq!(trace.outcome, (LedgerStatus::Undecodable.code(), 0));
    assert!(trace.view.reads.is_empty() && trace.view.deltas.is_empty());
}

#[test]
fn only_the_senders_own_signature_over_these_bytes_counts() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let sender = Address(key.verifying_key().to_bytes());
    let state: State = genesis([(sender, FUNDS), (address(FRIEND), 0)]).unwrap().collect();
    let mut vm = machine(SignatureMode::Verify, address(BENEFICIARY));
    let raw = transfer(sender, address(FRIEND), 1);
    let signed = raw.clone().sign(&key).unwrap();
    let good = run(&mut vm, &state, &signed.encode().unwrap());
    assert_eq!(good.outcome.0, LedgerStatus::Success.code());
    let altered = SignedTransaction { raw: transfer(sender, address(FRIEND), 2), ..signed };
    let forged = raw.sign(&SigningKey::from_bytes(&[4; 32])).unwrap();
    let no_point = transfer(address(SENDER), address(FRIEND), 1).sign(&key).unwrap();
    for wrong in [altered, forged, no_point] {
        let trace = run(&mut vm, &state, &wrong.encode().unwrap());
        assert_eq!(trace.outcome, (LedgerStatus::BadSignature.code(), 0));
        assert!(trace.view.reads.is_empty() && trace.view.deltas.is_empty());
    }
}

#[test]
fn a_sequence_number_counts_once_and_in_order() {
    let mut state = state();
    let at =
        |sequence_number| RawTransaction { sequence_number, ..transfer(address(SENDER), address(FRIEND), 1) };
    assert_eq!(status_of(&mut state, at(1)), LedgerStatus::SequenceTooNew);
    assert_eq!(status_of(&mut state, at(0)), LedgerStatus::Success);
    assert_eq!(status_of(&mut state, at(0)), LedgerStatus::SequenceTooOld);
    assert_eq!(status_of(&mut state, at(1)), LedgerStatus::Success);
}

#[test]
fn a_sender_without_account_or_without_money_for_gas_has_no_effect() {
    let mut state = state();
    let unknown = transfer(address(STRANGER), address(FRIEND), 1);
    assert_eq!(status_of(&mut state, unknown), LedgerStatus::SenderNotFound);
    let poor = transfer(address(FRIEND), address(SENDER), 1);
    assert_eq!(status_of(&mut state, poor), LedgerStatus::InsufficientBalanceForGas);
}

#[test]
fn too_little_gas_costs_the_whole_limit() {
    let mut state = state();
    let raw = RawTransaction { max_gas: 10, gas_price: 3, ..transfer(address(SENDER), address(FRIEND), 1) };
    let (status, trace) = execute(&mut state, raw);
    assert_eq!((status, trace.outcome.1), (LedgerStatus::OutOfGas, 10));
    assert_eq!(balance(&state, BENEFICIARY), 30);
}

#[test]
fn a_failed_payload_pays_the_fee_and_nothing_else() {
    let batch = |recipients: Vec<(Address, u64)>| Payload::BatchTransfer { recipients };
    let (friend, stranger) = (address(FRIEND), address(STRANGER));
    let cases = [
        (batch(Vec::new()), LedgerStatus::EmptyBatch),
        (batch(vec![(friend, 0); MAX_RECIPIENTS + 1]), LedgerStatus::TooManyRecipients),
        (batch(vec![(friend, u64::MAX), (friend, 1)]), LedgerStatus::AmountOverflow),
        (batch(vec![(friend, 1), (stranger, 1)]), LedgerStatus::RecipientNotFound),
        (Payload::Transfer { to: stranger, amount: 1 }, LedgerStatus::RecipientNotFound),
        (Payload::CreateAccount { account: friend, balance: 1 }, LedgerStatus::AccountExists),
        (Payload::CreateAccount { account: address(SENDER), balance: 1 }, LedgerStatus::AccountExists),
        (Payload::Transfer { to: friend, amount: FUNDS }, LedgerStatus::InsufficientBalance),
        (Payload::Transfer { to: friend, amount: u64::MAX }, LedgerStatus::InsufficientBalance),
    ];
    for (payload, expected) in cases {
        let mut state = state();
        let raw = RawTransaction { max_gas: 200_000, ..raw(address(SENDER), payload) };
        let (status, trace) = execute(&mut state, raw);
        assert_eq!(status, expected);
        let fee = u128::from(trace.outcome.1);
        assert!(fee > 0 && balance(&state, BENEFICIARY) == fee, "{status:?}");
        assert_eq!(balance(&state, SENDER), u128::from(FUNDS) - fee);
        assert_eq!(balance(&state, FRIEND), 50);
        assert!(trace.view.events.is_empty() && trace.view.sets.is_empty());
    }
}

#[test]
fn a_full_recipient_fails_the_transfer_and_a_full_beneficiary_refuses_it() {
    let full = u64::MAX.to_le_bytes().to_vec();
    let mut full_friend = state();
    full_friend.insert(balance_key(&address(FRIEND)).to_vec(), full.clone());
    let raw = transfer(address(SENDER), address(FRIEND), 1);
    assert_eq!(status_of(&mut full_friend, raw.clone()), LedgerStatus::BalanceOverflow);
    let mut full_beneficiary = state();
    full_beneficiary.insert(balance_key(&address(BENEFICIARY)).to_vec(), full);
    assert_eq!(status_of(&mut full_beneficiary, raw), LedgerStatus::BeneficiaryOverflow);
}

#[test]
fn a_balance_that_is_no_number_ends_the_transaction_as_plain_reads() {
    let mut state = state();
    state.insert(balance_key(&address(FRIEND)).to_vec(), vec![0xff; 20]);
    let (status, trace) = execute(&mut state, transfer(address(SENDER), address(FRIEND), 1));
    assert_eq!(status, LedgerStatus::StateFault);
    for key in [balance_key(&address(SENDER)), sequence_key(&address(SENDER)), balance_key(&address(FRIEND))]
    {
        assert!(trace.view.reads.contains(&key[..]));
    }
}

#[test]
fn codes_and_names_belong_to_one_status_each() {
    let mut names: Vec<&str> = LedgerStatus::ALL.iter().map(|status| status.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LedgerStatus::ALL.len());
    for &status in LedgerStatus::ALL {
        assert_eq!(LedgerStatus::from_code(status.code()), Some(status));
    }
    assert_eq!(LedgerStatus::from_code(crate::types::StatusCode(9_999)), None);
    assert_eq!(LedgerStatus::Success.code(), crate::types::StatusCode::SUCCESS);
}

#[test]
fn a_genesis_over_the_supply_limit_or_with_a_repeated_account_is_refused() {
    let over = genesis([(address(1), u64::MAX), (address(2), 1)]).err();
    assert_eq!(over, Some(GenesisError::SupplyOverflow { index: 1, address: address(2) }));
    let twice = genesis([(address(1), 1), (address(1), 1)]).err();
    assert_eq!(twice, Some(GenesisError::Duplicate { index: 1, address: address(1) }));
}

#[test]
fn a_transfer_declares_its_keys_in_the_order_of_execution() {
    let vm = machine(SignatureMode::Skip, address(BENEFICIARY));
    let (sender, friend) = (address(SENDER), address(FRIEND));
    let transactions = vec![encode(transfer(sender, friend, 1)), b"garbage".to_vec()];
    let block = crate::types::Block { header: header(address(BENEFICIARY)), transactions };
    let prepared = PreparedBlock::prepare(&vm, &block).unwrap();
    let declared: Vec<(&[u8], AccessMode)> = prepared
        .accesses()
        .iter()
        .map(|access| (prepared.key(access.key).unwrap().1, access.access_mode()))
        .collect();
    assert_eq!(
        declared,
        [
            (&account_key(&sender)[..], AccessMode::Read),
            (&sequence_key(&sender)[..], AccessMode::ReadWrite),
            (&balance_key(&sender)[..], AccessMode::Add),
            (&account_key(&friend)[..], AccessMode::Read),
            (&balance_key(&friend)[..], AccessMode::Add),
            (&balance_key(&address(BENEFICIARY))[..], AccessMode::Add),
        ]
    );
    assert_eq!(prepared.transactions()[TxnIndex(1).index()].access_count, 0);
}
