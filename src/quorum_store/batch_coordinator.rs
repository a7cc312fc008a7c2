//! Takes batches of peers: checks them against every limit, persists them, signs that it did.

use crate::quorum_store::batch_store::{BatchStore, summaries_of};
use crate::quorum_store::effect::{Effect, GeneratorNews, Outbox, QueueNews};
use crate::quorum_store::{
    Batch, BatchInfo, Epoch, Keys, Message, Micros, QuorumStoreConfig, Refusal, RefusalCounts,
    SignedBatchInfo, TxnSummary, ValidatorId,
};
use crate::vm::ledger::Address;
use std::collections::HashSet;
use std::sync::Arc;

/// Whose transactions are not let into batches of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TxnFilter {
    /// All are let in.
    #[default]
    Off,
    /// A batch with a transaction of one of these is refused.
    Deny(HashSet<Address>),
}

impl TxnFilter {
    fn admits(&self, txn: &TxnSummary) -> bool {
        match self {
            TxnFilter::Off => true,
            TxnFilter::Deny(senders) => !senders.contains(&txn.sender),
        }
    }
}

/// The batch coordinator.
#[derive(Debug)]
pub struct BatchCoordinator {
    validator: ValidatorId,
    epoch: Epoch,
    keys: Arc<dyn Keys>,
    store: Arc<BatchStore>,
    config: Arc<QuorumStoreConfig>,
    filter: TxnFilter,
    refusals: RefusalCounts,
}

impl BatchCoordinator {
    /// A batch coordinator. It has no state of its own.
    #[must_use]
    pub fn new(
        validator: ValidatorId,
        epoch: Epoch,
        keys: Arc<dyn Keys>,
        store: Arc<BatchStore>,
        config: Arc<QuorumStoreConfig>,
        filter: TxnFilter,
    ) -> BatchCoordinator {
        BatchCoordinator { validator, epoch, keys, store, config, filter, refusals: RefusalCounts::default() }
    }

    /// A message with batches. A batch that is refused does not disturb the others, unless the message as a whole is over a
    /// limit. Everything refused is counted.
    pub fn receive(&mut self, now: Micros, from: ValidatorId, batches: Vec<Batch>, out: &mut Outbox) {
        if let Err(refusal) = self.check_message(&batches) {
            self.refuse(from, refusal);
            return;
        }
        let mut taken = Vec::new();
        for batch in batches {
            match self.check(now, from, &batch) {
                Ok(summaries) => taken.push((Arc::new(batch), summaries)),
                Err(refusal) => self.refuse(from, refusal),
            }
        }
        let to_persist: Vec<Arc<Batch>> = taken.iter().map(|(batch, _)| Arc::clone(batch)).collect();
        let persisted = self.store.persist(&to_persist);
        let (mut queued, mut signed) = (Vec::new(), Vec::new());
        for ((batch, summaries), result) in taken.into_iter().zip(persisted) {
            if let Err(refusal) = result {
                self.refuse(from, refusal);
                continue;
            }
            let info = batch.info;
            let signature = self.keys.sign(&info.signing_bytes());
            signed.push(SignedBatchInfo { info, signer: self.validator, signature });
            out.push(Effect::Generator(GeneratorNews::RemoteBatch(info.key(), Arc::clone(&summaries))));
            queued.push((info, summaries));
        }
        if !signed.is_empty() {
            out.push(Effect::Queue(QueueNews::Batches(queued)));
            out.push(Effect::Send(from, Message::Signatures(signed)));
        }
    }

    fn refuse(&mut self, from: ValidatorId, refusal: Refusal) {
        tracing::debug!(%from, %refusal, "batches of a peer are refused");
        self.refusals.count(refusal);
    }

    fn check_message(&self, batches: &[Batch]) -> Result<(), Refusal> {
        let limits = &self.config.receiver;
        let sum = |of: fn(&BatchInfo) -> u64| {
            batches.iter().fold(0_u64, |sum, batch| sum.saturating_add(of(&batch.info)))
        };
        if batches.is_empty() {
            Err(Refusal::Empty)
        } else if batches.len() > limits.batches {
            Err(Refusal::TooManyBatches)
        } else if sum(|info| info.txns) > limits.total_txns {
            Err(Refusal::TooManyTxns)
        } else if sum(|info| info.bytes) > limits.total_bytes {
            Err(Refusal::TooManyBytes)
        } else {
            Ok(())
        }
    }

    fn check(&self, now: Micros, from: ValidatorId, batch: &Batch) -> Result<Arc<[TxnSummary]>, Refusal> {
        if batch.info.author != from {
            return Err(Refusal::NotSender);
        }
        check_batch(now, batch, self.epoch, &self.config)?;
        let summaries = summaries_of(batch).ok_or(Refusal::BadTransaction)?;
        let filtered = summaries.iter().any(|txn| !self.filter.admits(txn));
        if filtered { Err(Refusal::Filtered) } else { Ok(summaries) }
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}

/// Whether a batch of a peer is within all limits and is what its info says.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_batch(
    now: Micros,
    batch: &Batch,
    epoch: Epoch,
    config: &QuorumStoreConfig,
) -> Result<(), Refusal> {
    let (info, limits) = (&batch.info, &config.receiver);
    if info.epoch != epoch {
        Err(Refusal::OtherEpoch)
    } else if batch.txns.is_empty() {
        Err(Refusal::Empty)
    } else if info.txns > limits.batch_txns || batch.txns.len() as u64 > limits.batch_txns {
        Err(Refusal::TooManyTxns)
    } else if info.bytes > limits.batch_bytes {
        Err(Refusal::TooManyBytes)
    } else if info.expiration <= now.minus(config.clock_skew) {
        Err(Refusal::Expired)
    } else if info.expiration > config.latest_expiration(now) {
        Err(Refusal::ExpirationTooFar)
    } else if !batch.holds() {
        Err(Refusal::WrongDigest)
    } else {
        Ok(())
    }
}
