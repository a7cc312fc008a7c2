//! How transactions of a validator's clients ended, as far as it is remembered.

use crate::quorum_store::{Departure, TxnHash, TxnOutcome};
use std::collections::{HashMap, VecDeque};

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStatus {
    /// It waits in the mempool, or is on its way into a block.
    Waiting,
    /// A durable block has it, and no later one will.
    Committed {
        /// Height of the block.
        height: u64,
        /// What became of it there.
        outcome: TxnOutcome,
    },
    /// It was not committed in time; no block will have it, unless a peer has it in a batch.
    Expired,
    /// Another one with its sequence number pays more, or was committed.
    Replaced,
}

impl From<Departure> for TxnStatus {
    fn from(departure: Departure) -> TxnStatus {
        match departure {
            Departure::Committed { height, outcome } => TxnStatus::Committed { height, outcome },
            Departure::Expired => TxnStatus::Expired,
            Departure::Replaced => TxnStatus::Replaced,
        }
    }
}

/// Ends, the latest ones.
#[derive(Debug)]
pub struct Ends {
    most: usize,
    ends: HashMap<TxnHash, TxnStatus>,
    order: VecDeque<TxnHash>,
    expired: u64,
}

impl Ends {
    /// None yet; so many are remembered.
    pub fn new(most: usize) -> Ends {
        Ends { most, ends: HashMap::new(), order: VecDeque::new(), expired: 0 }
    }

    /// Remembers an end.
    pub fn note(&mut self, hash: TxnHash, departure: Departure) {
        self.expired += u64::from(departure == Departure::Expired);
        if self.ends.insert(hash, departure.into()).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.ends.remove(&oldest);
            }
        }
    }

    /// How a transaction ended.
    pub fn of(&self, hash: &TxnHash) -> Option<TxnStatus> {
        self.ends.get(hash).copied()
    }

    /// Transactions that were not committed in time.
    pub fn expired(&self) -> u64 {
        self.expired
    }
}
