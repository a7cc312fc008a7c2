//! Batches and their proofs, in the order in which blocks take them.

use crate::quorum_store::{
    BatchInfo, BatchKey, Micros, ProofOfStore, Refusal, SignerSet, TxnHash, TxnSummary, ValidatorId,
};
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A batch that may go into a block.
#[derive(Clone, Debug)]
struct OpenBatch {
    info: BatchInfo,
    proof: Option<ProofOfStore>,
    summaries: Option<Arc<[TxnSummary]>>,
    arrived: Micros,
}

#[derive(Clone, Debug)]
enum Item {
    /// May go into a block.
    Open(Box<OpenBatch>),
    /// Is in a committed block; kept until it expires, so that what comes late is known to be late.
    Committed { expiration: Micros },
}

/// Highest bucket first, then the oldest batch.
type Rank = (Reverse<u64>, BatchKey);

/// What a block asks for.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// Most transactions, those that occur twice counted twice.
    pub max_txns: u64,
    /// Most bytes.
    pub max_bytes: u64,
    /// Most distinct transactions.
    pub max_unique: u64,
    /// With so many distinct transactions it is enough; the batch that reaches it stays.
    pub soft_max_unique: u64,
    /// Whether less than full is worth a block.
    pub return_non_full: bool,
    /// Time of the block: transactions that expired before do not count.
    pub block_time: Micros,
    /// Batches of blocks that are not committed yet.
    pub exclude: HashSet<BatchKey>,
    /// Authors of whom nothing is taken.
    pub exclude_authors: SignerSet,
    /// Batches that came later than this are left.
    pub came_before: Option<Micros>,
}

/// What a block gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Batches, the highest bucket first, with their proofs if they have one.
    pub batches: Vec<(BatchInfo, Option<ProofOfStore>)>,
    /// Transactions in them.
    pub txns: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Distinct transactions that have not expired.
    pub unique: u64,
    /// Whether a limit ended it.
    pub full: bool,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct ProofQueue {
    items: HashMap<BatchKey, Item>,
    by_author: BTreeMap<ValidatorId, BTreeSet<Rank>>,
    expirations: BTreeSet<(Micros, BatchKey)>,
    /// In how many items with proof and summaries a transaction is.
    occurrences: HashMap<TxnHash, u32>,
    proofs: u64,
    /// Transactions of items with a proof, but without summaries.
    unnamed: u64,
    seed: u64,
}

impl ProofQueue {
    /// An empty queue; `seed` decides the order of authors.
    #[must_use]
    pub fn new(seed: u64) -> ProofQueue {
        ProofQueue { seed: seed | 1, ..ProofQueue::default() }
    }

    /// Whether a proof of this batch is of use: cheaper than to check it.
    ///
    /// # Errors
    /// As [`insert_proof`](Self::insert_proof).
    pub fn lacks_proof(&self, info: &BatchInfo) -> Result<(), Refusal> {
        match self.items.get(&info.key()) {
            None => Ok(()),
            Some(Item::Committed { .. }) => Err(Refusal::TooLate),
            Some(Item::Open(open)) if open.info != *info => Err(Refusal::KeyCollision),
            Some(Item::Open(open)) if open.proof.is_some() => Err(Refusal::Known),
            Some(Item::Open(_)) => Ok(()),
        }
    }

    /// Adds a proof.
    ///
    /// # Errors
    /// `Known`, `TooLate` after its commit, `KeyCollision`.
    pub fn insert_proof(&mut self, now: Micros, proof: ProofOfStore) -> Result<(), Refusal> {
        self.change(now, proof.info, |item_proof, _| {
            if item_proof.is_some() {
                return Err(Refusal::Known);
            }
            *item_proof = Some(proof);
            Ok(())
        })
    }

    /// Adds what a batch holds.
    ///
    /// # Errors
    /// `Known`, `TooLate` after its commit, `KeyCollision`.
    pub fn insert_batch(
        &mut self,
        now: Micros,
        info: BatchInfo,
        txns: Arc<[TxnSummary]>,
    ) -> Result<(), Refusal> {
        self.change(now, info, |_, summaries| {
            if summaries.is_some() {
                return Err(Refusal::Known);
            }
            *summaries = Some(txns);
            Ok(())
        })
    }

