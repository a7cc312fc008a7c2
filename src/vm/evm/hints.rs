//! What is known of a transaction's accesses before it runs.

use crate::types::{AccessMode, BlockHeader, HintWriter, PrepareError, PreparedBlock, TxnIndex};
use crate::vm::evm::outline::Outline;
use crate::vm::evm::{EvmBlockContext, EvmKey, EvmTransaction};
use revm::primitives::map::{AddressMap, AddressSet};
use revm::primitives::{Address, U256};

/// Expected cost of a plain transfer in nanoseconds.
const COST_TRANSFER_NS: u32 = 700;
/// Gas of a limit per nanosecond, as most calls have it: about 3.5 are used up in one, of a limit that is rarely reached.
const GAS_PER_NS: u64 = 10;
/// Most that a limit says: beyond it, it was set without thought.
const COST_CALL_MAX_NS: u32 = 1_000_000;

/// Declares what the transaction itself tells: sender, recipient, beneficiary, access list.
pub(super) fn declare_cold(header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
    let Some(tx) = Outline::of(transaction) else { return declare_protocol(transaction, hint) };
    let beneficiary = EvmBlockContext::beneficiary_of(header);
    let (sender, recipient) = (tx.sender, tx.recipient);
    declare_sender(sender, hint);
    if let Some(to) = recipient {
        hint.access(EvmKey::balance(to).as_slice(), paid(tx.value));
        hint.access(EvmKey::code_of(to).as_slice(), AccessMode::Read);
    }
    let cost_ns = match recipient {
        Some(_) if tx.input.is_empty() => COST_TRANSFER_NS,
        Some(_) | None => cost_of_gas(tx.gas_limit),
    };
    let calls = recipient.filter(|_| !tx.input.is_empty());
    tx.for_each_listed(|account, slot| {
        let key = match slot {
            None => EvmKey::code_of(account),
            Some(slot) => EvmKey::slot(account, 0, U256::from_be_bytes(slot.0)),
        };
        hint.access(key.as_slice(), AccessMode::Read);
    });
    if recipient != Some(beneficiary) && sender != beneficiary {
        hint.access(EvmKey::balance(beneficiary).as_slice(), AccessMode::Add);
    }
    if let Some(contract) = calls {
        declare_near(contract, hint);
    }
    hint.cost_ns(cost_ns);
}

/// Declares what a call or credit of the protocol touches.
fn declare_protocol(transaction: &[u8], hint: &mut HintWriter<'_>) {
    match EvmTransaction::decode(transaction) {
        Ok(EvmTransaction::System { contract, .. }) => {
            hint.access(EvmKey::code_of(contract).as_slice(), AccessMode::Read);
        }
        Ok(EvmTransaction::Credit { account, .. }) => {
            hint.access(EvmKey::balance(account).as_slice(), AccessMode::Add);
        }
        Ok(EvmTransaction::User(_)) | Err(_) => {}
    }
}

/// Foresees the nonces of senders that only transfer: each transaction says itself which one those before it leave, and they wait
/// for none of them. Calls of one sender often touch the same slots: they are better off one after the other.
pub(super) fn foresee_nonces(block: &mut PreparedBlock) -> Result<(), PrepareError> {
    let mut sent = Vec::with_capacity(block.len());
    let mut calling = AddressSet::default();
    for txn in (0_u32..).map(TxnIndex).take(block.len()) {
        let Some(tx) = block.transaction(txn).and_then(Outline::of) else { continue };
        sent.push((txn, tx.sender, tx.nonce));
        if tx.recipient.is_none() || !tx.input.is_empty() {
            calling.insert(tx.sender);
        }
    }
    let mut last: AddressMap<TxnIndex> = AddressMap::default();
    for (txn, sender, nonce) in sent.into_iter().filter(|(_, sender, _)| !calling.contains(sender)) {
        if let Some(before) = last.insert(sender, txn) {
            block.foresee(before, EvmKey::nonce(sender).as_slice(), Some(&nonce.to_le_bytes()))?;
        }
    }
    Ok(())
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
