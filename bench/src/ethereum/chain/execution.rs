//! What a block has an executor do, and what must come out.

use crate::ethereum::chain::blobs::GAS_PER_BLOB;
use crate::ethereum::chain::block_rlp::DecodedBlock;
use crate::ethereum::chain::ommers::rewards;
use crate::ethereum::chain::refusal::why_refused;
use crate::ethereum::chain::requests::{CONSOLIDATIONS, Requests, WITHDRAWALS};
use crate::ethereum::chain::{Fork, ImportError, Rejection};
use crate::ethereum::outcome::{AccountsAfter, apply};
use crate::ethereum::{BEACON_ROOTS, Entries, HISTORY, Receipt, ReceiptTotals};
use phalanx::executor::{BlockOutput, TransactionOutput};
use phalanx::types::Block;
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, U256, keccak256};
use phalanx::vm::evm::{
    CodeRecord, EVENT_LOG, EVENT_RETURNED, EvmBlockContext, EvmKey, EvmStatus, EvmTransaction, log_of_event,
};

/// One gwei in wei, in which withdrawals are counted.
const GWEI: u128 = 1_000_000_000;

/// Whoever executes blocks for a chain.
pub trait RunBlock {
    /// Executes a block on the state `before`.
    ///
    /// # Errors
    /// Why there is no output, for people.
    fn run(&mut self, before: &Entries, block: &Block) -> Result<BlockOutput, String>;
}

/// A block with everything that the protocol does in it.
#[derive(Clone, Debug)]
pub(super) struct Program<'a> {
    block: &'a DecodedBlock,
    context: EvmBlockContext,
    fork: Fork,
    chain_id: u64,
    users: Vec<TxEnv>,
    /// Calls before the first transaction.
    calls: Vec<(Address, Bytes)>,
    /// Rewards and withdrawals, behind the last transaction.
    credits: Vec<(Address, u128)>,
    /// Calls at the end that return requests, with the requests' place.
    asked: Vec<(Address, usize)>,
}

