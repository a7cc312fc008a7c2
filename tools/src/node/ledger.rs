//! The ledger that a node begins with: accounts, first state, who gets the fees.

use crate::node::error::NodeError;
use crate::node::options::NodeOptions;
use phalanx::durable::{DurableError, DurableState};
use phalanx::types::number_of;
use phalanx::vm::ledger::{Address, GenesisEntry, KEY_BYTES, LedgerConfig, sequence_key};
use phalanx_bench::{Accounts, Workload, WorkloadConfig, WorkloadKind};
use std::collections::HashMap;

/// Receives the fees; nobody has its key.
const BENEFICIARY: Address = Address(*b"phalanx node: receives the fees.");

/// What the node's ledger is made from; the same options give the same.
#[derive(Debug)]
pub struct NodeLedger {
    /// The accounts, with their keys.
    pub accounts: Accounts,
    /// Its set-up.
    pub config: LedgerConfig,
    /// The first state.
    pub genesis: Vec<GenesisEntry>,
}

impl NodeLedger {
    /// Derives it; some 20 us of work per account, on all cores.
    ///
    /// # Errors
    /// `Run` with what is wrong with the accounts.
    pub fn derive(options: &NodeOptions) -> Result<NodeLedger, NodeError> {
        let workload = Workload::new(WorkloadConfig {
            kind: WorkloadKind::Uniform,
            accounts: options.accounts,
            block_size: 1,
            seed: options.seed,
            signed: true,
            blocks: 0,
        })?;
        let genesis = workload.genesis()?;
        Ok(NodeLedger { accounts: workload.accounts().clone(), config: workload.ledger_config(), genesis })
    }

    /// Who gets the fees.
    pub fn beneficiary() -> Address {
        BENEFICIARY
    }
}

/// The next sequence number of every account that used one, as an open state directory has it.
///
/// # Errors
/// [`DurableError`].
pub fn sequences(state: &DurableState) -> Result<HashMap<Address, u64>, DurableError> {
    let mut found = HashMap::new();
    state.for_each(|key, value| {
        let Some(address) = sequence_owner(key) else { return };
        if let Some(next) = number_of(Some(value)).and_then(|next| u64::try_from(next).ok()) {
            found.insert(address, next);
        }
    })?;
    Ok(found)
}

/// Whose sequence number lies under this key.
fn sequence_owner(key: &[u8]) -> Option<Address> {
    let (_, address) = <&[u8; KEY_BYTES]>::try_from(key).ok()?.split_first()?;
    let address = Address(address.try_into().ok()?);
    (sequence_key(&address) == key).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use phalanx::vm::ledger::{account_key, balance_key};

    #[test]
    fn only_sequence_numbers_are_found_by_their_keys() {
        let address = Address([7; 32]);
        assert_eq!(sequence_owner(&sequence_key(&address)), Some(address));
        assert_eq!(sequence_owner(&balance_key(&address)), None);
        assert_eq!(sequence_owner(&account_key(&address)), None);
        assert_eq!(sequence_owner(b"short"), None);
    }
}
