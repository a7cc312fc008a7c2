//! Random programs of the EVM whose every step meets others of the block: whatever executes them, receipts and all accounts afterwards
//! are those that revm alone leaves, under the rules of every spec.
//!
//! What would break: anything that a transaction saw, decided by or left and that is neither recorded nor validated, also of accounts that come
//! into being and go again within the block, of the beneficiary, and of calls of the protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

mod common;

use common::ethereum::{SPECS, assert_equal, expected, seeds, state};
use common::programs::program_block;
use phalanx::executor::{BlockStm, BlockStmConfig, Sequential, Threads, ThreadsConfig};
use phalanx::vm::evm::{EvmConfig, EvmVm};

#[test]
fn random_programs_come_to_what_revm_alone_leaves() {
    for seed in seeds(6) {
        for (place, spec) in SPECS.into_iter().enumerate() {
            let (block, what) = (program_block(seed, spec), format!("PHALANX_SEED={seed} {spec:?}"));
            let (expected, vm) = (expected(&block, &what), EvmVm::new(EvmConfig::default()));
            let mut sequential = Sequential::new(vm.clone(), state(&block));
            assert_equal(&block, &mut sequential, &expected, &format!("one after the other, {what}"));
            let shards = 2 + (place + seed as usize) % 3;
            let config = ThreadsConfig { shards, ..ThreadsConfig::default() };
            let mut threads = Threads::launch(config, vm.clone(), state(&block)).unwrap();
            assert_equal(&block, &mut threads, &expected, &format!("{shards} threads, {what}"));
            let config = BlockStmConfig { threads: shards, ..BlockStmConfig::default() };
            let mut block_stm = BlockStm::launch(config, vm, state(&block)).unwrap();
            assert_equal(&block, &mut block_stm, &expected, &format!("block-stm, {what}"));
        }
    }
}
