//! What became of every transaction that was submitted here: each has exactly one end.

use crate::node::latency::Latencies;
use phalanx::quorum_store::{Micros, Refusal, TxnHash, TxnOutcome, TxnSummary};
use phalanx::vm::ledger::{Address, LedgerStatus};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Ends that are remembered, for whoever asks; the oldest go first.
const ENDS_KEPT: usize = 50_000;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A committed block has it, and it had an effect: it paid at least.
    Committed {
        /// The block.
        height: u64,
        /// What it came to.
        status: LedgerStatus,
    },
    /// A committed block has it, and it had no effect and never will; or the block has another one with its sequence number, or
    /// a later one of its sender.
    Rejected {
        /// The block.
        height: u64,
        /// Why.
        status: LedgerStatus,
    },
    /// The mempool does not take it, and never will.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// No block took it in time.
    Expired,
    /// A block has it that an earlier life of the node committed.
    Before {
        /// The block.
        height: u64,
        /// What it came to.
        outcome: TxnOutcome,
    },
}

impl End {
    /// Whether a block has it with an effect: a later block that has it once more changes nothing.
    fn had_effect(self) -> bool {
        match self {
            End::Committed { .. } | End::Before { outcome: TxnOutcome::Success | TxnOutcome::Failed, .. } => {
                true
            }
            End::Rejected { .. }
            | End::Refused { .. }
            | End::Expired
            | End::Before { outcome: TxnOutcome::WithoutEffect { .. }, .. } => false,
        }
    }
}

/// Who submitted a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node's own client, for this account.
    Load {
        /// The account's number.
        account: u32,
        /// The transaction's sequence number.
        sequence: u64,
    },
    /// Somebody over HTTP.
    Http,
}

/// An end of a transaction of the node's own clients.
#[derive(Clone, Copy, Debug)]
pub struct LoadEnd {
    /// The account's number.
    pub account: u32,
    /// The transaction's sequence number.
    pub sequence: u64,
    /// How it ended.
    pub end: End,
}

/// Sums over all that was submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions submitted.
    pub submitted: u64,
    /// Those with an effect in a committed block.
    pub committed: u64,
    /// Those of them that did not do what they were asked to, and paid for it.
    pub failed: u64,
    /// Those that no block took in time.
    pub expired: u64,
    /// Those that a committed block has without an effect, or that the mempool refused for good.
    pub rejected: u64,
    /// Those that were committed after they were given up as expired: must not be.
    pub late: u64,
}

impl Counts {
    /// Those that have no end yet.
    pub fn open(&self) -> u64 {
        self.submitted - self.committed - self.expired - self.rejected
    }
}

#[derive(Debug)]
struct Open {
    submitted: Instant,
    txn: TxnSummary,
    source: Source,
}

/// What is known of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has no end yet.
    Open,
    /// It ended so.
    Ended(End),
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    open: HashMap<TxnHash, Open>,
    expirations: BTreeSet<(Micros, TxnHash)>,
    /// Those that are open, in the order of each sender's sequence numbers.
    places: BTreeSet<(Address, u64, TxnHash)>,
    /// By sender: the last sequence number that was used, and the block that did.
    used: HashMap<Address, (u64, u64)>,
    ended: HashMap<TxnHash, End>,
    order: VecDeque<TxnHash>,
    counts: Counts,
    latencies: Latencies,
    load: Option<Sender<LoadEnd>>,
}

impl Book {
    /// An empty one, which tells the ends of the node's own transactions to `load`.
    pub fn new(load: Option<Sender<LoadEnd>>) -> Book {
        Book { load, ..Book::default() }
    }

    /// Enters a transaction that is about to be submitted; false if it is known already.
    pub fn enter(&mut self, txn: TxnSummary, source: Source) -> bool {
        let hash = txn.hash;
        if self.open.contains_key(&hash) || self.ended.contains_key(&hash) {
            return false;
        }
        self.counts.submitted += 1;
        self.expirations.insert((txn.expiration, hash));
        self.places.insert((txn.sender, txn.sequence, hash));
        self.open.insert(hash, Open { submitted: Instant::now(), txn, source });
        true
    }

