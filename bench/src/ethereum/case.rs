//! A folder with one block and the state before it.

use crate::ethereum::block_file::BlockFile;
use crate::ethereum::field::{Field, read_json};
use crate::ethereum::{Entries, InputError};
use phalanx::types::Block;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, U256, address};
use phalanx::vm::evm::{EvmAccount, EvmTransaction, account_entries};
use std::path::{Path, PathBuf};

/// Where the roots of beacon blocks are kept (EIP-4788).
pub(super) const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// Where hashes of earlier blocks are kept (EIP-2935).
pub(super) const HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");

/// A block of mainnet with everything that is needed to execute it.
#[derive(Clone, Debug)]
pub struct EthereumBlock {
    /// The folder.
    pub folder: PathBuf,
    /// The block.
    pub file: BlockFile,
    /// The accounts that it touches, as they are before it.
    pub accounts: Vec<(Address, EvmAccount)>,
}

impl EthereumBlock {
    /// Reads `block.json`, `prestate.json` and, if it is there, `block_hashes.json`.
    ///
    /// # Errors
    /// [`InputError`], which names file, field and what was expected.
    pub fn read(folder: &Path) -> Result<EthereumBlock, InputError> {
        let path = folder.join("block.json");
        let json = read_json(&path)?;
        let mut file = BlockFile::read(&Field::whole(&path, &json))?;
        let path = folder.join("prestate.json");
        let json = read_json(&path)?;
        let accounts = read_accounts(&Field::whole(&path, &json))?;
        let path = folder.join("block_hashes.json");
        if path.exists() {
            let json = read_json(&path)?;
            file.context.block_hashes = read_hashes(&Field::whole(&path, &json))?;
        }
        Ok(EthereumBlock { folder: folder.to_owned(), file, accounts })
    }

    /// Calls that the protocol makes before the first transaction.
    #[must_use]
    pub fn system_calls(&self) -> Vec<(Address, Bytes)> {
        let mut calls = Vec::new();
        if let Some(root) = self.file.parent_beacon_root {
            calls.push((BEACON_ROOTS, Bytes::copy_from_slice(root.as_slice())));
        }
        if self.file.context.spec.is_enabled_in(SpecId::PRAGUE) {
            calls.push((HISTORY, Bytes::copy_from_slice(self.file.parent_hash.as_slice())));
        }
        calls
    }

    /// The block for an executor: the system calls, then the transactions.
    #[must_use]
    pub fn block(&self) -> Block {
        let calls = self.system_calls().into_iter();
        let calls = calls.map(|(contract, input)| EvmTransaction::System { contract, input });
        let users = self.file.transactions.iter().map(|tx| EvmTransaction::User(Box::new(tx.clone())));
        Block {
            header: self.file.context.header(),
            transactions: calls.chain(users).map(|transaction| transaction.encode()).collect(),
        }
    }

    /// The state before the block.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.accounts.iter().flat_map(|(address, account)| account_entries(*address, account)).collect()
    }
}

/// Reads accounts by their addresses: `{ balance, nonce, code, storage }`, each of which may be missing. Old files write no code as an
/// empty string.
///
/// # Errors
/// `Field`.
pub fn read_accounts(whole: &Field<'_>) -> Result<Vec<(Address, EvmAccount)>, InputError> {
    whole
        .members()?
        .into_iter()
        .map(|(name, account)| {
            let address = account.address_in_name(name)?;
            account.members()?;
            let number = |field: Field<'_>| field.present().map_or(Ok(U256::ZERO), |field| field.number());
            let nonce = account.get("nonce");
            let nonce = nonce.present().map_or(Ok(0), |nonce| nonce.u64())?;
            let storage = match account.get("storage").present() {
                None => Vec::new(),
                Some(storage) => {
                    let slot = |(name, value): (&str, Field<'_>)| {
                        let slot = name.strip_prefix("0x").and_then(|d| U256::from_str_radix(d, 16).ok());
                        let slot = slot.ok_or_else(|| value.wrong("a slot number as its name"))?;
                        Ok((slot, value.number()?))
                    };
                    storage.members()?.into_iter().map(slot).collect::<Result<_, InputError>>()?
                }
            };
            let code = account.get("code").present().filter(|code| code.text() != Some(""));
            let code = code.map(|code| code.bytes()).transpose()?.unwrap_or_default();
            Ok((address, EvmAccount { balance: number(account.get("balance"))?, nonce, code, storage }))
        })
        .collect()
}

fn read_hashes(whole: &Field<'_>) -> Result<Vec<(u64, B256)>, InputError> {
    let hash = |(name, value): (&str, Field<'_>)| {
        let number = name.parse().map_err(|_| value.wrong("a block number as its name"))?;
        Ok((number, value.hash()?))
    };
    let mut hashes: Vec<(u64, B256)> =
        whole.members()?.into_iter().map(hash).collect::<Result<_, InputError>>()?;
    hashes.sort_unstable();
    Ok(hashes)
}
