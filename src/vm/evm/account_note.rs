//! What one transaction's execution rests on in one account.
//!
//! An execution uses balance and nonce as best known, and notes every decision that it draws from them. What comes out
//! is an interval of first values for which it would have gone the same way (rule V3), or that the value itself was
//! looked at.

use crate::types::{Delta, NumberWidth};
use crate::vm::KeyMark;
use crate::vm::evm::CodeRecord;
use revm::primitives::{Address, U256};

/// Most that a balance with an interval can be.
pub(super) const ESCROW_MAX: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);

/// What was decided by an account's nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NonceUse {
    /// Nothing.
    Unused,
    /// That it is not 0.
    NotZero,
    /// Whether the sender's transaction is the next one.
    Sender,
    /// Something that another nonce would have changed.
    Exact,
}

/// Notes on one account.
#[derive(Clone, Debug)]
pub(super) struct AccountNote {
    pub(super) account: Address,
    /// Balance as best known before the transaction.
    pub(super) balance: U256,
    /// Least and greatest first balance for which all went the same way.
    pub(super) low: U256,
    pub(super) high: U256,
    /// Whether the balance itself was looked at.
    pub(super) balance_exact: bool,
    /// Nonce as best known before the transaction.
    pub(super) nonce: u64,
    pub(super) nonce_use: NonceUse,
    pub(super) code: CodeRecord,
    /// Whether the mark of an empty account is there, if somebody looked.
    pub(super) marked: Option<bool>,
    /// Where the view knows its balance and its nonce.
    pub(super) balance_mark: KeyMark,
    pub(super) nonce_mark: KeyMark,
}

/// How a changed balance is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BalanceWrite {
    /// Not at all.
    None,
    /// As a delta with its interval, or as a check of the interval alone.
    Add(Delta),
    /// The value before is pinned by a read; set only if it changed.
    ReadAndSet,
}

impl AccountNote {
    pub(super) fn new(account: Address, balance: U256, nonce: u64, code: CodeRecord) -> AccountNote {
        AccountNote {
            account,
            balance,
            low: U256::ZERO,
            high: U256::MAX,
            balance_exact: balance > ESCROW_MAX,
            nonce,
            nonce_use: NonceUse::Unused,
            code,
            marked: None,
            balance_mark: KeyMark::default(),
            nonce_mark: KeyMark::default(),
        }
    }

    /// `amount` was asked of a balance that stands at `now`, and was there or not.
    pub(super) fn note_debit(&mut self, now: U256, amount: U256) {
        match now.checked_sub(amount) {
            Some(to_spare) => self.low = self.low.max(self.balance.saturating_sub(to_spare)),
            None => {
                let lacking = amount - now - U256::ONE;
                self.high = self.high.min(self.balance.saturating_add(lacking));
            }
        }
    }

    /// At least so much had to be there before the transaction.
    pub(super) fn note_needed(&mut self, amount: U256) {
        self.low = self.low.max(amount);
    }

    /// `amount` was added. One so great that an interval could not keep the sum from overflowing pins the balance.
    pub(super) fn note_credit(&mut self, amount: U256) {
        self.balance_exact |= amount > ESCROW_MAX;
    }

    /// Whether the account is empty was asked, with its nonce and balance at `nonce` and `balance`, and no code.
    pub(super) fn note_emptiness(&mut self, nonce: u64, balance: U256) {
        if nonce > 0 {
            if self.nonce > 0 {
                self.note_nonce(NonceUse::NotZero);
            }
            return;
        }
        self.note_nonce(NonceUse::Exact);
        if balance.is_zero() {
            (self.low, self.high) = (self.balance, self.balance);
        } else {
            self.note_debit(balance, U256::ONE);
        }
    }

    /// The stronger of what was noted and `use_now`.
    pub(super) fn note_nonce(&mut self, use_now: NonceUse) {
        self.nonce_use = match (self.nonce_use, use_now) {
            (NonceUse::Sender, _) | (_, NonceUse::Sender) => NonceUse::Sender,
            (NonceUse::Exact, _) | (_, NonceUse::Exact) => NonceUse::Exact,
            (NonceUse::NotZero, _) | (_, NonceUse::NotZero) => NonceUse::NotZero,
            (NonceUse::Unused, NonceUse::Unused) => NonceUse::Unused,
        };
    }

