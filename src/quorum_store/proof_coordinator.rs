//! Collects the signatures under own batches and makes proofs of them.

use crate::quorum_store::batch_store::BatchStore;
use crate::quorum_store::commit_log::{Admission, CommitStep, Cursor};
use crate::quorum_store::effect::{Effect, GeneratorNews, Outbox, QueueNews};
use crate::quorum_store::{
    Batch, BatchInfo, BatchKey, Keys, Message, Micros, ProofOfStore, QuorumStoreConfig, Refusal,
    RefusalCounts, Signature, SignedBatchInfo, SignerSet, ValidatorId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
struct Collection {
    signatures: BTreeMap<ValidatorId, Signature>,
    deadline: Micros,
    /// When it is told again, and how long after the last time.
    retry: (Micros, Duration),
}

/// Whom a proof coordinator works for, and with what.
#[derive(Clone, Debug)]
pub struct ProofSeat {
    /// The validator.
    pub validator: ValidatorId,
    /// Checks and aggregates.
    pub keys: Arc<dyn Keys>,
    /// Where own batches are.
    pub store: Arc<BatchStore>,
    /// Limits.
    pub config: Arc<QuorumStoreConfig>,
}

/// The proof coordinator.
#[derive(Debug)]
pub struct ProofCoordinator {
    seat: ProofSeat,
    collections: BTreeMap<BatchInfo, Collection>,
    deadlines: BTreeSet<(Micros, BatchInfo)>,
    retries: BTreeSet<(Micros, BatchInfo)>,
    /// Batches that are done: proven, given up or committed, until they expire. A late signature cannot begin them anew.
    done: BTreeMap<BatchKey, Micros>,
    done_expirations: BTreeSet<(Micros, BatchKey)>,
    /// Validators that gave bad signatures: theirs are checked one by one.
    penalised: SignerSet,
    bad_signatures: BTreeMap<ValidatorId, u64>,
    cursor: Cursor,
    refusals: RefusalCounts,
    proofs: u64,
    timeouts: u64,
}

impl ProofCoordinator {
    /// A proof coordinator that goes on with the own batches in the store. Those that have no proof are told to everyone
    /// again, whose answers are signatures; and proofs are told again. It must then be led through the commit log from its first step on.
    #[must_use]
    pub fn rebuild(seat: ProofSeat, now: Micros, out: &mut Outbox) -> ProofCoordinator {
        let mut coordinator = ProofCoordinator {
            seat,
            collections: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            retries: BTreeSet::new(),
            done: BTreeMap::new(),
            done_expirations: BTreeSet::new(),
            penalised: SignerSet::default(),
            bad_signatures: BTreeMap::new(),
            cursor: Cursor::default(),
            refusals: RefusalCounts::default(),
            proofs: 0,
            timeouts: 0,
        };
        coordinator.begin_again(now, out);
        coordinator
    }

    fn begin_again(&mut self, now: Micros, out: &mut Outbox) {
        let validator = self.seat.validator;
        let (mut again, mut proven): (Vec<Batch>, Vec<ProofOfStore>) = (Vec::new(), Vec::new());
        for live in self.seat.store.live_of(validator, now) {
            if let Some(proof) = live.proof {
                // Whoever made it may have died before it was told.
                proven.push(proof);
                self.finish(&live.info);
                continue;
            }
            let Some(batch) = self.seat.store.get(&live.info.digest) else { continue };
            let signature = self.seat.keys.sign(&live.info.signing_bytes());
            self.begin(now, live.info);
            if let Some(collection) = self.collections.get_mut(&live.info) {
                collection.signatures.insert(validator, signature);
            }
            self.try_prove(&live.info, out);
            again.push(Batch::clone(&batch));
        }
        let told = Message::of_batches(again, &self.seat.config.sender).into_iter();
        out.extend(told.chain(Message::of_proofs(&proven)).map(Effect::Broadcast));
        if !proven.is_empty() {
            out.push(Effect::Queue(QueueNews::Proofs(validator, proven)));
        }
    }

    /// Signatures of a validator.
    pub fn receive(&mut self, now: Micros, from: ValidatorId, signed: &[SignedBatchInfo], out: &mut Outbox) {
        if signed.is_empty() {
            self.refusals.count(Refusal::Empty);
        }
        for one in signed {
            if let Err(refusal) = self.add(now, from, one, out) {
                tracing::debug!(%from, %refusal, batch = %one.info.key(), "a signature is refused");
                self.refusals.count(refusal);
                if (from, refusal) == (self.seat.validator, Refusal::TooLate) {
                    // A generator that started again does not know that it was given up.
                    out.push(Effect::Generator(GeneratorNews::ProofsTimedOut(vec![one.info.key()])));
                }
            }
        }
    }

    fn add(
        &mut self,
        now: Micros,
        from: ValidatorId,
        signed: &SignedBatchInfo,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let SignedBatchInfo { info, signer, signature } = *signed;
        if signer != from {
            return Err(Refusal::NotSender);
        }
        if signer.index() >= self.seat.keys.validators() {
            return Err(Refusal::UnknownPeer);
        }
        if info.author != self.seat.validator {
            return Err(Refusal::WrongAuthor);
        }
        if self.done.contains_key(&info.key()) {
            return Err(Refusal::TooLate);
        }
        if !self.collections.contains_key(&info) {
            let stored = self.seat.store.info(&info.digest).ok_or(Refusal::NotFound)?;
            if stored != info {
                return Err(Refusal::WrongDigest);
            }
            if info.expiration <= now || info.expiration <= self.cursor.time() {
                return Err(Refusal::Expired);
            }
        }
        let suspect = self.penalised.contains(signer);
        if suspect && !self.seat.keys.verify(signer, &info.signing_bytes(), &signature) {
            *self.bad_signatures.entry(signer).or_default() += 1;
            return Err(Refusal::BadSignature);
        }
        self.begin(now, info);
        let Some(collection) = self.collections.get_mut(&info) else { return Err(Refusal::NotFound) };
        // A second one takes the place of the first: that may have been bad.
        if collection.signatures.insert(signer, signature) == Some(signature) {
            return Err(Refusal::Known);
        }
        self.try_prove(&info, out);
        Ok(())
    }

    fn begin(&mut self, now: Micros, info: BatchInfo) {
        let config = &self.seat.config;
        let (deadline, retry) = (now.plus(config.proof_timeout), now.plus(config.proof_retry));
        if let std::collections::btree_map::Entry::Vacant(entry) = self.collections.entry(info) {
            let retry = (retry, config.proof_retry);
            entry.insert(Collection { signatures: BTreeMap::new(), deadline, retry });
            self.deadlines.insert((deadline, info));
            self.retries.insert((retry.0, info));
        }
    }

    /// Makes the proof if a quorum has signed. All signatures are checked at once; only if that fails, one by one.
    fn try_prove(&mut self, info: &BatchInfo, out: &mut Outbox) {
        let (quorum, message) = (self.seat.keys.quorum(), info.signing_bytes());
        loop {
            let Some(collection) = self.collections.get(info).filter(|one| one.signatures.len() >= quorum)
            else {
                return;
            };
            let signers: SignerSet = collection.signatures.keys().copied().collect();
            let signatures: Vec<Signature> = collection.signatures.values().copied().collect();
            let aggregate = self.seat.keys.aggregate(&signatures);
            let proven = aggregate.filter(|one| self.seat.keys.verify_aggregate(signers, &message, one));
            if let Some(signature) = proven {
                self.publish(ProofOfStore { info: *info, signers, signature }, out);
                return;
            }
            if !self.drop_bad(info, &message) {
                return;
            }
        }
    }

    /// Drops bad signatures and remembers who gave them; false if there is none.
    fn drop_bad(&mut self, info: &BatchInfo, message: &[u8]) -> bool {
        let Some(collection) = self.collections.get_mut(info) else { return false };
        let keys = &self.seat.keys;
        let all = collection.signatures.iter();
        let bad: Vec<ValidatorId> = all
            .filter(|&(&signer, one)| !keys.verify(signer, message, one))
            .map(|(&signer, _)| signer)
            .collect();
        for &signer in &bad {
            tracing::warn!(%signer, batch = %info.key(), "a validator gave a bad signature; from now on each of its signatures is checked");
            collection.signatures.remove(&signer);
            self.penalised.insert(signer);
            *self.bad_signatures.entry(signer).or_default() += 1;
            self.refusals.count(Refusal::BadSignature);
        }
        !bad.is_empty()
    }

    fn publish(&mut self, proof: ProofOfStore, out: &mut Outbox) {
        self.proofs += 1;
        self.finish(&proof.info);
        self.seat.store.note_proof(&proof);
        out.push(Effect::Queue(QueueNews::Proofs(self.seat.validator, vec![proof])));
        out.push(Effect::Broadcast(Message::Proofs(vec![proof])));
    }

    fn finish(&mut self, info: &BatchInfo) {
        if let Some(collection) = self.collections.remove(info) {
            self.deadlines.remove(&(collection.deadline, *info));
            self.retries.remove(&(collection.retry.0, *info));
        }
        self.done.insert(info.key(), info.expiration);
        self.done_expirations.insert((info.expiration, info.key()));
    }

    /// Tells again what has waited long for signatures, to those that have not signed.
    fn retry(&mut self, now: Micros, out: &mut Outbox) {
        let mut unsigned: BTreeMap<ValidatorId, Vec<Batch>> = BTreeMap::new();
        while let Some(&(due, info)) = self.retries.first().filter(|&&(due, _)| due <= now) {
            self.retries.remove(&(due, info));
            let Some(collection) = self.collections.get_mut(&info) else { continue };
            let wait = collection.retry.1.saturating_mul(2);
            collection.retry = (now.plus(wait), wait);
            self.retries.insert((collection.retry.0, info));
            let Some(batch) = self.seat.store.get(&info.digest) else { continue };
            let validators = (0..self.seat.keys.validators()).filter_map(|index| u16::try_from(index).ok());
            let signed = |peer: &ValidatorId| collection.signatures.contains_key(peer);
            for peer in
                validators.map(ValidatorId).filter(|peer| *peer != self.seat.validator && !signed(peer))
            {
                unsigned.entry(peer).or_default().push(Batch::clone(&batch));
            }
        }
        for (peer, batches) in unsigned {
            let told = Message::of_batches(batches, &self.seat.config.sender).into_iter();
            out.extend(told.map(|message| Effect::Send(peer, message)));
        }
    }

    /// Gives up what took too long, and tells again what has waited long.
    pub fn tick(&mut self, now: Micros, out: &mut Outbox) {
        let mut given_up = Vec::new();
        while let Some(&(_, info)) = self.deadlines.first().filter(|&&(deadline, _)| deadline <= now) {
            self.finish(&info);
            given_up.push(info.key());
        }
        self.timeouts += given_up.len() as u64;
        if !given_up.is_empty() {
            out.push(Effect::Generator(GeneratorNews::ProofsTimedOut(given_up)));
        }
        self.retry(now, out);
        self.forget(now.minus(self.seat.config.clock_skew));
    }

    fn forget(&mut self, time: Micros) {
        while let Some(&(expiration, key)) =
            self.done_expirations.first().filter(|&&(expiration, _)| expiration <= time)
        {
            self.done_expirations.remove(&(expiration, key));
            self.done.remove(&key);
        }
    }

    /// Applies a step of the commit log. True if it was the next one.
    pub fn apply(&mut self, step: &CommitStep) -> bool {
        if self.cursor.admit(step) != Admission::Apply {
            return false;
        }
        let (validator, time) = (self.seat.validator, self.cursor.time());
        for info in step.batches().iter().filter(|info| info.author == validator && info.expiration > time) {
            self.finish(info);
        }
        true
    }

    /// How far it has come in the commit log.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Batches for which signatures are collected.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.collections.len()
    }

    /// Entries of all tables: what bounds its memory.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.collections.len()
            + self.deadlines.len()
            + self.retries.len()
            + self.done.len()
            + self.done_expirations.len()
    }

    /// Proofs made, and batches given up.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.proofs, self.timeouts)
    }

    /// Validators that gave bad signatures.
    #[must_use]
    pub fn penalised(&self) -> SignerSet {
        self.penalised
    }

    /// How many bad signatures a validator gave.
    #[must_use]
    pub fn bad_signatures_of(&self, validator: ValidatorId) -> u64 {
        self.bad_signatures.get(&validator).copied().unwrap_or(0)
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }
}
