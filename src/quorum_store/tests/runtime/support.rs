//! Committees that run for tests: real tasks, LMDB on disk, and a ledger that counts. Disks, keys and the executor can be told to
//! panic, hang or fail at a step.

use super::super::support::*;
use crate::quorum_store::runtime::committee::Belongings;
use crate::quorum_store::*;
use crate::vm::ledger::Address;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What a validator does at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    PutBatches,
    RemoveBatches,
    ReserveIds,
    Stage,
    AppendCommit,
    Sign,
    Aggregate,
    VerifyAggregate,
    Execute,
}

impl Step {
    pub const ALL: [Step; 9] = [
        Step::PutBatches,
        Step::RemoveBatches,
        Step::ReserveIds,
        Step::Stage,
        Step::AppendCommit,
        Step::Sign,
        Step::Aggregate,
        Step::VerifyAggregate,
        Step::Execute,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A panic, once.
    Panic,
    /// It takes until the trap is released, for everyone who comes.
    Hang,
}

#[derive(Debug, Default)]
struct Armed {
    trap: Option<(Step, When, Act)>,
    sprung: u64,
}

/// Something that goes wrong at one validator.
#[derive(Debug, Default)]
pub struct Trap {
    armed: Mutex<Armed>,
    released: Condvar,
    /// Writes that the disk took.
    writes: AtomicU64,
}

impl Trap {
    pub fn arm(&self, step: Step, when: When, act: Act) {
        *self.armed.lock() = Armed { trap: Some((step, when, act)), sprung: 0 };
    }

    /// How often it was sprung since it was armed.
    pub fn sprung(&self) -> u64 {
        self.armed.lock().sprung
    }

    pub fn release(&self) {
        self.armed.lock().trap = None;
        self.released.notify_all();
    }

    fn pass(&self, step: Step, when: When) {
        let mut armed = self.armed.lock();
        let Some((at, then, act)) = armed.trap.filter(|&(at, then, _)| (at, then) == (step, when)) else {
            return;
        };
        armed.sprung += 1;
        match act {
            Act::Panic => {
                armed.trap = None;
                drop(armed);
                panic!("a trap is sprung: {step:?} {when:?}");
            }
            Act::Hang => {
                while armed.trap.is_some_and(|(one, moment, _)| (one, moment) == (at, then)) {
                    self.released.wait(&mut armed);
                }
            }
        }
    }

