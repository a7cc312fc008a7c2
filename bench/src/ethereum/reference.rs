//! revm alone, as fast as it goes on one core: the oracle of a replay, and what it is measured against.

use crate::ethereum::access_list::Before;
use crate::ethereum::outcome::{AccountsAfter, Outcome};
use crate::ethereum::{BlockAccessList, EthereumBlock, Receipt};
use phalanx::vm::evm::revm::bytecode::Bytecode;
use phalanx::vm::evm::revm::context::result::{EVMError, InvalidTransaction};
use phalanx::vm::evm::revm::context::{BlockEnv, CfgEnv, ContextSetters, TxEnv};
use phalanx::vm::evm::revm::database_interface::DBErrorMarker;
use phalanx::vm::evm::revm::handler::{Handler, MainnetHandler};
use phalanx::vm::evm::revm::primitives::map::{AddressMap, B256Map, U256Map};
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, KECCAK_EMPTY, U256};
use phalanx::vm::evm::revm::state::{AccountInfo, EvmState};
use phalanx::vm::evm::revm::{Context, Database, ExecuteEvm, MainBuilder, MainContext, MainnetEvm};
use phalanx::vm::evm::{EvmBlockContext, bytecode_of, system_call};
use std::borrow::Cow;
use std::time::{Duration, Instant};
use thiserror::Error;

/// A block that revm itself refuses.
#[derive(Debug, Error)]
#[error("transaction {txn} cannot be executed: {cause}")]
pub struct ReferenceError {
    /// Which one; the number of transactions for one of the protocol's own calls.
    pub txn: usize,
    /// Why.
    pub cause: String,
}

/// A block hash that the block asks for and nobody gave.
#[derive(Clone, Copy, Debug, Error)]
#[error("block_hashes.json: {0}: expected the hash of that block, found nothing")]
pub struct HashMissing(u64);

impl DBErrorMarker for HashMissing {}

/// The state before a block in tables of this process, with all code analysed.
#[derive(Clone, Debug, Default)]
pub struct ReferenceState {
    accounts: AddressMap<(AccountInfo, U256Map<U256>)>,
    codes: B256Map<Bytecode>,
}

impl ReferenceState {
    /// The state before this block.
    #[must_use]
    pub fn of(block: &EthereumBlock) -> ReferenceState {
        let mut state = ReferenceState::default();
        for (address, account) in &block.accounts {
            let code = bytecode_of(block.file.context.spec, account.code.clone());
            let code_hash = if code.is_empty() { KECCAK_EMPTY } else { code.hash_slow() };
            state.codes.insert(code_hash, code.clone());
            let info = AccountInfo::new(account.balance, account.nonce, code_hash, code);
            state.accounts.insert(*address, (info, account.storage.iter().copied().collect()));
        }
        state
    }

    /// The accounts, with their slots.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&Address, &AccountInfo, &U256Map<U256>)> {
        self.accounts.iter().map(|(address, (info, storage))| (address, info, storage))
    }

    /// Takes over what one transaction changed.
    fn take_over(&mut self, changes: &EvmState) {
        for (address, account) in changes.iter().filter(|(_, account)| account.is_touched()) {
            if account.is_selfdestructed() || (account.is_empty() && !account.is_created()) {
                self.accounts.remove(address);
                continue;
            }
            let (info, storage) = self.accounts.entry(*address).or_default();
            info.clone_from(&account.info);
            if let Some(code) = &account.info.code {
                self.codes.insert(account.info.code_hash, code.clone());
            }
            if account.is_created() {
                storage.clear();
            }
            storage.extend(account.storage.iter().map(|(slot, value)| (*slot, value.present_value)));
        }
    }
}

/// What revm reads: the state, or one that is brought up to date after each transaction.
#[derive(Debug)]
struct Tables<'a> {
    state: Cow<'a, ReferenceState>,
    context: &'a EvmBlockContext,
}

