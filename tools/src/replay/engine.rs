//! The executor of a replay, whose state is replaced before every block.

use crate::evm_executor::EvmExecutor;
use crate::replay::durable::DurableBlock;
use crate::replay::error::ReplayError;
use crate::replay::options::ReplayOptions;
use phalanx::executor::{BlockExecutor, BlockOutput};
use phalanx::types::{PreparedBlock, Write};
use phalanx::vm::evm::EvmConfig;
use phalanx_bench::ethereum::{Entries, loading_block};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Loading a state has all the time it needs.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

/// An executor whose state is made anew for every block.
pub struct Engine {
    place: Place,
    shards: usize,
}

enum Place {
    /// One executor for all blocks, and what its state holds.
    Memory { executor: Box<dyn BlockExecutor>, present: Entries },
    /// One for each block, on a directory of its own.
    Directory {
        options: Box<ReplayOptions>,
        directory: PathBuf,
        log: String,
        open: Option<Box<DurableBlock>>,
    },
}

impl Engine {
    /// Starts the executor that the options ask for, on an empty state.
    ///
    /// # Errors
    /// `Start`.
    pub fn start(options: &ReplayOptions, filter: &str) -> Result<Engine, ReplayError> {
        if let Some(directory) = options.state_dir.clone() {
            let (options, log) = (Box::new(options.clone()), filter.to_owned());
            return Ok(Engine { place: Place::Directory { options, directory, log, open: None }, shards: 0 });
        }
        let wanted = EvmExecutor {
            kind: options.executor,
            shards: options.shards,
            vm: EvmConfig::default(),
            idle_latency: options.idle.idle_latency,
            log: filter,
            stall_limit: None,
        };
        let (executor, shards) = wanted.launch().map_err(ReplayError::Start)?;
        Ok(Engine { place: Place::Memory { executor, present: Entries::new() }, shards })
    }

    /// Number of shards; the sequential executor counts as one.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The state after the present block, if its directory had it before it was executed.
    pub fn recalled(&self) -> Option<&Entries> {
        match &self.place {
            Place::Memory { .. } => None,
            Place::Directory { open, .. } => open.as_ref().and_then(|open| open.recalled()),
        }
    }

    /// Makes the state `target`, or opens a directory that began with it.
    ///
    /// # Errors
    /// `Execute` with this block's number; `Durable`, `Start`.
    pub fn load(&mut self, block: u64, target: &Entries) -> Result<(), ReplayError> {
        match &mut self.place {
            Place::Memory { executor, present } => load(executor.as_mut(), present, block, target),
            Place::Directory { options, directory, log, open } => {
                let opened = DurableBlock::open(options, directory, block, target, log)?;
                self.shards = self.shards.max(opened.shards());
                *open = Some(Box::new(opened));
                Ok(())
            }
        }
    }

    /// Executes one block and tells how long that took until its outputs were accepted: they are brought into the state
    /// afterwards.
    ///
    /// # Errors
    /// `Execute`, `Durable`.
    pub fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        limit: Duration,
    ) -> Result<(BlockOutput, Duration), ReplayError> {
        match &mut self.place {
            Place::Memory { executor, present } => execute(executor.as_mut(), present, block, limit),
            Place::Directory { open, .. } => match open {
                Some(open) => open.execute(block, limit),
                None => Err(ReplayError::execute(block.header().height, "no directory is open")),
            },
        }
    }

    /// Closes the directory of the present block, if it has one.
    ///
    /// # Errors
    /// `Execute`.
    pub fn close(&mut self) -> Result<(), ReplayError> {
        match &mut self.place {
            Place::Memory { .. } => Ok(()),
            Place::Directory { open, .. } => open.take().map_or(Ok(()), |open| open.close()),
        }
    }
}

fn load(
    executor: &mut dyn BlockExecutor,
    present: &mut Entries,
    block: u64,
    target: &Entries,
) -> Result<(), ReplayError> {
    let loading = loading_block(present, target)?;
    let output = executor.execute(&Arc::new(loading), Instant::now() + LOAD_LIMIT);
    let output = output.map_err(|error| ReplayError::execute(block, error))?;
    if let Some(odd) = output.transactions().find(|output| output.status().0 != 0) {
        let cause = format!("its state cannot be loaded: status {}", odd.status().0);
        return Err(ReplayError::Execute { block, cause });
    }
    present.clone_from(target);
    Ok(())
}

fn execute(
    executor: &mut dyn BlockExecutor,
    present: &mut Entries,
    block: &Arc<PreparedBlock>,
    limit: Duration,
) -> Result<(BlockOutput, Duration), ReplayError> {
    let begun = Instant::now();
    let output = executor.execute(block, begun + limit);
    let output = output.map_err(|error| ReplayError::execute(block.header().height, error))?;
    let took = begun.elapsed().saturating_sub(output.stats().commit);
    for one in output.transactions() {
        for (key, write) in one.writes().map_while(Result::ok) {
            match write {
                // Whatever stands there now, it is to be loaded again.
                Write::Set(_) | Write::Add(_) => {
                    present.insert(key.to_vec(), Vec::new());
                }
                Write::Delete => {
                    present.remove(key);
                }
            }
        }
    }
    Ok((output, took))
}
