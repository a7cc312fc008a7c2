//! Random programs of the EVM whose every step meets others of the block: whatever executes them, receipts and all accounts afterwards
//! are those that revm alone leaves, under the rules of every spec.
//!
//! What would break: anything that a transaction saw, decided by or left and that is neither recorded nor validated, also of accounts that
//! come into being and go again within the block, of the beneficiary, and of calls of the protocol.
//!
//! Negative controls run, each found within 40 runs: without the nonce noted in `Settlement::decided_by_nonce`, by a creator or where an account
//! destroys itself; with balances not noted where they were looked at, or were enough or not; with emptiness not noted; with the life of
//! destroyed storage not ended; without the mark of an empty account, or with one that a destroyed account keeps; with a reward left to a
//! destroyed beneficiary; with precompiles left as they are for calls of the protocol. Not found by them: a nonce that is not noted at a creation (it
//! is read when the creation is written down) or for a sender (all are foreseen here; `tests/evm.rs` has gaps).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

mod common;

use common::ethereum::{
    SPECS, assert_equal, assert_prepared_equal, expected, list_of, seeds, state, with_list,
};
use common::programs::program_block;
use phalanx::executor::{BlockStm, BlockStmConfig, Sequential, Threads, ThreadsConfig};
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::{EvmConfig, EvmVm};

#[test]
fn random_programs_come_to_what_revm_alone_leaves() {
    for seed in seeds(6) {
        for (place, spec) in SPECS.into_iter().enumerate() {
            let (block, what) = (program_block(seed, spec), format!("PHALANX_SEED={seed} {spec:?}"));
            let (expected, vm) = (expected(&block, &what), EvmVm::new(EvmConfig::default()));
            let mut sequential = Sequential::new(vm.clone(), state(&block));
            assert_equal(&block, &mut sequential, &expected, &format!("one after the other, {what}"));
            let shards = 2 + place % 3;
            let config = || ThreadsConfig { shards, ..ThreadsConfig::default() };
            let mut threads = Threads::launch(config(), vm.clone(), state(&block)).unwrap();
            assert_equal(&block, &mut threads, &expected, &format!("{shards} threads, {what}"));
            if spec >= SpecId::LONDON {
                let prepared = with_list(&block, &list_of(&block));
                let mut threads = Threads::launch(config(), vm.clone(), state(&block)).unwrap();
                let what = format!("{shards} threads with the access list, {what}");
                assert_prepared_equal(&block, &prepared, &mut threads, &expected, &what);
            }
            let config = BlockStmConfig { threads: shards, ..BlockStmConfig::default() };
            let mut block_stm = BlockStm::launch(config, vm, state(&block)).unwrap();
            assert_equal(&block, &mut block_stm, &expected, &format!("block-stm, {what}"));
        }
    }
}