    /// A mempool has taken what was entered. One that does not know the newest block yet takes what has come too late, and lets it
    /// go afterwards.
    pub fn taken(&mut self, txn: &TxnSummary) {
        if let Some(&(sequence, height)) = self.used.get(&txn.sender) {
            self.end_passed(txn.sender, sequence, height);
        }
    }

    /// Takes back what was entered and then refused: it was never submitted.
    pub fn strike(&mut self, hash: &TxnHash) {
        if self.close(hash).is_some() {
            self.counts.submitted -= 1;
        }
    }

    fn close(&mut self, hash: &TxnHash) -> Option<Open> {
        let open = self.open.remove(hash)?;
        self.expirations.remove(&(open.txn.expiration, *hash));
        self.places.remove(&(open.txn.sender, open.txn.sequence, *hash));
        Some(open)
    }

    /// A transaction has its end. What was not submitted here is remembered too. One that is committed stays so: a later block
    /// that has it once more changes nothing.
    pub fn end(&mut self, hash: TxnHash, end: End) {
        if let Some(open) = self.close(&hash) {
            self.count(end, &open);
        } else {
            match self.ended.get(&hash) {
                Some(before) if before.had_effect() => return,
                Some(End::Expired) => self.counts.late += u64::from(end.had_effect()),
                Some(
                    End::Committed { .. } | End::Rejected { .. } | End::Refused { .. } | End::Before { .. },
                )
                | None => {}
            }
        }
        if self.ended.insert(hash, end).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > ENDS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    fn count(&mut self, end: End, open: &Open) {
        match end {
            End::Committed { status, .. } => {
                self.counts.committed += 1;
                self.counts.failed += u64::from(status != LedgerStatus::Success);
                self.latencies.count(open.submitted.elapsed());
            }
            // What is open was submitted in this life.
            End::Rejected { .. } | End::Refused { .. } | End::Before { .. } => self.counts.rejected += 1,
            End::Expired => self.counts.expired += 1,
        }
        if let (Source::Load { account, sequence }, Some(load)) = (open.source, &self.load) {
            // The clients may have gone.
            let _ = load.send(LoadEnd { account, sequence, end });
        }
    }

    /// A block at `height` has a sender's transaction with this sequence number, and it had an effect: what is open with this or
    /// an earlier one can have none any more. To be called when all that the block has is entered.
    pub fn pass(&mut self, sender: Address, sequence: u64, height: u64) {
        let used = self.used.entry(sender).or_insert((sequence, height));
        *used = (*used).max((sequence, height));
        self.end_passed(sender, sequence, height);
    }

    fn end_passed(&mut self, sender: Address, sequence: u64, height: u64) {
        let first = (sender, 0, TxnHash([0; 32]));
        let passed = self.places.range(first..=(sender, sequence, TxnHash([0xff; 32])));
        let passed: Vec<TxnHash> = passed.map(|&(_, _, hash)| hash).collect();
        for hash in passed {
            self.end(hash, End::Rejected { height, status: LedgerStatus::SequenceTooOld });
        }
    }

    /// Gives up what expired before `time`, the time of a block whose transactions all have their end: later blocks have later
    /// times, and no effect for it.
    pub fn expire(&mut self, time: Micros) {
        while let Some(&(_, hash)) = self.expirations.first().filter(|&&(expiration, _)| expiration < time) {
            self.end(hash, End::Expired);
        }
    }

    /// What is known of a transaction.
    pub fn look_up(&self, hash: &TxnHash) -> Option<Known> {
        if self.open.contains_key(hash) {
            return Some(Known::Open);
        }
        self.ended.get(hash).map(|&end| Known::Ended(end))
    }

    /// Sums.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// From submission to commit.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn hash(byte: u8) -> TxnHash {
        TxnHash([byte; 32])
    }

