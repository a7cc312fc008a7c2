//! Recorded intervals against re-execution: the property that lets an executor accept an output without running it
//! again. Both directions are checked, so a guard that is missing, too wide or too narrow is found.
//!
//! Negative controls, each made to fail here once: without the sequence check in `funds_for_gas`; with natural
//! intervals in `credit` where all keys differ; with the guard instead of the natural interval where keys coincide;
//! with the sender's upper bound left out in `pay`, or only its tightening where sender and beneficiary coincide;
//! without the checks of recipients when the beneficiary would overflow.

use super::*;
use crate::types::number_of;
use crate::vm::ledger::{LedgerStatus, account_key, balance_key, gas_needed, sequence_key};
use proptest::prelude::*;
use std::collections::BTreeSet;

const PEOPLE: u8 = 5;

/// Numbers around the bounds that matter, and some others.
fn edge_number(around: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (0_u64..5).prop_map(move |off| around.saturating_add(off).saturating_sub(2)),
        2 => (0_u64..3).prop_map(|low| low),
        2 => (0_u64..20_000).prop_map(|off| u64::MAX - off),
        1 => any::<u64>(),
    ]
}

fn person() -> impl Strategy<Value = Address> {
    (1..=PEOPLE).prop_map(address)
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        (person(), edge_number(100)).prop_map(|(to, amount)| Payload::Transfer { to, amount }),
        proptest::collection::vec((person(), edge_number(50)), 0..5)
            .prop_map(|recipients| Payload::BatchTransfer { recipients }),
        (person(), edge_number(100))
            .prop_map(|(account, balance)| Payload::CreateAccount { account, balance }),
    ]
}

/// Sum of what a payload moves, as far as it fits.
fn moved(payload: &Payload) -> u64 {
    match payload {
        Payload::Transfer { amount, .. } => *amount,
        Payload::CreateAccount { balance, .. } => *balance,
        Payload::Fault(order) => order.amount,
        Payload::BatchTransfer { recipients } => {
            recipients.iter().fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
        }
    }
}

/// A transaction whose gas limit is just enough, too low by one, or generous.
fn transaction() -> impl Strategy<Value = RawTransaction> {
    let gas_price = prop_oneof![Just(0_u64), Just(1), Just(3), Just(u64::MAX / 4_000)];
    (person(), 0_u64..3, 0_usize..3, gas_price, payload()).prop_map(
        |(sender, sequence_number, slack, gas_price, payload)| {
            let mut raw = RawTransaction { sequence_number, gas_price, ..raw(sender, payload) };
            let exact = gas_needed(&raw.payload, encode(raw.clone()).len());
            raw.max_gas = [exact, exact - 1, exact + 777][slack];
            raw
        },
    )
}

/// Which people exist, and everyone's sequence number and balance.
type People = Vec<(bool, u64, u64)>;

fn people(raw: &RawTransaction) -> impl Strategy<Value = People> + use<> {
    let max_fee = raw.max_gas.saturating_mul(raw.gas_price);
    let fee = gas_needed(&raw.payload, encode(raw.clone()).len()).saturating_mul(raw.gas_price);
    let cost = moved(&raw.payload).saturating_add(fee);
    let balance = prop_oneof![
        edge_number(max_fee),
        edge_number(cost),
        edge_number(u64::MAX - cost),
        edge_number(u64::MAX - fee)
    ];
    let sequence = (0_u64..3).prop_map(|number| number);
    proptest::collection::vec((prop::bool::weighted(0.8), sequence, balance), usize::from(PEOPLE))
}

fn scene() -> impl Strategy<Value = (RawTransaction, People, Address)> {
    transaction().prop_flat_map(|raw| {
        let people = people(&raw);
        (Just(raw), people, (1..=PEOPLE + 1).prop_map(address))
    })
}

fn state_of(people: &People) -> State {
    let mut state = State::new();
    for (tag, &(exists, sequence, balance)) in (1_u8..).zip(people) {
        let who = address(tag);
        if exists {
            state.insert(account_key(&who).to_vec(), vec![1]);
        }
        state.insert(sequence_key(&who).to_vec(), sequence.to_le_bytes().to_vec());
        state.insert(balance_key(&who).to_vec(), balance.to_le_bytes().to_vec());
    }
    state
}

