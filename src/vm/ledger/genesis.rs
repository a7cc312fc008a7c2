//! The first state of a ledger.

use crate::vm::ledger::{ACCOUNT_RECORD, Address, account_key, balance_key};
use std::collections::HashSet;
use thiserror::Error;

/// One entry of the first state: key and value.
pub type GenesisEntry = (Vec<u8>, Vec<u8>);

/// Accounts that make no first state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// The balances do not fit 64 bits together, so that a transfer could overflow.
    #[error(
        "total supply exceeds the limit of {limit} at account {index} ({address}); lower the genesis balances",
        limit = u64::MAX
    )]
    SupplyOverflow {
        /// Place of the account at which the limit was passed.
        index: usize,
        /// Its address.
        address: Address,
    },
    /// The same account is listed twice.
    #[error("account {index} ({address}) is listed twice; add its balances up into one entry")]
    Duplicate {
        /// Place of the second mention.
        index: usize,
        /// Its address.
        address: Address,
    },
}

/// Entries of a ledger in which exactly `accounts` exist, with these balances and sequence number 0.
///
/// # Errors
/// [`GenesisError`], before any entry is made.
pub fn genesis(
    accounts: impl IntoIterator<Item = (Address, u64)>,
) -> Result<impl Iterator<Item = GenesisEntry>, GenesisError> {
    let accounts: Vec<(Address, u64)> = accounts.into_iter().collect();
    let mut seen = HashSet::with_capacity(accounts.len());
    let mut supply = 0_u64;
    for (index, &(address, balance)) in accounts.iter().enumerate() {
        if !seen.insert(address) {
            return Err(GenesisError::Duplicate { index, address });
        }
        supply = supply.checked_add(balance).ok_or(GenesisError::SupplyOverflow { index, address })?;
    }
    Ok(accounts.into_iter().flat_map(|(address, balance)| {
        let record = (account_key(&address).to_vec(), ACCOUNT_RECORD.to_vec());
        let funds = (balance > 0).then(|| (balance_key(&address).to_vec(), balance.to_le_bytes().to_vec()));
        std::iter::once(record).chain(funds)
    }))
}
