//! Execution of one admitted transaction against the state.
//!
//! Numbers are looked at without being recorded as reads, so every decision taken from one must leave its **guard**: a
//! delta whose interval holds exactly the numbers that lead to the same decision. All guards speak of the numbers
//! before the transaction. Two rules keep that true when keys coincide (sender, recipients, beneficiary):
//!
//! - nothing is recorded as an effect before the last decision is taken;
//! - if keys coincide, guards are recorded as bare checks before the first effect, and effects then carry only their
//!   natural interval; if all keys differ, the effect on a key carries the guard itself, which saves a call per key.
//!
//! Overflow is guarded by one conservative rule for all credited balances alike: balance + all amounts + fee must fit
//! 64 bits. Natural intervals are wider than that, so recording an effect cannot fail.

use crate::types::{Delta, NumberWidth};
use crate::vm::ledger::keys::{ACCOUNT_RECORD, KEY_BYTES};
use crate::vm::ledger::{
    Address, LedgerStatus, MAX_RECIPIENTS, Payload, RawTransaction, account_key, balance_key, sequence_key,
};
use crate::vm::{Outcome, StateView};

/// Kind of the event of a created account; its data is the address, 32 bytes.
pub const EVENT_ACCOUNT_CREATED: u32 = 1;
/// Kind of the event of a batch transfer; its data is the number of recipients (u32) and the sum of the amounts (u64),
/// little-endian.
pub const EVENT_BATCH_TRANSFERRED: u32 = 2;

const WIDTH: NumberWidth = NumberWidth::Eight;
const MAX: u128 = WIDTH.max();

/// One transaction under way.
pub(super) struct Execution<'a> {
    raw: &'a RawTransaction,
    max_fee: u64,
    gas_needed: u64,
    sequence: [u8; KEY_BYTES],
    funds: [u8; KEY_BYTES],
    beneficiary: [u8; KEY_BYTES],
    view: &'a mut dyn StateView,
}

/// Closed interval of the sender's balance for which a decision is the same.
#[derive(Clone, Copy)]
struct Guard {
    at_least: u128,
    at_most: u128,
}

/// Amounts to move, with what they come to.
struct Order<'a> {
    credits: &'a [(Address, u64)],
    creates: bool,
    fee: u128,
    /// Sum of all amounts and the fee.
    cost: u128,
    /// Whether two of the keys to change coincide, or might.
    coincide: bool,
}

impl Order<'_> {
    /// Greatest balance that may be credited.
    fn limit(&self) -> u128 {
        MAX.saturating_sub(self.cost)
    }
}

/// `Err` ends the transaction without effects; whatever guards the decision needs are recorded by then.
type Step<T> = Result<T, LedgerStatus>;

impl<'a> Execution<'a> {
    pub(super) fn new(
        raw: &'a RawTransaction,
        max_fee: u64,
        gas_needed: u64,
        beneficiary: &Address,
        view: &'a mut dyn StateView,
    ) -> Execution<'a> {
        Execution {
            raw,
            max_fee,
            gas_needed,
            sequence: sequence_key(&raw.sender),
            funds: balance_key(&raw.sender),
            beneficiary: balance_key(beneficiary),
            view,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        self.steps().unwrap_or_else(|status| Outcome { status: status.code(), gas_used: 0 })
    }

    fn steps(&mut self) -> Step<Outcome> {
        if self.view.read(&account_key(&self.raw.sender)).is_none() {
            return Err(LedgerStatus::SenderNotFound);
        }
        self.expect_sequence()?;
        let funds = self.funds_for_gas()?;
        let any = Guard { at_least: self.max_fee.into(), at_most: MAX };
        if self.gas_needed > self.raw.max_gas {
            return self.pay(LedgerStatus::OutOfGas, any);
        }
        let raw = self.raw;
        let single;
        let (credits, creates) = match &raw.payload {
            Payload::Transfer { to, amount } => {
                single = [(*to, *amount)];
                (&single[..], false)
            }
            Payload::BatchTransfer { recipients } => (recipients.as_slice(), false),
            Payload::CreateAccount { account, balance } => {
                single = [(*account, *balance)];
                (&single[..], true)
            }
            #[cfg(feature = "fault-transactions")]
            Payload::Fault(order) => {
                single = [(order.to, order.amount)];
                (&single[..], false)
            }
        };
        let total = match total_of(credits) {
            Ok(total) => total,
            Err(status) => return self.pay(status, any),
        };
        for (account, _) in credits {
            let exists = self.view.read(&account_key(account)).is_some();
            match (creates, exists) {
                (true, true) => return self.pay(LedgerStatus::AccountExists, any),
                (false, false) => return self.pay(LedgerStatus::RecipientNotFound, any),
                (true, false) | (false, true) => {}
            }
        }
        let order = self.order(credits, creates, total);
        self.settle(&order, total, funds)
    }

