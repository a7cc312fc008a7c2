//! Limits and intervals of a quorum store. The defaults are those of the network whose behaviour it follows.

use crate::types::OutOfRange;
use crate::vm::ledger::MAX_TRANSACTION_BYTES;
use std::time::Duration;

/// Counts and bytes of what one message or pull may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Transactions of one batch.
    pub batch_txns: u64,
    /// Bytes of one batch.
    pub batch_bytes: u64,
    /// Batches of one message.
    pub batches: usize,
    /// Transactions of one message.
    pub total_txns: u64,
    /// Bytes of one message.
    pub total_bytes: u64,
}

/// When the proof manager asks the generator to go slower, and how slow it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackPressureConfig {
    /// More transactions in proofs than this are too many.
    pub backlog_txns: u64,
    /// More proofs per validator than this are too many.
    pub backlog_proofs_per_validator: u64,
    /// Time between two decreases of the rate.
    pub decrease_every: Duration,
    /// A decrease leaves so many percent of the rate, 1 ..= 99.
    pub decrease_to_percent: u64,
    /// Time between two increases.
    pub increase_every: Duration,
    /// An increase adds so many transactions per second.
    pub increase_by: u64,
    /// The least transactions per second.
    pub min_txns_per_s: u64,
    /// The most transactions per second.
    pub max_txns_per_s: u64,
}

/// What one author may leave in the store of another validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Batches.
    pub batches: u64,
    /// Bytes on disk.
    pub db_bytes: u64,
    /// Bytes in memory; what is above is on disk only.
    pub memory_bytes: u64,
}

/// The mempool's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Transactions.
    pub capacity: usize,
    /// Bytes.
    pub capacity_bytes: u64,
    /// Transactions of one sender.
    pub per_sender: usize,
    /// A transaction that was not committed so long after it came is dropped.
    pub ttl: Duration,
}

/// Limits and intervals of a quorum store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStoreConfig {
    /// Time between two ticks of the generator.
    pub poll: Duration,
    /// Least time between two pulls that found something.
    pub min_pull_interval: Duration,
    /// Time between two pulls under proof back pressure, or when nothing was found.
    pub max_pull_interval: Duration,
    /// What the generator makes.
    pub sender: BatchLimits,
    /// What is taken from peers.
    pub receiver: BatchLimits,
    /// Own batches expire so long after they were made.
    pub batch_expiry: Duration,
    /// Clocks of peers may be ahead by so much: what expires later than own batches would, and this, is refused.
    pub clock_skew: Duration,
    /// Transactions of remote batches are left out of own batches for so long.
    pub remote_exclusion: Duration,
    /// A batch without a proof after this is given up.
    pub proof_timeout: Duration,
    /// A batch without a proof after this is told again to those that have not signed it, then after twice this, and so on:
    /// batch or signature may have been lost with whoever took it.
    pub proof_retry: Duration,
    /// Lower ends of the gas price buckets, ascending, beginning with 0.
    pub gas_buckets: Vec<u64>,
    /// Back pressure.
    pub back_pressure: BackPressureConfig,
    /// Quota of each author.
    pub quota: QuotaConfig,
    /// Batches are kept so long after they expired, so that slow peers can still fetch them.
    pub expiration_buffer: Duration,
    /// Peers asked at once for a batch.
    pub fetch_peers: usize,
    /// How often peers are asked.
    pub fetch_attempts: u32,
    /// Time between two attempts.
    pub fetch_interval: Duration,
    /// Summaries of batches without a proof are dropped so long after they came.
    pub min_batch_age: Duration,
    /// Pulls are refused when a component lags behind the commit log by more entries than this.
    pub lag_limit: u64,
    /// The mempool.
    pub mempool: MempoolConfig,
    /// Frames that one peer may send per second; what is above is dropped and counted.
    pub peer_frames_per_s: u64,
}

impl Default for QuorumStoreConfig {
    fn default() -> QuorumStoreConfig {
        const MIB: u64 = 1 << 20;
        QuorumStoreConfig {
            poll: Duration::from_millis(25),
            min_pull_interval: Duration::from_millis(50),
            max_pull_interval: Duration::from_millis(250),
            sender: BatchLimits {
                batch_txns: 100,
                batch_bytes: MIB - 160,
                batches: 10,
                total_txns: 1_500,
                total_bytes: 4 * MIB - 1_600,
            },
            receiver: BatchLimits {
                batch_txns: 150,
                batch_bytes: MIB + 160,
                batches: 20,
                total_txns: 2_000,
                total_bytes: 4 * MIB + 170,
            },
            batch_expiry: Duration::from_secs(60),
            clock_skew: Duration::from_secs(5),
            remote_exclusion: Duration::from_millis(500),
            proof_timeout: Duration::from_secs(10),
            proof_retry: Duration::from_millis(500),
            gas_buckets: vec![0, 150, 300, 500, 1_000, 3_000, 5_000, 10_000, 100_000, 1_000_000],
            back_pressure: BackPressureConfig {
                backlog_txns: 36_000,
                backlog_proofs_per_validator: 20,
                decrease_every: Duration::from_secs(1),
                decrease_to_percent: 50,
                increase_every: Duration::from_secs(1),
                increase_by: 2_000,
                min_txns_per_s: 160,
                max_txns_per_s: 12_000,
            },
            quota: QuotaConfig { batches: 300_000, db_bytes: 300_000_000, memory_bytes: 120_000_000 },
            expiration_buffer: Duration::from_secs(60),
            fetch_peers: 5,
            fetch_attempts: 10,
            fetch_interval: Duration::from_millis(500),
            min_batch_age: Duration::from_millis(50),
            lag_limit: 100,
            mempool: MempoolConfig {
                capacity: 200_000,
                capacity_bytes: 512 * MIB,
                per_sender: 1_000,
                ttl: Duration::from_secs(600),
            },
            peer_frames_per_s: 10_000,
        }
    }
}