    /// How the balance is written that ends at `after`.
    pub(super) fn balance_write(&self, after: U256) -> BalanceWrite {
        let (negative, amount) = match after.checked_sub(self.balance) {
            Some(amount) => (false, amount),
            None => (true, self.balance - after),
        };
        if self.balance_exact || after > ESCROW_MAX || amount > ESCROW_MAX {
            return BalanceWrite::ReadAndSet;
        }
        let most = if negative { ESCROW_MAX } else { ESCROW_MAX - amount };
        let (Ok(amount), Ok(at_least), Ok(at_most)) =
            (u128::try_from(amount), u128::try_from(self.low), u128::try_from(self.high.min(most)))
        else {
            return BalanceWrite::ReadAndSet;
        };
        if amount == 0 && at_least == 0 && at_most == u128::MAX {
            return BalanceWrite::None;
        }
        BalanceWrite::Add(Delta { amount, negative, width: NumberWidth::Sixteen, at_least, at_most })
    }
}

#[cfg(test)]
mod tests {
    //! The oracle is the same course of payments on every other first balance: inside the interval it must go the same
    //! way, and end at the same difference. What would break: a balance that decided something and is not validated.

    use super::*;
    use proptest::prelude::*;

    /// A step on one account: a credit, a debit that may fail, or the question whether it is empty.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Credit(u64),
        Debit(u64),
        IsEmpty,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(0_u64..8).prop_map(Step::Credit), (0_u64..8).prop_map(Step::Debit), Just(Step::IsEmpty)]
    }

    /// What the steps answer on a first balance, and the balance at the end.
    fn walk(first: u64, steps: &[Step], mut note: Option<&mut AccountNote>) -> (Vec<bool>, u64) {
        let (mut now, mut answers) = (first, Vec::new());
        for &step in steps {
            match step {
                Step::Credit(amount) => {
                    now += amount;
                    if let Some(note) = note.as_deref_mut() {
                        note.note_credit(U256::from(amount));
                    }
                }
                Step::Debit(amount) => {
                    if let Some(note) = note.as_deref_mut() {
                        note.note_debit(U256::from(now), U256::from(amount));
                    }
                    answers.push(amount <= now);
                    now = now.checked_sub(amount).unwrap_or(now);
                }
                Step::IsEmpty => {
                    if let Some(note) = note.as_deref_mut() {
                        note.note_emptiness(0, U256::from(now));
                    }
                    answers.push(now == 0);
                }
            }
        }
        (answers, now)
    }

    proptest! {
        #[test]
        fn inside_the_interval_all_goes_the_same_way_and_at_its_ends_not_beyond(
            first in 0_u64..12, steps in prop::collection::vec(step(), 0..8)
        ) {
            let mut note = AccountNote::new(Address::ZERO, U256::from(first), 0, CodeRecord::NONE);
            let (answers, last) = walk(first, &steps, Some(&mut note));
            let (within, amount) = match note.balance_write(U256::from(last)) {
                BalanceWrite::None => ((0, u128::MAX), 0),
                BalanceWrite::Add(delta) => {
                    let amount = i64::try_from(delta.amount).unwrap();
                    ((delta.at_least, delta.at_most), if delta.negative { -amount } else { amount })
                }
                BalanceWrite::ReadAndSet => return Err(TestCaseError::fail("small numbers have intervals")),
            };
            for other in 0..64_u64 {
                let (other_answers, other_last) = walk(other, &steps, None);
                let same = other_answers == answers;
                let inside = (within.0..=within.1).contains(&u128::from(other));
                prop_assert_eq!(inside, same, "{} of {:?}", other, within);
                if inside {
                    prop_assert_eq!(other as i64 + amount, other_last as i64);
                }
            }
        }
    }

    #[test]
    fn what_no_interval_can_hold_is_read() {
        let note = |balance| AccountNote::new(Address::ZERO, balance, 0, CodeRecord::NONE);
        let great = ESCROW_MAX + U256::ONE;
        assert_eq!(note(great).balance_write(great), BalanceWrite::ReadAndSet);
        assert_eq!(note(U256::ZERO).balance_write(great), BalanceWrite::ReadAndSet);
        let mut paid = note(U256::ZERO);
        paid.note_credit(great);
        assert_eq!(paid.balance_write(U256::ZERO), BalanceWrite::ReadAndSet);
        assert!(matches!(note(U256::ZERO).balance_write(ESCROW_MAX), BalanceWrite::Add(_)));
    }

    #[test]
    fn the_strongest_use_of_a_nonce_stays() {
        let mut note = AccountNote::new(Address::ZERO, U256::ZERO, 5, CodeRecord::NONE);
        note.note_emptiness(5, U256::ZERO);
        assert_eq!((note.nonce_use, note.balance_write(U256::ZERO)), (NonceUse::NotZero, BalanceWrite::None));
        for (next, left) in [
            (NonceUse::Exact, NonceUse::Exact),
            (NonceUse::NotZero, NonceUse::Exact),
            (NonceUse::Sender, NonceUse::Sender),
            (NonceUse::Exact, NonceUse::Sender),
        ] {
            note.note_nonce(next);
            assert_eq!(note.nonce_use, left);
        }
    }
}
