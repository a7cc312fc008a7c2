//! What an executed transaction leaves: from the journal and the notes to reads, writes and events.

use crate::types::{Delta, LimitExceeded, NumberWidth};
use crate::vm::evm::account_note::{AccountNote, BalanceWrite, NonceUse};
use crate::vm::evm::database::{Notes, SlotNote, ViewDatabase};
use crate::vm::evm::keys::{balance_of, balance_value, slot_value};
use crate::vm::evm::{CodeRecord, EXISTS_RECORD, EvmKey, nonce_of};
use crate::vm::{KeyMark, StateView};
use revm::context::JournalEntry;
use revm::context::journal::JournalInner;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, KECCAK_EMPTY, U256};
use revm::state::Account;
use std::borrow::Cow;

type Step = Result<(), LimitExceeded>;

/// Leaves what a transaction came to: accounts in the order in which they were loaded, then slots in that of theirs.
pub(super) struct Settlement<'s, 'a> {
    pub(super) database: &'s mut ViewDatabase<'a>,
    pub(super) spec: SpecId,
    /// Changed slots of the present account, kept.
    pub(super) slots: &'s mut Vec<(U256, U256)>,
}

impl Settlement<'_, '_> {
    /// Records all that the transaction read beside what was recorded at once, and what it changed. `reward` goes to
    /// `beneficiary`.
    pub(super) fn settle(
        &mut self,
        journal: &JournalInner<JournalEntry>,
        beneficiary: Address,
        reward: Option<U256>,
    ) -> Step {
        let notes = std::mem::take(self.database.notes);
        let accounts = notes.accounts.iter().try_for_each(|note| match journal.state.get(&note.account) {
            Some(account) => {
                self.settle_account(note, account, reward.filter(|_| note.account == beneficiary))
            }
            None => Ok(()),
        });
        let settled = accounts.and_then(|()| self.put_loaded_slots(&notes, journal));
        *self.database.notes = notes;
        settled?;
        match reward {
            Some(reward) if !journal.state.contains_key(&beneficiary) => self.credit(beneficiary, reward),
            Some(_) | None => Ok(()),
        }
    }

    /// Records what a transaction that was refused rests on.
    pub(super) fn settle_refused(&mut self) -> Step {
        let notes = std::mem::take(self.database.notes);
        let settled = notes.accounts.iter().try_for_each(|note| {
            self.put_balance(note, note.balance)?;
            self.put_nonce(note, note.nonce)
        });
        *self.database.notes = notes;
        settled
    }

    /// Adds to the balance of an account that nobody looked at.
    pub(super) fn credit(&mut self, account: Address, amount: U256) -> Step {
        if amount.is_zero() {
            return self.touch_empty(account, None);
        }
        let (before, balance_mark) = self.database.balance(account);
        let note = AccountNote { balance_mark, ..AccountNote::new(account, before, 0, CodeRecord::NONE) };
        self.put_balance(&note, before.saturating_add(amount))
    }

    fn settle_account(&mut self, note: &AccountNote, account: &Account, reward: Option<U256>) -> Step {
        if account.is_touched() && account.is_selfdestructed() {
            self.destroy(note, account)?;
            // A beneficiary that is destroyed in its own block loses what it earns with that, until Amsterdam.
            let kept = reward.filter(|_| self.spec.is_enabled_in(SpecId::AMSTERDAM));
            return kept.map_or(Ok(()), |reward| self.credit(note.account, reward));
        }
        let balance = account.info.balance.saturating_add(reward.unwrap_or_default());
        let is_touched = account.is_touched() || reward.is_some();
        let may_be_bare = is_touched && balance <= note.balance && account.info.is_code_hash_empty_or_zero();
        self.put_balance(note, balance)?;
        self.put_nonce(&self.decided_by_nonce(note, may_be_bare), account.info.nonce)?;
        if !is_touched {
            return Ok(());
        }
        self.put_code(note, account)?;
        if account.is_created() {
            self.put_created_slots(note, account)?;
        }
        if may_be_bare && account.info.nonce == 0 {
            return self.touch_empty(note.account, note.marked);
        }
        Ok(())
    }

