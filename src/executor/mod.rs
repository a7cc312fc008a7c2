//! Execution: plan, rounds, validation, commit, written once; sequential, threads, processes and
//! Block-STM behind one trait.

mod acceptance;
mod block_output;
mod block_stm;
mod board;
mod call;
mod check;
mod cold_desk;
mod commit;
mod coordinator;
mod error;
mod examination;
mod fleet;
mod key_numbers;
mod key_states;
mod lane;
mod local;
mod memory;
mod message;
mod output_arena;
mod overlay;
mod progress;
mod recorder;
mod round_end;
mod sequential;
mod shard;
mod shard_regions;
mod source;
mod span_region;
mod suspicion;
mod tally;
mod thread_fleet;
mod threads;
mod transport;
mod validate_error;
mod view;
mod watch;

pub use block_output::{BlockOutput, BlockStats, Difference, TransactionOutput};
pub use block_stm::{BlockStm, BlockStmConfig};
pub use coordinator::{JudgeAhead, OnDeath};
pub use error::{Death, DeathCause, ExecuteError};
pub use memory::MemoryConfig;
pub use sequential::Sequential;
pub use threads::{Threads, ThreadsConfig};

pub(crate) use call::Call;
pub(crate) use coordinator::{Coordinator, ExecuteOptions};
pub(crate) use fleet::{Fleet, LOOK_INTERVAL, Member, Phase};
pub(crate) use memory::CoordinatorMemory;
pub(crate) use output_arena::OutputArenaReader;
pub(crate) use progress::motion_of;
pub(crate) use shard::{Shard, counter};
pub(crate) use shard_regions::{ShardFds, ShardLimits};
pub(crate) use span_region::{SpanReader, create_span_region};
pub(crate) use tally::{Conserved, Counters};
pub(crate) use thread_fleet::ThreadFleet;
pub(crate) use transport::Transport;

use crate::state::StateDigest;
use crate::types::PreparedBlock;
use std::sync::Arc;
use std::time::Instant;

/// Executes blocks one after the other on a state of its own. All executors give the same outputs for the same blocks.
pub trait BlockExecutor {
    /// Executes one block and commits it, or returns an error and leaves the state as it was. Returns before the
    /// deadline, give or take the time that one transaction takes.
    ///
    /// # Errors
    /// [`ExecuteError`].
    fn execute(&mut self, block: &Arc<PreparedBlock>, deadline: Instant)
    -> Result<BlockOutput, ExecuteError>;

    /// Digest of the state after the last committed block.
    fn digest(&self) -> StateDigest;
}
