//! A ledger kept while mixed blocks are generated, so that the generator knows every account's true state.

use phalanx::types::{Delta, LimitExceeded, number_of};
use phalanx::vm::StateView;
use phalanx::vm::ledger::{Address, GenesisEntry, account_key, balance_key, sequence_key};
use std::collections::HashMap;

/// The state after the transactions so far. As a view it applies at once: the ledger records no effect before its last
/// decision, so there is nothing to take back.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    state: HashMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    pub(super) fn new(genesis: Vec<GenesisEntry>) -> Model {
        Model { state: genesis.into_iter().collect() }
    }

    pub(super) fn exists(&self, address: &Address) -> bool {
        self.state.contains_key(&account_key(address)[..])
    }

    pub(super) fn sequence_number(&self, address: &Address) -> u64 {
        self.small_number(&sequence_key(address))
    }

    pub(super) fn balance(&self, address: &Address) -> u64 {
        self.small_number(&balance_key(address))
    }

    fn number_before(&self, key: &[u8]) -> Option<u128> {
        number_of(self.state.get(key).map(Vec::as_slice))
    }

    fn small_number(&self, key: &[u8]) -> u64 {
        self.number_before(key).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
    }
}

impl StateView for Model {
    fn read(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.state.get(key).map(Vec::as_slice)
    }

    fn number(&mut self, key: &[u8]) -> Option<u128> {
        self.number_before(key)
    }

    fn add(&mut self, key: &[u8], delta: Delta) -> Result<(), LimitExceeded> {
        let before = self.number_before(key).ok_or(LimitExceeded::NotANumber)?;
        let after = delta.apply(before).ok_or(LimitExceeded::Interval { value: before })?;
        if delta.amount > 0 {
            self.state.insert(key.to_vec(), delta.width.encode(after, &mut [0; 32]).to_vec());
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LimitExceeded> {
        self.state.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), LimitExceeded> {
        self.state.remove(key);
        Ok(())
    }

    fn event(&mut self, _kind: u32, _data: &[u8]) -> Result<(), LimitExceeded> {
        Ok(())
    }
}