    fn around<T>(&self, step: Step, act: impl FnOnce() -> T) -> T {
        self.pass(step, When::Before);
        let done = act();
        self.pass(step, When::After);
        done
    }
}

#[derive(Debug)]
struct TrappedDisk(Arc<dyn Disk>, Arc<Trap>);

impl TrappedDisk {
    fn write<T>(&self, step: Step, write: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
        let written = self.1.around(step, write);
        self.1.writes.fetch_add(u64::from(written.is_ok()), Ordering::SeqCst);
        written
    }
}

impl Disk for TrappedDisk {
    fn put_batches(&self, batches: &[Arc<Batch>]) -> Result<(), DiskError> {
        self.write(Step::PutBatches, || self.0.put_batches(batches))
    }
    fn batch(&self, digest: &BatchDigest) -> Result<Option<Batch>, DiskError> {
        self.0.batch(digest)
    }
    fn remove_batches(&self, digests: &[BatchDigest]) -> Result<(), DiskError> {
        self.write(Step::RemoveBatches, || self.0.remove_batches(digests))
    }
    fn for_each_batch(&self, each: &mut dyn FnMut(Batch)) -> Result<(), DiskError> {
        self.0.for_each_batch(each)
    }
    fn reserve_ids(&self, epoch: Epoch, count: u64, now: Micros) -> Result<BatchId, DiskError> {
        self.write(Step::ReserveIds, || self.0.reserve_ids(epoch, count, now))
    }
    fn stage(&self, block: &OrderedBlock) -> Result<(), DiskError> {
        self.write(Step::Stage, || self.0.stage(block))
    }
    fn staged(&self) -> Result<Vec<OrderedBlock>, DiskError> {
        self.0.staged()
    }
    fn append_commit(&self, entry: &CommitEntry, collapsed: (u64, Micros)) -> Result<(), DiskError> {
        self.write(Step::AppendCommit, || self.0.append_commit(entry, collapsed))
    }
    fn commits(&self) -> Result<KeptCommits, DiskError> {
        self.0.commits()
    }
    fn close(&self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct TrappedKeys(HashKeys, Arc<Trap>);

impl Keys for TrappedKeys {
    fn sign(&self, message: &[u8]) -> Signature {
        self.1.around(Step::Sign, || self.0.sign(message))
    }
    fn verify(&self, signer: ValidatorId, message: &[u8], signature: &Signature) -> bool {
        self.0.verify(signer, message, signature)
    }
    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        self.1.around(Step::Aggregate, || self.0.aggregate(signatures))
    }
    fn verify_aggregate(&self, signers: SignerSet, message: &[u8], signature: &Signature) -> bool {
        self.1.around(Step::VerifyAggregate, || self.0.verify_aggregate(signers, message, signature))
    }
    fn validators(&self) -> usize {
        self.0.validators()
    }
}

#[derive(Debug, Default)]
pub struct Books {
    pub next: HashMap<Address, u64>,
    /// Every block with its transactions and what became of them.
    pub blocks: BTreeMap<u64, (Vec<TxnHash>, Vec<TxnOutcome>)>,
    /// In which block a transaction had an effect.
    pub effects: HashMap<TxnHash, Vec<u64>>,
    /// Heights that were given again after they were executed.
    pub again: u64,
    /// Wrong calls.
    pub wrong: Vec<String>,
}

/// The executor: counts sequence numbers. Its books outlive committees.
#[derive(Debug, Default)]
pub struct Ledger {
    pub books: Mutex<Books>,
    pub trap: Arc<Trap>,
    /// Set: it refuses, for now or for good.
    pub refuses: Mutex<Option<ExecutorError>>,
}

impl BlockExecutor for Ledger {
    fn execute(&self, block: &BlockToExecute) -> Result<ExecutedBlock, ExecutorError> {
        if let Some(error) = self.refuses.lock().clone() {
            return Err(error);
        }
        self.trap.around(Step::Execute, || Ok(ExecutedBlock { outcomes: self.books.lock().execute(block) }))
    }
}

impl Books {
    fn execute(&mut self, block: &BlockToExecute) -> Vec<TxnOutcome> {
        let txns: Vec<PooledTxn> =
            block.transactions.iter().map(|bytes| PooledTxn::read(bytes.clone()).unwrap()).collect();
        let hashes: Vec<TxnHash> = txns.iter().map(|txn| txn.summary.hash).collect();
        if let Some((before, outcomes)) = self.blocks.get(&block.height) {
            self.again += 1;
            if *before != hashes {
                self.wrong.push(format!("height {} has other transactions than before", block.height));
            }
            return outcomes.clone();
        }
        let last = self.blocks.last_key_value().map_or(0, |(&height, _)| height);
        if block.height != last + 1 {
            self.wrong.push(format!("height {} follows {last}", block.height));
        }
        let mut outcomes = Vec::new();
        for txn in &txns {
            let next = self.next.entry(txn.summary.sender).or_default();
            if txn.summary.sequence == *next {
                *next += 1;
                self.effects.entry(txn.summary.hash).or_default().push(block.height);
                // Every fifth fails, and pays.
                let fails = txn.summary.hash.0[0] % 5 == 0;
                outcomes.push(if fails { TxnOutcome::Failed } else { TxnOutcome::Success });
            } else {
                outcomes.push(TxnOutcome::WithoutEffect { again: txn.summary.sequence > *next });
            }
        }
        self.blocks.insert(block.height, (hashes, outcomes.clone()));
        outcomes
    }
}

/// Short intervals: a test takes seconds.
pub fn config() -> ValidatorConfig {
    let quorum_store = QuorumStoreConfig {
        poll: millis(10),
        min_pull_interval: millis(20),
        max_pull_interval: millis(50),
        remote_exclusion: millis(300),
        proof_timeout: secs(3),
        fetch_interval: millis(200),
        lag_limit: 20,
        ..QuorumStoreConfig::default()
    };
    ValidatorConfig {
        quorum_store,
        supervision: SupervisionConfig {
            restart_limit: 1_000_000,
            hang_limit: secs(30),
            ..SupervisionConfig::default()
        },
        blocks: BlockConfig { interval: millis(10), turn_limit: millis(150), ..BlockConfig::default() },
        mailboxes: MailboxConfig::default(),
        epoch: Epoch(1),
        source: PayloadSource::QuorumStore,
        ends_remembered: 200_000,
    }
}

/// A committee, its runtime, and a client.
#[derive(Debug)]
pub struct Town {
    pub runtime: Runtime,
    pub committee: Committee,
    pub ledger: Arc<Ledger>,
    pub traps: Vec<Arc<Trap>>,
    pub submitted: Vec<(usize, TxnHash)>,
    /// Sender and sequence number of what was given to the validators.
    pub numbers: HashMap<TxnHash, (Address, u64)>,
    /// Next sequence numbers that the client uses.
    pub next: HashMap<u64, u64>,
    /// Whether batches expire while the test runs.
    pub forgets: bool,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

impl Town {
    pub fn new(directory: &Path, config: ValidatorConfig, faults: NetworkFaults, seed: u64) -> Town {
        Town::of(4, directory, config, faults, seed, Arc::new(Ledger::default()))
    }

