//! Transactions and their encoding: BCS, signed with ed25519.
//!
//! The signed message is a domain prefix followed by the encoded [`RawTransaction`], which is also how an encoded
//! [`SignedTransaction`] begins: verification needs no second encoding.

use crate::vm::ledger::Address;
#[cfg(feature = "fault-transactions")]
use crate::vm::ledger::FaultOrder;
use crate::vm::ledger::address::fixed_bytes;
use crate::vm::ledger::signature::SignedMessage;
use ed25519_dalek::{Signer, SigningKey};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Most recipients of a batch transfer.
pub const MAX_RECIPIENTS: usize = 256;

/// Longest encoded transaction, in bytes; a batch of [`MAX_RECIPIENTS`] takes 11 KiB.
pub const MAX_TRANSACTION_BYTES: usize = 64 << 10;

/// Keeps signatures of this ledger from meaning anything elsewhere.
const SIGNING_DOMAIN: &[u8] = b"phalanx ledger transaction 1\0";

/// Encoded length of a signature: its length prefix and its bytes.
const SIGNATURE_BYTES: usize = 1 + 64;

/// Deepest nesting of an encoded transaction.
const MAX_DEPTH: usize = 8;

/// What a transaction asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Moves an amount to an existing account.
    Transfer {
        /// Who receives it.
        to: Address,
        /// How much.
        amount: u64,
    },
    /// Moves amounts to several existing accounts, all or none.
    BatchTransfer {
        /// Recipients and amounts; an account may occur more than once. Decoding keeps at most one entry more than
        /// [`MAX_RECIPIENTS`]: enough to see that there are too many.
        #[serde(deserialize_with = "bounded_recipients")]
        recipients: Vec<(Address, u64)>,
    },
    /// Creates an account and moves an amount to it.
    CreateAccount {
        /// The new account.
        account: Address,
        /// How much it receives.
        balance: u64,
    },
    /// Moves an amount to an existing account, if it does not bring its shard down first. For tests: without the feature
    /// `fault-transactions` its bytes are no transaction.
    #[cfg(feature = "fault-transactions")]
    Fault(FaultOrder),
}

/// A transaction before it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawTransaction {
    /// The chain that it is meant for.
    pub chain_id: u32,
    /// Who pays and signs.
    pub sender: Address,
    /// The sender's sequence number; must be the account's present one.
    pub sequence_number: u64,
    /// Most gas that it may use.
    pub max_gas: u64,
    /// Fee per unit of gas.
    pub gas_price: u64,
    /// Last block time at which it is valid, in seconds since the Unix epoch.
    pub expiration_s: u64,
    /// What it asks for.
    pub payload: Payload,
}

/// A transaction with its signature: what blocks hold, encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What was signed.
    pub raw: RawTransaction,
    /// The sender's signature.
    #[serde(with = "fixed_bytes")]
    pub signature: [u8; 64],
}

/// A transaction that cannot be encoded, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// The bytes do not decode.
    #[error("{bytes} bytes are no signed transaction: {source}; encode with SignedTransaction::encode")]
    Undecodable {
        /// How many bytes there were.
        bytes: usize,
        /// What the decoder said.
        source: bcs::Error,
    },
    /// The transaction does not encode.
    #[error("transaction cannot be encoded: {source}; shorten its payload")]
    Unencodable {
        /// What the encoder said.
        #[from]
        source: bcs::Error,
    },
    /// The encoded transaction is too long.
    #[error("transaction of {bytes} bytes is over the limit of {MAX_TRANSACTION_BYTES}; split its payload")]
    TooLong {
        /// Its encoded length.
        bytes: usize,
    },
}

impl RawTransaction {
    /// Signs with the sender's key. That the key is the sender's is not checked: tests need wrong ones as well.
    ///
    /// # Errors
    /// [`TransactionError::Unencodable`].
    pub fn sign(self, key: &SigningKey) -> Result<SignedTransaction, TransactionError> {
        let mut message = SIGNING_DOMAIN.to_vec();
        bcs::serialize_into(&mut message, &self)?;
        Ok(SignedTransaction { signature: key.sign(&message).to_bytes(), raw: self })
    }

    /// Attaches a signature of zeros, for ledgers that do not look at signatures.
    #[must_use]
    pub fn unsigned(self) -> SignedTransaction {
        SignedTransaction { raw: self, signature: [0; 64] }
    }
}

impl SignedTransaction {
    /// The bytes that a block holds.
    ///
    /// # Errors
    /// [`TransactionError::Unencodable`] and [`TransactionError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, TransactionError> {
        let mut encoded = Vec::with_capacity(256);
        bcs::serialize_into(&mut encoded, self)?;
        let bytes = encoded.len();
        if bytes > MAX_TRANSACTION_BYTES { Err(TransactionError::TooLong { bytes }) } else { Ok(encoded) }
    }

    /// Decodes what [`encode`](Self::encode) made, and nothing else: each transaction has one encoding. Allocates
    /// only for a batch, and there for at most one recipient more than [`MAX_RECIPIENTS`].
    ///
    /// # Errors
    /// [`TransactionError::Undecodable`] and [`TransactionError::TooLong`].
    pub fn decode(bytes: &[u8]) -> Result<SignedTransaction, TransactionError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(TransactionError::TooLong { bytes: bytes.len() });
        }
        bcs::from_bytes_with_limit(bytes, MAX_DEPTH)
            .map_err(|source| TransactionError::Undecodable { bytes: bytes.len(), source })
    }

    /// What is to be checked: the sender's signature over `encoded`, the bytes that this transaction was decoded from.
    /// `message` is scratch space.
    #[must_use]
    pub(super) fn signed_message(&self, encoded: &[u8], message: &mut Vec<u8>) -> Option<SignedMessage> {
        let raw_bytes = encoded.len().checked_sub(SIGNATURE_BYTES)?;
        message.clear();
        message.extend_from_slice(SIGNING_DOMAIN);
        message.extend_from_slice(&encoded[..raw_bytes]);
        Some(SignedMessage::new(self.raw.sender.0, self.signature, message))
    }
}

fn bounded_recipients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Address, u64)>, D::Error> {
    deserializer.deserialize_seq(Recipients)
}

/// Collects a sequence into a vector whose size does not depend on what the sequence claims.
struct Recipients;

impl<'de> Visitor<'de> for Recipients {
    type Value = Vec<(Address, u64)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of recipients and amounts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let claimed = sequence.size_hint().unwrap_or(0);
        let mut kept = Vec::with_capacity(claimed.min(MAX_RECIPIENTS + 1));
        while let Some(entry) = sequence.next_element()? {
            if kept.len() <= MAX_RECIPIENTS {
                kept.push(entry);
            }
        }
        Ok(kept)
    }
}
