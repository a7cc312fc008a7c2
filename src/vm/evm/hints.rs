//! What is known of a transaction's accesses before it runs.

use crate::types::{AccessMode, BlockHeader, HintWriter};
use crate::vm::evm::{EvmBlockContext, EvmKey, EvmTransaction};
use revm::primitives::{Address, U256};

/// Expected cost of a plain transfer, and of a call of which nothing is known, in nanoseconds.
const COST_TRANSFER_NS: u32 = 700;
const COST_CALL_NS: u32 = 12_000;

/// Declares what the transaction itself tells: sender, recipient, beneficiary, access list.
pub(super) fn declare_cold(header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
    let (Ok(transaction), Ok(context)) =
        (EvmTransaction::decode(transaction), EvmBlockContext::of_header(header))
    else {
        return;
    };
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
    if tx.kind.to() != Some(&context.beneficiary) && tx.caller != context.beneficiary {
        hint.access(EvmKey::balance(context.beneficiary).as_slice(), AccessMode::Add);
    }
    hint.cost_ns(if tx.data.is_empty() && !tx.kind.is_create() { COST_TRANSFER_NS } else { COST_CALL_NS });
}

fn declare_sender(sender: Address, hint: &mut HintWriter<'_>) {
    hint.access(EvmKey::balance(sender).as_slice(), AccessMode::Add);
    hint.access(EvmKey::code_of(sender).as_slice(), AccessMode::Read);
    hint.access(EvmKey::nonce(sender).as_slice(), AccessMode::ReadWrite);
}

/// A recipient that is not paid is not changed.
fn paid(value: U256) -> AccessMode {
    if value.is_zero() { AccessMode::Read } else { AccessMode::Add }
}
