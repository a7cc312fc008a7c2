//! Where the blocks of a trial come from: transfers that are made up, or blocks of Ethereum again and again, each behind a
//! block that loads the state before it.

use crate::chaos::error::ChaosError;
use crate::chaos::options::ChaosOptions;
use crate::run::{RunError, oracle};
use phalanx::executor::{BlockExecutor, MemoryConfig, Sequential};
use phalanx::state::BaseState;
use phalanx::supervisor::SupervisorImage;
use phalanx::types::PreparedBlock;
use phalanx::vm::Vm;
use phalanx::vm::evm::EvmConfig;
use phalanx::vm::ledger::{GenesisEntry, LedgerConfig, LedgerVm};
use phalanx::{Phalanx, PhalanxBuilder};
use phalanx_bench::ethereum::{Entries, EthereumBlock, LoadingEvm, loading_block};
use phalanx_bench::{Workload, WorkloadConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking at what a block writes has all the time it needs.
const LOOK_LIMIT: Duration = Duration::from_secs(600);

/// Blocks without end.
#[derive(Debug)]
pub enum Feed {
    /// Transfers of the ledger.
    Ledger {
        /// Who makes them up.
        workload: Box<Workload>,
        /// The ledger that they are for.
        config: LedgerConfig,
    },
    /// Blocks of Ethereum.
    Ethereum {
        /// Blocks that load and blocks that are loaded for, by turns.
        ring: Vec<Arc<PreparedBlock>>,
        /// Which comes next.
        next: usize,
    },
}

/// Entries that a state begins with.
pub type FirstState = Vec<GenesisEntry>;

impl Feed {
    /// Makes it, with the state that it begins on.
    ///
    /// # Errors
    /// [`ChaosError`] when options or files are impossible, or memory cannot be had.
    pub fn new(options: &ChaosOptions, seed: u64) -> Result<(Feed, FirstState), ChaosError> {
        let Some(kind) = options.workload_kind() else { return ethereum(options) };
        let workload = Workload::new(WorkloadConfig {
            kind,
            accounts: options.accounts,
            block_size: options.block_size,
            seed,
            signed: options.signed,
            blocks: u64::MAX,
        });
        let workload = workload.map_err(RunError::from)?;
        let genesis = workload.genesis().map_err(RunError::from)?;
        let config = workload.ledger_config();
        Ok((Feed::Ledger { workload: Box::new(workload), config }, genesis))
    }

    /// The next block.
    ///
    /// # Errors
    /// [`RunError`] when it cannot be made.
    pub fn next_block(&mut self) -> Result<Option<Arc<PreparedBlock>>, RunError> {
        match self {
            Feed::Ledger { workload, config } => {
                let Some(block) = workload.next_block() else { return Ok(None) };
                let height = block.header.height;
                let prepared = PreparedBlock::prepare(&LedgerVm::new(*config), &block);
                Ok(Some(Arc::new(prepared.map_err(|cause| RunError::Prepare { height, cause })?)))
            }
            Feed::Ethereum { ring, next } => {
                let block = ring.get(*next).cloned();
                *next = (*next + 1) % ring.len().max(1);
                Ok(block)
            }
        }
    }

    /// An executor that is right by inspection, on the state that the feed begins on.
    ///
    /// # Errors
    /// [`RunError`] when memory cannot be had.
    pub fn oracle(&self, first: &FirstState) -> Result<Box<dyn BlockExecutor>, RunError> {
        Ok(match self {
            Feed::Ledger { config, .. } => Box::new(oracle(*config, first)?),
            Feed::Ethereum { .. } => Box::new(Sequential::new(machine(), state_of(first)?)),
        })
    }

    /// Launches a family for the blocks.
    ///
    /// # Errors
    /// [`RunError`] when it cannot be had.
    pub fn launch(
        &self,
        options: &ChaosOptions,
        first: &FirstState,
        image: Option<SupervisorImage>,
        filter: &str,
    ) -> Result<Phalanx, RunError> {
        match self {
            Feed::Ledger { config, .. } => launch(Phalanx::builder(*config), options, first, image, filter),
            Feed::Ethereum { .. } => {
                // The machine's set-up always encodes.
                let bytes = machine().to_bytes().map_err(std::io::Error::other)?;
                launch(PhalanxBuilder::new(machine(), bytes), options, first, image, filter)
            }
        }
    }
}

fn launch<V: Vm>(
    builder: PhalanxBuilder<V>,
    options: &ChaosOptions,
    first: &FirstState,
    image: Option<SupervisorImage>,
    filter: &str,
) -> Result<Phalanx, RunError> {
    let builder = builder.shards(options.shards).stall_limit(options.stall_limit).log(filter);
    let builder = match image {
        Some(image) => builder.supervisor_image(image),
        None => builder,
    };
    Ok(builder.launch(first.iter().map(|(key, value)| (key, value)))?)
}

fn machine() -> LoadingEvm {
    LoadingEvm::new(EvmConfig::default())
}

fn state_of(first: &FirstState) -> Result<BaseState, RunError> {
    Ok(BaseState::with_entries(MemoryConfig::default().state, first.iter().map(|(key, value)| (key, value)))?)
}

/// The blocks of the given folders in a ring. It begins on the state before the last one, as if that had just been executed.
fn ethereum(options: &ChaosOptions) -> Result<(Feed, FirstState), ChaosError> {
    let mut states: Vec<(Entries, Entries, Arc<PreparedBlock>)> = Vec::new();
    for folder in &options.blocks {
        let case = EthereumBlock::read(folder)?;
        let height = case.file.context.number;
        let failed = |cause| RunError::Prepare { height, cause };
        let block = Arc::new(PreparedBlock::prepare(&machine(), &case.block()).map_err(failed)?);
        let entries = case.entries();
        let mut left = entries.clone();
        for key in written(&entries, &block)? {
            // Whatever stands there then, it is to be loaded again.
            left.insert(key, Vec::new());
        }
        states.push((entries, left, block));
    }
    let mut ring = Vec::with_capacity(states.len() * 2);
    for (place, (entries, _, block)) in states.iter().enumerate() {
        let before = if place == 0 { states.len() - 1 } else { place - 1 };
        let loading = loading_block(&states[before].1, entries);
        let height = block.header().height;
        ring.push(Arc::new(loading.map_err(|cause| RunError::Prepare { height, cause })?));
        ring.push(Arc::clone(block));
    }
    let first = states.last().map(|(entries, ..)| entries.clone()).unwrap_or_default();
    Ok((Feed::Ethereum { ring, next: 0 }, first.into_iter().collect()))
}

/// Keys that a block writes.
fn written(entries: &Entries, block: &Arc<PreparedBlock>) -> Result<Vec<Vec<u8>>, RunError> {
    let height = block.header().height;
    let state = BaseState::with_entries(MemoryConfig::default().state, entries)?;
    let output = Sequential::new(machine(), state).execute(block, Instant::now() + LOOK_LIMIT);
    let output = output.map_err(|cause| RunError::Execute { height, cause })?;
    let writes = output.transactions().flat_map(|one| one.writes().map_while(Result::ok));
    Ok(writes.map(|(key, _)| key.to_vec()).collect())
}
