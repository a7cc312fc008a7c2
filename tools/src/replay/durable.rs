//! Blocks that become durable, each in a state directory of its own: its state begins with the one before the block.

use crate::cli::{ExecutorKind, Shards};
use crate::replay::error::ReplayError;
use crate::replay::options::ReplayOptions;
use phalanx::durable::{DurableConfig, DurableState};
use phalanx::executor::{BlockOutput, ExecuteError, MemoryConfig};
use phalanx::types::PreparedBlock;
use phalanx::vm::evm::{EvmConfig, EvmStatus};
use phalanx::{Phalanx, PhalanxBuilder};
use phalanx_bench::ethereum::{AccountsAfter, Entries, EthereumBlock, Outcome};
use phalanx_ipc::Region;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bringing one block into the store, and ending its processes, have all the time they need.
const CLOSE_LIMIT: Duration = Duration::from_secs(600);

/// The directory of one block, open.
pub struct DurableBlock {
    number: u64,
    phalanx: Phalanx,
    /// The state after the block, if it was there before.
    recalled: Option<Entries>,
}

impl DurableBlock {
    /// Opens or makes the directory of block `number` below `directory`, and starts shards on it.
    ///
    /// # Errors
    /// `NothingDurable` when other executors are asked for, `Durable` when the directory is of no use, `Start`.
    pub fn open(
        options: &ReplayOptions,
        directory: &Path,
        number: u64,
        before: &Entries,
        log: &str,
    ) -> Result<DurableBlock, ReplayError> {
        let refused = |cause| ReplayError::Durable { block: number, cause };
        make(directory).map_err(|cause| ReplayError::Directory { directory: directory.to_owned(), cause })?;
        let builder =
            PhalanxBuilder::evm(EvmConfig::default()).idle_latency(options.idle.idle_latency).log(log);
        let builder = match options.shards {
            Shards::Auto => builder,
            Shards::Count(shards) => builder.shards(shards),
        };
        let config = DurableConfig::new(place_of(directory, number));
        let placement = builder.plan_placement()?;
        let place = |region: &Region| placement.place_state(region);
        let state = DurableState::open_placed(&config, MemoryConfig::default().state, before, place)
            .map_err(refused)?;
        let mut recalled = None;
        if state.head().height().is_some_and(|height| height >= number) {
            let mut entries = Entries::new();
            let read = state.for_each(|key, value| _ = entries.insert(key.to_vec(), value.to_vec()));
            read.map_err(refused)?;
            recalled = Some(entries);
        }
        Ok(DurableBlock { number, phalanx: builder.launch_durable(state)?, recalled })
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.phalanx.health().len()
    }

    /// The state after the block, if it had become durable before.
    pub fn recalled(&self) -> Option<&Entries> {
        self.recalled.as_ref()
    }

    /// Executes the block, or recalls what it came to, and tells how long that took until its outputs were accepted. Afterwards
    /// it is durable.
    ///
    /// # Errors
    /// `Execute`, `Durable`.
    pub fn execute(
        &self,
        block: &Arc<PreparedBlock>,
        limit: Duration,
    ) -> Result<(BlockOutput, Duration), ReplayError> {
        let begun = Instant::now();
        let output = self.phalanx.execute(block, begun + limit);
        let output = output.map_err(|error| {
            if let ExecuteError::Durable(cause) = error {
                return ReplayError::Durable { block: self.number, cause };
            }
            ReplayError::execute(self.number, error)
        })?;
        let took = begun.elapsed().saturating_sub(output.stats().commit);
        let durable = self.phalanx.wait_durable(self.number, Instant::now() + CLOSE_LIMIT);
        durable.map_err(|cause| ReplayError::Durable { block: self.number, cause })?;
        Ok((output, took))
    }

    /// Ends the shards and closes the directory.
    ///
    /// # Errors
    /// `Execute`.
    pub fn close(self) -> Result<(), ReplayError> {
        let closed = self.phalanx.shutdown(Instant::now() + CLOSE_LIMIT);
        closed.map_err(|error| ReplayError::execute(self.number, error))
    }
}

/// Whether a directory can be asked for with these options.
///
/// # Errors
/// `NothingDurable`.
pub fn check(options: &ReplayOptions) -> Result<(), ReplayError> {
    match (options.executor, &options.state_dir) {
        (ExecutorKind::Processes, _) | (_, None) => Ok(()),
        (ExecutorKind::Sequential | ExecutorKind::Threads | ExecutorKind::BlockStm, Some(_)) => {
            Err(ReplayError::NothingDurable)
        }
    }
}

/// Makes the directory in which those of the blocks are, unless it is there.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn place_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(number.to_string())
}

/// The first thing in which a block that was recalled, and the state that its directory holds, differ from what is expected.
/// Logs are not kept.
pub fn difference_of_recalled(
    case: &EthereumBlock,
    expected: &Outcome,
    output: &BlockOutput,
    after: &Entries,
) -> Option<String> {
    let users = output.transactions().skip(case.system_calls().len());
    let told = users.map(|one| (EvmStatus::of(one.status()) == Some(EvmStatus::Success), one.gas_used()));
    let right = expected.receipts.iter().map(|receipt| (receipt.success, receipt.gas_used));
    let (told, right): (Vec<_>, Vec<_>) = (told.collect(), right.collect());
    if let Some(txn) = told.iter().zip(&right).position(|(told, right)| told != right) {
        return Some(format!(
            "recalled outcome of transaction {txn}: {:?} instead of {:?}",
            told[txn], right[txn]
        ));
    }
    if told.len() != right.len() {
        return Some(format!("{} recalled outcomes instead of {}", told.len(), right.len()));
    }
    AccountsAfter::of_entries(after).first_difference(&expected.accounts)
}
