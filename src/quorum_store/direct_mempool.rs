//! Past the quorum store: a proposer puts its mempool's transactions into batches for one block. Nobody signs them; whoever commits
//! the block fetches them from the proposer. Without quorum nothing says that anybody else has them before they are ordered.

use crate::quorum_store::batch_generator::BatchGenerator;
use crate::quorum_store::gate::Gate;
use crate::quorum_store::mempool::TxnSource;
use crate::quorum_store::{Batch, Micros};
use std::sync::Arc;

impl BatchGenerator {
    /// Batches of the best transactions, as many as one message may have, with at most so many transactions and bytes. They are
    /// persisted, told to nobody, and held until they are committed or expire, or the generator hears that they timed out.
    ///
    /// # Errors
    /// The gate, if it is closed.
    pub fn pull_for_block(
        &mut self,
        now: Micros,
        gate: Gate,
        source: &impl TxnSource,
        (max_txns, max_bytes): (u64, u64),
    ) -> Result<Vec<Arc<Batch>>, Gate> {
        if let Gate::Closed { .. } = gate {
            self.count_gated();
            return Err(gate);
        }
        self.expire(now);
        if !self.has_ids(now) {
            return Ok(Vec::new());
        }
        let txns = source.pull(now, max_txns, max_bytes, self.in_progress());
        if txns.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.make_batches(now, txns).into_iter().map(|(batch, _)| batch).collect())
    }
}
