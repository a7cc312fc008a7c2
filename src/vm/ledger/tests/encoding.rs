//! The decoder meets bytes from anyone: it must accept exactly what the encoder makes, and bound what it allocates.

use super::*;
use crate::vm::ledger::{Fault, FaultOrder, MAX_RECIPIENTS, MAX_TRANSACTION_BYTES, When};
use proptest::prelude::*;

fn any_address() -> impl Strategy<Value = Address> {
    any::<[u8; 32]>().prop_map(Address)
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        (any_address(), any::<u64>()).prop_map(|(to, amount)| Payload::Transfer { to, amount }),
        proptest::collection::vec((any_address(), any::<u64>()), 0..=MAX_RECIPIENTS)
            .prop_map(|recipients| Payload::BatchTransfer { recipients }),
        (any_address(), any::<u64>())
            .prop_map(|(account, balance)| Payload::CreateAccount { account, balance }),
    ]
}

fn any_transaction() -> impl Strategy<Value = SignedTransaction> {
    let numbers = any::<(u32, u64, u64, u64, u64)>();
    (any_address(), numbers, any_payload(), any::<[u8; 32]>()).prop_map(|(sender, n, payload, half)| {
        let raw = RawTransaction {
            chain_id: n.0,
            sender,
            sequence_number: n.1,
            max_gas: n.2,
            gas_price: n.3,
            expiration_s: n.4,
            payload,
        };
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        SignedTransaction { raw, signature }
    })
}

fn kept_recipients(transaction: &SignedTransaction) -> usize {
    match &transaction.raw.payload {
        Payload::BatchTransfer { recipients } => recipients.capacity(),
        Payload::Transfer { .. } | Payload::CreateAccount { .. } | Payload::Fault(_) => 0,
    }
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(transaction in any_transaction()) {
        prop_assert_eq!(decoded(&transaction.encode().unwrap()), Some(transaction));
    }

    #[test]
    fn a_changed_encoding_decodes_to_something_else_or_not_at_all(
        transaction in any_transaction(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut bytes = transaction.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(other) = decoded(&bytes) {
            prop_assert_ne!(&other, &transaction);
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn a_cut_or_lengthened_encoding_is_undecodable(transaction in any_transaction(), cut in any::<prop::sample::Index>()) {
        let mut bytes = transaction.encode().unwrap();
        prop_assert_eq!(decoded(&bytes[..cut.index(bytes.len())]), None);
        bytes.push(0);
        prop_assert_eq!(decoded(&bytes), None);
    }

    #[test]
    fn any_bytes_execute_without_effect_and_without_large_allocations(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let trace = run(&mut machine(SignatureMode::Verify, address(9)), &State::new(), &bytes);
        prop_assert!(trace.view.has_no_effect());
        if let Some(transaction) = decoded(&bytes) {
            prop_assert!(kept_recipients(&transaction) <= MAX_RECIPIENTS + 1);
        }
    }
}

/// Offset of the batch's length in an encoded batch transfer: chain id, sender, four numbers, payload kind.
const BATCH_LENGTH_AT: usize = 4 + 33 + 4 * 8 + 1;

#[test]
fn huge_and_non_canonical_lengths_are_undecodable() {
    let encoded = encode(raw(address(1), Payload::BatchTransfer { recipients: Vec::new() }));
    assert_eq!(encoded[BATCH_LENGTH_AT], 0);
    let huge: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x07];
    let overlong: &[u8] = &[0x80, 0x00];
    for length in [huge, overlong] {
        let mut bytes = encoded[..BATCH_LENGTH_AT].to_vec();
        bytes.extend_from_slice(length);
        bytes.extend_from_slice(&encoded[BATCH_LENGTH_AT + 1..]);
        assert_eq!(decoded(&bytes), None, "length {length:?}");
    }
}

#[test]
fn a_batch_over_the_limit_keeps_one_recipient_too_many() {
    let recipients = vec![(address(2), 1); 3 * MAX_RECIPIENTS];
    let transaction = decoded(&encode(raw(address(1), Payload::BatchTransfer { recipients }))).unwrap();
    assert!(kept_recipients(&transaction) == MAX_RECIPIENTS + 1);
}

#[test]
fn a_transaction_over_the_length_limit_is_refused_by_both_sides() {
    let recipients = vec![(address(2), 1); MAX_TRANSACTION_BYTES / 41];
    let transaction = raw(address(1), Payload::BatchTransfer { recipients }).unsigned();
    assert!(transaction.encode().is_err());
    assert_eq!(decoded(&bcs::to_bytes(&transaction).unwrap()), None);
}

/// Without the feature a fault transaction must be undecodable. Tests are always built with it, so this looks at what the
/// decoder of a release sees: a payload kind after the last of its own. `.ci/run` looks into the released program itself.
#[test]
fn a_fault_transaction_is_of_a_kind_that_a_release_does_not_have() {
    let order = FaultOrder {
        fault: Fault::PanicInDrop("ä".to_owned()),
        when: When::BalanceIsNot { of: address(3), right: 7 },
        tally: Some("/nowhere".to_owned()),
        to: address(2),
        amount: 9,
    };
    let transaction = raw(address(1), Payload::Fault(order)).unsigned();
    let bytes = transaction.encode().unwrap();
    assert_eq!(decoded(&bytes), Some(transaction));
    let known = encode(raw(address(1), Payload::Transfer { to: address(2), amount: 9 }));
    // The two first differ in the kind of their payload.
    let kind_at = bytes.iter().zip(&known).position(|(ours, theirs)| ours != theirs).unwrap();
    assert_eq!(known[kind_at], 0);
    assert_eq!(bytes[kind_at], 3, "behind transfer, batch transfer and account creation");
}
