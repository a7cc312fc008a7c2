//! What validators say to each other, and its bytes. What comes from a peer is bounded before anything is allocated for it.

use crate::quorum_store::bounded;
use crate::quorum_store::config::{MAX_BATCHES_PER_MESSAGE, MAX_MESSAGE_PAYLOAD};
use crate::quorum_store::{
    Batch, BatchDigest, BatchLimits, Epoch, Micros, ProofOfStore, Refusal, SignedBatchInfo,
};
use serde::{Deserialize, Serialize};

/// The longest frame.
pub const MAX_FRAME_BYTES: usize = (8 << 20) + (256 << 10);
const _: () = assert!(MAX_FRAME_BYTES as u64 >= MAX_MESSAGE_PAYLOAD + (256 << 10));
/// Most signatures or proofs in one message.
pub const MAX_INFOS_PER_MESSAGE: u64 = 256;
/// Deepest nesting of a message.
const MAX_DEPTH: usize = 12;

/// A message between validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// New batches of the sender.
    Batches(#[serde(deserialize_with = "bounded::vec::<_, _, MAX_BATCHES_PER_MESSAGE>")] Vec<Batch>),
    /// Signatures under batches of the receiver.
    Signatures(
        #[serde(deserialize_with = "bounded::vec::<_, _, MAX_INFOS_PER_MESSAGE>")] Vec<SignedBatchInfo>,
    ),
    /// Proofs of batches.
    Proofs(#[serde(deserialize_with = "bounded::vec::<_, _, MAX_INFOS_PER_MESSAGE>")] Vec<ProofOfStore>),
    /// Asks for a batch.
    Fetch {
        /// Which.
        digest: BatchDigest,
        /// The asker's epoch.
        epoch: Epoch,
    },
    /// A batch that was asked for.
    Fetched(Batch),
    /// The batch that was asked for is not there.
    NotFound {
        /// Which.
        digest: BatchDigest,
        /// The answerer's epoch.
        epoch: Epoch,
        /// Up to when the answerer has committed: a batch that expired before is nowhere.
        committed: Micros,
    },
}

impl Message {
    /// Batches in as many messages as these limits ask for.
    #[must_use]
    pub fn of_batches(batches: impl IntoIterator<Item = Batch>, limits: &BatchLimits) -> Vec<Message> {
        let (mut messages, mut open, mut bytes, mut txns) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
        for batch in batches {
            (bytes, txns) = (bytes.saturating_add(batch.info.bytes), txns.saturating_add(batch.info.txns));
            if open.len() >= limits.batches || bytes > limits.total_bytes || txns > limits.total_txns {
                messages.push(Message::Batches(std::mem::take(&mut open)));
                (bytes, txns) = (batch.info.bytes, batch.info.txns);
            }
            open.push(batch);
        }
        messages.push(Message::Batches(open));
        messages.retain(|message| !matches!(message, Message::Batches(batches) if batches.is_empty()));
        messages
    }

    /// Proofs in as many messages as it takes.
    #[must_use]
    pub fn of_proofs(proofs: &[ProofOfStore]) -> Vec<Message> {
        let most = usize::try_from(MAX_INFOS_PER_MESSAGE).unwrap_or(usize::MAX);
        proofs.chunks(most).map(|some| Message::Proofs(some.to_vec())).collect()
    }

    /// The message's bytes.
    ///
    /// # Errors
    /// `FrameTooLong`; `Malformed` if a sequence is longer than any, which the codec refuses.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let bytes = bcs::to_bytes(self).map_err(|_| Refusal::Malformed)?;
        if bytes.len() > MAX_FRAME_BYTES { Err(Refusal::FrameTooLong) } else { Ok(bytes) }
    }

    /// Decodes what [`encode`](Self::encode) made, and nothing else. Allocates no more than a small multiple of the frame.
    ///
    /// # Errors
    /// `FrameTooLong`, `Malformed`.
    pub fn decode(bytes: &[u8]) -> Result<Message, Refusal> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(Refusal::FrameTooLong);
        }
        bcs::from_bytes_with_limit(bytes, MAX_DEPTH).map_err(|_| Refusal::Malformed)
    }
}
