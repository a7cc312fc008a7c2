//! A transaction's window on the state as the database that revm reads, with notes on what it read.

use crate::types::number_of;
use crate::vm::StateView;
use crate::vm::evm::account_note::{AccountNote, NonceUse};
use crate::vm::evm::code_cache::CodeCache;
use crate::vm::evm::hash_memo::HashMemo;
use crate::vm::evm::keys::{balance_of, slot_of};
use crate::vm::evm::{CodeRecord, EvmBlockContext, EvmKey};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::primitives::map::AddressMap;
use revm::primitives::{Address, B256, Bytes, U256};
use revm::state::AccountInfo;
use thiserror::Error;

/// The state is not one that an EVM left, or the block needs something that nobody gave. On values that turn out wrong
/// it is no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum StateFault {
    /// The code of an account is not there.
    #[error("the code with hash {0} is missing")]
    CodeMissing(B256),
    /// A record of an account cannot be read.
    #[error("the record of account {0} makes no sense")]
    BadRecord(Address),
    /// The hash of an earlier block is not there.
    #[error("the hash of block {0} is missing")]
    BlockHashMissing(u64),
}

impl DBErrorMarker for StateFault {}

/// Notes on all accounts of one transaction, in the order in which they were loaded. Kept from transaction to
/// transaction.
#[derive(Debug, Default)]
pub(super) struct Notes {
    accounts: Vec<AccountNote>,
    places: AddressMap<usize>,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        self.accounts.clear();
        self.places.clear();
    }

    /// The notes on an account that was loaded.
    pub(super) fn of(&mut self, account: Address) -> Option<&mut AccountNote> {
        let place = *self.places.get(&account)?;
        self.accounts.get_mut(place)
    }

    /// Balances and nonces of all accounts loaded so far count as looked at.
    pub(super) fn look_at_all(&mut self) {
        for note in &mut self.accounts {
            note.balance_exact = true;
            note.note_nonce(NonceUse::Exact);
        }
    }

    /// Takes the notes on all accounts out, in the order in which these were loaded; give them back with
    /// [`put_back`](Self::put_back).
    pub(super) fn take(&mut self) -> Vec<AccountNote> {
        std::mem::take(&mut self.accounts)
    }

    pub(super) fn put_back(&mut self, accounts: Vec<AccountNote>) {
        self.accounts = accounts;
    }

    fn push(&mut self, note: AccountNote) {
        self.places.insert(note.account, self.accounts.len());
        self.accounts.push(note);
    }
}

/// The database of one transaction.
pub(super) struct ViewDatabase<'a> {
    pub(super) view: &'a mut dyn StateView,
    pub(super) notes: &'a mut Notes,
    pub(super) codes: &'a mut CodeCache,
    pub(super) hashes: &'a mut HashMemo,
    pub(super) context: &'a EvmBlockContext,
}

impl std::fmt::Debug for ViewDatabase<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewDatabase").field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl ViewDatabase<'_> {
    /// Whether the mark of an empty account is there; recorded as a read.
    pub(super) fn is_marked(&mut self, account: Address) -> bool {
        self.view.read(EvmKey::exists(account).as_slice()).is_some()
    }

    /// The balance as best known: not recorded, unless it is too great for an interval.
    pub(super) fn balance(&mut self, account: Address) -> U256 {
        let key = EvmKey::balance(account);
        match self.view.number(key.as_slice()) {
            Some(number) => U256::from(number),
            None => balance_of(self.view.read(key.as_slice())),
        }
    }

    /// Loads an account and begins its notes; `None` if it does not exist.
    fn load(&mut self, account: Address) -> Result<Option<AccountInfo>, StateFault> {
        let bad = StateFault::BadRecord(account);
        let balance = self.balance(account);
        let code = CodeRecord::of_value(self.view.read(EvmKey::code_of(account).as_slice())).ok_or(bad)?;
        let nonce = self.view.number(EvmKey::nonce(account).as_slice()).ok_or(bad)?;
        let nonce = u64::try_from(nonce).map_err(|_| bad)?;
        let mut note = AccountNote::new(account, balance, nonce, code);
        let empty = nonce == 0 && balance.is_zero() && !code.has_code();
        if empty {
            note.marked = Some(self.is_marked(account));
        }
        let exists = !empty || note.marked == Some(true);
        self.notes.push(note);
        Ok(exists.then(|| AccountInfo {
            balance,
            nonce,
            code_hash: code.hash,
            code: (!code.has_code()).then(Bytecode::default),
            ..AccountInfo::default()
        }))
    }
}

impl Database for ViewDatabase<'_> {
    type Error = StateFault;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, StateFault> {
        self.load(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, StateFault> {
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code);
        }
        // Recorded, so that code which is only just being made is waited for; who makes it does not matter.
        let key = EvmKey::code(hash);
        let bytes = self.view.content(key.as_slice()).ok_or(StateFault::CodeMissing(hash))?;
        let code = Bytecode::new_raw_checked(Bytes::copy_from_slice(bytes)).ok();
        let Some(code) = code.filter(|code| code.hash_slow() == hash) else {
            // The transaction fails by these very bytes.
            self.view.read(key.as_slice());
            return Err(StateFault::CodeMissing(hash));
        };
        self.codes.put(hash, &code);
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StateFault> {
        let life = self.notes.of(address).map_or(0, |note| note.code.life);
        Ok(slot_of(self.view.read(EvmKey::slot(address, life, slot).as_slice())))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StateFault> {
        self.context.block_hash(number).ok_or(StateFault::BlockHashMissing(number))
    }
}

/// The number that a stored nonce stands for.
pub fn nonce_of(value: Option<&[u8]>) -> u64 {
    number_of(value).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}
