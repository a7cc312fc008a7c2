//! The assembly line: transactions go through the components of an author and of one peer, step by step, each on the clock.

use crate::bench::QuorumArguments;
use crate::bench::quorum::error::QuorumError;
use crate::bench::quorum::rows::{Measured, QuorumRow, Step};
use phalanx::quorum_store::{
    BatchCoordinator, BatchGenerator, BatchInfo, BatchStore, BlsKeys, BlsSecret, CommitEntry, CommitLog,
    Committed, Disk, Effect, Epoch, Gate, GeneratorSeat, Keys, LmdbDisk, ManagerSeat, Mempool, Message,
    Micros, PayloadRequest, PooledTxn, ProofCoordinator, ProofManager, ProofNews, ProofSeat, PullRequest,
    QueueNews, QuorumStoreConfig, RegisteredKey, SignedBatchInfo, TxnBytes, TxnFilter, ValidatorId,
};
use phalanx::vm::ledger::{LedgerConfig, LedgerVm, Payload, RawTransaction, SignatureMode};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const AUTHOR: ValidatorId = ValidatorId(0);
const PEER: ValidatorId = ValidatorId(1);
const EPOCH: Epoch = Epoch(1);
/// Address space of a disk.
const DISK_BYTES: u64 = 4 << 30;
/// Transactions looked at together at the intake.
const GROUP: usize = 64;
/// Between two ticks of the generator. Time is not the host's: nothing waits for it.
const TICK: Duration = Duration::from_millis(50);
/// More than a transfer needs.
const MAX_GAS: u64 = 5_000;

/// One validator's share of the line.
struct Station {
    disk: Arc<dyn Disk>,
    store: Arc<BatchStore>,
    manager: ProofManager,
}

/// The line.
struct Line {
    keys: Vec<Arc<dyn Keys>>,
    author: Station,
    peer: Station,
    mempool: Mempool,
    generator: BatchGenerator,
    proofs: ProofCoordinator,
    coordinator: BatchCoordinator,
    log: CommitLog,
    now: Micros,
    measured: Measured,
}

/// Takes so many transfers through all steps.
///
/// # Errors
/// [`QuorumError`]; also when one of them is lost on the way.
pub fn run(arguments: &QuorumArguments) -> Result<Vec<QuorumRow>, QuorumError> {
    let home = tempfile::Builder::new().prefix("phalanx-bench-quorum-").tempdir_in(&arguments.directory)?;
    let mut line = Line::new(arguments, home.path())?;
    line.intake(arguments)?;
    line.prove()?;
    line.commit()?;
    let transactions = line.measured.transactions;
    let excluded = line.generator.in_progress().len();
    let committed = transactions - line.mempool.len() as u64;
    if committed != transactions || excluded > 0 {
        return Err(QuorumError::Lost { transactions, committed, excluded });
    }
    Ok(line.measured.rows())
}

fn keys_of(validators: u16) -> Result<Vec<Arc<dyn Keys>>, QuorumError> {
    let secret = |id: u16| {
        let mut seed = [7; 32];
        seed[..2].copy_from_slice(&id.to_le_bytes());
        BlsSecret::from_seed(ValidatorId(id), &seed)
    };
    let registered: Result<Vec<RegisteredKey>, _> =
        (0..validators).map(|id| Ok(secret(id)?.register())).collect();
    let registered = registered.map_err(QuorumError::Keys)?;
    let keys = |id: u16| Ok(Arc::new(BlsKeys::new(secret(id)?, &registered)?) as Arc<dyn Keys>);
    (0..validators).map(keys).collect()
}

impl Station {
    fn new(
        validator: ValidatorId,
        keys: Arc<dyn Keys>,
        config: &Arc<QuorumStoreConfig>,
        directory: &Path,
        now: Micros,
    ) -> Result<Station, QuorumError> {
        let disk: Arc<dyn Disk> = Arc::new(LmdbDisk::open(directory, DISK_BYTES)?);
        let store = Arc::new(BatchStore::open(Arc::clone(&disk), (**config).clone(), now)?);
        let (config, at) = (Arc::clone(config), Arc::clone(&store));
        let seat = ManagerSeat { validator, epoch: EPOCH, keys, store: at, config };
        let manager = ProofManager::rebuild(seat, now, 1, &mut Vec::new());
        Ok(Station { disk, store, manager })
    }
}

