//! Validators, a network and an orderer under one seeded scheduler with virtual time.

use super::super::support::*;
use super::validator::{Part, Validator};
use crate::quorum_store::*;
use crate::vm::ledger::Address;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// How components come to know commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// From cursors in the log.
    Cursors,
    /// Sent one after the other, as in the original.
    SequentialSends,
    /// The same, with the suggested patch: a dead receiver is logged and skipped.
    LogAndContinue,
}

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// The generator does not see the batches of every third commit.
    GeneratorSkips,
    /// The proof manager does not see the batches of every third commit.
    ManagerSkips,
    /// The batch ids of a generator that starts again are those of the one before.
    IdsGoBack,
    /// A peer's batch that expires never is taken.
    EndlessBatches,
}

impl Plant {
    fn emptied(step: CommitStep) -> CommitStep {
        let (sequence, timestamp) = (step.sequence(), step.timestamp());
        if !sequence.is_multiple_of(3) {
            return step;
        }
        let content = Committed::Synced { height: sequence };
        CommitStep::Entry(Arc::new(CommitEntry { sequence, timestamp, content }))
    }

    pub fn on_generator(self, step: CommitStep) -> CommitStep {
        if self == Plant::GeneratorSkips { Plant::emptied(step) } else { step }
    }

    pub fn on_manager(self, step: CommitStep) -> CommitStep {
        if self == Plant::ManagerSkips { Plant::emptied(step) } else { step }
    }
}

#[derive(Debug)]
enum Event {
    Tick(usize),
    Frame { to: usize, from: ValidatorId, frame: Arc<Vec<u8>> },
    News(usize, Effect),
    Propose,
    Append(usize, Arc<CommitEntry>),
    Submit(usize, PooledTxn),
    Kill(usize, Part),
    Start(usize, Part),
    Crash(usize),
    Hostile(usize),
}

/// Something that must not be.
pub type Violation = String;

pub struct World {
    pub random: ChaCha8Rng,
    pub now: Micros,
    pub validators: Vec<Option<Validator>>,
    pub events: u64,
    pub delivery: Delivery,
    plant: Plant,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    pending: HashMap<u64, Event>,
    numbers: u64,
    faults: bool,
    cut_off: Option<usize>,
    /// What was ordered, and not yet appended everywhere.
    orderer: RoundRobin,
    pub ordered: Vec<Arc<CommitEntry>>,
    pub submitted: Vec<(usize, TxnHash)>,
    accepted: Vec<(usize, PooledTxn)>,
    /// At which place of the log a batch was committed.
    pub committed_at: HashMap<BatchKey, u64>,
    /// The ledger.
    next: HashMap<Address, u64>,
    pub executed: HashSet<TxnHash>,
    /// Every batch that was ever told, with its digest.
    pub created: BTreeMap<BatchKey, BatchInfo>,
    last_append: Vec<Micros>,
    pub violations: Vec<Violation>,
    pub deaths: u64,
}

const TICK: std::time::Duration = millis(50);

pub fn config() -> QuorumStoreConfig {
    QuorumStoreConfig {
        batch_expiry: secs(6),
        clock_skew: millis(500),
        remote_exclusion: millis(200),
        proof_timeout: secs(2),
        expiration_buffer: secs(2),
        lag_limit: 10,
        ..QuorumStoreConfig::default()
    }
}

