//! Options of a validator that runs.

use crate::quorum_store::{Epoch, QuorumStoreConfig};
use crate::types::OutOfRange;
use std::time::Duration;

/// When the supervision restarts components, and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupervisionConfig {
    /// So many restarts within `restart_window` are made good; one more ends the validator.
    pub restart_limit: usize,
    /// See `restart_limit`.
    pub restart_window: Duration,
    /// A component that says nothing for so long hangs, and is replaced.
    pub hang_limit: Duration,
    /// The execution of one block may take so long.
    pub execute_limit: Duration,
}

impl Default for SupervisionConfig {
    fn default() -> SupervisionConfig {
        SupervisionConfig {
            restart_limit: 3,
            restart_window: Duration::from_secs(60),
            hang_limit: Duration::from_secs(5),
            execute_limit: Duration::from_secs(60),
        }
    }
}

/// How blocks are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// Most transactions of a block, those that are in two of its batches counted twice.
    pub max_txns: u64,
    /// Most bytes of transactions.
    pub max_bytes: u64,
    /// With so many distinct transactions a block is full enough.
    pub enough_txns: u64,
    /// Least time between two proposals.
    pub interval: Duration,
    /// A proposer that proposes nothing for so long loses its turn.
    pub turn_limit: Duration,
    /// Blocks that may be ordered and not yet committed by a quorum.
    pub ahead: u64,
}

impl Default for BlockConfig {
    fn default() -> BlockConfig {
        BlockConfig {
            max_txns: 5_000,
            max_bytes: 3 << 20,
            enough_txns: 4_000,
            interval: Duration::from_millis(50),
            turn_limit: Duration::from_millis(500),
            ahead: 4,
        }
    }
}

/// What waits for a component at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxConfig {
    /// Control news. A component that leaves more lying hangs, and is replaced.
    pub control: usize,
    /// Bulk of one peer; what is above is dropped and counted.
    pub bulk: usize,
    /// Bytes of one peer's bulk.
    pub bulk_bytes: u64,
}

impl Default for MailboxConfig {
    fn default() -> MailboxConfig {
        MailboxConfig { control: 4_096, bulk: 1_000, bulk_bytes: 32 << 20 }
    }
}

/// Where the transactions of blocks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadSource {
    /// Batches that a quorum has stored.
    #[default]
    QuorumStore,
    /// The proposer's mempool, past the quorum store: a block names batches that only the proposer has, and the others fetch them.
    DirectMempool,
}

/// Options of a validator.
#[derive(Clone, Debug)]
pub struct ValidatorConfig {
    /// Limits and intervals of its components.
    pub quorum_store: QuorumStoreConfig,
    /// Restarts.
    pub supervision: SupervisionConfig,
    /// Blocks.
    pub blocks: BlockConfig,
    /// Mailboxes.
    pub mailboxes: MailboxConfig,
    /// The epoch.
    pub epoch: Epoch,
    /// Where transactions of blocks come from.
    pub source: PayloadSource,
    /// Ended transactions whose end is remembered for [`Validator::status`](super::Validator::status); the oldest are forgotten
    /// first. About 150 bytes each.
    pub ends_remembered: usize,
}

impl Default for ValidatorConfig {
    fn default() -> ValidatorConfig {
        ValidatorConfig {
            quorum_store: QuorumStoreConfig::default(),
            supervision: SupervisionConfig::default(),
            blocks: BlockConfig::default(),
            mailboxes: MailboxConfig::default(),
            epoch: Epoch::default(),
            source: PayloadSource::default(),
            ends_remembered: 200_000,
        }
    }
}

impl ValidatorConfig {
    /// Whether these options can work together.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        self.quorum_store.check()?;
        let (supervision, blocks, mailboxes) = (&self.supervision, &self.blocks, &self.mailboxes);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        OutOfRange::check("validator.hang_limit (ms)", millis(supervision.hang_limit), 100..=3_600_000)?;
        OutOfRange::check(
            "validator.execute_limit (ms)",
            millis(supervision.execute_limit),
            100..=3_600_000,
        )?;
        OutOfRange::check("validator.restart_limit", supervision.restart_limit as u64, 0..=1_000_000)?;
        OutOfRange::check(
            "validator.blocks.max_txns",
            blocks.max_txns,
            self.quorum_store.receiver.batch_txns..=1_000_000,
        )?;
        OutOfRange::check(
            "validator.blocks.max_bytes",
            blocks.max_bytes,
            self.quorum_store.receiver.batch_bytes..=1 << 30,
        )?;
        OutOfRange::check("validator.blocks.ahead", blocks.ahead, 1..=64)?;
        OutOfRange::check("validator.mailboxes.control", mailboxes.control as u64, 16..=1_000_000)?;
        OutOfRange::check("validator.mailboxes.bulk", mailboxes.bulk as u64, 1..=1_000_000)
    }
}
