//! Batches of transactions, and what is signed of them.

use crate::quorum_store::bounded;
use crate::quorum_store::config::MAX_TXNS_PER_BATCH;
use crate::quorum_store::{BatchDigest, BatchId, BatchKey, Epoch, Micros, TxnBytes, ValidatorId};
use serde::{Deserialize, Serialize};

/// What is said of a batch, and signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchInfo {
    /// Who made it.
    pub author: ValidatorId,
    /// Its number there.
    pub id: BatchId,
    /// In which epoch.
    pub epoch: Epoch,
    /// From when on it is void.
    pub expiration: Micros,
    /// Hash of author and transactions.
    pub digest: BatchDigest,
    /// Number of transactions.
    pub txns: u64,
    /// Bytes of all transactions.
    pub bytes: u64,
    /// Lower end of the gas price bucket that its transactions come from.
    pub gas_bucket: u64,
}

impl BatchInfo {
    /// Which batch it is.
    #[must_use]
    pub fn key(&self) -> BatchKey {
        BatchKey { author: self.author, id: self.id }
    }

    /// The bytes that validators sign.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(b"phalanx batch 1\0");
        bytes.extend_from_slice(&self.author.0.to_le_bytes());
        for number in [
            self.id.nonce,
            self.id.number,
            self.epoch.0,
            self.expiration.0,
            self.txns,
            self.bytes,
            self.gas_bucket,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.digest.0);
        bytes
    }
}

/// A batch with its transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// What is said of it.
    pub info: BatchInfo,
    /// Its transactions, encoded.
    #[serde(deserialize_with = "bounded::vec::<_, _, MAX_TXNS_PER_BATCH>")]
    pub txns: Vec<TxnBytes>,
}

impl Batch {
    /// Makes a batch; digest and sums are computed.
    #[must_use]
    pub fn new(info: BatchInfo, txns: Vec<TxnBytes>) -> Batch {
        let info = BatchInfo {
            digest: digest_of(info.author, &txns),
            txns: txns.len() as u64,
            bytes: txns.iter().map(|txn| txn.0.len() as u64).sum(),
            ..info
        };
        Batch { info, txns }
    }

    /// Whether digest and sums are those of the transactions.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.info.txns == self.txns.len() as u64
            && self.info.bytes == self.txns.iter().map(|txn| txn.0.len() as u64).sum::<u64>()
            && self.info.digest == digest_of(self.info.author, &self.txns)
    }
}

fn digest_of(author: ValidatorId, txns: &[TxnBytes]) -> BatchDigest {
    let mut hasher = blake3::Hasher::new_derive_key("phalanx batch digest 1");
    hasher.update(&author.0.to_le_bytes()).update(&(txns.len() as u64).to_le_bytes());
    for txn in txns {
        hasher.update(&(txn.0.len() as u64).to_le_bytes()).update(&txn.0);
    }
    BatchDigest(*hasher.finalize().as_bytes())
}
