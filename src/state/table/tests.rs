//! Oracle: a `BTreeMap`. Negative control: skipping the home check in `remove` loses entries and fails these.
use super::*;
use crate::state::StateReader;
use crate::state::reader::BaseValue;
use phalanx_ipc::RegionReader;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn small() -> StateConfig {
    StateConfig { max_entries: 1 << 16, heap_bytes: 64 << 20 }
}

fn digest_of(map: &BTreeMap<Vec<u8>, Vec<u8>>) -> StateDigest {
    let mut digest = StateDigest::default();
    map.iter().for_each(|(key, value)| digest.insert(key, value));
    digest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn behaves_as_a_map_while_it_grows_and_shrinks(
        steps in prop::collection::vec((0_u16..3_000, prop::option::of(0_usize..120)), 1..6_000)
    ) {
        let mut state = BaseState::create(small()).unwrap();
        // SAFETY: this thread writes and reads by turns.
        #[allow(unsafe_code, reason = "a reader of the same memory in one thread")]
        let reader = StateReader::new(unsafe { RegionReader::map(state.reader_fd().unwrap()) }.unwrap());
        let mut map = BTreeMap::new();
        for (number, length) in steps {
            let key = format!("key-{number}").into_bytes();
            let hash = state.hasher().hash(&key);
            let value = length.map(|length| vec![number.to_le_bytes()[0]; length]);
            let mut room = Room::default();
            room.count(&key, None, value.as_deref());
            state.reserve(room).unwrap();
            state.put(hash, &key, value.as_deref()).unwrap();
            match value { Some(value) => map.insert(key, value), None => map.remove(&key) };
        }
        prop_assert_eq!(state.len(), map.len() as u64);
        prop_assert_eq!(state.digest(), digest_of(&map));
        for number in 0..3_000_u16 {
            let key = format!("key-{number}").into_bytes();
            let hash = state.hasher().hash(&key);
            prop_assert_eq!(state.get(hash, &key), map.get(&key).map(Vec::as_slice));
            let expected = map.get(&key).map_or(BaseValue::Absent, |value| BaseValue::Here(value));
            prop_assert_eq!(reader.table().get(hash, &key), expected);
        }
        let mut seen = 0_u64;
        state.for_each(|_, _| seen += 1);
        prop_assert_eq!(seen, state.len());
    }
}

#[test]
fn a_full_table_says_so_and_keeps_what_it_has() {
    let mut state = BaseState::create(StateConfig { max_entries: 1, heap_bytes: 0 }).unwrap();
    let mut put = 0_u64;
    let error = loop {
        let key = put.to_le_bytes();
        let mut room = Room::default();
        room.count(&key, None, Some(b"v"));
        if let Err(error) = state.reserve(room) {
            break error;
        }
        state.put(state.hasher().hash(&key), &key, Some(b"v")).unwrap();
        put += 1;
    };
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    assert_eq!(state.len(), put);
}
