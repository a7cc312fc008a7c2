//! Who signed a transaction, and the transaction as an execution sees it.

use crate::ethereum::chain::Fork;
use crate::ethereum::chain::block_rlp::Envelope;
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B512, U256, uint};
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::context_interface::either::Either;
use phalanx::vm::evm::revm::precompile::secp256k1::ecrecover;

/// Half the order of the curve: from Homestead on no signature's `s` is above it (EIP-2).
const HALF_ORDER: U256 = uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// The address that signed the transaction.
fn signer(envelope: &Envelope, fork: Fork) -> Result<Address, String> {
    if envelope.is_legacy() && envelope.chain_id().is_some() && fork < Fork::SpuriousDragon {
        return Err("its signature names a chain, which is not allowed yet".to_owned());
    }
    let signature = envelope.signature();
    if signature.s() > HALF_ORDER && fork >= Fork::Homestead {
        return Err(format!("the s of its signature, {}, is above half the order", signature.s()));
    }
    let mut both = B512::ZERO;
    both[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    both[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let word = ecrecover(&both, u8::from(signature.v()), &envelope.signature_hash());
    let word = word.map_err(|error| format!("its signature is none: {error}"))?;
    Ok(Address::from_word(word))
}

/// The transaction as an execution sees it.
///
/// # Errors
/// Why its signature is not valid.
pub(super) fn signed(envelope: &Envelope, fork: Fork) -> Result<TxEnv, String> {
    let authorizations = envelope.authorization_list().unwrap_or_default();
    Ok(TxEnv {
        tx_type: envelope.tx_type() as u8,
        caller: signer(envelope, fork)?,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: envelope.blob_versioned_hashes().unwrap_or_default().to_vec(),
        max_fee_per_blob_gas: envelope.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: authorizations
            .iter()
            .map(|authorization| Either::Right(authorization.clone().into_recovered()))
            .collect(),
    })
}