    fn order<'o>(&self, credits: &'o [(Address, u64)], creates: bool, total: u64) -> Order<'o> {
        let fee = self.fee();
        let coincide = match credits {
            [(account, _)] => {
                let key = balance_key(account);
                key == self.funds || key == self.beneficiary || self.funds == self.beneficiary
            }
            _ => true,
        };
        Order { credits, creates, fee, cost: u128::from(total) + fee, coincide }
    }

    /// Gas used, and the fee for it. Gas never exceeds the limit here, so the product fits 64 bits.
    fn gas_used(&self) -> u64 {
        self.gas_needed.min(self.raw.max_gas)
    }

    fn fee(&self) -> u128 {
        u128::from(self.gas_used()) * u128::from(self.raw.gas_price)
    }

    fn expect_sequence(&mut self) -> Step<()> {
        let expected = u128::from(self.raw.sequence_number);
        let key = self.sequence;
        let present = self.number(&key)?;
        if present < expected {
            self.add(&key, Delta::check(WIDTH, 0, expected - 1))?;
            return Err(LedgerStatus::SequenceTooNew);
        }
        if present > expected {
            self.add(&key, Delta::check(WIDTH, expected + 1, MAX))?;
            return Err(LedgerStatus::SequenceTooOld);
        }
        Ok(())
    }

    /// The sender's balance, which covers the highest possible fee.
    fn funds_for_gas(&mut self) -> Step<u128> {
        let key = self.funds;
        let funds = self.number(&key)?;
        let max_fee = u128::from(self.max_fee);
        if funds < max_fee {
            self.check_sequence()?;
            self.add(&key, Delta::check(WIDTH, 0, max_fee - 1))?;
            return Err(LedgerStatus::InsufficientBalanceForGas);
        }
        Ok(funds)
    }

    /// Ends a failed transaction: the sequence number is used up and the fee paid, nothing else. `guard` is the
    /// sender's balance for which it fails in this way.
    fn pay(&mut self, status: LedgerStatus, guard: Guard) -> Step<Outcome> {
        let fee = self.fee();
        let limit = MAX.saturating_sub(fee);
        let (funds, beneficiary) = (self.funds, self.beneficiary);
        let earned = self.number(&beneficiary)?;
        if earned > limit {
            return self.refuse_overflow(guard, limit);
        }
        // The only key that can coincide is the sender's own balance, if it is also the beneficiary.
        let at_most = if funds == beneficiary { guard.at_most.min(limit) } else { guard.at_most };
        self.bump_sequence()?;
        self.add(&funds, Delta::debit(fee, WIDTH).within(guard.at_least, at_most))?;
        self.add(&beneficiary, Delta::credit(fee, WIDTH))?;
        Ok(Outcome { status: status.code(), gas_used: self.gas_used() })
    }

    /// Ends a transaction that would overflow the beneficiary: nothing but guards.
    fn refuse_overflow(&mut self, guard: Guard, limit: u128) -> Step<Outcome> {
        let (funds, beneficiary) = (self.funds, self.beneficiary);
        self.check_sequence()?;
        self.add(&funds, Delta::check(WIDTH, guard.at_least, guard.at_most))?;
        self.add(&beneficiary, Delta::check(WIDTH, limit + 1, MAX))?;
        Err(LedgerStatus::BeneficiaryOverflow)
    }

    /// Moves the amounts and the fee, or finds out why it cannot.
    fn settle(&mut self, order: &Order<'_>, total: u64, funds: u128) -> Step<Outcome> {
        let max_fee = u128::from(self.max_fee);
        let needed = max_fee.max(order.cost);
        if funds < needed {
            let guard = Guard { at_least: max_fee, at_most: (needed - 1).min(MAX) };
            return self.pay(LedgerStatus::InsufficientBalance, guard);
        }
        let guard = Guard { at_least: needed, at_most: MAX };
        let (sender, beneficiary) = (self.funds, self.beneficiary);
        if order.coincide {
            self.add(&sender, Delta::check(WIDTH, guard.at_least, guard.at_most))?;
        }
        if let Some(status) = self.recipients_overflow(order)? {
            return self.pay(status, guard);
        }
        if self.number(&beneficiary)? > order.limit() {
            if !order.coincide {
                self.check_credits(order)?;
            }
            return self.refuse_overflow(guard, order.limit());
        }
        if order.coincide {
            self.add(&beneficiary, Delta::check(WIDTH, 0, order.limit()))?;
        }
        self.bump_sequence()?;
        self.add(&sender, Delta::debit(order.cost, WIDTH).within(order.lower(guard), MAX))?;
        for (account, amount) in order.credits {
            self.credit(&balance_key(account), u128::from(*amount), order)?;
        }
        self.credit(&beneficiary, order.fee, order)?;
        self.announce(order, total)?;
        Ok(Outcome { status: LedgerStatus::Success.code(), gas_used: self.gas_used() })
    }

    /// The status if some recipient cannot be credited. The beneficiary has its own, later check.
    fn recipients_overflow(&mut self, order: &Order<'_>) -> Step<Option<LedgerStatus>> {
        for (account, _) in order.credits {
            let key = balance_key(account);
            if key == self.beneficiary {
                continue;
            }
            if self.number(&key)? > order.limit() {
                self.add(&key, Delta::check(WIDTH, order.limit() + 1, MAX))?;
                return Ok(Some(LedgerStatus::BalanceOverflow));
            }
            if order.coincide {
                self.add(&key, Delta::check(WIDTH, 0, order.limit()))?;
            }
        }
        Ok(None)
    }

    fn check_credits(&mut self, order: &Order<'_>) -> Step<()> {
        for (account, _) in order.credits {
            self.add(&balance_key(account), Delta::check(WIDTH, 0, order.limit()))?;
        }
        Ok(())
    }

    fn credit(&mut self, key: &[u8; KEY_BYTES], amount: u128, order: &Order<'_>) -> Step<()> {
        let natural = Delta::credit(amount, WIDTH);
        self.add(key, if order.coincide { natural } else { natural.within(0, order.limit()) })
    }

    fn announce(&mut self, order: &Order<'_>, total: u64) -> Step<()> {
        if order.creates {
            for (account, _) in order.credits {
                self.view
                    .set(&account_key(account), &ACCOUNT_RECORD)
                    .and_then(|()| self.view.event(EVENT_ACCOUNT_CREATED, &account.0))
                    .map_err(|_| LedgerStatus::StateFault)?;
            }
        }
        if matches!(self.raw.payload, Payload::BatchTransfer { .. }) {
            let mut data = [0_u8; 12];
            let count = u32::try_from(order.credits.len()).unwrap_or(u32::MAX);
            data[..4].copy_from_slice(&count.to_le_bytes());
            data[4..].copy_from_slice(&total.to_le_bytes());
            self.view.event(EVENT_BATCH_TRANSFERRED, &data).map_err(|_| LedgerStatus::StateFault)?;
        }
        Ok(())
    }

    fn check_sequence(&mut self) -> Step<()> {
        let (key, present) = (self.sequence, u128::from(self.raw.sequence_number));
        self.add(&key, Delta::check(WIDTH, present, present))
    }

    fn bump_sequence(&mut self) -> Step<()> {
        let (key, present) = (self.sequence, u128::from(self.raw.sequence_number));
        self.add(&key, Delta::credit(1, WIDTH).within(present, present))
    }

    /// The number under `key`. What is no number of 64 bits ends the transaction; the decision is then recorded as
    /// plain reads.
    fn number(&mut self, key: &[u8; KEY_BYTES]) -> Step<u128> {
        match self.view.number(key) {
            Some(number) if number <= MAX => Ok(number),
            Some(_) | None => {
                for touched in [&self.sequence, &self.funds, key] {
                    let _ = self.view.read(touched);
                }
                Err(LedgerStatus::StateFault)
            }
        }
    }

    /// Records a delta. It cannot fail after the guards; should it do so all the same, the transaction ends.
    fn add(&mut self, key: &[u8; KEY_BYTES], delta: Delta) -> Step<()> {
        self.view.add(key, delta).map_err(|_| LedgerStatus::StateFault)
    }
}

impl Order<'_> {
    /// Lower bound of the sender's debit: the guard, unless it was recorded as a check before.
    fn lower(&self, guard: Guard) -> u128 {
        if self.coincide { 0 } else { guard.at_least }
    }
}

/// Sum of the amounts, or why there is none.
fn total_of(credits: &[(Address, u64)]) -> Step<u64> {
    if credits.is_empty() {
        return Err(LedgerStatus::EmptyBatch);
    }
    if credits.len() > MAX_RECIPIENTS {
        return Err(LedgerStatus::TooManyRecipients);
    }
    credits
        .iter()
        .try_fold(0_u64, |sum, &(_, amount)| sum.checked_add(amount))
        .ok_or(LedgerStatus::AmountOverflow)
}
