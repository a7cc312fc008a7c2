//! Why a transaction may not stand in a block: asked of revm alone, since an output says only that it was refused.

use crate::ethereum::Entries;
use phalanx::vm::evm::revm::bytecode::Bytecode;
use phalanx::vm::evm::revm::context::{CfgEnv, TxEnv};
use phalanx::vm::evm::revm::database_interface::DBErrorMarker;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, U256};
use phalanx::vm::evm::revm::state::AccountInfo;
use phalanx::vm::evm::revm::{Context, Database, ExecuteEvm, MainBuilder, MainContext};
use phalanx::vm::evm::{CodeRecord, EvmBlockContext, EvmKey, balance_of, bytecode_of, nonce_of, slot_of};
use thiserror::Error;

/// What revm says of a transaction on this state; `None` if it accepts it.
pub(super) fn why_refused(
    context: &EvmBlockContext,
    chain_id: u64,
    tx: &TxEnv,
    state: &Entries,
) -> Option<String> {
    let mut cfg = CfgEnv::new_with_spec(context.spec).with_chain_id(chain_id);
    cfg.blob_base_fee_update_fraction = context.blobs.map(|blobs| blobs.update_fraction);
    let tables = Tables { state, context };
    let evm = Context::mainnet().with_db(tables).with_cfg(cfg).with_block(context.block_env());
    evm.build_mainnet().transact(tx.clone()).err().map(|error| error.to_string())
}

/// A state as revm reads it.
#[derive(Debug)]
struct Tables<'a> {
    state: &'a Entries,
    context: &'a EvmBlockContext,
}

/// The hash of an earlier block that is not known.
#[derive(Debug, Error)]
#[error("the hash of block {0} is missing")]
struct HashMissing(u64);

impl DBErrorMarker for HashMissing {}

impl Tables<'_> {
    fn value(&self, key: &EvmKey) -> Option<&[u8]> {
        self.state.get(key.as_slice()).map(Vec::as_slice)
    }

    fn code_record(&self, account: Address) -> CodeRecord {
        CodeRecord::of_value(self.value(&EvmKey::code_of(account))).unwrap_or(CodeRecord::NONE)
    }
}

impl Database for Tables<'_> {
    type Error = HashMissing;

    fn basic(&mut self, account: Address) -> Result<Option<AccountInfo>, HashMissing> {
        let balance = balance_of(self.value(&EvmKey::balance(account)));
        let nonce = nonce_of(self.value(&EvmKey::nonce(account)));
        let hash = self.code_record(account).hash;
        Ok(Some(AccountInfo::new(balance, nonce, hash, self.code_by_hash(hash)?)))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, HashMissing> {
        let code = self.value(&EvmKey::code(hash)).map(Bytes::copy_from_slice);
        Ok(code.map(|code| bytecode_of(self.context.spec, code)).unwrap_or_default())
    }

    fn storage(&mut self, account: Address, slot: U256) -> Result<U256, HashMissing> {
        let life = self.code_record(account).life;
        Ok(slot_of(self.value(&EvmKey::slot(account, life, slot))))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, HashMissing> {
        self.context.block_hash(number).ok_or(HashMissing(number))
    }
}
