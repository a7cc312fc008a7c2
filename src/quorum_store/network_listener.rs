//! Takes frames of peers apart: bounded in length and rate, decoded, and handed to the component that they are for.

use crate::quorum_store::{
    Batch, BatchDigest, Epoch, Message, Micros, ProofOfStore, Refusal, RefusalCounts, SignedBatchInfo,
    ValidatorId,
};

/// What a frame is, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// For the batch coordinator.
    Batches(Vec<Batch>),
    /// For the proof coordinator.
    Signatures(Vec<SignedBatchInfo>),
    /// For the proof manager.
    Proofs(Vec<ProofOfStore>),
    /// For the batch requester: a question.
    Fetch(BatchDigest, Epoch),
    /// For the batch requester: an answer.
    Fetched(Batch),
    /// For the batch requester: an answer.
    NotFound(BatchDigest, Epoch, Micros),
}

/// Frames that one peer may still send in this second.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    frames: u64,
    until: Micros,
}

/// The network listener.
#[derive(Debug)]
pub struct NetworkListener {
    peers: Vec<Allowance>,
    frames_per_s: u64,
    refusals: RefusalCounts,
}

impl NetworkListener {
    /// For so many validators, each of which may send so many frames per second.
    #[must_use]
    pub fn new(validators: usize, frames_per_s: u64) -> NetworkListener {
        let peers = vec![Allowance { frames: 0, until: Micros(0) }; validators];
        NetworkListener { peers, frames_per_s, refusals: RefusalCounts::default() }
    }

    /// A frame of a peer.
    ///
    /// # Errors
    /// `UnknownPeer`, `TooFast`, `FrameTooLong`, `Malformed`; each is counted.
    pub fn receive(&mut self, now: Micros, from: ValidatorId, frame: &[u8]) -> Result<Incoming, Refusal> {
        let result = self.admit(now, from).and_then(|()| Message::decode(frame)).map(sort);
        if let Err(refusal) = result {
            tracing::debug!(%from, %refusal, bytes = frame.len(), "a frame is refused");
            self.refusals.count(refusal);
        }
        result
    }

    fn admit(&mut self, now: Micros, from: ValidatorId) -> Result<(), Refusal> {
        let allowance = self.peers.get_mut(from.index()).ok_or(Refusal::UnknownPeer)?;
        if allowance.until <= now {
            *allowance =
                Allowance { frames: self.frames_per_s, until: now.plus(std::time::Duration::from_secs(1)) };
        }
        allowance.frames = allowance.frames.checked_sub(1).ok_or(Refusal::TooFast)?;
        Ok(())
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}

fn sort(message: Message) -> Incoming {
    match message {
        Message::Batches(batches) => Incoming::Batches(batches),
        Message::Signatures(signed) => Incoming::Signatures(signed),
        Message::Proofs(proofs) => Incoming::Proofs(proofs),
        Message::Fetch { digest, epoch } => Incoming::Fetch(digest, epoch),
        Message::Fetched(batch) => Incoming::Fetched(batch),
        Message::NotFound { digest, epoch, committed } => Incoming::NotFound(digest, epoch, committed),
    }
}
