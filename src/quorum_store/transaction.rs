//! Transactions as the quorum store sees them: bytes, and what it needs to know to order them.

use crate::quorum_store::{Micros, TxnHash};
use crate::vm::ledger::{Address, MAX_TRANSACTION_BYTES, SignedTransaction, TransactionError};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// An encoded transaction. Its length is at most [`MAX_TRANSACTION_BYTES`] if it came from a peer. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct TxnBytes(pub Arc<[u8]>);

impl fmt::Debug for TxnBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for TxnBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for TxnBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TxnBytes, D::Error> {
        deserializer.deserialize_bytes(BoundedBytes)
    }
}

/// Takes one slice of bounded length; the length is looked at before anything is copied.
struct BoundedBytes;

impl Visitor<'_> for BoundedBytes {
    type Value = TxnBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_TRANSACTION_BYTES} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<TxnBytes, E> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(TxnBytes(bytes.into()))
    }
}

/// Which transaction it is, and what its order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxnSummary {
    /// Hash of its bytes.
    pub hash: TxnHash,
    /// Who sent it.
    pub sender: Address,
    /// Its sequence number there.
    pub sequence: u64,
    /// Until when it is valid: the last microsecond of its last second.
    pub expiration: Micros,
}

/// A transaction that decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PooledTxn {
    /// Its bytes.
    pub bytes: TxnBytes,
    /// What its order depends on.
    pub summary: TxnSummary,
    /// Fee per unit of gas.
    pub gas_price: u64,
}

impl PooledTxn {
    /// Reads an encoded transaction of the ledger. Its signature is not looked at.
    ///
    /// # Errors
    /// [`TransactionError`] for bytes that are none.
    pub fn read(bytes: TxnBytes) -> Result<PooledTxn, TransactionError> {
        let raw = SignedTransaction::decode(&bytes.0)?.raw;
        let summary = TxnSummary {
            hash: TxnHash(*blake3::hash(&bytes.0).as_bytes()),
            sender: raw.sender,
            sequence: raw.sequence_number,
            expiration: Micros(
                raw.expiration_s.saturating_add(1).saturating_mul(1_000_000).saturating_sub(1),
            ),
        };
        Ok(PooledTxn { bytes, summary, gas_price: raw.gas_price })
    }

    /// Its encoded length.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.0.len() as u64
    }

    /// Whether it has no bytes; such a one does not decode.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.0.is_empty()
    }
}
