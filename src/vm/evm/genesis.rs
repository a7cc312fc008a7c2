//! Accounts as entries of a state.

use crate::vm::evm::keys::{balance_value, slot_value};
use crate::vm::evm::{CodeRecord, EXISTS_RECORD, EvmKey};
use revm::primitives::{Address, Bytes, KECCAK_EMPTY, U256, keccak256};

/// One account of a first state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvmAccount {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Code.
    pub code: Bytes,
    /// Slots that are not 0.
    pub storage: Vec<(U256, U256)>,
}

/// One entry of a state: key and value.
pub type EvmEntry = (Vec<u8>, Vec<u8>);

/// The entries of an account that exists, be it empty.
#[must_use]
pub fn account_entries(address: Address, account: &EvmAccount) -> Vec<EvmEntry> {
    let mut entries = Vec::new();
    let mut put = |key: EvmKey, value: &[u8]| entries.push((key.as_slice().to_vec(), value.to_vec()));
    if !account.balance.is_zero() {
        put(EvmKey::balance(address), balance_value(account.balance, &mut [0; 32]));
    }
    if account.nonce != 0 {
        put(EvmKey::nonce(address), &account.nonce.to_le_bytes());
    }
    let hash = if account.code.is_empty() { KECCAK_EMPTY } else { keccak256(&account.code) };
    if let Some(value) = (CodeRecord { hash, life: 0 }).value(&mut [0; 40]) {
        put(EvmKey::code_of(address), value);
        put(EvmKey::code(hash), &account.code);
    }
    if account.balance.is_zero() && account.nonce == 0 && account.code.is_empty() {
        put(EvmKey::exists(address), &EXISTS_RECORD);
    }
    for (slot, value) in &account.storage {
        if let Some(value) = slot_value(*value, &mut [0; 32]) {
            put(EvmKey::slot(address, 0, *slot), value);
        }
    }
    entries
}
