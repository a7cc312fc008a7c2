//! The EVM: Ethereum's transactions over the same state, shards and rules as any other machine's.
//!
//! revm executes; this room stands between it and the state. It splits accounts into keys, hands out fees and payments
//! as commutative deltas, and notes what an execution rests on.

mod access_set;
mod account_note;
mod block_context;
mod call_book;
mod code_cache;
mod config;
mod database;
mod genesis;
mod handler;
mod hash_memo;
mod hints;
mod instructions;
mod interpretation;
mod keys;
mod log;
mod machine;
mod outline;
mod parts;
mod settle;
mod status;
mod transaction;
mod transfer;
mod wire;

pub use access_set::AccessSet;
pub use block_context::{BlobContext, EvmBlockContext};
pub use call_book::CallBook;
pub use code_cache::bytecode_of;
pub use config::EvmConfig;
pub use database::nonce_of;
pub use genesis::{EvmAccount, EvmEntry, account_entries};
pub use keys::{CodeRecord, EXISTS_RECORD, EvmField, EvmKey, balance_of, balance_value, slot_of, slot_value};
pub use log::{EVENT_LOG, EVENT_RETURNED, log_of_event};
pub use machine::{EvmVm, system_call};
pub use status::EvmStatus;
pub use transaction::EvmTransaction;
pub use wire::WireError;

pub use revm;