impl QuorumStoreConfig {
    /// Whether these limits can work together: nothing that one validator sends may be too much for another with the same
    /// limits, and the longest transaction fits a batch.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (sender, receiver) = (&self.sender, &self.receiver);
        let longest = MAX_TRANSACTION_BYTES as u64;
        OutOfRange::check("quorum.sender.batch_txns", sender.batch_txns, 1..=receiver.batch_txns)?;
        OutOfRange::check("quorum.sender.batch_bytes", sender.batch_bytes, longest..=receiver.batch_bytes)?;
        OutOfRange::check("quorum.sender.batches", sender.batches as u64, 1..=receiver.batches as u64)?;
        OutOfRange::check(
            "quorum.sender.total_txns",
            sender.total_txns,
            sender.batch_txns..=receiver.total_txns,
        )?;
        OutOfRange::check(
            "quorum.sender.total_bytes",
            sender.total_bytes,
            sender.batch_bytes..=receiver.total_bytes,
        )?;
        OutOfRange::check("quorum.receiver.batch_txns", receiver.batch_txns, 1..=receiver.total_txns)?;
        OutOfRange::check("quorum.receiver.batch_bytes", receiver.batch_bytes, 1..=receiver.total_bytes)?;
        OutOfRange::check("quorum.receiver.total_bytes", receiver.total_bytes, 1..=MAX_MESSAGE_PAYLOAD)?;
        OutOfRange::check("quorum.receiver.batches", receiver.batches as u64, 1..=MAX_BATCHES_PER_MESSAGE)?;
        OutOfRange::check("quorum.receiver.batch_txns", receiver.batch_txns, 1..=MAX_TXNS_PER_BATCH)?;
        let pressure = &self.back_pressure;
        OutOfRange::check("quorum.back_pressure.decrease_to_percent", pressure.decrease_to_percent, 1..=99)?;
        OutOfRange::check(
            "quorum.back_pressure.min_txns_per_s",
            pressure.min_txns_per_s,
            1..=pressure.max_txns_per_s,
        )?;
        let quota = &self.quota;
        OutOfRange::check("quorum.quota.memory_bytes", quota.memory_bytes, 0..=quota.db_bytes)?;
        let retry = u64::try_from(self.proof_retry.as_millis()).unwrap_or(u64::MAX);
        OutOfRange::check("quorum.proof_retry (ms)", retry, 1..=3_600_000)?;
        OutOfRange::check("quorum.fetch_peers", self.fetch_peers as u64, 1..=1_000)?;
        OutOfRange::check("quorum.gas_buckets", self.gas_buckets.first().copied().unwrap_or(1), 0..=0)?;
        let ascending = self.gas_buckets.windows(2).all(|pair| pair[0] < pair[1]);
        OutOfRange::check("quorum.gas_buckets (ascending: 1)", u64::from(ascending), 1..=1)?;
        OutOfRange::check("quorum.mempool.capacity", self.mempool.capacity as u64, 1..=100_000_000)
    }

    /// The lower end of the bucket of a gas price.
    #[must_use]
    pub fn bucket_of(&self, gas_price: u64) -> u64 {
        let above = self.gas_buckets.partition_point(|&start| start <= gas_price);
        above.checked_sub(1).and_then(|index| self.gas_buckets.get(index)).copied().unwrap_or(0)
    }

    /// So long an entry of the commit log is kept: longer than any batch in it lives.
    #[must_use]
    pub fn log_window(&self) -> Duration {
        self.batch_expiry + self.clock_skew * 2 + self.expiration_buffer
    }

    /// The latest expiration that is taken from a peer.
    #[must_use]
    pub fn latest_expiration(&self, now: crate::quorum_store::Micros) -> crate::quorum_store::Micros {
        now.plus(self.batch_expiry).plus(self.clock_skew)
    }
}

/// Most bytes of transactions that a message can hold.
pub(super) const MAX_MESSAGE_PAYLOAD: u64 = 8 << 20;
/// Most batches that a message can hold.
pub(super) const MAX_BATCHES_PER_MESSAGE: u64 = 64;
/// Most transactions that a batch can hold.
pub(super) const MAX_TXNS_PER_BATCH: u64 = 4_096;
