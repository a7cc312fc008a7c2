//! What is known of a transaction's accesses before it runs.

use crate::types::{AccessMode, BlockHeader, HintWriter};
use crate::vm::evm::{EvmBlockContext, EvmKey, EvmTransaction};
use revm::primitives::{Address, U256};

/// Expected cost of a plain transfer in nanoseconds.
const COST_TRANSFER_NS: u32 = 700;
/// Gas of a limit per nanosecond: about 3.5 are used up in one, of a limit that is rarely reached.
const GAS_PER_NS: u64 = 7;
/// Most that a limit says: beyond it, it was set without thought.
const COST_CALL_MAX_NS: u32 = 300_000;

/// Declares what the transaction itself tells: sender, recipient, beneficiary, access list.
pub(super) fn declare_cold(header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
    let Ok(transaction) = EvmTransaction::decode(transaction) else { return };
    let beneficiary = EvmBlockContext::beneficiary_of(header);
    let tx = match &transaction {
        EvmTransaction::User(tx) => tx,
        EvmTransaction::System { contract, .. } => {
            return hint.access(EvmKey::code_of(*contract).as_slice(), AccessMode::Read);
        }
        EvmTransaction::Credit { account, .. } => {
            return hint.access(EvmKey::balance(*account).as_slice(), AccessMode::Add);
        }
    };
    declare_sender(tx.caller, hint);
    if let Some(&to) = tx.kind.to() {
        hint.access(EvmKey::balance(to).as_slice(), paid(tx.value));
        hint.access(EvmKey::code_of(to).as_slice(), AccessMode::Read);
    }
    for entry in &tx.access_list.0 {
        hint.access(EvmKey::code_of(entry.address).as_slice(), AccessMode::Read);
        for slot in &entry.storage_keys {
            let slot = U256::from_be_bytes(slot.0);
            hint.access(EvmKey::slot(entry.address, 0, slot).as_slice(), AccessMode::Read);
        }
    }
    if tx.kind.to() != Some(&beneficiary) && tx.caller != beneficiary {
        hint.access(EvmKey::balance(beneficiary).as_slice(), AccessMode::Add);
    }
    if tx.data.is_empty() && !tx.kind.is_create() {
        hint.cost_ns(COST_TRANSFER_NS);
    } else {
        if let Some(&to) = tx.kind.to() {
            declare_near(to, hint);
        }
        hint.cost_ns(cost_of_gas(tx.gas_limit));
    }
}

/// Calls of one contract often touch the same slots.
pub(super) fn declare_near(contract: Address, hint: &mut HintWriter<'_>) {
    hint.access(EvmKey::code_of(contract).as_slice(), AccessMode::Near);
}

/// What a transaction with this gas limit is expected to take.
fn cost_of_gas(limit: u64) -> u32 {
    u32::try_from(limit / GAS_PER_NS).unwrap_or(u32::MAX).clamp(COST_TRANSFER_NS, COST_CALL_MAX_NS)
}

fn declare_sender(sender: Address, hint: &mut HintWriter<'_>) {
    hint.access(EvmKey::balance(sender).as_slice(), AccessMode::Add);
    hint.access(EvmKey::code_of(sender).as_slice(), AccessMode::Read);
    hint.access(EvmKey::nonce(sender).as_slice(), AccessMode::ReadWrite);
}

/// A recipient that is not paid is not changed, and its balance rarely decides anything.
fn paid(value: U256) -> AccessMode {
    if value.is_zero() { AccessMode::Near } else { AccessMode::Add }
}
