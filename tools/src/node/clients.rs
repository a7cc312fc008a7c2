//! The node's own clients: signed transfers at a steady rate, each sender's in the order of its sequence numbers, each followed
//! to its end.

use crate::node::book::{End, LoadEnd};
use crate::node::intake::{Intake, OwnTxn};
use phalanx::quorum_store::{PooledTxn, Refusal, TxnBytes};
use phalanx::vm::ledger::{Address, LedgerStatus, Payload, RawTransaction};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time between two looks at what is due.
const TICK: Duration = Duration::from_millis(10);
/// Time between two offers of what the mempool had no room for.
const AGAIN_EVERY: Duration = Duration::from_millis(200);
/// Transactions signed and checked at once.
const GROUP: usize = 64;
/// What is due beyond this part of a second is given up: a client that was held up does not send it all at once.
const BURSTS_PER_SECOND: u64 = 10;
/// Transactions without an end, in seconds of load; beyond that nothing is sent.
const OPEN_LIMIT_S: u64 = 15;
/// Transactions without an end of one account.
const OPEN_PER_ACCOUNT: u32 = 8;
/// More than a transfer needs.
const MAX_GAS: u64 = 5_000;
/// Keeps the load's random numbers apart from those of the accounts.
const STREAM: u64 = 101;

/// What the clients tell while they work.
#[derive(Debug, Default)]
pub struct LoadCounts {
    /// Transfers that were due.
    pub due: AtomicU64,
    /// Transfers that were due and not sent: the clients were held up, or too many had no end.
    pub held_back: AtomicU64,
    /// Set when no new ones are to be sent.
    pub enough: AtomicBool,
    /// Set when the thread is to end.
    pub over: AtomicBool,
}

/// One account as a client sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    /// Sequence number of its next transfer.
    next: u64,
    /// What the ledger expects, as far as is known.
    committed: u64,
    open: u32,
    /// One of its transfers had no effect: those behind it cannot have one. Nothing is sent until all have their end.
    stalled: bool,
}

impl Sender {
    fn may_send(&self) -> bool {
        !self.stalled && self.open < OPEN_PER_ACCOUNT
    }

    fn end(&mut self, sequence: u64, end: End) {
        self.open = self.open.saturating_sub(1);
        match end {
            End::Committed { .. } => self.committed = self.committed.max(sequence + 1),
            // Somebody used it: before the start, for this process knows all since then.
            End::Rejected { status: LedgerStatus::SequenceTooOld, .. }
            | End::Refused { refusal: Refusal::SequenceTooOld } => {
                self.committed = self.committed.max(sequence + 1);
                self.stalled = true;
            }
            End::Rejected { .. } | End::Refused { .. } | End::Expired | End::Before { .. } => {
                self.stalled = true;
            }
        }
        if self.stalled && self.open == 0 {
            self.stalled = false;
            self.next = self.committed;
        }
    }
}

/// The clients.
#[derive(Debug)]
pub struct Clients {
    intake: Arc<Intake>,
    accounts: Accounts,
    senders: Vec<Sender>,
    /// Accounts in the order of their turns.
    turns: Vec<u32>,
    turn: usize,
    ends: Receiver<LoadEnd>,
    again: Vec<OwnTxn>,
    rate: u64,
    expire_after: Duration,
    random: ChaCha8Rng,
    counts: Arc<LoadCounts>,
}

/// How the clients work.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Transfers per second.
    pub rate: u64,
    /// How long a transfer is valid.
    pub expire_after: Duration,
    /// Decides who pays whom.
    pub seed: u64,
}

impl Clients {
    /// Clients of these accounts, which go on at the sequence numbers that the ledger has; others begin with 0.
    pub fn new(
        options: LoadOptions,
        accounts: Accounts,
        sequences: &HashMap<Address, u64>,
        intake: Arc<Intake>,
        ends: Receiver<LoadEnd>,
        counts: Arc<LoadCounts>,
    ) -> Clients {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        random.set_stream(STREAM);
        let senders = accounts.addresses().iter().map(|address| {
            let next = sequences.get(address).copied().unwrap_or(0);
            Sender { next, committed: next, ..Sender::default() }
        });
        let senders: Vec<Sender> = senders.collect();
        let mut turns: Vec<u32> = (0_u32..).take(senders.len()).collect();
        turns.shuffle(&mut random);
        Clients {
            intake,
            accounts,
            senders,
            turns,
            turn: 0,
            ends,
            again: Vec::new(),
            rate: options.rate,
            expire_after: options.expire_after,
            random,
            counts,
        }
    }

