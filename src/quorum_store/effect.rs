//! What components ask for: messages to peers, and news for other components of the same validator.

use crate::quorum_store::pull_rate::BackPressure;
use crate::quorum_store::{
    Batch, BatchDigest, BatchInfo, BatchKey, Message, ProofOfStore, Refusal, SignedBatchInfo, TxnSummary,
    ValidatorId,
};
use std::sync::Arc;

/// News for the batch generator.
#[derive(Clone, Debug)]
pub enum GeneratorNews {
    /// A peer has these transactions in a batch.
    RemoteBatch(BatchKey, Arc<[TxnSummary]>),
    /// Own batches that got no proof in time.
    ProofsTimedOut(Vec<BatchKey>),
    /// What the proof manager says of its backlog.
    BackPressure(BackPressure),
}

/// News for the proof coordinator.
#[derive(Clone, Debug)]
pub enum ProofNews {
    /// Signatures, from this validator.
    Signatures(ValidatorId, Vec<SignedBatchInfo>),
}

/// News for the proof manager.
#[derive(Clone, Debug)]
pub enum QueueNews {
    /// Proofs; one's own are known to be right.
    Proofs(ValidatorId, Vec<ProofOfStore>),
    /// Batches that are stored here.
    Batches(Vec<(BatchInfo, Arc<[TxnSummary]>)>),
}

/// How asking peers for a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEnd {
    /// It is here.
    Found(Arc<Batch>),
    /// It has expired, or nobody gave it.
    Failed(Refusal),
}

/// What a component asks for.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell one peer.
    Send(ValidatorId, Message),
    /// Tell all peers.
    Broadcast(Message),
    /// Tell the batch generator.
    Generator(GeneratorNews),
    /// Tell the proof coordinator.
    Proofs(ProofNews),
    /// Tell the proof manager.
    Queue(QueueNews),
    /// A fetch ended.
    Fetched(BatchDigest, FetchEnd),
}

/// Where effects are put.
pub type Outbox = Vec<Effect>;
