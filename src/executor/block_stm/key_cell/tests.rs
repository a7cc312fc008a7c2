//! Oracle: a `BTreeMap` of writes, folded from the base for every question. Negative control: without the correction of
//! the cursor (`correct_cursors`) this fails.
use super::*;
use crate::executor::block_stm::status::Attempt;
use crate::types::{Delta, number_of};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Set(u32, u64),
    Delete(u32),
    Word(u32),
    Add(u32, u64, bool),
    Remove(u32),
    Mark(u32),
    Ask(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let txn = || 0_u32..60;
    prop_oneof![
        1 => (txn(), any::<u64>()).prop_map(|(txn, value)| Step::Set(txn, value)),
        1 => txn().prop_map(Step::Delete),
        1 => txn().prop_map(Step::Word),
        12 => (txn(), 0_u64..1_000, any::<bool>()).prop_map(|(txn, amount, negative)| Step::Add(txn, amount, negative)),
        2 => txn().prop_map(Step::Remove),
        1 => txn().prop_map(Step::Mark),
        12 => txn().prop_map(Step::Ask),
    ]
}

/// The last writer below, and the number that stands there; `Err` for a writer to be waited for.
fn fold(
    map: &BTreeMap<u32, (Content, bool)>,
    below: u32,
    base: Option<u128>,
) -> Result<Option<(u32, u128, bool)>, u32> {
    let mut value = (base.unwrap_or(0), base.is_some());
    let (mut last, mut blocked) = (None, None);
    for (&txn, (content, estimate)) in map.range(..below) {
        match content.change() {
            Some(change) => value.0 = value.0.wrapping_add(change),
            None => {
                value = (content.number().unwrap_or(0), content.number().is_some());
                blocked = estimate.then_some(txn);
            }
        }
        last = Some(txn);
    }
    match (blocked, last) {
        (Some(writer), _) => Err(writer),
        (None, last) => Ok(last.map(|last| (last, value.0, value.1))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_cell_answers_as_a_map_folded_from_the_base(
        steps in prop::collection::vec(step(), 1..300), base in prop::option::of(any::<u64>())
    ) {
        let (cell, stamp) = (KeyCell::default(), Stamp(3));
        let base = base.map(u128::from);
        let mut map: BTreeMap<u32, (Content, bool)> = BTreeMap::new();
        let put = |map: &mut BTreeMap<u32, (Content, bool)>, txn: u32, content: Content| {
            cell.publish(stamp, Version::new(TxnIndex(txn), Attempt(0), content.clone()));
            map.insert(txn, (content, false));
        };
        for step in steps {
            match step {
                Step::Set(txn, value) => put(&mut map, txn, Content::of_value(&value.to_le_bytes())),
                Step::Delete(txn) => put(&mut map, txn, Content::Absent),
                Step::Word(txn) => put(&mut map, txn, Content::of_value(&[9; 40])),
                Step::Add(txn, amount, negative) => {
                    let delta = Delta { negative, ..Delta::credit(amount.into(), NumberWidth::Eight) };
                    put(&mut map, txn, Content::of_delta(&delta));
                }
                Step::Remove(txn) => {
                    cell.unpublish(stamp, TxnIndex(txn));
                    map.remove(&txn);
                }
                Step::Mark(txn) => {
                    cell.mark_estimate(stamp, TxnIndex(txn));
                    if let Some((_, estimate)) = map.get_mut(&txn) {
                        *estimate = true;
                    }
                }
                Step::Ask(below) => match (cell.read(stamp, TxnIndex(below), || base), fold(&map, below, base)) {
                    (Seen::Base, Ok(None)) => {}
                    (Seen::Blocked(TxnIndex(seen)), Err(writer)) => prop_assert_eq!(seen, writer),
                    (Seen::Whole { origin, content }, Ok(Some((last, number, is_number)))) => {
                        prop_assert_eq!(origin.txn(), Some(TxnIndex(last)));
                        prop_assert_eq!(content.number(), is_number.then_some(number));
                    }
                    (Seen::Sum { origin, number, from_number, .. }, Ok(Some(expected))) => {
                        prop_assert_eq!((origin.txn(), number, from_number), (Some(TxnIndex(expected.0)), expected.1, expected.2));
                    }
                    (seen, expected) => prop_assert!(false, "{seen:?} instead of {expected:?}"),
                },
            }
        }
        prop_assert!(matches!(cell.read(Stamp(4), TxnIndex(100), || base), Seen::Base), "another block");
    }
}

#[test]
fn whoever_must_look_again_is_told_so() {
    let (cell, stamp) = (KeyCell::default(), Stamp(1));
    let sum = |amount: u64| Content::of_delta(&Delta::credit(amount.into(), NumberWidth::Eight));
    let version = |content: Content| Version::new(TxnIndex(5), Attempt(0), content);
    assert!(cell.publish(stamp, version(sum(1))), "a new place");
    assert!(!cell.publish(stamp, version(sum(1))), "the same sum");
    assert!(cell.publish(stamp, version(sum(2))), "another sum");
    assert!(cell.publish(stamp, version(Content::Absent)), "no sum any more");
    assert!(!cell.publish(stamp, version(Content::of_value(b"x"))), "origins tell");
    assert!(!cell.unpublish(stamp, TxnIndex(5)), "origins tell");
    assert!(cell.publish(stamp, version(sum(2))));
    assert!(cell.unpublish(stamp, TxnIndex(5)), "a sum is gone");
    assert!(!cell.unpublish(stamp, TxnIndex(5)));
    cell.publish(stamp, Version::expected(TxnIndex(5)));
    assert!(cell.publish(stamp, version(Content::Absent)), "readers may have come before the announcement");
    assert_eq!(number_of(Some(&[1])), Some(1));
}