    /// Works until it is over.
    pub fn run(mut self) {
        let begun = Instant::now();
        let (mut done, mut open, mut again_at) = (0_u64, 0_u64, begun);
        while !self.counts.over.load(Ordering::Relaxed) {
            open -= self.take_ends();
            let now = Instant::now();
            if now >= again_at {
                again_at = now + AGAIN_EVERY;
                self.offer_again();
            }
            if !self.counts.enough.load(Ordering::Relaxed) {
                let due = u64::try_from((now - begun).as_micros()).unwrap_or(u64::MAX) / 1_000;
                let due = due.saturating_mul(self.rate) / 1_000;
                let wanted = due - done;
                let room = (OPEN_LIMIT_S * self.rate).saturating_sub(open);
                let sent = self.send(wanted.min(self.rate.div_ceil(BURSTS_PER_SECOND)).min(room));
                open += sent;
                done = due;
                self.counts.due.fetch_add(wanted, Ordering::Relaxed);
                self.counts.held_back.fetch_add(wanted - sent, Ordering::Relaxed);
            }
            std::thread::sleep(TICK);
        }
    }

    fn take_ends(&mut self) -> u64 {
        let mut taken = 0;
        for LoadEnd { account, sequence, end } in self.ends.try_iter() {
            taken += 1;
            if let Some(sender) = self.senders.get_mut(account as usize) {
                sender.end(sequence, end);
            }
        }
        taken
    }

    fn offer_again(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        let now = now_s();
        // What has expired gets its end by the clock.
        again.retain(|own| own.txn.summary.expiration.0 / 1_000_000 > now);
        while !again.is_empty() {
            let rest = again.split_off(again.len().min(GROUP));
            self.again.extend(self.intake.submit_own(std::mem::replace(&mut again, rest)));
        }
    }

    /// Sends so many transfers; how many it could.
    fn send(&mut self, count: u64) -> u64 {
        let mut sent = 0;
        let mut group = Vec::with_capacity(GROUP);
        while sent < count
            && let Some(own) = self.next_transfer()
        {
            sent += 1;
            group.push(own);
            if group.len() == GROUP {
                let offered = std::mem::replace(&mut group, Vec::with_capacity(GROUP));
                self.again.extend(self.intake.submit_own(offered));
            }
        }
        self.again.extend(self.intake.submit_own(group));
        sent
    }

    /// A transfer of the next account that may send; `None` if none may.
    fn next_transfer(&mut self) -> Option<OwnTxn> {
        for _ in 0..self.turns.len() {
            let account = *self.turns.get(self.turn)?;
            self.turn = (self.turn + 1) % self.turns.len();
            let sender = self.senders.get(account as usize)?;
            if sender.may_send() {
                return self.transfer(account);
            }
        }
        None
    }

    fn transfer(&mut self, account: u32) -> Option<OwnTxn> {
        let from = account as usize;
        let addresses = self.accounts.addresses();
        let to = (from + self.random.random_range(1..addresses.len())) % addresses.len();
        let sender = self.senders.get_mut(from)?;
        let raw = RawTransaction {
            chain_id: WORKLOAD_CHAIN_ID,
            sender: addresses[from],
            sequence_number: sender.next,
            max_gas: MAX_GAS,
            gas_price: 1,
            expiration_s: now_s() + self.expire_after.as_secs().max(1),
            payload: Payload::Transfer { to: addresses[to], amount: self.random.random_range(1..100) },
        };
        // What is made here decodes.
        let txn = PooledTxn::read(TxnBytes(self.accounts.encode(raw, from).into())).ok()?;
        sender.next += 1;
        sender.open += 1;
        Some(OwnTxn { txn, account })
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_goes_on_where_the_ledger_stands_when_a_transfer_had_no_effect() {
        let committed = End::Committed { height: 1, status: LedgerStatus::Success };
        let mut sender = Sender { next: 5, committed: 2, open: 3, stalled: false };
        sender.end(2, committed);
        assert!(sender.may_send() && sender.committed == 3);
        sender.end(3, End::Expired);
        assert!(!sender.may_send(), "what comes after an expired one cannot be committed");
        sender.end(4, End::Expired);
        assert!(sender.may_send());
        assert_eq!((sender.next, sender.open), (3, 0));
    }

    #[test]
    fn a_sequence_number_that_was_used_before_the_start_is_passed_over() {
        let mut sender = Sender { next: 1, committed: 0, open: 1, stalled: false };
        sender.end(0, End::Refused { refusal: Refusal::SequenceTooOld });
        assert_eq!((sender.next, sender.stalled), (1, false));
    }
}
