//! What tests of the quorum store have in common.

use crate::quorum_store::*;
use crate::vm::ledger::{Address, Payload, RawTransaction};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Signatures that cost nothing: a hash of signer and message. Aggregates are the sums of their parts, byte by byte.
#[derive(Debug)]
pub struct HashKeys {
    pub own: ValidatorId,
    pub count: usize,
}

impl HashKeys {
    fn of(signer: ValidatorId, message: &[u8]) -> Signature {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&signer.0.to_le_bytes()).update(message);
        let mut bytes = [0; SIGNATURE_BYTES];
        hasher.finalize_xof().fill(&mut bytes);
        Signature(bytes)
    }
}

impl Keys for HashKeys {
    fn sign(&self, message: &[u8]) -> Signature {
        HashKeys::of(self.own, message)
    }

    fn verify(&self, signer: ValidatorId, message: &[u8], signature: &Signature) -> bool {
        HashKeys::of(signer, message) == *signature
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        let mut sum = [0_u8; SIGNATURE_BYTES];
        for one in signatures {
            sum.iter_mut().zip(one.0).for_each(|(sum, byte)| *sum = sum.wrapping_add(byte));
        }
        Some(Signature(sum))
    }

    fn verify_aggregate(&self, signers: SignerSet, message: &[u8], signature: &Signature) -> bool {
        let all: Vec<Signature> = signers.iter().map(|signer| HashKeys::of(signer, message)).collect();
        self.aggregate(&all) == Some(*signature)
    }

    fn validators(&self) -> usize {
        self.count
    }
}

/// Another one each time.
pub fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// When tests begin: no sum underflows.
pub const START: Micros = Micros(1_000_000_000_000);

pub fn address(number: u64) -> Address {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Address(bytes)
}

/// A transaction of a sender, valid for so long after the start.
pub fn txn_until(sender: u64, sequence: u64, gas_price: u64, expiration: Micros) -> PooledTxn {
    let raw = RawTransaction {
        chain_id: 1,
        sender: address(sender),
        sequence_number: sequence,
        max_gas: 1_000,
        gas_price,
        expiration_s: expiration.0 / 1_000_000,
        payload: Payload::Transfer { to: address(sender + 1), amount: 1 },
    };
    let bytes = raw.unsigned().encode().unwrap();
    PooledTxn::read(TxnBytes(bytes.into())).unwrap()
}

pub fn txn(sender: u64, sequence: u64, gas_price: u64) -> PooledTxn {
    txn_until(sender, sequence, gas_price, START.plus(secs(3_600)))
}

/// A batch of a validator with these transactions.
pub fn batch(author: u16, number: u64, bucket: u64, expiration: Micros, txns: &[PooledTxn]) -> Batch {
    let info = BatchInfo {
        author: ValidatorId(author),
        id: BatchId { nonce: 1, number },
        epoch: Epoch(1),
        expiration,
        gas_bucket: bucket,
        ..BatchInfo::default()
    };
    Batch::new(info, txns.iter().map(|txn| txn.bytes.clone()).collect())
}

pub fn summaries(txns: &[PooledTxn]) -> Arc<[TxnSummary]> {
    txns.iter().map(|txn| txn.summary).collect()
}

/// A proof that everybody signed.
pub fn proof(info: BatchInfo, validators: u16) -> ProofOfStore {
    let message = info.signing_bytes();
    let all: Vec<Signature> = (0..validators).map(|one| HashKeys::of(ValidatorId(one), &message)).collect();
    let keys = HashKeys { own: ValidatorId(0), count: usize::from(validators) };
    let signers = (0..validators).map(ValidatorId).collect();
    ProofOfStore { info, signers, signature: keys.aggregate(&all).unwrap() }
}

/// One validator's parts.
#[derive(Debug)]
pub struct Bench {
    pub config: Arc<QuorumStoreConfig>,
    pub disk: Arc<MemoryDisk>,
    pub store: Arc<BatchStore>,
    pub keys: Arc<dyn Keys>,
    pub mempool: Mempool,
    pub out: Outbox,
}

impl Bench {
    pub fn new(config: QuorumStoreConfig, validators: usize) -> Bench {
        config.check().unwrap();
        Bench::unchecked(config, validators)
    }

    /// With limits that no node would start with.
    pub fn unchecked(config: QuorumStoreConfig, validators: usize) -> Bench {
        let disk = Arc::new(MemoryDisk::default());
        let as_disk: Arc<dyn Disk> = Arc::clone(&disk) as Arc<dyn Disk>;
        let store = Arc::new(BatchStore::open(as_disk, config.clone(), Micros(0)).unwrap());
        let keys: Arc<dyn Keys> = Arc::new(HashKeys { own: ValidatorId(0), count: validators });
        let mempool = Mempool::new(config.mempool, HashMap::new());
        Bench { config: Arc::new(config), disk, store, keys, mempool, out: Vec::new() }
    }

    pub fn generator(&self, now: Micros) -> BatchGenerator {
        let seat = GeneratorSeat {
            validator: ValidatorId(0),
            epoch: Epoch(1),
            keys: Arc::clone(&self.keys),
            store: Arc::clone(&self.store),
            disk: Arc::clone(&self.disk) as Arc<dyn Disk>,
            config: Arc::clone(&self.config),
        };
        // What is told again is looked at where it matters.
        BatchGenerator::rebuild(seat, now, &mut Vec::new())
    }

    pub fn coordinator(&self, filter: TxnFilter) -> BatchCoordinator {
        let (keys, store, config) =
            (Arc::clone(&self.keys), Arc::clone(&self.store), Arc::clone(&self.config));
        BatchCoordinator::new(ValidatorId(0), Epoch(1), keys, store, config, filter)
    }

    pub fn requester(&self) -> BatchRequester {
        BatchRequester::new(ValidatorId(0), Epoch(1), Arc::clone(&self.store), Arc::clone(&self.config))
    }

    pub fn proofs(&mut self, now: Micros) -> ProofCoordinator {
        let seat = ProofSeat {
            validator: ValidatorId(0),
            keys: Arc::clone(&self.keys),
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
        };
        ProofCoordinator::rebuild(seat, now, &mut self.out)
    }

    pub fn manager(&mut self, now: Micros) -> ProofManager {
        let seat = ManagerSeat {
            validator: ValidatorId(0),
            epoch: Epoch(1),
            keys: Arc::clone(&self.keys),
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
        };
        ProofManager::rebuild(seat, now, 7, &mut self.out)
    }

    pub fn submit(&mut self, txns: impl IntoIterator<Item = PooledTxn>) {
        txns.into_iter().for_each(|txn| self.mempool.submit(START, txn).unwrap());
    }

    /// Batches that were told to everyone since the last time.
    pub fn told(&mut self) -> Vec<Batch> {
        let all = std::mem::take(&mut self.out).into_iter();
        all.filter_map(|effect| match effect {
            Effect::Broadcast(Message::Batches(batches)) => Some(batches),
            _ => None,
        })
        .flatten()
        .collect()
    }
}

/// A committed block, as the log's next step.
pub fn commit(sequence: u64, timestamp: Micros, batches: Vec<BatchInfo>) -> CommitStep {
    let content = Committed::Block { height: sequence, batches, exceptions: Vec::new() };
    CommitStep::Entry(Arc::new(CommitEntry { sequence, timestamp, content }))
}

/// The network's defaults, with these limits for what is sent.
pub fn sending(limits: BatchLimits) -> QuorumStoreConfig {
    QuorumStoreConfig { sender: limits, ..QuorumStoreConfig::default() }
}
