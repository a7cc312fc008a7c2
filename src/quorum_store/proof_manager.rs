//! Holds the proofs of all authors, hands them out for blocks, and says when there are too many.

use crate::quorum_store::batch_store::BatchStore;
use crate::quorum_store::commit_log::{Admission, CommitStep, Cursor};
use crate::quorum_store::effect::{Effect, GeneratorNews, Outbox, QueueNews};
use crate::quorum_store::gate::Gate;
use crate::quorum_store::proof_queue::{ProofQueue, PullRequest, old_enough};
use crate::quorum_store::pull_rate::BackPressure;
use crate::quorum_store::{
    Batch, BatchInfo, Epoch, Keys, Micros, ProofOfStore, QuorumStoreConfig, Refusal, RefusalCounts,
    SignerSet, ValidatorId,
};
use std::sync::Arc;

/// Whom a proof manager works for, and with what.
#[derive(Clone, Debug)]
pub struct ManagerSeat {
    /// The validator.
    pub validator: ValidatorId,
    /// The epoch.
    pub epoch: Epoch,
    /// Checks proofs.
    pub keys: Arc<dyn Keys>,
    /// Where batches are.
    pub store: Arc<BatchStore>,
    /// Limits.
    pub config: Arc<QuorumStoreConfig>,
}

/// What a proposer asks for.
#[derive(Clone, Debug, Default)]
pub struct PayloadRequest {
    /// Limits of all together.
    pub pull: PullRequest,
    /// Also names batches that have no proof yet, of authors other than these.
    pub optimistic: Option<SignerSet>,
    /// Also puts whole batches without a proof in, with at most so many transactions and bytes.
    pub inline: Option<(u64, u64)>,
}

/// What a block is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Proven batches.
    pub proofs: Vec<ProofOfStore>,
    /// Batches without a proof, which are probably everywhere.
    pub optimistic: Vec<BatchInfo>,
    /// Whole batches.
    pub inline: Vec<Arc<Batch>>,
    /// Whether the proofs alone reached a limit.
    pub full: bool,
}

impl Payload {
    /// All batches, in their order in the block.
    #[must_use]
    pub fn batches(&self) -> Vec<BatchInfo> {
        let proven = self.proofs.iter().map(|proof| proof.info);
        proven
            .chain(self.optimistic.iter().copied())
            .chain(self.inline.iter().map(|batch| batch.info))
            .collect()
    }

    /// Whether it has no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proofs.is_empty() && self.optimistic.is_empty() && self.inline.is_empty()
    }
}

/// The proof manager.
#[derive(Debug)]
pub struct ProofManager {
    seat: ManagerSeat,
    queue: ProofQueue,
    cursor: Cursor,
    pressure: BackPressure,
    refusals: RefusalCounts,
    gated: u64,
}

impl ProofManager {
    /// A proof manager that goes on with the batches and proofs of the store. It must then be led through the commit log from
    /// its first step on.
    #[must_use]
    pub fn rebuild(seat: ManagerSeat, now: Micros, seed: u64, out: &mut Outbox) -> ProofManager {
        let mut queue = ProofQueue::new(seed);
        for live in seat.store.live(now) {
            // The store has each batch once.
            let _ = queue.insert_batch(now, live.info, live.summaries);
            if let Some(proof) = live.proof {
                let _ = queue.insert_proof(now, proof);
            }
        }
        let refusals = RefusalCounts::default();
        let pressure = BackPressure::default();
        let mut manager =
            ProofManager { seat, queue, cursor: Cursor::default(), pressure, refusals, gated: 0 };
        manager.pressure = manager.pressure_now();
        // The generator may have heard otherwise from the one before.
        out.push(Effect::Generator(GeneratorNews::BackPressure(manager.pressure)));
        manager
    }

    /// News of peers and other components.
    pub fn hear(&mut self, now: Micros, news: QueueNews, out: &mut Outbox) {
        match news {
            QueueNews::Proofs(from, proofs) => {
                if proofs.is_empty() {
                    self.refuse(Refusal::Empty);
                }
                for proof in proofs {
                    let checked = self.check_proof(now, from, &proof);
                    match checked.and_then(|()| self.queue.insert_proof(now, proof)) {
                        Ok(()) => self.seat.store.note_proof(&proof),
                        Err(refusal) => self.refuse(refusal),
                    }
                }
            }
            QueueNews::Batches(batches) => {
                for (info, txns) in batches {
                    let alive = self.check_time(now, &info);
                    if let Err(refusal) = alive.and_then(|()| self.queue.insert_batch(now, info, txns)) {
                        self.refuse(refusal);
                    }
                }
            }
        }
        self.settle(out);
    }

    fn refuse(&mut self, refusal: Refusal) {
        tracing::debug!(%refusal, "a proof or batch is not queued");
        self.refusals.count(refusal);
    }

    fn check_time(&self, now: Micros, info: &BatchInfo) -> Result<(), Refusal> {
        if info.expiration <= self.cursor.time() || info.expiration <= now.minus(self.seat.config.clock_skew)
        {
            Err(Refusal::Expired)
        } else if info.expiration > self.seat.config.latest_expiration(now) {
            Err(Refusal::ExpirationTooFar)
        } else {
            Ok(())
        }
    }

