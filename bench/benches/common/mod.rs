//! What the micro-benchmarks share: the workload that they all take.

#![allow(dead_code, missing_docs, reason = "each benchmark uses a part of it")]

use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::error::Error;
use std::sync::Arc;

/// Keys and values of the first state.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Transfers of a block.
pub const BLOCK_SIZE: usize = 10_000;

/// Unsigned transfers between any two of 100,000 accounts, without end.
pub struct Transfers {
    workload: Workload,
    pub vm: LedgerVm,
}

impl Transfers {
    pub fn new() -> Result<Transfers, Box<dyn Error>> {
        let kind = WorkloadKind::Uniform;
        let blocks = u64::MAX;
        let config = WorkloadConfig {
            kind,
            accounts: 100_000,
            block_size: BLOCK_SIZE,
            seed: 7,
            signed: false,
            blocks,
        };
        let workload = Workload::new(config)?;
        let vm = LedgerVm::new(workload.ledger_config());
        Ok(Transfers { workload, vm })
    }

    pub fn genesis(&self) -> Result<Entries, Box<dyn Error>> {
        Ok(self.workload.genesis()?)
    }

    /// The next block; the blocks before it must have been executed.
    pub fn next_block(&mut self) -> Result<Arc<PreparedBlock>, Box<dyn Error>> {
        let block = self.workload.next_block().ok_or("the workload has ended")?;
        Ok(Arc::new(PreparedBlock::prepare(&self.vm, &block)?))
    }

    /// The transactions of the next block, encoded.
    pub fn next_encoded(&mut self) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
        Ok(self.workload.next_block().ok_or("the workload has ended")?.transactions)
    }
}
