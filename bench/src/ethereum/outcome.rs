//! What a block came to, whoever executed it: receipts, and all accounts afterwards.

use crate::ethereum::{Entries, EthereumBlock, Receipt, ReferenceState};
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use phalanx::executor::BlockOutput;
use phalanx::types::{Write, number_of};
use phalanx::vm::evm::revm::primitives::{Address, B256, KECCAK_EMPTY, U256};
use phalanx::vm::evm::{
    CodeRecord, EvmField, EvmStatus, WireError, balance_of, log_of_event, nonce_of, slot_of,
};
use std::collections::BTreeMap;
use std::collections::HashMap;
use thiserror::Error;

/// An account as it is after a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountAfter {
    balance: U256,
    nonce: u64,
    code_hash: B256,
    /// Slots that are not 0.
    storage: BTreeMap<U256, U256>,
}

/// All accounts that exist after a block, of those that it was given or that it made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsAfter(BTreeMap<Address, AccountAfter>);

/// What a block came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Receipts of the users' transactions, in order.
    pub receipts: Vec<Receipt>,
    /// All accounts afterwards.
    pub accounts: AccountsAfter,
}

/// An output that no EVM leaves.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutcomeError {
    /// A transaction has no receipt.
    #[error("transaction {txn} ended as {status}")]
    NoReceipt {
        /// Which one, among the users'.
        txn: usize,
        /// How it ended.
        status: &'static str,
    },
    /// An output cannot be read.
    #[error("output of item {item} cannot be read: {cause}")]
    Unreadable {
        /// Which item of the block, the protocol's own calls included.
        item: usize,
        /// Why.
        cause: String,
    },
}

impl Outcome {
    /// What an executor's output of this block comes to. `entries` is the state before the block and becomes the one after.
    ///
    /// # Errors
    /// [`OutcomeError`].
    pub fn of_output(
        block: &EthereumBlock,
        entries: &mut Entries,
        output: &BlockOutput,
    ) -> Result<Outcome, OutcomeError> {
        let calls = block.system_calls().len();
        let mut receipts = Vec::with_capacity(output.len());
        for (item, one) in output.transactions().enumerate() {
            let unreadable = |cause: String| OutcomeError::Unreadable { item, cause };
            for write in one.writes() {
                let (key, write) = write.map_err(|error| unreadable(error.to_string()))?;
                apply(entries, key, &write).map_err(unreadable)?;
            }
            let Some(txn) = item.checked_sub(calls) else { continue };
            let status = EvmStatus::of(one.status()).filter(|status| status.has_receipt());
            let Some(status) = status else {
                let status = EvmStatus::of(one.status()).map_or("unknown", EvmStatus::name);
                return Err(OutcomeError::NoReceipt { txn, status });
            };
            let logs = one.events().map(|event| match event {
                Ok(event) => log_of_event(&event).map_err(|error: WireError| error.to_string()),
                Err(error) => Err(error.to_string()),
            });
            receipts.push(Receipt {
                tx_type: block.file.transactions.get(txn).map_or(0, |tx| tx.tx_type),
                success: status == EvmStatus::Success,
                gas_used: one.gas_used(),
                logs: logs.collect::<Result<_, _>>().map_err(unreadable)?,
            });
        }
        Ok(Outcome { receipts, accounts: AccountsAfter::of_entries(entries) })
    }

    /// The first thing in which two outcomes differ, for people.
    #[must_use]
    pub fn first_difference(&self, expected: &Outcome) -> Option<String> {
        for (txn, (left, right)) in self.receipts.iter().zip(&expected.receipts).enumerate() {
            if left != right {
                return Some(format!(
                    "receipt of transaction {txn}: success {}, gas {}, {} logs instead of success {}, gas {}, {} logs",
                    left.success,
                    left.gas_used,
                    left.logs.len(),
                    right.success,
                    right.gas_used,
                    right.logs.len()
                ));
            }
        }
        if self.receipts.len() != expected.receipts.len() {
            return Some(format!("{} receipts instead of {}", self.receipts.len(), expected.receipts.len()));
        }
        self.accounts.first_difference(&expected.accounts)
    }
}