    /// Sender 7's, valid until the end of the first second.
    fn txn(byte: u8, sequence: u64) -> TxnSummary {
        let (hash, sender) = (hash(byte), Address([7; 32]));
        TxnSummary { hash, sender, sequence, expiration: Micros(1_000_000) }
    }

    #[test]
    fn every_transaction_has_one_end_and_the_sums_add_up() {
        let (sender, ends) = channel();
        let mut book = Book::new(Some(sender));
        let committed = End::Committed { height: 3, status: LedgerStatus::Success };
        for byte in 0..4 {
            let source = Source::Load { account: byte.into(), sequence: 0 };
            assert!(book.enter(txn(byte, byte.into()), source));
            assert!(!book.enter(txn(byte, byte.into()), Source::Http), "entered twice");
        }
        assert_eq!(book.counts().open(), 4);
        book.end(hash(0), committed);
        book.end(hash(0), committed);
        book.end(hash(1), End::Rejected { height: 3, status: LedgerStatus::BadSignature });
        book.strike(&hash(2));
        book.expire(Micros(1_000_000));
        assert_eq!(book.look_up(&hash(3)), Some(Known::Open), "the last microsecond counts");
        book.expire(Micros(1_000_001));
        assert_eq!(book.look_up(&hash(3)), Some(Known::Ended(End::Expired)));
        let expected = Counts { submitted: 3, committed: 1, expired: 1, rejected: 1, ..Counts::default() };
        assert_eq!((book.counts(), book.counts().open()), (expected, 0));
        assert_eq!(ends.try_iter().map(|one| one.account).collect::<Vec<_>>(), [0, 1, 3]);
        book.end(hash(3), committed);
        assert_eq!(book.counts().late, 1, "a commit after the end is seen");
        book.end(hash(0), End::Rejected { height: 4, status: LedgerStatus::SequenceTooOld });
        assert_eq!(book.look_up(&hash(0)), Some(Known::Ended(committed)), "a second copy changes nothing");
    }

    /// Once broke: what the mempool had let go, since another one had its sequence number, stayed open for ever. Negative control:
    /// with a `pass` that does nothing the first assertion after it failed.
    #[test]
    fn what_another_one_has_taken_the_place_of_is_rejected_and_nothing_else_is() {
        let mut book = Book::new(None);
        for (byte, sequence) in [(1, 4), (2, 5), (3, 5), (4, 6)] {
            assert!(book.enter(txn(byte, sequence), Source::Http));
        }
        let other = TxnSummary { sender: Address([8; 32]), ..txn(5, 5) };
        assert!(book.enter(other, Source::Http));
        let committed = End::Committed { height: 9, status: LedgerStatus::Success };
        book.end(hash(2), committed);
        book.pass(Address([7; 32]), 5, 9);
        let passed = Some(Known::Ended(End::Rejected { height: 9, status: LedgerStatus::SequenceTooOld }));
        assert_eq!((book.look_up(&hash(1)), book.look_up(&hash(3))), (passed, passed));
        assert_eq!(book.look_up(&hash(2)), Some(Known::Ended(committed)));
        assert_eq!((book.look_up(&hash(4)), book.look_up(&hash(5))), (Some(Known::Open), Some(Known::Open)));
        assert_eq!((book.counts().rejected, book.counts().open()), (2, 2));
        assert_eq!((book.places.len(), book.expirations.len()), (2, 2));
        // Taken too late by a mempool that lags.
        for (byte, sequence, end) in [(6, 5, passed), (7, 6, Some(Known::Open))] {
            assert!(book.enter(txn(byte, sequence), Source::Http));
            book.taken(&txn(byte, sequence));
            assert_eq!(book.look_up(&hash(byte)), end);
        }
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = Book::new(None);
        for number in 0..ENDS_KEPT as u64 + 10 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            book.end(TxnHash(bytes), End::Expired);
        }
        assert_eq!((book.ended.len(), book.order.len()), (ENDS_KEPT, ENDS_KEPT));
        assert_eq!(book.look_up(&TxnHash([0; 32])), None, "the oldest is forgotten");
    }
}