impl World {
    pub fn new(seed: u64, delivery: Delivery, plant: Plant) -> World {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = if random.random_bool(0.2) { 1 } else { 4 };
        let config = Arc::new(config());
        let validators =
            (0..u16::try_from(count).unwrap()).map(|id| Some(Validator::new(id, count, &config, START)));
        let mut world = World {
            now: START,
            validators: validators.collect(),
            events: 0,
            delivery,
            plant,
            queue: BinaryHeap::new(),
            pending: HashMap::new(),
            numbers: 0,
            faults: true,
            cut_off: None,
            orderer: RoundRobin::new(u16::try_from(count).unwrap()),
            ordered: Vec::new(),
            submitted: Vec::new(),
            accepted: Vec::new(),
            committed_at: HashMap::new(),
            next: HashMap::new(),
            executed: HashSet::new(),
            created: BTreeMap::new(),
            last_append: vec![START; count],
            violations: Vec::new(),
            deaths: 0,
            random,
        };
        world.plan(count);
        world
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse((time, self.numbers)));
        self.pending.insert(self.numbers, event);
    }

    fn soon(&mut self, most_ms: u64, event: Event) {
        let delay = std::time::Duration::from_micros(self.random.random_range(0..=most_ms * 1_000));
        self.at(self.now.plus(delay), event);
    }

    /// Two seconds with work and faults.
    fn plan(&mut self, count: usize) {
        for validator in 0..count {
            self.soon(50, Event::Tick(validator));
        }
        self.at(START.plus(millis(60)), Event::Propose);
        for sender in 0..self.random.random_range(1..5) {
            let home = self.random.random_range(0..count);
            for sequence in 0..self.random.random_range(1..4) {
                let price = self.random.random_range(1..2_000);
                self.soon(1_500, Event::Submit(home, txn(sender * 100, sequence, price)));
            }
        }
        for _ in 0..self.random.random_range(0..6) {
            let (victim, part) = (self.random.random_range(0..count), self.random.random_range(0..4));
            self.soon(1_900, Event::Kill(victim, Part::ALL[part]));
        }
        for _ in 0..self.random.random_range(0..2) {
            let victim = self.random.random_range(0..count);
            self.soon(1_900, Event::Crash(victim));
        }
        for _ in 0..self.random.random_range(0..3) {
            let victim = self.random.random_range(0..count);
            self.soon(1_900, Event::Hostile(victim));
        }
    }

    /// Runs until a moment, and looks at everything after each event.
    pub fn run_until(&mut self, end: Micros) {
        while let Some(&Reverse((time, number))) = self.queue.peek() {
            if time > end || !self.violations.is_empty() {
                break;
            }
            self.queue.pop();
            self.now = time;
            self.events += 1;
            if let Some(event) = self.pending.remove(&number) {
                self.handle(event);
            }
        }
        self.now = end.max(self.now);
    }

    /// No faults any more: everybody is there, and messages come through.
    pub fn heal(&mut self) {
        self.faults = false;
        self.cut_off = None;
        for place in 0..self.validators.len() {
            for part in Part::ALL {
                self.start(place, part);
            }
        }
    }

    /// Lets everybody have what is ordered, and read all of it.
    pub fn pause(&mut self) {
        let (ordered, delivery, plant) = (self.ordered.clone(), self.delivery, self.plant);
        for place in 0..self.validators.len() {
            for entry in &ordered {
                let there =
                    self.validators[place].as_ref().is_none_or(|one| one.log.head() >= entry.sequence);
                if !there {
                    self.append(place, entry);
                }
            }
            if delivery == Delivery::Cursors {
                self.with(place, |one, _, out| one.catch_up(usize::MAX, false, plant, out));
            }
        }
    }

    fn start(&mut self, place: usize, part: Part) {
        let (now, mut out) = (self.now, Vec::new());
        let Some(validator) = &mut self.validators[place] else { return };
        let dead = match part {
            Part::Generator => validator.generator.is_none(),
            Part::BatchCoordinator => validator.coordinator.is_none(),
            Part::Proofs => validator.proofs.is_none(),
            Part::Manager => validator.manager.is_none(),
        };
        if dead {
            validator.start(part, now, &mut out);
        }
        self.settle(place, out);
    }

    fn with(&mut self, place: usize, act: impl FnOnce(&mut Validator, Micros, &mut Outbox)) {
        let (now, mut out) = (self.now, Vec::new());
        if let Some(validator) = &mut self.validators[place] {
            act(validator, now, &mut out);
        }
        self.settle(place, out);
        super::checks::after_event(self, place);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(place) => {
                let most = if self.faults { self.random.random_range(0..4) } else { usize::MAX };
                let (doubled, delivery, plant) = (self.random.random_bool(0.3), self.delivery, self.plant);
                self.with(place, |validator, now, out| {
                    if delivery == Delivery::Cursors {
                        validator.catch_up(most, doubled, plant, out);
                    }
                    validator.tick(now, out);
                });
                let slower = if self.faults { TICK } else { TICK * 4 };
                self.at(self.now.plus(slower), Event::Tick(place));
            }
            Event::Frame { to, from, frame } => {
                self.with(to, |one, now, out| one.frame(now, from, &frame, out))
            }
            Event::News(place, effect) => self.with(place, |one, now, out| one.news(now, effect, out)),
            Event::Propose => self.propose(),
            Event::Append(place, entry) => self.append(place, &entry),
            Event::Submit(place, txn) => {
                self.submitted.push((place, txn.summary.hash));
                self.accepted.push((place, txn.clone()));
                self.with(place, |one, now, _| _ = one.mempool.submit(now, txn));
            }
            Event::Kill(place, part) => {
                self.deaths += 1;
                self.with(place, |one, _, _| one.kill(part));
                self.soon(400, Event::Start(place, part));
            }
            Event::Start(place, part) => self.start(place, part),
            Event::Crash(place) => {
                self.deaths += 1;
                if let Some(validator) = self.validators[place].take() {
                    self.validators[place] = Some(validator.crash(self.now, self.next.clone()));
                }
                // What was only in its memory is lost with it: its clients submit again.
                let lost = self.accepted.iter().filter(|(home, _)| *home == place);
                for txn in lost.map(|(_, txn)| txn.clone()).collect::<Vec<_>>() {
                    self.soon(300, Event::Submit(place, txn));
                }
            }
            Event::Hostile(place) => self.hostile(place),
        }
    }

    /// Sends on what a validator wants said, as well as this network can.
    fn settle(&mut self, place: usize, out: Outbox) {
        let from = ValidatorId(u16::try_from(place).unwrap());
        for effect in out {
            match effect {
                Effect::Send(to, message) => {
                    self.note_told(&message);
                    self.send(from, to.index(), &message);
                }
                Effect::Broadcast(message) => {
                    self.note_told(&message);
                    (0..self.validators.len())
                        .filter(|&to| to != place)
                        .for_each(|to| self.send(from, to, &message));
                }
                Effect::Generator(_) | Effect::Proofs(_) | Effect::Queue(_) | Effect::Fetched(..) => {
                    self.soon(2, Event::News(place, effect));
                }
            }
        }
    }

    /// Batches that are told to anybody, the first time or again.
    fn note_told(&mut self, message: &Message) {
        if let Message::Batches(batches) = message {
            batches.iter().for_each(|batch| self.note_created(batch.info));
        }
    }

    fn note_created(&mut self, info: BatchInfo) {
        if let Some(before) = self.created.insert(info.key(), info).filter(|before| *before != info) {
            self.violations.push(format!("I7: batch id {} used twice: {before:?} and {info:?}", info.key()));
        }
    }

    fn send(&mut self, from: ValidatorId, to: usize, message: &Message) {
        let Ok(frame) = message.encode() else { return };
        let frame = Arc::new(frame);
        if self.faults {
            if self.random.random_bool(0.01) {
                self.cut_off =
                    if self.cut_off.is_some() { None } else { Some(self.random.random_range(0..4)) };
            }
            let apart = self.cut_off.is_some_and(|cut| cut == to || cut == from.index());
            if apart || self.random.random_bool(0.05) {
                return;
            }
            if self.random.random_bool(0.05) {
                self.soon(300, Event::Frame { to, from, frame: Arc::clone(&frame) });
            }
        }
        self.soon(20, Event::Frame { to, from, frame });
    }

    fn propose(&mut self) {
        self.at(self.now.plus(millis(60)), Event::Propose);
        let height = self.ordered.len() as u64 + 1;
        let place = self.orderer.proposer(height, self.now.0 / 60_000).index();
        let Some(validator) = &mut self.validators[place] else { return };
        let (head, gate) = (validator.log.head(), validator.gate());
        let Some(manager) = &mut validator.manager else { return };
        let under_way = self
            .ordered
            .iter()
            .filter(|entry| entry.sequence > head || entry.sequence > manager.cursor().applied());
        let exclude = under_way.flat_map(|entry| CommitStep::Entry(Arc::clone(entry)).batches().to_vec());
        let pull = PullRequest {
            max_txns: 100,
            max_bytes: 1 << 20,
            max_unique: 50,
            soft_max_unique: 40,
            return_non_full: true,
            block_time: self.now,
            exclude: exclude.map(|info| info.key()).collect(),
            ..PullRequest::default()
        };
        let Ok(payload) =
            manager.pull(self.now, gate, &PayloadRequest { pull: pull.clone(), ..PayloadRequest::default() })
        else {
            return;
        };
        super::checks::payload(&mut self.violations, &payload, &pull, &self.ordered, self.delivery);
        let synced = self.faults && self.random.random_bool(0.05);
        if payload.is_empty() && !synced {
            return;
        }
        let entry = self.execute(height, payload.batches());
        self.ordered.push(Arc::clone(&entry));
        for info in CommitStep::Entry(Arc::clone(&entry)).batches() {
            self.committed_at.entry(info.key()).or_insert(height);
        }
        for place in 0..self.validators.len() {
            let delay = std::time::Duration::from_micros(self.random.random_range(0..30_000));
            // In order.
            let time = self.now.plus(delay).max(self.last_append[place]);
            self.last_append[place] = time;
            self.at(time, Event::Append(place, Arc::clone(&entry)));
        }
    }

    /// What every validator would come to.
    fn execute(&mut self, height: u64, batches: Vec<BatchInfo>) -> Arc<CommitEntry> {
        let mut txns: Vec<PooledTxn> = Vec::new();
        // Clocks of proposers differ.
        let back = std::time::Duration::from_millis(self.random.random_range(0..100));
        let timestamp = self.now.minus(back);
        for info in batches.iter().filter(|info| info.is_executed_at(timestamp)) {
            let found = self.validators.iter().flatten().find_map(|one| one.store.get(&info.digest));
            let Some(batch) = found else {
                self.violations.push(format!("a proven batch is nowhere: {info:?}"));
                continue;
            };
            txns.extend(batch.txns.iter().map(|bytes| PooledTxn::read(bytes.clone()).unwrap()));
        }
        txns.sort_by_key(|txn| txn.summary.sequence);
        let mut exceptions = Vec::new();
        for txn in txns {
            let next = self.next.entry(txn.summary.sender).or_default();
            if txn.summary.sequence == *next {
                *next += 1;
                self.executed.insert(txn.summary.hash);
            } else {
                let again = txn.summary.sequence > *next;
                let outcome = TxnOutcome::WithoutEffect { again };
                exceptions.push(TxnException { hash: txn.summary.hash, outcome });
            }
        }
        let content = Committed::Block { height, batches, exceptions };
        Arc::new(CommitEntry { sequence: height, timestamp, content })
    }

    fn append(&mut self, place: usize, entry: &Arc<CommitEntry>) {
        let delivery = self.delivery;
        self.with(place, |validator, _, out| {
            if validator.log.head() >= entry.sequence {
                return;
            }
            validator.log.append(CommitEntry::clone(entry)).unwrap();
            match delivery {
                Delivery::Cursors => {}
                Delivery::SequentialSends => validator.fan_out(entry, false, out),
                Delivery::LogAndContinue => validator.fan_out(entry, true, out),
            }
        });
    }

    /// A message that no honest validator sends.
    fn hostile(&mut self, to: usize) {
        let from = ValidatorId(u16::try_from(self.random.random_range(0..self.validators.len())).unwrap());
        if from.index() == to {
            return;
        }
        let number = self.random.random_range(0..3);
        let expirations = [Micros(0), Micros(1), self.now, self.now.plus(secs(5)), Micros(u64::MAX)];
        let expiration = expirations[self.random.random_range(0..expirations.len())];
        let txns = [txn(self.random.random_range(0..500), 0, 1)];
        let batch = batch(from.0, u64::MAX - number, 0, expiration, &txns);
        let info = BatchInfo { txns: self.random.next_u64(), ..batch.info };
        let messages = [
            Message::Batches(vec![batch.clone()]),
            Message::Batches(Vec::new()),
            Message::Batches(vec![Batch { info, ..batch.clone() }]),
            Message::Proofs(vec![ProofOfStore { info, signers: SignerSet::default(), ..proof(info, 4) }]),
            Message::Signatures(vec![SignedBatchInfo {
                info,
                signer: from,
                signature: proof(info, 4).signature,
            }]),
            Message::NotFound { digest: info.digest, epoch: Epoch(1), committed: Micros(u64::MAX) },
            Message::Fetch { digest: info.digest, epoch: Epoch(7) },
        ];
        let choice = self.random.random_range(0..messages.len());
        let mut frame = messages[choice].encode().unwrap();
        if self.random.random_bool(0.2) {
            frame.truncate(self.random.random_range(0..frame.len()));
        }
        self.soon(20, Event::Frame { to, from, frame: Arc::new(frame) });
    }

    /// Plants that change what a validator is made of.
    pub fn plant_now(&mut self) {
        match self.plant {
            Plant::IdsGoBack => {
                for one in self.validators.iter_mut().flatten() {
                    one.ids_go_back = true;
                    one.start(Part::Generator, self.now, &mut Vec::new());
                }
            }
            Plant::EndlessBatches => {
                for one in self.validators.iter_mut().flatten() {
                    let endless = batch(one.id.0, u64::MAX, 0, Micros(u64::MAX), &[txn(77, 0, 1)]);
                    one.store.persist(&[Arc::new(endless)]);
                }
            }
            Plant::Nothing | Plant::GeneratorSkips | Plant::ManagerSkips => {}
        }
    }
}
