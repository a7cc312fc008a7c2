//! A transaction's window on the state as the database that revm reads, with notes on what it read.

use crate::types::number_of;
use crate::vm::evm::account_note::{AccountNote, NonceUse};
use crate::vm::evm::code_cache::{CodeCache, bytecode_of};
use crate::vm::evm::hash_memo::HashMemo;
use crate::vm::evm::keys::{balance_of, slot_of};
use crate::vm::evm::{CodeRecord, EvmBlockContext, EvmKey};
use crate::vm::{Content, KeyMark, StateView};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::primitives::hardfork::SpecId;
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

/// A slot that was loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotNote {
    pub(super) account: Address,
    /// The life of the account's storage.
    pub(super) life: u64,
    pub(super) slot: U256,
    /// Where the view knows its key.
    pub(super) mark: KeyMark,
}

/// Notes on all accounts and slots of one transaction, in the order in which they were loaded. Kept from transaction to
/// transaction.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) accounts: Vec<AccountNote>,
    pub(super) slots: Vec<SlotNote>,
    places: AddressMap<usize>,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        self.accounts.clear();
        self.slots.clear();
        self.places.clear();
    }

    /// The life of an account's storage, if the account was loaded.
    fn life_of(&self, account: Address) -> u64 {
        let note = self.places.get(&account).and_then(|&place| self.accounts.get(place));
        note.map_or(0, |note| note.code.life)
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

    /// The balance as best known, not recorded unless it is too great for an interval; and where the view knows it.
    pub(super) fn balance(&mut self, account: Address) -> (U256, KeyMark) {
        let key = EvmKey::balance(account);
        let mark = self.view.mark(key.as_slice());
        (self.balance_at(&key, mark), mark)
    }

    fn balance_at(&mut self, key: &EvmKey, mark: KeyMark) -> U256 {
        match self.view.number_at(mark, key.as_slice()) {
            Some(number) => U256::from(number),
            None => balance_of(self.view.read_at(mark, key.as_slice())),
        }
    }

    /// What an account holds as best known, as the beginning of its notes: the code is recorded as read, balance and nonce are not.
    /// `None` if one of its records is none.
    pub(super) fn account(&mut self, account: Address) -> Option<AccountNote> {
        let keys = [EvmKey::balance(account), EvmKey::code_of(account), EvmKey::nonce(account)];
        // All are looked for before the first value is: they come from memory together.
        let [balance_mark, code_mark, nonce_mark] = keys.each_ref().map(|key| self.view.mark(key.as_slice()));
        let [balance, code, nonce] = &keys;
        let balance = self.balance_at(balance, balance_mark);
        let code = CodeRecord::of_value(self.view.read_at(code_mark, code.as_slice()))?;
        let nonce = self.view.number_at(nonce_mark, nonce.as_slice())?;
        let note = AccountNote::new(account, balance, u64::try_from(nonce).ok()?, code);
        Some(AccountNote { balance_mark, nonce_mark, ..note })
    }

    /// As [`account`](Self::account), without the nonce, which counts as 0.
    pub(super) fn account_but_nonce(&mut self, account: Address) -> Option<AccountNote> {
        let keys = [EvmKey::balance(account), EvmKey::code_of(account)];
        let [balance_mark, code_mark] = keys.each_ref().map(|key| self.view.mark(key.as_slice()));
        let [balance, code] = &keys;
        let balance = self.balance_at(balance, balance_mark);
        let code = CodeRecord::of_value(self.view.read_at(code_mark, code.as_slice()))?;
        Some(AccountNote { balance_mark, ..AccountNote::new(account, balance, 0, code) })
    }

    /// Loads an account and begins its notes; `None` if it does not exist.
    fn load(&mut self, account: Address) -> Result<Option<AccountInfo>, StateFault> {
        let mut note = self.account(account).ok_or(StateFault::BadRecord(account))?;
        let AccountNote { balance, nonce, code, .. } = note;
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
        let spec = self.context.spec;
        if let Some(code) = self.codes.get(spec, &hash) {
            return Ok(code);
        }
        // Recorded, so that code which is only just being made is waited for; who makes it does not matter.
        let key = EvmKey::code(hash);
        let content = self.view.content(key.as_slice()).ok_or(StateFault::CodeMissing(hash))?;
        let Some(code) = believed_code(spec, content, hash) else {
            // The transaction fails by these very bytes.
            self.view.read(key.as_slice());
            return Err(StateFault::CodeMissing(hash));
        };
        self.codes.put(hash, &code);
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StateFault> {
        // Most often the account is that of the slot before. An account is loaded before its first slot is: its life is known.
        let life = match self.notes.slots.last() {
            Some(last) if last.account == address => last.life,
            Some(_) | None => self.notes.life_of(address),
        };
        debug_assert_eq!(life, self.notes.life_of(address), "of {address}");
        let key = EvmKey::slot(address, life, slot);
        let mark = self.view.mark(key.as_slice());
        self.notes.slots.push(SlotNote { account: address, life, slot, mark });
        Ok(slot_of(self.view.read_at(mark, key.as_slice())))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StateFault> {
        self.context.block_hash(number).ok_or(StateFault::BlockHashMissing(number))
    }
}

/// The code with this hash, analysed; `None` if the content is something else. What is settled is not hashed again: every new life of
/// a shard comes by here with all code that it meets.
fn believed_code(spec: SpecId, content: Content<'_>, hash: B256) -> Option<Bytecode> {
    let code = bytecode_of(spec, Bytes::copy_from_slice(content.bytes));
    (content.is_settled || code.hash_slow() == hash).then_some(code)
}

/// The number that a stored nonce stands for.
pub fn nonce_of(value: Option<&[u8]>) -> u64 {
    number_of(value).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! What would break: code that an execution left which is not right is kept under a hash that is not its own, for all blocks to
    //! come. Negative control run: with every content taken for settled it fails.

    use super::*;
    use revm::primitives::keccak256;

    #[test]
    fn code_that_is_not_settled_has_the_hash_that_it_is_asked_for_by() {
        let bytes = [0x5b, 0x00];
        for (hash, is_settled, is_believed) in [
            (keccak256(bytes), false, true),
            (keccak256([0x00]), false, false),
            (keccak256(bytes), true, true),
        ] {
            let found = believed_code(SpecId::PRAGUE, Content { bytes: &bytes, is_settled }, hash);
            assert_eq!(found.is_some(), is_believed, "{hash} {is_settled}");
        }
    }
}
