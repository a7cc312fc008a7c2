//! Real blocks of mainnet, executed by the sequential executor over the EVM machine: gas, bloom and receipts root are
//! the header's, and every account afterwards is the one that revm alone leaves.
//!
//! The blocks are read from the folder that `PHALANX_ETHEREUM` names, or `../shared/ethereum` beside the repository; without
//! them the test says so and looks at nothing.

#![allow(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

use phalanx::executor::{BlockExecutor, Sequential};
use phalanx::state::{BaseState, StateConfig};
use phalanx::types::PreparedBlock;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::{EvmConfig, EvmVm};
use phalanx_bench::ethereum::{EthereumBlock, Outcome, ReceiptTotals, Reference, ReferenceState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn blocks() -> Vec<PathBuf> {
    let root = std::env::var_os("PHALANX_ETHEREUM").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/ethereum"),
        PathBuf::from,
    );
    let Ok(folders) = std::fs::read_dir(root.join("blocks")) else {
        eprintln!("no Ethereum blocks in {}: nothing is tested", root.display());
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_block_comes_to_what_its_header_says_and_what_revm_alone_leaves() {
    for folder in blocks() {
        let block = EthereumBlock::read(&folder).unwrap();
        let state = ReferenceState::of(&block);
        let reference = Reference::new(&block, &state);
        let (took, expected) = (reference.time().unwrap(), reference.outcome().unwrap());
        let totals = ReceiptTotals::of(&expected.receipts);
        assert_eq!(totals.gas_used, block.file.gas_used, "{folder:?}");
        assert_eq!(totals.bloom.as_slice(), block.file.logs_bloom.as_ref(), "{folder:?}");
        if block.file.context.spec >= SpecId::BYZANTIUM {
            assert_eq!(totals.root, block.file.receipts_root, "{folder:?}");
        }
        let mut entries = block.entries();
        let base = BaseState::with_entries(StateConfig::default(), &entries);
        let vm = EvmVm::new(EvmConfig::default());
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &block.block()).unwrap());
        let mut executor = Sequential::new(vm, base.unwrap());
        let begun = Instant::now();
        let output = executor.execute(&prepared, Instant::now() + Duration::from_secs(600)).unwrap();
        let ours = begun.elapsed();
        let outcome = Outcome::of_output(&block, &mut entries, &output).unwrap();
        eprintln!("{} revm {took:?} ours {ours:?}", folder.display());
        assert_eq!(outcome.first_difference(&expected), None, "{folder:?}");
    }
}
