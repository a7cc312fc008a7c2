//! Where transactions come in, whoever brings them: what no validator would take is refused before it costs anything more.

use crate::node::book::{Book, End, Known, Source};
use crate::node::cluster::Cluster;
use crate::node::http::is_passing;
use parking_lot::Mutex;
use phalanx::quorum_store::{PooledTxn, Refusal, TxnBytes, TxnHash, TxnSummary};
use phalanx::vm::ledger::{LedgerConfig, LedgerVm, SignedTransaction, TransactionError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why a transaction of a client is not taken.
#[derive(Debug)]
pub enum Refused {
    /// The bytes are none.
    NoTransaction(TransactionError),
    /// It is for another ledger.
    WrongChain {
        /// Its chain.
        given: u32,
        /// The ledger's.
        own: u32,
    },
    /// The signature is not the sender's.
    BadSignature,
    /// The mempool refuses it.
    ByMempool(Refusal),
    /// The node ends.
    Stopping,
}

/// A transaction that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not known before.
    New(TxnHash),
    /// It was submitted before; nothing was done.
    Before(TxnHash, Known),
}

/// A transaction of the node's own clients.
#[derive(Clone, Debug)]
pub struct OwnTxn {
    /// Its bytes, with what they say.
    pub txn: PooledTxn,
    /// The account's number.
    pub account: u32,
}

/// The intake.
#[derive(Debug)]
pub struct Intake {
    config: LedgerConfig,
    /// Checks signatures. Copied by whoever uses it.
    vm: LedgerVm,
    cluster: Arc<Cluster>,
    book: Arc<Mutex<Book>>,
    closed: AtomicBool,
    taken: AtomicU64,
    taken_ns: AtomicU64,
}

impl Intake {
    /// Brings transactions to the validators of `cluster` and enters them in `book`.
    pub fn new(config: LedgerConfig, cluster: Arc<Cluster>, book: Arc<Mutex<Book>>) -> Intake {
        Intake {
            config,
            vm: LedgerVm::new(config),
            cluster,
            book,
            closed: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            taken_ns: AtomicU64::new(0),
        }
    }

    /// Takes a client's transaction. Takes some 50 us for its signature.
    ///
    /// # Errors
    /// [`Refused`]; it is as if it had not been submitted.
    pub fn submit(&self, bytes: Vec<u8>) -> Result<Taken, Refused> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Refused::Stopping);
        }
        let begun = Instant::now();
        let given = SignedTransaction::decode(&bytes).map_err(Refused::NoTransaction)?.raw.chain_id;
        if given != self.config.chain_id {
            return Err(Refused::WrongChain { given, own: self.config.chain_id });
        }
        if self.vm.clone().genuine(&[&bytes]) != [true] {
            return Err(Refused::BadSignature);
        }
        let txn = PooledTxn::read(TxnBytes(bytes.into())).map_err(Refused::NoTransaction)?;
        let hash = txn.summary.hash;
        {
            let mut book = self.book.lock();
            if !book.enter(txn.summary, Source::Http) {
                // What is in the book is known.
                let known = book.look_up(&hash).unwrap_or(Known::Open);
                return Ok(Taken::Before(hash, known));
            }
        }
        let submitted = self.cluster.submit(&txn);
        self.count(1, begun.elapsed());
        match submitted {
            Ok(()) | Err(Refusal::Known) => {
                self.book.lock().taken(&txn.summary);
                Ok(Taken::New(hash))
            }
            Err(refusal) => {
                self.book.lock().strike(&hash);
                Err(Refused::ByMempool(refusal))
            }
        }
    }

    /// Takes transactions of the node's own clients, and returns those that must be offered again: the mempool had no room or
    /// was not there. The others are open, or have their end.
    pub fn submit_own(&self, mut group: Vec<OwnTxn>) -> Vec<OwnTxn> {
        let begun = Instant::now();
        let count = group.len();
        let bytes: Vec<&[u8]> = group.iter().map(|own| &*own.txn.bytes.0).collect();
        let genuine = self.vm.clone().genuine(&bytes);
        {
            let mut book = self.book.lock();
            for own in &group {
                let source = Source::Load { account: own.account, sequence: own.txn.summary.sequence };
                // False for one that is offered again.
                book.enter(own.txn.summary, source);
            }
        }
        let entered: Vec<TxnSummary> = group.iter().map(|own| own.txn.summary).collect();
        let mut genuine = genuine.into_iter();
        group.retain(|own| {
            let submitted = match genuine.next() {
                Some(true) => self.cluster.submit(&own.txn),
                Some(false) | None => Err(Refusal::BadSignature),
            };
            match submitted {
                Ok(()) | Err(Refusal::Known) => false,
                Err(refusal) if is_passing(refusal) => true,
                Err(refusal) => {
                    self.book.lock().end(own.txn.summary.hash, End::Refused { refusal });
                    false
                }
            }
        });
        {
            let mut book = self.book.lock();
            entered.iter().for_each(|txn| book.taken(txn));
        }
        self.count(count, begun.elapsed());
        group
    }

    fn count(&self, transactions: usize, time: Duration) {
        self.taken.fetch_add(transactions as u64, Ordering::Relaxed);
        self.taken_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Transactions that were looked at, and the time that took.
    pub fn costs(&self) -> (u64, Duration) {
        let time = Duration::from_nanos(self.taken_ns.load(Ordering::Relaxed));
        (self.taken.load(Ordering::Relaxed), time)
    }

    /// What is known of a transaction.
    pub fn look_up(&self, hash: &TxnHash) -> Option<Known> {
        self.book.lock().look_up(hash)
    }

    /// Takes no more transactions of others.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}
