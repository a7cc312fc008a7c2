//! How frames come from one validator to another.

use crate::quorum_store::ValidatorId;
use std::fmt;
use std::sync::Arc;

/// Where the frames for a validator go.
pub trait FrameSink: Send + Sync + fmt::Debug {
    /// Takes a frame of a peer, or drops and counts it. Never blocks.
    fn deliver(&self, from: ValidatorId, frame: Arc<[u8]>);
}

/// Brings frames to validators. Frames may be lost, come twice, late and in any order; who sends hears of none of that.
pub trait Network: Send + Sync + fmt::Debug {
    /// From now on frames for this validator go there.
    fn attach(&self, validator: ValidatorId, sink: Arc<dyn FrameSink>);

    /// Nothing is delivered to this validator any more.
    fn detach(&self, validator: ValidatorId);

    /// Sends a frame. Never blocks; what there is no room for is dropped and counted.
    fn send(&self, from: ValidatorId, to: ValidatorId, frame: Arc<[u8]>);
}
