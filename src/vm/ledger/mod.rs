//! The native ledger: accounts, sequence numbers, balances, gas. It exists so that the executors have a machine whose
//! hot numbers (balances, fees, sequence numbers) are deltas from the first version on.
//!
//! A decision taken from a number is always recorded with the exact interval of numbers that lead to the same
//! decision; see the header of `execution.rs`.

mod address;
mod config;
mod execution;
#[cfg(feature = "fault-transactions")]
mod fault;
mod gas;
mod genesis;
mod keys;
mod machine;
mod signature;
mod status;
mod transaction;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use config::{LedgerConfig, SignatureMode};
pub use execution::{EVENT_ACCOUNT_CREATED, EVENT_BATCH_TRANSFERRED};
#[cfg(feature = "fault-transactions")]
pub use fault::{Fault, FaultOrder, PANIC_AT_BLOCK, When};
pub use gas::{GAS_BASE, GAS_PER_BYTE, GAS_PER_CREATED_ACCOUNT, GAS_PER_RECIPIENT, gas_needed};
pub use genesis::{GenesisEntry, GenesisError, genesis};
pub use keys::{ACCOUNT_RECORD, KEY_BYTES, account_key, balance_key, sequence_key};
pub use machine::LedgerVm;
pub use status::LedgerStatus;
pub use transaction::{
    MAX_RECIPIENTS, MAX_TRANSACTION_BYTES, Payload, RawTransaction, SignedTransaction, TransactionError,
};