/// Keys of all numbers, the beneficiary's included.
fn number_keys() -> BTreeSet<Vec<u8>> {
    (1..=PEOPLE + 1)
        .flat_map(|tag| [sequence_key(&address(tag)), balance_key(&address(tag))])
        .map(|key| key.to_vec())
        .collect()
}

fn set_number(state: &mut State, key: &[u8], number: u128) {
    state.insert(key.to_vec(), u64::try_from(number).unwrap().to_le_bytes().to_vec());
}

/// A number from `least..=most`, at one of its ends more often than not.
fn pick(least: u128, most: u128, choice: u64) -> u128 {
    match choice % 3 {
        0 => least,
        1 => most,
        _ => least + u128::from(choice / 3) % (most - least + 1),
    }
}

fn supply(vm: &LedgerVm, state: &State) -> i128 {
    state.iter().map(|(key, value)| vm.conserved(key, Some(value))).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_same_happens_everywhere_inside_the_recorded_intervals_and_nowhere_outside(
        (raw, people, beneficiary) in scene(),
        choices in proptest::collection::vec(any::<u64>(), 2 * usize::from(PEOPLE + 1)),
    ) {
        let (state, encoded) = (state_of(&people), encode(raw));
        let mut vm = machine(SignatureMode::Skip, beneficiary);
        let first = run(&mut vm, &state, &encoded);
        prop_assert_eq!(first.view.refused, 0);
        prop_assert_ne!(first.outcome.0, LedgerStatus::StateFault.code());

        let mut inside = state.clone();
        for (key, &choice) in number_keys().iter().zip(&choices) {
            // A number without a delta was not decided upon: it may be anything.
            let (least, most) =
                first.view.deltas.get(key).map_or((0, u64::MAX.into()), |delta| (delta.at_least, delta.at_most));
            set_number(&mut inside, key, pick(least, most, choice));
        }
        prop_assert_eq!(&run(&mut vm, &inside, &encoded), &first, "inside: {:?}", inside);

        for (key, delta) in &first.view.deltas {
            let below = delta.at_least.checked_sub(1);
            let above = Some(delta.at_most + 1).filter(|&above| above <= u64::MAX.into());
            for number in [below, above].into_iter().flatten() {
                let mut outside = state.clone();
                set_number(&mut outside, key, number);
                prop_assert_ne!(&run(&mut vm, &outside, &encoded), &first, "outside: {:?} {}", key, number);
            }
        }
    }

    #[test]
    fn money_is_neither_made_nor_lost((raw, people, beneficiary) in scene()) {
        let (mut state, encoded) = (state_of(&people), encode(raw));
        let mut vm = machine(SignatureMode::Skip, beneficiary);
        let before = supply(&vm, &state);
        let trace = run(&mut vm, &state, &encoded);
        trace.view.apply(&mut state);
        prop_assert_eq!(supply(&vm, &state), before);
        let status = LedgerStatus::from_code(trace.outcome.0).unwrap();
        prop_assert_eq!(trace.view.has_no_effect(), !status.pays());
    }
}

#[test]
fn the_scenes_reach_every_status_that_depends_on_state() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..20_000 {
        let (raw, people, beneficiary) = scene().new_tree(&mut runner).unwrap().current();
        let mut vm = machine(SignatureMode::Skip, beneficiary);
        let trace = run(&mut vm, &state_of(&people), &encode(raw));
        seen.insert(LedgerStatus::from_code(trace.outcome.0).unwrap());
    }
    let stateless = [
        LedgerStatus::Undecodable,
        LedgerStatus::WrongChain,
        LedgerStatus::Expired,
        LedgerStatus::FeeOverflow,
        LedgerStatus::SequenceExhausted,
        LedgerStatus::BadSignature,
        LedgerStatus::StateFault,
        LedgerStatus::TooManyRecipients,
    ];
    let missing: Vec<&LedgerStatus> = LedgerStatus::ALL
        .iter()
        .filter(|status| !seen.contains(status) && !stateless.contains(status))
        .collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert_eq!(number_of(None), Some(0));
}