    fn change(
        &mut self,
        now: Micros,
        info: BatchInfo,
        change: impl FnOnce(&mut Option<ProofOfStore>, &mut Option<Arc<[TxnSummary]>>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let key = info.key();
        let before = match self.items.get(&key) {
            None => None,
            Some(Item::Committed { .. }) => return Err(Refusal::TooLate),
            Some(Item::Open(open)) if open.info != info => return Err(Refusal::KeyCollision),
            Some(Item::Open(open)) => Some(open.clone()),
        };
        let new = || Box::new(OpenBatch { info, proof: None, summaries: None, arrived: now });
        let mut after = before.clone().unwrap_or_else(new);
        change(&mut after.proof, &mut after.summaries)?;
        match before {
            Some(before) => self.uncount(&before),
            None => {
                self.expirations.insert((info.expiration, key));
                self.by_author.entry(info.author).or_default().insert((Reverse(info.gas_bucket), key));
            }
        }
        self.count(&after);
        self.items.insert(key, Item::Open(after));
        Ok(())
    }

    fn count(&mut self, open: &OpenBatch) {
        if open.proof.is_none() {
            return;
        }
        self.proofs += 1;
        match &open.summaries {
            Some(txns) => txns.iter().for_each(|txn| *self.occurrences.entry(txn.hash).or_default() += 1),
            None => self.unnamed = self.unnamed.saturating_add(open.info.txns),
        }
    }

    /// Undoes [`count`](Self::count) of the same item.
    fn uncount(&mut self, open: &OpenBatch) {
        if open.proof.is_none() {
            return;
        }
        self.proofs = self.proofs.saturating_sub(1);
        let Some(txns) = &open.summaries else {
            self.unnamed = self.unnamed.saturating_sub(open.info.txns);
            return;
        };
        for txn in txns.iter() {
            if let Entry::Occupied(mut entry) = self.occurrences.entry(txn.hash) {
                *entry.get_mut() = entry.get().saturating_sub(1);
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// A batch was committed: nothing of it is pulled any more. What is counted goes by what is stored here, not by what the
    /// block says.
    pub fn mark_committed(&mut self, info: &BatchInfo) {
        let key = info.key();
        let expiration = match self.items.get(&key) {
            Some(Item::Committed { .. }) => return,
            Some(Item::Open(open)) => open.info.expiration,
            None => {
                self.expirations.insert((info.expiration, key));
                info.expiration
            }
        };
        self.close(key);
        self.items.insert(key, Item::Committed { expiration });
    }

    /// Takes an item out of order and counts.
    fn close(&mut self, key: BatchKey) {
        let Some(Item::Open(open)) = self.items.remove(&key) else { return };
        self.uncount(&open);
        if let Some(ranks) = self.by_author.get_mut(&open.info.author) {
            ranks.remove(&(Reverse(open.info.gas_bucket), key));
            if ranks.is_empty() {
                self.by_author.remove(&open.info.author);
            }
        }
    }

    /// Drops what expired by `time`.
    pub fn expire(&mut self, time: Micros) {
        while let Some(&(expiration, key)) =
            self.expirations.first().filter(|&&(expiration, _)| expiration <= time)
        {
            self.expirations.remove(&(expiration, key));
            self.close(key);
            self.items.remove(&key);
        }
    }

    /// Batches with proofs for a block. Nothing is reserved.
    pub fn pull_proofs(&mut self, request: &PullRequest) -> Pulled {
        self.pull(request, true)
    }

    /// Batches without proofs for a block.
    pub fn pull_batches(&mut self, request: &PullRequest) -> Pulled {
        self.pull(request, false)
    }

    /// One batch per author and turn, authors in another order each turn.
    fn pull(&mut self, request: &PullRequest, proven: bool) -> Pulled {
        let mut filling = Filling { request, seen: HashSet::new(), pulled: Pulled::default() };
        for key in &request.exclude {
            if let Some(Item::Open(open)) = self.items.get(key) {
                filling.seen.extend(open.summaries.iter().flat_map(|txns| txns.iter()).map(|txn| txn.hash));
            }
        }
        let mut seed = self.seed;
        let mut lanes: Vec<_> =
            self.by_author.iter().map(|(&author, ranks)| (author, ranks.iter())).collect();
        lanes.retain(|&(author, _)| !request.exclude_authors.contains(author));
        while !lanes.is_empty() && !filling.pulled.full {
            shuffle(&mut lanes, &mut seed);
            lanes.retain_mut(|(_, ranks)| {
                if filling.pulled.full {
                    return false;
                }
                let next = ranks.find_map(|&(_, key)| self.eligible(key, request, proven));
                next.is_some_and(|(info, proof, summaries)| {
                    filling.take(info, proof, summaries);
                    true
                })
            });
        }
        self.seed = seed;
        let mut pulled = filling.pulled;
        if !pulled.full && !request.return_non_full {
            return Pulled::default();
        }
        pulled.batches.sort_by_key(|(info, _)| Reverse(info.gas_bucket));
        pulled
    }

    fn eligible(&self, key: BatchKey, request: &PullRequest, proven: bool) -> Option<Candidate<'_>> {
        match self.items.get(&key)? {
            Item::Committed { .. } => None,
            Item::Open(open) => {
                let fits = open.proof.is_some() == proven
                    && !request.exclude.contains(&key)
                    && open.info.expiration > request.block_time
                    && request.came_before.is_none_or(|before| open.arrived <= before);
                fits.then_some((&open.info, open.proof.as_ref(), open.summaries.as_deref()))
            }
        }
    }

    /// Distinct transactions in proofs; those of proofs whose batch is not here count as distinct.
    #[must_use]
    pub fn remaining_txns(&self) -> u64 {
        self.unnamed.saturating_add(self.occurrences.len() as u64)
    }

    /// Proofs.
    #[must_use]
    pub fn remaining_proofs(&self) -> u64 {
        self.proofs
    }

    /// Transactions and proofs, counted anew.
    #[must_use]
    pub fn recount(&self) -> (u64, u64) {
        let (mut distinct, mut unnamed, mut proofs) = (HashSet::new(), 0, 0);
        for item in self.items.values() {
            match item {
                Item::Open(open) if open.proof.is_some() => {
                    proofs += 1;
                    match &open.summaries {
                        Some(txns) => distinct.extend(txns.iter().map(|txn| txn.hash)),
                        None => unnamed += open.info.txns,
                    }
                }
                Item::Open(_) | Item::Committed { .. } => {}
            }
        }
        (distinct.len() as u64 + unnamed, proofs)
    }

    /// Whether a batch can still go into a block; committed and unknown ones cannot.
    #[must_use]
    pub fn is_open(&self, key: BatchKey) -> bool {
        matches!(self.items.get(&key), Some(Item::Open(_)))
    }

    /// Items, those of committed batches included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Expiration of the first item that will go; none if there is none.
    #[must_use]
    pub fn first_expiration(&self) -> Option<Micros> {
        self.expirations.first().map(|&(expiration, _)| expiration)
    }

    /// Committed batches that are remembered, with their expirations.
    pub fn committed(&self) -> impl Iterator<Item = (BatchKey, Micros)> {
        self.items.iter().filter_map(|(&key, item)| match item {
            Item::Committed { expiration } => Some((key, *expiration)),
            Item::Open(_) => None,
        })
    }
}

type Candidate<'a> = (&'a BatchInfo, Option<&'a ProofOfStore>, Option<&'a [TxnSummary]>);

struct Filling<'a> {
    request: &'a PullRequest,
    seen: HashSet<TxnHash>,
    pulled: Pulled,
}

impl Filling<'_> {
    /// Takes a batch, or ends the pull if it does not fit.
    fn take(&mut self, info: &BatchInfo, proof: Option<&ProofOfStore>, summaries: Option<&[TxnSummary]>) {
        let (request, pulled) = (self.request, &mut self.pulled);
        let new = summaries.map_or(info.txns, |txns| {
            let alive = txns.iter().filter(|txn| txn.expiration > request.block_time);
            alive.filter(|txn| !self.seen.contains(&txn.hash)).count() as u64
        });
        let (txns, bytes) = (pulled.txns.saturating_add(info.txns), pulled.bytes.saturating_add(info.bytes));
        let unique = pulled.unique.saturating_add(new);
        if txns > request.max_txns || bytes > request.max_bytes || unique > request.max_unique {
            pulled.full = true;
            return;
        }
        self.seen.extend(summaries.unwrap_or_default().iter().map(|txn| txn.hash));
        pulled.batches.push((*info, proof.copied()));
        (pulled.txns, pulled.bytes, pulled.unique) = (txns, bytes, unique);
        pulled.full = txns == request.max_txns
            || bytes == request.max_bytes
            || unique == request.max_unique
            || unique >= request.soft_max_unique;
    }
}

/// Mixes the lanes. Not for secrets.
fn shuffle<T>(lanes: &mut [T], seed: &mut u64) {
    for end in (1..lanes.len()).rev() {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let place = usize::try_from(*seed % (end as u64 + 1)).unwrap_or(0);
        lanes.swap(end, place);
    }
}

/// The youngest moment of arrival that is old enough at `now`.
#[must_use]
pub fn old_enough(now: Micros, min_age: Duration) -> Micros {
    now.minus(min_age)
}