/// Does to the entries of a state what one write says.
///
/// # Errors
/// A delta that does not fit, for people.
pub fn apply(entries: &mut Entries, key: &[u8], write: &Write<'_>) -> Result<(), String> {
    match write {
        Write::Set(value) => {
            entries.insert(key.to_vec(), value.to_vec());
        }
        Write::Delete => {
            entries.remove(key);
        }
        Write::Add(delta) => {
            let before = number_of(entries.get(key).map(Vec::as_slice));
            let after = before.and_then(|before| delta.apply(before));
            let after = after.ok_or_else(|| format!("delta {delta:?} does not fit {before:?}"))?;
            if delta.amount != 0 {
                entries.insert(key.to_vec(), delta.width.encode(after, &mut [0; 32]).to_vec());
            }
        }
    }
    Ok(())
}

impl AccountsAfter {
    /// Of the entries of a state.
    #[must_use]
    pub fn of_entries(entries: &Entries) -> AccountsAfter {
        let mut accounts = Found::new();
        let mut lives: HashMap<Address, u64> = HashMap::new();
        let fields = || entries.iter().filter_map(|(key, value)| Some((EvmField::of_key(key)?, value)));
        for (field, value) in fields() {
            let value = Some(value.as_slice());
            match field {
                EvmField::Balance(of) => entry(&mut accounts, of).0.balance = balance_of(value),
                EvmField::Nonce(of) => entry(&mut accounts, of).0.nonce = nonce_of(value),
                EvmField::CodeOf(of) => {
                    let record = CodeRecord::of_value(value).unwrap_or(CodeRecord::NONE);
                    entry(&mut accounts, of).0.code_hash = record.hash;
                    lives.insert(of, record.life);
                }
                EvmField::Exists(of) => entry(&mut accounts, of).1 = true,
                EvmField::Code(_) | EvmField::Slot(..) => {}
            }
        }
        for (field, value) in fields() {
            if let EvmField::Slot(of, life, slot) = field
                && lives.get(&of).copied().unwrap_or(0) == life
                && let Some((account, _)) = accounts.get_mut(&of)
            {
                account.storage.insert(slot, slot_of(Some(value)));
            }
        }
        let exists = |account: &AccountAfter| {
            !account.balance.is_zero() || account.nonce != 0 || account.code_hash != KECCAK_EMPTY
        };
        let kept = accounts.into_iter().filter(|(_, (account, marked))| *marked || exists(account));
        AccountsAfter(kept.map(|(address, (account, _))| (address, account)).collect())
    }

    /// The root of their trie.
    #[must_use]
    pub fn state_root(&self) -> B256 {
        state_root_unhashed(self.0.iter().map(|(address, account)| {
            let slots = account.storage.iter();
            let slots = slots.map(|(slot, value)| (B256::from(slot.to_be_bytes::<32>()), *value));
            let storage = storage_root_unhashed(slots);
            (*address, TrieAccount::new(account.nonce, account.balance, storage, account.code_hash))
        }))
    }

    /// The first account in which they differ from what was expected, for people.
    #[must_use]
    pub fn first_difference(&self, expected: &AccountsAfter) -> Option<String> {
        let (ours, theirs) = (&self.0, &expected.0);
        ours.keys().chain(theirs.keys()).find(|account| ours.get(*account) != theirs.get(*account)).map(
            |account| {
                format!("account {account}: {:?} instead of {:?}", ours.get(account), theirs.get(account))
            },
        )
    }

    /// Of what revm alone left.
    #[must_use]
    pub(super) fn of_reference(state: &ReferenceState) -> AccountsAfter {
        let accounts = state.accounts().map(|(address, info, storage)| {
            let slots = storage.iter().filter(|(_, value)| !value.is_zero());
            let storage = slots.map(|(slot, value)| (*slot, *value)).collect();
            let (balance, nonce, code_hash) = (info.balance, info.nonce, info.code_hash);
            (*address, AccountAfter { balance, nonce, code_hash, storage })
        });
        AccountsAfter(accounts.collect())
    }
}

type Found = BTreeMap<Address, (AccountAfter, bool)>;

/// The account, made if it is not there yet, and whether it is marked as existing.
fn entry(accounts: &mut Found, of: Address) -> &mut (AccountAfter, bool) {
    let fresh = || (AccountAfter { code_hash: KECCAK_EMPTY, ..AccountAfter::default() }, false);
    accounts.entry(of).or_insert_with(fresh)
}