    pub fn of(
        validators: u16,
        directory: &Path,
        validator: ValidatorConfig,
        faults: NetworkFaults,
        seed: u64,
        ledger: Arc<Ledger>,
    ) -> Town {
        let runtime = runtime();
        let traps: Vec<Arc<Trap>> = (0..validators)
            .map(|id| if id == 0 { Arc::clone(&ledger.trap) } else { Arc::default() })
            .collect();
        let forgets = validator.quorum_store.batch_expiry < secs(60);
        let config = CommitteeConfig {
            validators,
            directory: directory.to_owned(),
            disk_bytes: 256 << 20,
            seed,
            faults,
            validator,
        };
        let belongings: Vec<Belongings> = (0..validators)
            .zip(&traps)
            .map(|(id, trap)| {
                let disk = open_disk(directory, id);
                let keys = HashKeys { own: ValidatorId(id), count: usize::from(validators) };
                let disk: Arc<dyn Disk> = Arc::new(TrappedDisk(disk, Arc::clone(trap)));
                let keys: Arc<dyn Keys> = Arc::new(TrappedKeys(keys, Arc::clone(trap)));
                (disk, keys)
            })
            .collect();
        let executor: Arc<dyn BlockExecutor> = Arc::clone(&ledger) as Arc<dyn BlockExecutor>;
        let next = ledger.books.lock().next.clone();
        let committee =
            Committee::start_with(&config, belongings, executor, &next, runtime.handle()).unwrap();
        Town {
            runtime,
            committee,
            ledger,
            traps,
            submitted: Vec::new(),
            numbers: HashMap::new(),
            next: HashMap::new(),
            forgets,
        }
    }

    pub fn validator(&self, place: usize) -> &Validator {
        &self.committee.validators()[place]
    }

    /// The next transactions of a sender, given to one validator.
    pub fn submit(&mut self, place: usize, sender: u64, count: u64) {
        for _ in 0..count {
            let txn = self.next_txn(sender);
            let hash = self.committee.validators()[place].submit(txn.bytes).unwrap();
            self.submitted.push((place, hash));
        }
    }

    /// As [`submit`](Self::submit), where batches of a lost process may still bring transactions of the sender: goes on where
    /// the ledger is.
    pub fn submit_late(&mut self, place: usize, sender: u64, count: u64) {
        for _ in 0..count {
            let mut txn = self.next_txn(sender);
            let hash = loop {
                match self.committee.validators()[place].submit(txn.bytes) {
                    Err(Refusal::SequenceTooOld) => txn = self.next_txn(sender),
                    submitted => break submitted.unwrap(),
                }
            };
            self.submitted.push((place, hash));
        }
    }

    fn next_txn(&mut self, sender: u64) -> PooledTxn {
        let next = self.next.entry(sender).or_default();
        *next += 1;
        let txn = real_txn(sender, *next - 1, 1 + sender * 13 % 400);
        self.numbers.insert(txn.summary.hash, (txn.summary.sender, txn.summary.sequence));
        txn
    }

    /// Those of the client's transactions that have no end yet.
    pub fn open(&self) -> Vec<(usize, TxnHash)> {
        let open = |&(place, ref hash): &(usize, TxnHash)| {
            !matches!(self.validator(place).status(hash), Some(TxnStatus::Committed { .. }))
        };
        self.submitted.iter().copied().filter(|one| open(one)).collect()
    }

    pub fn wait_for_commits(&self, what: &str) {
        eventually(
            what,
            || self.open().is_empty(),
            || format!("{} open, {:#?}", self.open().len(), self.state()),
        );
    }