impl Line {
    fn new(arguments: &QuorumArguments, home: &Path) -> Result<Line, QuorumError> {
        let now = Micros(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
        let mut config = QuorumStoreConfig::default();
        config.sender.batch_txns = arguments.batch_size;
        config.sender.total_txns = config.sender.total_txns.max(arguments.batch_size);
        // All of them wait at once.
        config.mempool.capacity = config.mempool.capacity.max(arguments.transactions);
        let (config, keys) = (Arc::new(config), keys_of(arguments.validators)?);
        let (own, of_peer) = (Arc::clone(&keys[AUTHOR.index()]), Arc::clone(&keys[PEER.index()]));
        let author = Station::new(AUTHOR, Arc::clone(&own), &config, &home.join("author"), now)?;
        let peer = Station::new(PEER, Arc::clone(&of_peer), &config, &home.join("peer"), now)?;
        let (store, disk) = (Arc::clone(&author.store), Arc::clone(&author.disk));
        let limits = || Arc::clone(&config);
        let seat = GeneratorSeat {
            validator: AUTHOR,
            epoch: EPOCH,
            keys: Arc::clone(&own),
            store: Arc::clone(&store),
            disk: Arc::clone(&disk),
            config: limits(),
        };
        let proofs = ProofSeat { validator: AUTHOR, keys: own, store, config: limits() };
        let at_peer = Arc::clone(&peer.store);
        Ok(Line {
            generator: BatchGenerator::rebuild(seat, now, &mut Vec::new()),
            proofs: ProofCoordinator::rebuild(proofs, now, &mut Vec::new()),
            coordinator: BatchCoordinator::new(PEER, EPOCH, of_peer, at_peer, limits(), TxnFilter::Off),
            mempool: Mempool::new(config.mempool, HashMap::new()),
            log: CommitLog::open(disk, config.log_window())?,
            measured: Measured { validators: arguments.validators, ..Measured::default() },
            keys,
            author,
            peer,
            now,
        })
    }

    /// One transfer of each of so many accounts.
    fn intake(&mut self, arguments: &QuorumArguments) -> Result<(), QuorumError> {
        let accounts = Accounts::derive(1, arguments.transactions, true);
        let addresses = accounts.addresses();
        let transfer = |from: usize| {
            let raw = RawTransaction {
                chain_id: WORKLOAD_CHAIN_ID,
                sender: addresses[from],
                sequence_number: 0,
                max_gas: MAX_GAS,
                gas_price: 1,
                expiration_s: self.now.0 / 1_000_000 + 3_600,
                payload: Payload::Transfer { to: addresses[(from + 1) % addresses.len()], amount: 1 },
            };
            accounts.encode(raw, from)
        };
        let all: Vec<Vec<u8>> = (0..addresses.len()).map(transfer).collect();
        let config = LedgerConfig {
            chain_id: WORKLOAD_CHAIN_ID,
            signatures: SignatureMode::Verify,
            commutative: true,
        };
        let (mut vm, now, mempool) = (LedgerVm::new(config), self.now, &mut self.mempool);
        for group in all.chunks(GROUP) {
            let taken = self.measured.time(Step::Intake, || {
                let bytes: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
                let genuine = vm.genuine(&bytes).into_iter().all(|genuine| genuine);
                for transaction in group {
                    mempool.submit(now, PooledTxn::read(TxnBytes(transaction.as_slice().into()))?)?;
                }
                Ok::<bool, QuorumError>(genuine)
            })?;
            self.measured.transactions += if taken { group.len() as u64 } else { 0 };
        }
        Ok(())
    }

    /// Batches of all transactions, stored and signed by the peers, and their proofs.
    fn prove(&mut self) -> Result<(), QuorumError> {
        let mut batched = 0;
        while batched < self.measured.transactions {
            self.now = self.now.plus(TICK);
            let mut out = Vec::new();
            let (now, generator, mempool) = (self.now, &mut self.generator, &self.mempool);
            self.measured.time(Step::Batch, || generator.tick(now, Gate::Open, mempool, &mut out));
            for effect in out {
                match effect {
                    Effect::Broadcast(message) => batched += self.deliver(&message)?,
                    effect @ (Effect::Proofs(_)
                    | Effect::Queue(_)
                    | Effect::Send(..)
                    | Effect::Generator(_)
                    | Effect::Fetched(..)) => {
                        self.tell(effect);
                    }
                }
            }
        }
        Ok(())
    }

    /// A message of the author to the peers, and what comes of it; transactions in it.
    fn deliver(&mut self, message: &Message) -> Result<u64, QuorumError> {
        let frame = self.measured.time(Step::Encode, || message.encode())?;
        let message = self.measured.time(Step::Decode, || Message::decode(&frame))?;
        let now = self.now;
        match message {
            Message::Batches(batches) => {
                let infos: Vec<BatchInfo> = batches.iter().map(|batch| batch.info).collect();
                self.measured.batches += infos.len() as u64;
                let (coordinator, mut out) = (&mut self.coordinator, Vec::new());
                self.measured
                    .time(Step::StoreAndSign, || coordinator.receive(now, AUTHOR, batches, &mut out));
                for effect in out {
                    if let Effect::Send(AUTHOR, Message::Signatures(signed)) = effect {
                        self.signatures(PEER, signed);
                    }
                }
                // The others sign the same, until there is a quorum.
                for (id, keys) in
                    (0_u16..).map(ValidatorId).zip(self.keys.clone()).skip(2).take(self.keys[0].quorum() - 2)
                {
                    let sign = |info: &BatchInfo| SignedBatchInfo {
                        info: *info,
                        signer: id,
                        signature: keys.sign(&info.signing_bytes()),
                    };
                    self.signatures(id, infos.iter().map(sign).collect());
                }
                Ok(infos.iter().map(|info| info.txns).sum())
            }
            Message::Proofs(proofs) => {
                let manager = &mut self.peer.manager;
                let news = QueueNews::Proofs(AUTHOR, proofs);
                self.measured.time(Step::CheckProof, || manager.hear(now, news, &mut Vec::new()));
                Ok(0)
            }
            Message::Signatures(_)
            | Message::Fetch { .. }
            | Message::Fetched(_)
            | Message::NotFound { .. } => Ok(0),
        }
    }

    /// Signatures for the author's proof coordinator; the proofs that come of them go to everyone.
    fn signatures(&mut self, from: ValidatorId, signed: Vec<SignedBatchInfo>) {
        let (proofs, now, mut out) = (&mut self.proofs, self.now, Vec::new());
        self.measured.time(Step::Proof, || proofs.receive(now, from, &signed, &mut out));
        for effect in out {
            self.tell(effect);
        }
    }

    /// News within the author, and proofs for the peers.
    fn tell(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Proofs(ProofNews::Signatures(from, signed)) => self.signatures(from, signed),
            Effect::Queue(news) => self.author.manager.hear(now, news, &mut Vec::new()),
            // Only proofs come this way, which decode.
            Effect::Broadcast(message) => _ = self.deliver(&message),
            Effect::Generator(_) | Effect::Send(..) | Effect::Fetched(..) => {}
        }
    }