    /// Own proofs were checked when they were made.
    fn check_proof(&self, now: Micros, from: ValidatorId, proof: &ProofOfStore) -> Result<(), Refusal> {
        let (info, keys) = (&proof.info, &self.seat.keys);
        self.check_time(now, info)?;
        if info.epoch != self.seat.epoch {
            return Err(Refusal::OtherEpoch);
        }
        let known = |validator: ValidatorId| validator.index() < keys.validators();
        if !known(info.author) || !proof.signers.iter().all(known) {
            return Err(Refusal::UnknownPeer);
        }
        if proof.signers.len() < keys.quorum() {
            return Err(Refusal::NoQuorum);
        }
        // A proof coordinator that starts again tells all its proofs: those that are here are not checked again.
        self.queue.lacks_proof(info)?;
        let own = from == self.seat.validator;
        if own || keys.verify_aggregate(proof.signers, &info.signing_bytes(), &proof.signature) {
            Ok(())
        } else {
            Err(Refusal::BadSignature)
        }
    }

    /// Time passes: what expired goes, also while nothing is committed.
    pub fn tick(&mut self, now: Micros, out: &mut Outbox) {
        self.queue.expire(now.minus(self.seat.config.clock_skew));
        self.settle(out);
    }

    /// Applies a step of the commit log. True if it was the next one.
    pub fn apply(&mut self, step: &CommitStep, out: &mut Outbox) -> bool {
        if self.cursor.admit(step) != Admission::Apply {
            return false;
        }
        // What claims to expire later than any batch may is remembered as long as those that may.
        let (time, latest) = (self.cursor.time(), self.seat.config.latest_expiration(self.cursor.time()));
        for info in step.batches().iter().filter(|info| info.expiration > time) {
            self.queue.mark_committed(&BatchInfo { expiration: info.expiration.min(latest), ..*info });
        }
        self.queue.expire(self.cursor.time());
        self.settle(out);
        true
    }

    /// Tells the generator if the pressure is another one now.
    fn settle(&mut self, out: &mut Outbox) {
        let now = self.pressure_now();
        if now != self.pressure {
            self.pressure = now;
            out.push(Effect::Generator(GeneratorNews::BackPressure(now)));
        }
    }

    fn pressure_now(&self) -> BackPressure {
        let limits = &self.seat.config.back_pressure;
        let proofs = limits.backlog_proofs_per_validator.saturating_mul(self.seat.keys.validators() as u64);
        BackPressure {
            txns: self.queue.remaining_txns() > limits.backlog_txns,
            proofs: self.queue.remaining_proofs() > proofs,
        }
    }

    /// What a block may be made of. Nothing is reserved.
    ///
    /// # Errors
    /// The gate, if it is closed.
    pub fn pull(&mut self, now: Micros, gate: Gate, request: &PayloadRequest) -> Result<Payload, Gate> {
        if let Gate::Closed { .. } = gate {
            self.gated += 1;
            return Err(gate);
        }
        let proven = self.queue.pull_proofs(&request.pull);
        let mut payload = Payload { full: proven.full, ..Payload::default() };
        payload.proofs.extend(proven.batches.iter().filter_map(|(_, proof)| *proof));
        let mut rest = request.pull.clone();
        rest.max_txns = rest.max_txns.saturating_sub(proven.txns);
        rest.max_bytes = rest.max_bytes.saturating_sub(proven.bytes);
        rest.max_unique = rest.max_unique.saturating_sub(proven.unique);
        rest.soft_max_unique = rest.soft_max_unique.saturating_sub(proven.unique);
        rest.exclude.extend(payload.proofs.iter().map(|proof| proof.info.key()));
        if let Some(unreliable) = request.optimistic.filter(|_| !proven.full) {
            let optimistic = PullRequest {
                exclude_authors: unreliable,
                came_before: Some(old_enough(now, self.seat.config.min_batch_age)),
                ..rest.clone()
            };
            let pulled = self.queue.pull_batches(&optimistic);
            payload.optimistic.extend(pulled.batches.iter().map(|&(info, _)| info));
            rest.max_txns = rest.max_txns.saturating_sub(pulled.txns);
            rest.max_bytes = rest.max_bytes.saturating_sub(pulled.bytes);
            rest.max_unique = rest.max_unique.saturating_sub(pulled.unique);
            rest.exclude.extend(payload.optimistic.iter().map(BatchInfo::key));
        }
        if let Some((txns, bytes)) = request.inline.filter(|_| !proven.full) {
            rest.max_txns = rest.max_txns.min(txns);
            rest.max_bytes = rest.max_bytes.min(bytes);
            let pulled = self.queue.pull_batches(&rest);
            let stored = pulled.batches.iter().filter_map(|(info, _)| self.seat.store.get(&info.digest));
            payload.inline.extend(stored);
        }
        Ok(payload)
    }

    /// How far it has come in the commit log.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &ProofQueue {
        &self.queue
    }

    /// What it says of its backlog.
    #[must_use]
    pub fn pressure(&self) -> BackPressure {
        self.pressure
    }

    /// Pulls refused because a component lagged.
    #[must_use]
    pub fn gated(&self) -> u64 {
        self.gated
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}