impl Database for Tables<'_> {
    type Error = HashMissing;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, HashMissing> {
        Ok(self.state.accounts.get(&address).map(|(info, _)| info.clone()))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, HashMissing> {
        Ok(self.state.codes.get(&hash).cloned().unwrap_or_default())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, HashMissing> {
        let storage = self.state.accounts.get(&address).map(|(_, storage)| storage);
        Ok(storage.and_then(|storage| storage.get(&slot)).copied().unwrap_or_default())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, HashMissing> {
        self.context.block_hash(number).ok_or(HashMissing(number))
    }
}

type PlainEvm<'a> = MainnetEvm<Context<BlockEnv, TxEnv, CfgEnv, Tables<'a>>>;

/// Executes one block after its state, again and again.
#[derive(Debug)]
pub struct Reference<'a> {
    block: &'a EthereumBlock,
    state: &'a ReferenceState,
}

impl<'a> Reference<'a> {
    /// For this block on this state.
    #[must_use]
    pub fn new(block: &'a EthereumBlock, state: &'a ReferenceState) -> Reference<'a> {
        Reference { block, state }
    }

    fn evm(&self, state: Cow<'a, ReferenceState>) -> PlainEvm<'a> {
        let context = &self.block.file.context;
        let tables = Tables { state, context };
        let mut cfg = CfgEnv::new_with_spec(context.spec).with_chain_id(1);
        cfg.blob_base_fee_update_fraction = context.blobs.map(|blobs| blobs.update_fraction);
        Context::mainnet().with_db(tables).with_cfg(cfg).with_block(context.block_env()).build_mainnet()
    }

    /// Executes the block as fast as revm goes and returns how long that took. The journal is kept from transaction to
    /// transaction, so that the state is asked once for each thing.
    ///
    /// # Errors
    /// [`ReferenceError`] for the first transaction that cannot be executed.
    pub fn time(&self) -> Result<Duration, ReferenceError> {
        let mut evm = self.evm(Cow::Borrowed(self.state));
        // Outside of the clock: copies that an executor's block does not need.
        let transactions = self.block.file.transactions.clone();
        let mut results = Vec::with_capacity(transactions.len());
        let begun = Instant::now();
        for (contract, input) in self.calls() {
            self.call(&mut evm, contract, input)?;
        }
        for (txn, tx) in transactions.into_iter().enumerate() {
            results.push(evm.transact_one(tx).map_err(|error| refused(txn, &error))?);
        }
        let state = evm.finalize();
        let took = begun.elapsed();
        drop((results, state));
        Ok(took)
    }

    /// Executes the block and returns what it comes to. What a transaction changes is taken over before the next one,
    /// so that an account which is destroyed and comes back is told apart from one that stays away.
    ///
    /// # Errors
    /// [`ReferenceError`] for the first transaction that cannot be executed.
    pub fn outcome(&self) -> Result<Outcome, ReferenceError> {
        let mut evm = self.evm(Cow::Owned(self.state.clone()));
        let mut receipts = Vec::with_capacity(self.block.file.transactions.len());
        for (contract, input) in self.calls() {
            self.call(&mut evm, contract, input)?;
            let changes = evm.finalize();
            evm.journaled_state.database.state.to_mut().take_over(&changes);
        }
        for (txn, tx) in self.block.file.transactions.iter().enumerate() {
            let done = evm.transact(tx.clone()).map_err(|error| refused(txn, &error))?;
            evm.journaled_state.database.state.to_mut().take_over(&done.state);
            receipts.push(Receipt {
                tx_type: tx.tx_type,
                success: done.result.is_success(),
                gas_used: done.result.tx_gas_used(),
                logs: done.result.into_logs(),
            });
        }
        Ok(Outcome { receipts, accounts: AccountsAfter::of_reference(&evm.journaled_state.database.state) })
    }

    /// Executes the block and returns what every transaction of it changes.
    ///
    /// # Errors
    /// [`ReferenceError`] for the first transaction that cannot be executed.
    pub fn access_list(&self) -> Result<BlockAccessList, ReferenceError> {
        let mut evm = self.evm(Cow::Owned(self.state.clone()));
        let mut list = BlockAccessList::default();
        let mut take_in = |evm: &mut PlainEvm<'_>, index: usize, changes: &EvmState| {
            let state = evm.journaled_state.database.state.to_mut();
            let before = |address: &Address| {
                state.accounts.get(address).map(|(info, _)| Before::of(info)).unwrap_or_default()
            };
            list.observe(index as u64, changes, before);
            state.take_over(changes);
        };
        for (contract, input) in self.calls() {
            self.call(&mut evm, contract, input)?;
            let changes = evm.finalize();
            take_in(&mut evm, 0, &changes);
        }
        for (txn, tx) in self.block.file.transactions.iter().enumerate() {
            let done = evm.transact(tx.clone()).map_err(|error| refused(txn, &error))?;
            take_in(&mut evm, txn + 1, &done.state);
        }
        Ok(list)
    }

    /// How long each transaction takes, in nanoseconds: the least of three runs.
    ///
    /// # Errors
    /// [`ReferenceError`] for the first transaction that cannot be executed.
    pub fn costs(&self) -> Result<Vec<u32>, ReferenceError> {
        let mut costs = vec![u32::MAX; self.block.file.transactions.len()];
        for _ in 0..3 {
            let mut evm = self.evm(Cow::Borrowed(self.state));
            for (contract, input) in self.calls() {
                self.call(&mut evm, contract, input)?;
            }
            let transactions = self.block.file.transactions.clone();
            for (txn, tx) in transactions.into_iter().enumerate() {
                let begun = Instant::now();
                let result = evm.transact_one(tx).map_err(|error| refused(txn, &error))?;
                let took = u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX);
                costs[txn] = costs[txn].min(took);
                drop(result);
            }
        }
        Ok(costs)
    }

    /// The protocol's own calls. Without code there nothing happens, not even to an account that is not there.
    fn calls(&self) -> impl Iterator<Item = (Address, Bytes)> {
        let has_code = |account: &Address| {
            self.state.accounts.get(account).is_some_and(|(info, _)| !info.is_empty_code_hash())
        };
        self.block.system_calls().into_iter().filter(move |(contract, _)| has_code(contract))
    }

    /// Makes one of the protocol's calls; what it changes stays in the journal.
    fn call(&self, evm: &mut PlainEvm<'_>, contract: Address, input: Bytes) -> Result<(), ReferenceError> {
        evm.set_tx(system_call(self.block.file.context.spec, contract, input));
        let called = MainnetHandler::default().run_system_call(evm);
        called.map(drop).map_err(|error| refused(self.block.file.transactions.len(), &error))
    }
}

fn refused(txn: usize, error: &EVMError<HashMissing, InvalidTransaction>) -> ReferenceError {
    ReferenceError { txn, cause: error.to_string() }
}
