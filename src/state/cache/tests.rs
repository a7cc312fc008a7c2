//! Oracle: two maps, the state as it is and the state as the store has it. What would break it: an entry that goes before the
//! store has its last change, a removed key that is forgotten too early, an entry lost by shifting, shrinking or growing.

use super::*;
use crate::state::reader::BaseValue;
use crate::state::{StateConfig, StateReader};
use phalanx_ipc::RegionReader;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Change = (Vec<u8>, Option<Vec<u8>>);

const CONFIG: StateConfig = StateConfig { max_entries: 1 << 16, heap_bytes: 8 << 20 };

fn key(number: u16) -> Vec<u8> {
    // Some do not fit a slot.
    format!("key-{number}").repeat(if number.is_multiple_of(7) { 9 } else { 1 }).into_bytes()
}

fn value(number: u16, length: usize) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; length]
}

#[derive(Clone, Debug)]
enum Move {
    /// A block changes these keys.
    Block(Vec<(u16, Option<usize>)>),
    /// The store takes in so many blocks.
    Store(usize),
    Read(u16),
    Trim,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let write = (0_u16..2_500, prop::option::weighted(0.8, 0_usize..90));
    let one = prop_oneof![
        4 => prop::collection::vec(write, 1..400).prop_map(Move::Block),
        3 => (0_usize..6).prop_map(Move::Store),
        6 => (0_u16..2_600).prop_map(Move::Read),
        2 => Just(Move::Trim),
    ];
    prop::collection::vec(one, 1..60)
}

/// What the cache of one test stands over.
struct World {
    state: BaseState,
    reader: StateReader,
    now: Map,
    stored: Map,
    /// Changes that the store lacks, by block.
    lacking: Vec<Vec<Change>>,
    sequence: u64,
}

impl World {
    fn new(first: u64) -> World {
        let genesis: Map = (0..2_000).map(|number| (key(number), value(number, 8))).collect();
        let state = BaseState::create(CONFIG).unwrap().filled_as_cache(64 << 10, first, &genesis).unwrap();
        assert!(!state.is_whole() && state.len() > 300, "{}", state.len());
        // SAFETY: this thread writes and reads by turns.
        #[allow(unsafe_code, reason = "a reader of the same memory in one thread")]
        let reader = StateReader::new(unsafe { RegionReader::map(state.reader_fd().unwrap()) }.unwrap());
        World { state, reader, now: genesis.clone(), stored: genesis, lacking: Vec::new(), sequence: first }
    }

    fn backlog(&self) -> Backlog {
        Backlog { applied: self.sequence, stored: self.sequence - self.lacking.len() as u64 }
    }

    /// As a reader sees it: the table, then the store.
    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.reader.table().get(self.state.hasher().hash(key), key) {
            BaseValue::Here(value) => Some(value.to_vec()),
            BaseValue::Absent => None,
            BaseValue::Cold => self.stored.get(key).cloned(),
        }
    }

    fn warm(&mut self, key: &[u8]) {
        let hash = self.state.hasher().hash(key);
        if !self.state.touch(hash, key).unwrap() {
            self.state.fill(hash, key, self.stored.get(key).map(Vec::as_slice)).unwrap();
        }
    }

    fn block(&mut self, writes: Vec<(u16, Option<usize>)>) {
        let writes: Vec<_> = writes
            .into_iter()
            .map(|(number, length)| (key(number), length.map(|length| value(number, length))))
            .collect();
        writes.iter().for_each(|(key, _)| self.warm(key));
        self.sequence += 1;
        self.state.begin_changes(self.sequence);
        for (key, value) in &writes {
            self.state.put(self.state.hasher().hash(key), key, value.as_deref()).unwrap();
            match value {
                Some(value) => self.now.insert(key.clone(), value.clone()),
                None => self.now.remove(key),
            };
        }
        self.lacking.push(writes);
    }

    fn store(&mut self, blocks: usize) {
        for (key, value) in self.lacking.drain(..blocks.min(self.lacking.len())).flatten() {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn table_and_store_together_always_hold_the_state(
        first in prop_oneof![Just(0_u64), Just(STAMPS - 3), 0..3 * STAMPS], moves in moves()
    ) {
        let mut world = World::new(first);
        for step in moves {
            match step {
                Move::Block(writes) => world.block(writes),
                Move::Store(blocks) => world.store(blocks),
                Move::Read(number) => {
                    prop_assert_eq!(world.read(&key(number)), world.now.get(&key(number)).cloned());
                    world.warm(&key(number));
                }
                Move::Trim => _ = world.state.trim(world.backlog()).unwrap(),
            }
        }
        for number in 0..2_600 {
            prop_assert_eq!(world.read(&key(number)), world.now.get(&key(number)).cloned(), "{}", number);
        }
        let mut digest = StateDigest::default();
        world.now.iter().for_each(|(key, value)| digest.insert(key, value));
        prop_assert_eq!(world.state.digest(), digest);
        world.store(usize::MAX);
        prop_assert!(world.state.trim(world.backlog()).unwrap(), "all is stored: the budget holds");
        // Nothing came since: no room is kept for more.
        prop_assert!(world.state.trim(world.backlog()).unwrap());
        prop_assert_eq!(world.state.header.slots_log2, Layout::MIN_LOG2);
    }
}

#[test]
fn what_the_store_lacks_stays_however_small_the_budget_and_goes_when_it_is_stored() {
    let mut world = World::new(5);
    world.block((0..2_000).map(|number| (number, Some(9))).collect());
    assert!(!world.state.trim(world.backlog()).unwrap(), "it cannot hold");
    assert!(
        (0..2_000)
            .all(|number| world.state.get(world.state.hasher().hash(&key(number)), &key(number)).is_some())
    );
    world.store(1);
    assert!(world.state.trim(world.backlog()).unwrap());
    assert!(world.state.len() <= 682, "{}", world.state.len());
    assert!(world.state.cache_stats().evicted >= 1_300);
}

#[test]
fn a_state_that_fits_stays_whole_though_keys_come_and_go() {
    let first: Map = (0..200).map(|number| (key(number), value(number, 8))).collect();
    let mut state = BaseState::create(CONFIG).unwrap().filled_as_cache(64 << 10, 0, &first).unwrap();
    for sequence in 1..40_u64 {
        state.begin_changes(sequence);
        for number in 0..100_u16 {
            let key = format!("{sequence}-{number}").into_bytes();
            let hash = state.hasher().hash(&key);
            state.put(hash, &key, Some(b"v")).unwrap();
            state.put(hash, &key, None).unwrap();
        }
        assert!(state.trim(Backlog { applied: sequence, stored: sequence }).unwrap());
        assert!(state.is_whole(), "block {sequence}");
    }
    assert_eq!(state.cache_stats().evicted / 100, 39 - state.len().saturating_sub(200).div_ceil(100));
}