impl<'a> Program<'a> {
    pub(super) fn of(
        block: &'a DecodedBlock,
        context: EvmBlockContext,
        fork: Fork,
        chain_id: u64,
        users: Vec<TxEnv>,
    ) -> Program<'a> {
        let header = &block.header;
        let mut calls = Vec::new();
        if let Some(root) = header.parent_beacon_block_root {
            calls.push((BEACON_ROOTS, Bytes::copy_from_slice(root.as_slice())));
        }
        if fork >= Fork::Prague {
            calls.push((HISTORY, Bytes::copy_from_slice(header.parent_hash.as_slice())));
        }
        let mut credits = rewards(fork, header, &block.ommers);
        let withdrawals = block.withdrawals.iter().flatten();
        credits.extend(withdrawals.map(|one| (one.address, u128::from(one.amount) * GWEI)));
        let asked =
            if fork >= Fork::Prague { vec![(WITHDRAWALS, 1), (CONSOLIDATIONS, 2)] } else { Vec::new() };
        Program { block, context, fork, chain_id, users, calls, credits, asked }
    }

    /// The block for an executor.
    pub(super) fn items(&self) -> Block {
        let calls = self.calls.iter();
        let calls = calls
            .map(|(contract, input)| EvmTransaction::System { contract: *contract, input: input.clone() });
        let users = self.users.iter().map(|tx| EvmTransaction::User(Box::new(tx.clone())));
        let credits = self.credits.iter();
        let credits =
            credits.map(|(account, amount)| EvmTransaction::Credit { account: *account, amount: *amount });
        let asked = self.asked.iter();
        let asked =
            asked.map(|(contract, _)| EvmTransaction::System { contract: *contract, input: Bytes::new() });
        let items = calls.chain(users).chain(credits).chain(asked);
        Block { header: self.context.header(), transactions: items.map(|item| item.encode()).collect() }
    }

    /// Holds what an executor made of it against the header. Makes `state`, the one before the block, the one after it.
    ///
    /// # Errors
    /// [`ImportError`].
    pub(super) fn judge(&self, output: &BlockOutput, mut state: Entries) -> Result<Entries, ImportError> {
        let mut outputs = output.transactions();
        for _ in &self.calls {
            self.ran(outputs.next(), &mut state)?;
        }
        let mut requests = Requests::default();
        let (mut receipts, mut roots, mut used) = (Vec::with_capacity(self.users.len()), Vec::new(), 0_u64);
        for (txn, tx) in self.users.iter().enumerate() {
            let left = self.context.gas_limit.saturating_sub(used);
            if tx.gas_limit > left {
                return Err(Rejection::GasPool { txn, limit: tx.gas_limit, left }.into());
            }
            let receipt = self.receipt(txn, tx, outputs.next(), &mut state)?;
            requests.take_deposits(&receipt.logs)?;
            used = used.saturating_add(receipt.gas_used);
            receipts.push(receipt);
            if self.fork < Fork::Byzantium {
                roots.push(AccountsAfter::of_entries(&state).state_root());
            }
        }
        for _ in &self.credits {
            self.ran(outputs.next(), &mut state)?;
        }
        for &(contract, place) in &self.asked {
            let code =
                CodeRecord::of_value(state.get(EvmKey::code_of(contract).as_slice()).map(Vec::as_slice));
            if !code.is_some_and(|code| code.has_code()) {
                return Err(Rejection::SystemContract(contract).into());
            }
            let (status, returned) = self.ran(outputs.next(), &mut state)?;
            if status != EvmStatus::Success {
                return Err(Rejection::SystemCall(contract).into());
            }
            requests.0[place] = returned;
        }
        let state_root = AccountsAfter::of_entries(&state).state_root();
        self.check_results(&ReceiptTotals::with_roots(&receipts, &roots), &requests, state_root)?;
        Ok(state)
    }

    /// What the header says of body and execution. Behind all of that, so that a transaction which may not stand in the
    /// block is named even if the header does not know of it.
    fn check_results(
        &self,
        totals: &ReceiptTotals,
        requests: &Requests,
        state_root: B256,
    ) -> Result<(), Rejection> {
        let header = &self.block.header;
        let value = |field, claimed: u64, right: u64| {
            let (same, claimed, right) = (claimed == right, U256::from(claimed), U256::from(right));
            if same { Ok(()) } else { Err(Rejection::Value { field, claimed, right }) }
        };
        self.block.check_transactions()?;
        if let Some(claimed) = header.blob_gas_used {
            let blobs = self.users.iter().map(|tx| tx.blob_hashes.len() as u64).sum::<u64>();
            value("blob gas used", claimed, blobs * GAS_PER_BLOB)?;
        }
        value("gas used", header.gas_used, totals.gas_used)?;
        let blooms = [header.logs_bloom, totals.bloom].map(keccak256);
        Rejection::unless_same("hash of the logs' bloom", blooms[0], blooms[1])?;
        Rejection::unless_same("receipts root", header.receipts_root, totals.root)?;
        if let Some(claimed) = header.requests_hash {
            Rejection::unless_same("requests hash", claimed, requests.hash())?;
        }
        Rejection::unless_same("state root", header.state_root, state_root)
    }

    /// Takes over what the next output changed; how it ended and what it returned.
    fn ran(
        &self,
        output: Option<TransactionOutput<'_>>,
        state: &mut Entries,
    ) -> Result<(EvmStatus, Vec<u8>), ImportError> {
        let fault = |cause: String| ImportError::Fault(cause);
        let output = output.ok_or_else(|| fault("the executor left outputs out".to_owned()))?;
        let status = EvmStatus::of(output.status());
        let status =
            status.ok_or_else(|| fault(format!("status {} is none of the EVM's", output.status().0)))?;
        match status {
            EvmStatus::Success | EvmStatus::Reverted | EvmStatus::Halted | EvmStatus::Invalid => {}
            EvmStatus::Undecodable | EvmStatus::BadHeader | EvmStatus::StateFault | EvmStatus::TooLarge => {
                return Err(fault(format!("an item of the block ended as {}", status.name())));
            }
        }
        for write in output.writes() {
            let (key, write) = write.map_err(|error| fault(error.to_string()))?;
            apply(state, key, &write).map_err(fault)?;
        }
        let mut returned = Vec::new();
        for event in output.events() {
            let event = event.map_err(|error| fault(error.to_string()))?;
            if event.kind == EVENT_RETURNED {
                returned = event.data.to_vec();
            }
        }
        Ok((status, returned))
    }

    fn receipt(
        &self,
        txn: usize,
        tx: &TxEnv,
        output: Option<TransactionOutput<'_>>,
        state: &mut Entries,
    ) -> Result<Receipt, ImportError> {
        let (status, _) = self.ran(output, state)?;
        let Some(output) = output.filter(|_| status.has_receipt()) else {
            let cause = why_refused(&self.context, self.chain_id, tx, state);
            let cause = cause.ok_or_else(|| {
                ImportError::Fault(format!("transaction {txn} was refused, and revm alone accepts it"))
            })?;
            return Err(Rejection::Transaction { txn, cause }.into());
        };
        let fault = |cause: String| ImportError::Fault(format!("log of transaction {txn}: {cause}"));
        let mut logs = Vec::new();
        for event in output.events() {
            let event = event.map_err(|error| fault(error.to_string()))?;
            if event.kind == EVENT_LOG {
                logs.push(log_of_event(&event).map_err(|error| fault(error.to_string()))?);
            }
        }
        let success = status == EvmStatus::Success;
        Ok(Receipt { tx_type: tx.tx_type, success, gas_used: output.gas_used(), logs })
    }
}
