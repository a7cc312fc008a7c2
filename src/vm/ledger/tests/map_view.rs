//! A state view over an ordered map: the plainest thing that obeys the contract of [`StateView`].

use crate::types::{Delta, LimitExceeded, number_of};
use crate::vm::StateView;
use std::collections::{BTreeMap, BTreeSet};

pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// What an execution recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub reads: BTreeSet<Vec<u8>>,
    pub deltas: BTreeMap<Vec<u8>, Delta>,
    pub sets: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub events: Vec<(u32, Vec<u8>)>,
    /// Deltas that the view refused; the virtual machine must never cause one.
    pub refused: usize,
}

impl Record {
    /// Whether nothing but reads and bare checks was recorded.
    pub fn has_no_effect(&self) -> bool {
        self.sets.is_empty() && self.events.is_empty() && self.deltas.values().all(|delta| delta.amount == 0)
    }

    pub fn apply(&self, state: &mut State) {
        for (key, delta) in &self.deltas {
            let before = number_of(state.get(key).map(Vec::as_slice)).unwrap();
            let after = delta.apply(before).expect("delta outside its own interval");
            if delta.amount > 0 {
                state.insert(key.clone(), delta.width.encode(after, &mut [0; 32]).to_vec());
            }
        }
        for (key, value) in &self.sets {
            match value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
        }
    }
}

pub struct MapView<'a> {
    state: &'a State,
    record: Record,
    shown: Vec<u8>,
}

impl<'a> MapView<'a> {
    pub fn new(state: &'a State) -> MapView<'a> {
        MapView { state, record: Record::default(), shown: Vec::new() }
    }

    pub fn into_record(self) -> Record {
        self.record
    }

    fn base(&self, key: &[u8]) -> Option<&[u8]> {
        match self.record.sets.get(key) {
            Some(value) => value.as_deref(),
            None => self.state.get(key).map(Vec::as_slice),
        }
    }
}

impl StateView for MapView<'_> {
    fn read(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.record.reads.insert(key.to_vec());
        if let Some(delta) = self.record.deltas.get(key) {
            let after = delta.apply(number_of(self.base(key))?)?;
            self.shown = delta.width.encode(after, &mut [0; 32]).to_vec();
            return Some(&self.shown);
        }
        self.base(key)
    }

    fn number(&mut self, key: &[u8]) -> Option<u128> {
        let base = number_of(self.base(key))?;
        match self.record.deltas.get(key) {
            Some(delta) => delta.apply(base),
            None => Some(base),
        }
    }

    fn add(&mut self, key: &[u8], delta: Delta) -> Result<(), LimitExceeded> {
        let Some(base) = number_of(self.base(key)) else {
            return Err(LimitExceeded::NotANumber);
        };
        let merged = match self.record.deltas.get(key) {
            Some(earlier) => earlier.then(&delta),
            None => Some(delta),
        };
        match merged.filter(|merged| merged.apply(base).is_some()) {
            Some(merged) => {
                self.record.deltas.insert(key.to_vec(), merged);
                Ok(())
            }
            None => {
                self.record.refused += 1;
                Err(LimitExceeded::Interval { value: base })
            }
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LimitExceeded> {
        self.record.sets.insert(key.to_vec(), Some(value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), LimitExceeded> {
        self.record.sets.insert(key.to_vec(), None);
        Ok(())
    }

    fn event(&mut self, kind: u32, data: &[u8]) -> Result<(), LimitExceeded> {
        self.record.events.push((kind, data.to_vec()));
        Ok(())
    }
}
