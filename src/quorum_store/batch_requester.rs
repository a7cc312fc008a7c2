//! Fetches batches that are not here from peers, some at a time, again and again, and serves those that are here.

use crate::quorum_store::batch_coordinator::check_batch;
use crate::quorum_store::batch_store::BatchStore;
use crate::quorum_store::effect::{Effect, FetchEnd, Outbox};
use crate::quorum_store::{
    Batch, BatchDigest, BatchInfo, Epoch, Message, Micros, QuorumStoreConfig, Refusal, RefusalCounts,
    SignerSet, ValidatorId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Fetch {
    info: BatchInfo,
    responders: SignerSet,
    /// Place in the responders from which the next ones are asked.
    turn: usize,
    attempts: u32,
    next: Micros,
}

/// The batch requester.
#[derive(Debug)]
pub struct BatchRequester {
    validator: ValidatorId,
    epoch: Epoch,
    store: Arc<BatchStore>,
    config: Arc<QuorumStoreConfig>,
    fetches: BTreeMap<BatchDigest, Fetch>,
    refusals: RefusalCounts,
    served: u64,
}

impl BatchRequester {
    /// A requester that asks for nothing yet.
    #[must_use]
    pub fn new(
        validator: ValidatorId,
        epoch: Epoch,
        store: Arc<BatchStore>,
        config: Arc<QuorumStoreConfig>,
    ) -> BatchRequester {
        let refusals = RefusalCounts::default();
        BatchRequester { validator, epoch, store, config, fetches: BTreeMap::new(), refusals, served: 0 }
    }

    /// Asks for a batch that these have; the end comes as [`Effect::Fetched`]. One that is being asked for already gets more
    /// responders.
    pub fn request(&mut self, now: Micros, info: BatchInfo, responders: SignerSet, out: &mut Outbox) {
        if let Some(batch) = self.store.get(&info.digest) {
            out.push(Effect::Fetched(info.digest, FetchEnd::Found(batch)));
            return;
        }
        let others = responders.iter().filter(|&one| one != self.validator);
        if let Some(fetch) = self.fetches.get_mut(&info.digest) {
            others.for_each(|one| _ = fetch.responders.insert(one));
            return;
        }
        let responders: SignerSet = others.collect();
        if responders.is_empty() {
            out.push(Effect::Fetched(info.digest, FetchEnd::Failed(Refusal::NotFound)));
            return;
        }
        // A start that differs from batch to batch, so that the load is spread.
        let turn = usize::from(info.digest.0[0]);
        self.fetches.insert(info.digest, Fetch { info, responders, turn, attempts: 0, next: now });
        self.tick(now, out);
    }

    /// Asks again where it is time to.
    pub fn tick(&mut self, now: Micros, out: &mut Outbox) {
        let (config, epoch) = (Arc::clone(&self.config), self.epoch);
        let mut ended = Vec::new();
        for (&digest, fetch) in self.fetches.iter_mut().filter(|(_, fetch)| fetch.next <= now) {
            if fetch.attempts >= config.fetch_attempts {
                ended.push(digest);
                continue;
            }
            fetch.attempts += 1;
            fetch.next = now.plus(config.fetch_interval);
            let count = fetch.responders.len();
            let asked = config.fetch_peers.min(count);
            for place in fetch.turn..fetch.turn + asked {
                if let Some(peer) = fetch.responders.iter().nth(place % count.max(1)) {
                    out.push(Effect::Send(peer, Message::Fetch { digest, epoch }));
                }
            }
            fetch.turn = (fetch.turn + asked) % count.max(1);
        }
        for digest in ended {
            self.fetches.remove(&digest);
            out.push(Effect::Fetched(digest, FetchEnd::Failed(Refusal::NotFound)));
        }
    }

    /// A peer asks for a batch.
    pub fn serve(&mut self, from: ValidatorId, digest: BatchDigest, epoch: Epoch, out: &mut Outbox) {
        if epoch != self.epoch {
            self.refuse(from, Refusal::OtherEpoch);
            return;
        }
        let answer = match self.store.get(&digest) {
            Some(batch) => {
                self.served += 1;
                Message::Fetched(Batch::clone(&batch))
            }
            None => Message::NotFound { digest, epoch, committed: self.store.cursor().time() },
        };
        out.push(Effect::Send(from, answer));
    }

    /// A peer gives a batch. It is persisted, too.
    pub fn fetched(&mut self, now: Micros, from: ValidatorId, batch: Batch, out: &mut Outbox) {
        let digest = batch.info.digest;
        let checked = match self.fetches.get(&digest) {
            None => Err(Refusal::NotAsked),
            // The digest says nothing of expiration and id.
            Some(fetch) if fetch.info != batch.info => Err(Refusal::WrongDigest),
            Some(_) => match check_batch(now, &batch, self.epoch, &self.config) {
                // A block needs it all the same.
                Err(Refusal::Expired) if batch.holds() => Ok(()),
                checked => checked,
            },
        };
        if let Err(refusal) = checked {
            self.refuse(from, refusal);
            return;
        }
        self.fetches.remove(&digest);
        let batch = Arc::new(batch);
        // Without room for it there, it is used all the same.
        for refusal in self.store.persist(&[Arc::clone(&batch)]).into_iter().filter_map(Result::err) {
            self.refuse(from, refusal);
        }
        out.push(Effect::Fetched(digest, FetchEnd::Found(batch)));
    }

    /// A peer does not have a batch. If it has committed past the batch's expiration, nobody needs it any more.
    pub fn not_found(
        &mut self,
        from: ValidatorId,
        digest: BatchDigest,
        epoch: Epoch,
        committed: Micros,
        out: &mut Outbox,
    ) {
        let Some(fetch) = self.fetches.get(&digest).filter(|fetch| fetch.responders.contains(from)) else {
            self.refuse(from, Refusal::NotAsked);
            return;
        };
        if epoch == self.epoch && committed > fetch.info.expiration {
            self.fetches.remove(&digest);
            out.push(Effect::Fetched(digest, FetchEnd::Failed(Refusal::Expired)));
        }
    }

    fn refuse(&mut self, from: ValidatorId, refusal: Refusal) {
        tracing::debug!(%from, %refusal, "an answer or question of a peer is refused");
        self.refusals.count(refusal);
    }

    /// Batches that are being asked for.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.fetches.len()
    }

    /// Batches given to peers.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}
