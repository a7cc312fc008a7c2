//! Signatures checked together and one by one say the same of everybody, also of keys that are chosen to make them differ.
//!
//! What would break it: a rule that only one of both ways has, a place mixed up, a batch that holds although one signature in
//! it does not. Negative controls that were run: with `all_hold` taken for true, and with findings shifted by one place, the
//! first test fails.

use super::*;
use crate::vm::Finding;
use crate::vm::ledger::signature::{BATCH, FORGED, GENUINE};
use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;

/// Encodings of points of small order: 1, 2, 4 and 4, 8 and 8 (with either sign), and three that are not canonical.
const SMALL_ORDER: [&str; 11] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn point(hex: &str) -> [u8; 32] {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    std::array::from_fn(|place| digit(2 * place))
}

/// How a transaction's signature comes about.
#[derive(Clone, Debug)]
enum Kind {
    Genuine,
    OfAnother,
    /// One bit of the encoded transaction is flipped, if it still decodes then.
    Flipped(usize),
    /// Key and first half of the signature are of small order, the second half is zero: holds under ZIP 215.
    SmallOrder(usize, usize),
    /// As before, with the group's order instead of zero: not canonical, so never valid.
    Overlong(usize, usize),
}

fn kind() -> impl Strategy<Value = Kind> {
    let points = 0..SMALL_ORDER.len();
    prop_oneof![
        6 => Just(Kind::Genuine),
        1 => Just(Kind::OfAnother),
        1 => (0_usize..10_000).prop_map(Kind::Flipped),
        1 => (points.clone(), points.clone()).prop_map(|(a, r)| Kind::SmallOrder(a, r)),
        1 => (points.clone(), points).prop_map(|(a, r)| Kind::Overlong(a, r)),
    ]
}

fn made(kind: &Kind, number: u64) -> Vec<u8> {
    let seed: [u8; 32] = std::array::from_fn(|place| number.to_le_bytes()[place % 8]);
    let (own, other) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[0xff; 32]));
    let sender = Address(own.verifying_key().to_bytes());
    let raw = transfer(sender, address(2), number);
    let of_points = |a: usize, r: usize, s: [u8; 32]| {
        let raw = transfer(Address(point(SMALL_ORDER[a])), address(2), number);
        let signature = [point(SMALL_ORDER[r]), s].concat().try_into().unwrap();
        SignedTransaction { raw, signature }.encode().unwrap()
    };
    // The order of the group: 2^252 + 27742317777372353535851937790883648493, little-endian.
    let order = point("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    match *kind {
        Kind::Genuine => raw.sign(&own).unwrap().encode().unwrap(),
        Kind::OfAnother => raw.sign(&other).unwrap().encode().unwrap(),
        Kind::Flipped(bit) => {
            let mut bytes = raw.sign(&own).unwrap().encode().unwrap();
            let bits = bytes.len() * 8;
            bytes[bit % bits / 8] ^= 1 << (bit % 8);
            bytes
        }
        Kind::SmallOrder(a, r) => of_points(a, r, [0; 32]),
        Kind::Overlong(a, r) => of_points(a, r, order),
    }
}

/// What the check of a transaction by itself says.
fn alone(encoded: &[u8]) -> Option<Finding> {
    let message = decoded(encoded)?.signed_message(encoded, &mut Vec::new())?;
    Some(if message.is_genuine() { GENUINE } else { FORGED })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn together_and_one_by_one_signatures_say_the_same(kinds in vec(kind(), 1..2 * BATCH)) {
        let mut vm = machine(SignatureMode::Verify, address(9));
        let transactions: Vec<Vec<u8>> =
            kinds.iter().zip(1..).map(|(kind, number)| made(kind, number)).collect();
        let borrowed: Vec<&[u8]> = transactions.iter().map(Vec::as_slice).collect();
        let mut findings = vec![Finding::NOTHING; borrowed.len()];
        vm.examine(&borrowed, &mut findings);
        for ((kind, encoded), found) in kinds.iter().zip(&transactions).zip(findings) {
            let expected = alone(encoded);
            prop_assert_eq!(found, expected.unwrap_or(Finding::NOTHING), "{:?}", kind);
            match kind {
                Kind::Genuine | Kind::SmallOrder(..) => prop_assert_eq!(found, GENUINE, "{:?}", kind),
                Kind::OfAnother | Kind::Overlong(..) => prop_assert_eq!(found, FORGED, "{:?}", kind),
                Kind::Flipped(_) => prop_assert_ne!(found, GENUINE, "{:?}", kind),
            }
        }
    }
}

#[test]
fn a_finding_stands_for_the_check_and_nothing_else() {
    let mut vm = machine(SignatureMode::Verify, address(9));
    let own = SigningKey::from_bytes(&[3; 32]);
    let sender = Address(own.verifying_key().to_bytes());
    let state: State = crate::vm::ledger::genesis([(sender, 1_000_000), (address(2), 0)]).unwrap().collect();
    let good = transfer(sender, address(2), 1).sign(&own).unwrap().encode().unwrap();
    let late = RawTransaction { expiration_s: NOW_S - 1, ..transfer(sender, address(2), 1) };
    let late = late.sign(&own).unwrap().encode().unwrap();
    let mut status = |encoded: &[u8], finding| {
        let mut view = MapView::new(&state);
        vm.execute_examined(encoded, finding, &mut view).status
    };
    use crate::vm::ledger::LedgerStatus as Status;
    for finding in [Finding::NOTHING, GENUINE] {
        assert_eq!(status(&good, finding), Status::Success.code());
        assert_eq!(status(&late, finding), Status::Expired.code());
    }
    assert_eq!(status(&good, FORGED), Status::BadSignature.code());
    assert_eq!(status(&late, FORGED), Status::Expired.code());
}
