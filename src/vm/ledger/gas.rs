//! The gas schedule: fixed, and known before anything is read.

use crate::vm::ledger::Payload;

/// Gas of every transaction.
pub const GAS_BASE: u64 = 1_000;
/// Gas per recipient of a transfer.
pub const GAS_PER_RECIPIENT: u64 = 300;
/// Gas per byte of the encoded transaction, signature included.
pub const GAS_PER_BYTE: u64 = 4;
/// Gas of creating an account.
pub const GAS_PER_CREATED_ACCOUNT: u64 = 2_000;

/// Gas that a transaction with this payload and this encoded length needs.
#[must_use]
pub fn gas_needed(payload: &Payload, encoded_bytes: usize) -> u64 {
    let body = match payload {
        Payload::Transfer { .. } => GAS_PER_RECIPIENT,
        Payload::BatchTransfer { recipients } => GAS_PER_RECIPIENT.saturating_mul(recipients.len() as u64),
        Payload::CreateAccount { .. } => GAS_PER_CREATED_ACCOUNT,
        #[cfg(feature = "fault-transactions")]
        Payload::Fault(_) => GAS_PER_RECIPIENT,
    };
    GAS_BASE.saturating_add(body).saturating_add(GAS_PER_BYTE.saturating_mul(encoded_bytes as u64))
}