    pub fn state(&self) -> Vec<(Cursors, Holdings, Restarts)> {
        let all = self.committee.validators().iter();
        all.map(|one| (one.cursors(), one.holdings(), one.restarts())).collect()
    }

    /// Everybody has read everything, nobody excludes anything, and all logs and the books agree.
    pub fn check_rest(&self, what: &str) {
        let rest = || {
            self.committee.validators().iter().all(|one| {
                one.cursors().are_equal()
                    && one.cursors().head == self.validator(0).cursors().head
                    && one.exclusion_size() == 0
            })
        };
        eventually(what, rest, || format!("{:#?}", self.state()));
        let books = self.ledger.books.lock();
        assert_eq!(books.wrong, Vec::<String>::new(), "{what}");
        for (_, hash) in &self.submitted {
            assert_eq!(books.effects.get(hash).map(Vec::len), Some(1), "{what}: {hash} has an effect once");
        }
        drop(books);
        let head = self.validator(0).cursors().head;
        let logs: Vec<Vec<CommittedBlock>> = self
            .committee
            .validators()
            .iter()
            .map(|one| self.runtime.block_on(read_log(one.commits_after(0), head)))
            .collect();
        let books = self.ledger.books.lock();
        for (place, log) in logs.iter().enumerate() {
            let heads = |log: &[CommittedBlock]| -> Vec<(u64, Micros, Vec<BatchInfo>)> {
                log.iter().map(|one| (one.height, one.timestamp, one.batches.clone())).collect()
            };
            // What blocks held is forgotten at different moments.
            let same = if self.forgets { heads(log) == heads(&logs[0]) } else { log == &logs[0] };
            assert!(same, "{what}: the log of {place}: {log:?}, {:?}", logs[0]);
        }
        let mut committed: HashMap<BatchKey, u64> = HashMap::new();
        for block in &logs[0] {
            for info in &block.batches {
                let before = committed.insert(info.key(), block.height);
                assert_eq!(before, None, "{what}: {} is in block {}, too", info.key(), block.height);
            }
            let (hashes, outcomes) = &books.blocks[&block.height];
            let mut expected: Vec<(TxnHash, TxnOutcome)> =
                hashes.iter().copied().zip(outcomes.iter().copied()).collect();
            let mut told = block.txns.clone();
            expected.sort_by_key(|one| one.0);
            told.sort_by_key(|one| one.0);
            // A batch that expired is no longer kept.
            let missing = told.len() < expected.len() && self.forgets;
            assert!(missing || told == expected, "{what}: block {}: {told:?}, {expected:?}", block.height);
            assert!(told.iter().all(|one| expected.contains(one)), "{what}: block {}", block.height);
        }
    }

    /// Writes that the disks took.
    pub fn writes(&self) -> u64 {
        self.traps.iter().map(|trap| trap.writes.load(Ordering::SeqCst)).sum()
    }

    pub fn shut_down(self) {
        let reports = self.runtime.block_on(self.committee.shutdown(secs(30)));
        for report in reports {
            assert!(report.is_closed(), "{report:?}");
            assert!(report.steps.iter().all(|(_, end)| *end == StepEnd::Stopped), "{report:?}");
        }
    }
}

/// An earlier committee's threads may hold it a moment longer.
fn open_disk(directory: &Path, id: u16) -> Arc<dyn Disk> {
    let begun = Instant::now();
    loop {
        match LmdbDisk::open(&directory.join(format!("validator-{id}")), 256 << 20) {
            Ok(disk) => return Arc::new(disk),
            Err(error) => assert!(begun.elapsed() < secs(30), "{error}"),
        }
        std::thread::sleep(millis(10));
    }
}

pub async fn read_log(mut feed: CommitFeed, head: u64) -> Vec<CommittedBlock> {
    let mut blocks = Vec::new();
    while blocks.last().is_none_or(|last: &CommittedBlock| last.height < head) && head > 0 {
        blocks.push(feed.next().await.unwrap());
    }
    blocks
}

/// A transaction that is valid long enough by the host's clock.
pub fn real_txn(sender: u64, sequence: u64, gas_price: u64) -> PooledTxn {
    txn_until(sender, sequence, gas_price, Clock::start().now().plus(secs(3_600)))
}

/// Waits for a condition; a loaded machine may take long.
pub fn eventually(what: &str, is: impl Fn() -> bool, state: impl Fn() -> String) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(90), "{what} does not happen: {}", state());
        std::thread::sleep(millis(5));
    }
}
