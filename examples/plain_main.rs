//! Embedding from a plain `main`: two shard processes execute a few blocks, each compared with sequential execution.
//!
//! Run with `cargo run --release --example plain_main`. Ends with code 1 when a block differs.
#![deny(unsafe_code)]

use phalanx::Phalanx;
use phalanx::executor::{BlockExecutor, MemoryConfig, Sequential};
use phalanx::state::BaseState;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than any of these blocks needs, on any host.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // First, before anything else: the supervisor of the shards is this same program, started again.
    phalanx::supervisor_entry();

    let mut workload = Workload::new(WorkloadConfig {
        kind: WorkloadKind::Uniform,
        accounts: 1_000,
        block_size: 500,
        seed: 1,
        signed: true,
        blocks: 5,
    })?;
    let vm = LedgerVm::new(workload.ledger_config());
    let genesis = workload.genesis()?;

    // The oracle has a state of its own.
    let state = BaseState::with_entries(MemoryConfig::default().state, genesis.iter().map(|(k, v)| (k, v)))?;
    let mut oracle = Sequential::new(vm.clone(), state);
    let phalanx = Phalanx::builder(workload.ledger_config()).shards(2).launch(genesis)?;

    let mut equal = true;
    while let Some(block) = workload.next_block() {
        let block = Arc::new(PreparedBlock::prepare(&vm, &block)?);
        let output = phalanx.execute(&block, Instant::now() + DEADLINE)?;
        let expected = oracle.execute(&block, Instant::now() + DEADLINE)?;
        println!("block {}: {} transactions, digest {}", output.height(), output.len(), output.digest());
        if let Some(difference) = output.first_difference(&expected) {
            eprintln!("block {} differs from sequential execution in {difference}", output.height());
            equal = false;
        }
    }
    phalanx.shutdown(Instant::now() + Duration::from_secs(5))?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