    /// Blocks of all that is proven.
    fn commit(&mut self) -> Result<(), QuorumError> {
        loop {
            self.now = self.now.plus(TICK);
            let now = self.now;
            let request = PayloadRequest { pull: block_limits(now), ..PayloadRequest::default() };
            let manager = &mut self.author.manager;
            let payload = self.measured.time(Step::Order, || manager.pull(now, Gate::Open, &request));
            let batches = payload.map(|payload| payload.batches()).unwrap_or_default();
            if batches.is_empty() {
                return Ok(());
            }
            self.measured.blocks += 1;
            let height = self.measured.blocks;
            let content = Committed::Block { height, batches, exceptions: Vec::new() };
            let entry = CommitEntry { sequence: height, timestamp: now, content };
            let log = &mut self.log;
            self.measured.time(Step::Commit, || log.append(entry))?;
            self.apply();
        }
    }

    fn apply(&mut self) {
        let Line { log, author, mempool, generator, proofs, measured, .. } = self;
        while let Some(step) = log.next(author.store.cursor()) {
            measured.time(Step::Apply, || {
                author.store.apply(&step);
                mempool.apply(&step, &author.store);
                generator.apply(&step);
                proofs.apply(&step);
                author.manager.apply(&step, &mut Vec::new());
            });
        }
    }
}

/// What a block takes at most.
fn block_limits(now: Micros) -> PullRequest {
    let limits = phalanx::quorum_store::BlockConfig::default();
    PullRequest {
        max_txns: limits.max_txns,
        max_bytes: limits.max_bytes,
        max_unique: limits.max_txns,
        soft_max_unique: limits.enough_txns,
        return_non_full: true,
        block_time: now,
        ..PullRequest::default()
    }
}
