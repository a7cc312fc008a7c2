//! Why a block was not executed. Nothing of it is committed then, unless the variant says otherwise.

use crate::durable::DurableError;
use crate::partition::ArenaError;
use crate::state::StateError;
use crate::topology::{RegionKind, TopologyError};
use crate::types::{Generation, OutOfRange, ShardId, TxnIndex};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// How a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathCause {
    /// By a signal.
    Signal(i32),
    /// By exiting, with a code; a shard never exits by itself while it is needed.
    Exit(i32),
    /// It was stopped from outside for longer than the stall limit, and was killed.
    Stopped {
        /// For how long it made no progress.
        stalled: Duration,
    },
    /// It worked without progress for longer than the stall limit, and was killed.
    Hang {
        /// For how long it made none.
        stalled: Duration,
    },
    /// It did not leave a round that was cut short, and was killed. It may only have been starved of its core.
    Late {
        /// For how long it was waited for.
        waited: Duration,
    },
    /// What it wrote made no sense, and it was killed.
    Damage(String),
    /// Its supervisor was lost and took it along: nobody was left to ask the kernel.
    SupervisorLost,
    /// It ended, and the kernel has not said how within the time allowed.
    Unknown,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeathCause::Signal(signal) => write!(f, "signal {signal}"),
            DeathCause::Exit(code) => write!(f, "exit code {code}"),
            DeathCause::Stopped { stalled } => write!(f, "stopped for {} ms", stalled.as_millis()),
            DeathCause::Hang { stalled } => write!(f, "no progress for {} ms", stalled.as_millis()),
            DeathCause::Late { waited } => {
                write!(f, "not leaving a round that was cut short within {} ms", waited.as_millis())
            }
            DeathCause::Damage(what) => write!(f, "damaged memory: {what}"),
            DeathCause::SupervisorLost => f.write_str("lost with its supervisor"),
            DeathCause::Unknown => f.write_str("cause not known yet"),
        }
    }
}

/// The death of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which shard.
    pub shard: ShardId,
    /// Its process; 0 for a thread.
    pub pid: i32,
    /// Which of its lives.
    pub generation: Generation,
    /// The transaction that it was executing, if it was.
    pub txn: Option<TxnIndex>,
    /// How it ended.
    pub cause: DeathCause,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shard {} (pid {}, generation {}) died: {}",
            self.shard, self.pid, self.generation, self.cause
        )?;
        match self.txn {
            Some(txn) => write!(f, ", while it executed transaction {txn}"),
            None => f.write_str(", between transactions"),
        }
    }
}

/// A death as the end of a sentence.
fn last_words(death: &Option<Death>) -> String {
    death.as_ref().map(|death| format!(", last: {death}")).unwrap_or_default()
}

/// Why a block was not executed.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// Two blocks wait already.
    #[error("{queued} blocks are queued already; wait for one before submitting the next")]
    Busy {
        /// Blocks queued.
        queued: usize,
    },
    /// The block was cancelled.
    #[error("block was cancelled after {accepted} of {transactions} transactions; nothing is committed")]
    Cancelled {
        /// Transactions accepted by then.
        accepted: usize,
        /// Transactions in the block.
        transactions: usize,
    },
    /// The deadline passed.
    #[error(
        "deadline passed after {accepted} of {transactions} transactions{}; nothing is committed, give more time or smaller blocks",
        last_words(last_death)
    )]
    DeadlineExceeded {
        /// Transactions accepted by then.
        accepted: usize,
        /// Transactions in the block.
        transactions: usize,
        /// The last death seen, if shards died meanwhile.
        last_death: Option<Death>,
    },
    /// A shard died and `on_death` is `fail`.
    #[error("{0}; nothing is committed, the block may be submitted again")]
    ShardDied(Death),
    /// Round after round, and the global round at last, accepted nothing.
    #[error(
        "no progress in {rounds} rounds after {accepted} of {transactions} transactions{}; nothing is committed",
        last_words(last_death)
    )]
    NoProgress {
        /// Rounds without progress.
        rounds: u32,
        /// Transactions accepted.
        accepted: usize,
        /// Transactions in the block.
        transactions: usize,
        /// The last death seen.
        last_death: Option<Death>,
    },
    /// One transaction brings its shard down by itself, on accepted values.
    #[error("transaction {txn} is poison: {what}; leave it out, the shards are fine")]
    PoisonTransaction {
        /// Which.
        txn: TxnIndex,
        /// What it does.
        what: String,
    },
    /// No shard can be had.
    #[error("no shard is left: {0}")]
    NoShards(String),
    /// The block does not fit.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The state has no room for the block's writes; nothing is committed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The block cannot be made durable, or another one was committed at its height; nothing is committed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Applying a block failed half-way: the state is unusable until it is opened again.
    #[error("state is poisoned: applying block {height} failed: {cause}; open the state again")]
    StatePoisoned {
        /// The block.
        height: u64,
        /// What happened.
        cause: String,
    },
    /// The hardware has lost memory that holds the only copy of something: every later call fails, too.
    #[error(
        "{pages} pages of the {region} region are lost by a memory error, and what they held cannot be made again; \
        nothing is committed; start again from the state directory or the genesis, and have the memory module replaced that \
        the kernel's log names (dmesg, ras-mc-ctl --errors, /var/log/mcelog)"
    )]
    MemoryLost {
        /// What lay there.
        region: RegionKind,
        /// How many pages are lost.
        pages: usize,
    },
    /// The block changes the conserved quantity: the virtual machine has a fault.
    #[error("block {height} changes the total supply by {difference}; nothing is committed")]
    SupplyChanged {
        /// The block.
        height: u64,
        /// By how much.
        difference: i128,
    },
    /// The host's cores cannot be told.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// An option is outside its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The executor has been stopped.
    #[error("executor is stopped")]
    Stopped,
    /// The operating system refused something.
    #[error("{0}")]
    System(String),
}

impl ExecuteError {
    /// A refusal by the operating system.
    pub(crate) fn system(error: impl fmt::Display) -> ExecuteError {
        ExecuteError::System(error.to_string())
    }
}