    /// The note of an account that is bare if its nonce is 0. That decides what is left, also where nobody asked for the nonce: it may
    /// be older than the code is, if that has gone meanwhile. From Spurious Dragon on only a mark makes a difference to a bare
    /// account, and whoever finds one looks at the nonce.
    fn decided_by_nonce<'n>(&self, note: &'n AccountNote, may_be_bare: bool) -> Cow<'n, AccountNote> {
        let nonce_use = match note.nonce {
            1.. => NonceUse::NotZero,
            0 if !self.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) => NonceUse::Exact,
            0 => NonceUse::Unused,
        };
        if !may_be_bare || nonce_use == NonceUse::Unused || note.nonce_use != NonceUse::Unused {
            return Cow::Borrowed(note);
        }
        Cow::Owned(AccountNote { nonce_use, ..note.clone() })
    }

    /// An account without nonce and code was touched and not paid. Until Spurious Dragon it exists from then on; after
    /// that it goes if it is empty.
    fn touch_empty(&mut self, account: Address, marked: Option<bool>) -> Step {
        let marked = marked.unwrap_or_else(|| self.database.is_marked(account));
        let (key, view) = (EvmKey::exists(account), &mut *self.database.view);
        if !self.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) {
            return if marked { Ok(()) } else { view.set(key.as_slice(), &EXISTS_RECORD) };
        }
        // A mark is rare by then: it was left over from before that rule.
        if !marked
            || !balance_of(view.read(EvmKey::balance(account).as_slice())).is_zero()
            || nonce_of(view.read(EvmKey::nonce(account).as_slice())) != 0
            || view.read(EvmKey::code_of(account).as_slice()).is_some_and(|value| {
                CodeRecord::of_value(Some(value)).is_some_and(|record| record.has_code())
            })
        {
            return Ok(());
        }
        view.delete(key.as_slice())
    }

    /// Takes an account out of the state. Its slots go by ending the life of its storage.
    fn destroy(&mut self, note: &AccountNote, account: &Account) -> Step {
        let mut exact = note.clone();
        (exact.balance_exact, exact.nonce_use) = (true, NonceUse::Exact);
        self.put_balance(&exact, U256::ZERO)?;
        self.put_nonce(&exact, 0)?;
        let view = &mut *self.database.view;
        if !account.is_created() || note.code.has_code() {
            let record = CodeRecord { hash: KECCAK_EMPTY, life: note.code.life + 1 };
            put_code_record(view, note.account, record)?;
        }
        if note.marked != Some(false) {
            view.delete(EvmKey::exists(note.account).as_slice())?;
        }
        Ok(())
    }

    pub(super) fn put_balance(&mut self, note: &AccountNote, after: U256) -> Step {
        let key = EvmKey::balance(note.account);
        let (mark, view) = (note.balance_mark, &mut *self.database.view);
        match note.balance_write(after) {
            BalanceWrite::None => Ok(()),
            BalanceWrite::Add(delta) => view.add_at(mark, key.as_slice(), delta),
            BalanceWrite::ReadAndSet => {
                view.read_at(mark, key.as_slice());
                if after == note.balance {
                    return Ok(());
                }
                view.put_at(mark, key.as_slice(), Some(balance_value(after, &mut [0; 32])))
            }
        }
    }

    pub(super) fn put_nonce(&mut self, note: &AccountNote, after: u64) -> Step {
        let key = EvmKey::nonce(note.account);
        let (mark, view) = (note.nonce_mark, &mut *self.database.view);
        match note.nonce_use {
            NonceUse::Unused if after == note.nonce => Ok(()),
            NonceUse::NotZero if after == note.nonce => {
                let most = u128::from(u64::MAX);
                view.add_at(mark, key.as_slice(), Delta::check(NumberWidth::Eight, 1, most))
            }
            NonceUse::Sender if after > note.nonce => {
                let (before, more) = (u128::from(note.nonce), u128::from(after - note.nonce));
                let delta = Delta::credit(more, NumberWidth::Eight).within(before, before);
                view.add_at(mark, key.as_slice(), delta)
            }
            NonceUse::Unused | NonceUse::NotZero | NonceUse::Sender | NonceUse::Exact => {
                view.read_at(mark, key.as_slice());
                if after == note.nonce {
                    return Ok(());
                }
                view.put_at(mark, key.as_slice(), Some(&after.to_le_bytes()))
            }
        }
    }

    fn put_code(&mut self, note: &AccountNote, account: &Account) -> Step {
        let hash = account.info.code_hash;
        if hash == note.code.hash {
            return Ok(());
        }
        let view = &mut *self.database.view;
        put_code_record(view, note.account, CodeRecord { hash, ..note.code })?;
        match &account.info.code {
            Some(code) if hash != KECCAK_EMPTY => {
                view.set(EvmKey::code(hash).as_slice(), code.original_byte_slice())?;
                self.database.codes.put(hash, code);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Slots of an account that was only just created: its slots were zero and nobody asked for them.
    fn put_created_slots(&mut self, note: &AccountNote, account: &Account) -> Step {
        self.slots.clear();
        self.slots.extend(account.changed_storage_slots().map(|(&slot, value)| (slot, value.present_value)));
        // The journal's order is that of its hash table.
        self.slots.sort_unstable();
        for (slot, value) in self.slots.iter() {
            let key = EvmKey::slot(note.account, note.code.life, *slot);
            let buffer = &mut [0; 32];
            self.database.view.put_at(KeyMark::default(), key.as_slice(), slot_value(*value, buffer))?;
        }
        Ok(())
    }

    /// Changed slots of all other accounts, in the order in which they were loaded: none is changed that was not.
    fn put_loaded_slots(&mut self, notes: &Notes, journal: &JournalInner<JournalEntry>) -> Step {
        debug_assert_eq!(
            loaded_and_changed(notes, journal),
            changed(journal),
            "all changed slots were loaded"
        );
        let mut current: Option<(Address, &Account)> = None;
        for &SlotNote { account: address, life, slot, mark } in &notes.slots {
            if current.is_none_or(|(known, _)| known != address) {
                current = journal.state.get(&address).map(|account| (address, account));
            }
            let Some((_, account)) = current else { continue };
            if !keeps_loaded_slots(account) {
                continue;
            }
            let Some(found) = account.storage.get(&slot).filter(|found| found.is_changed()) else { continue };
            let key = EvmKey::slot(address, life, slot);
            let buffer = &mut [0; 32];
            self.database.view.put_at(mark, key.as_slice(), slot_value(found.present_value, buffer))?;
        }
        Ok(())
    }
}

/// Whether changed slots of an account stay, and were loaded before.
fn keeps_loaded_slots(account: &Account) -> bool {
    account.is_touched() && !account.is_selfdestructed() && !account.is_created()
}

/// How many slots changed in accounts that keep loaded ones.
fn changed(journal: &JournalInner<JournalEntry>) -> usize {
    let accounts = journal.state.values().filter(|account| keeps_loaded_slots(account));
    accounts.map(|account| account.changed_storage_slots().count()).sum()
}

/// How many of them the notes know.
fn loaded_and_changed(notes: &Notes, journal: &JournalInner<JournalEntry>) -> usize {
    let is_changed = |note: &&SlotNote| {
        let account = journal.state.get(&note.account).filter(|account| keeps_loaded_slots(account));
        account.and_then(|account| account.storage.get(&note.slot)).is_some_and(|slot| slot.is_changed())
    };
    notes.slots.iter().filter(is_changed).count()
}

fn put_code_record(view: &mut dyn StateView, account: Address, record: CodeRecord) -> Step {
    let key = EvmKey::code_of(account);
    match record.value(&mut [0; 40]) {
        Some(value) => view.set(key.as_slice(), value),
        None => view.delete(key.as_slice()),
    }
}
