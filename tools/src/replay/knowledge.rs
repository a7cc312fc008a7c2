//! What is known of a block's transactions before they execute, and what is learned from them.

use crate::replay::error::ReplayError;
use crate::replay::options::{Hints, ReplayOptions};
use phalanx::executor::{BlockExecutor, MemoryConfig, Sequential};
use phalanx::state::BaseState;
use phalanx::types::{AccessMode, Block, PreparedBlock};
use phalanx::vm::Vm;
use phalanx::vm::evm::revm::primitives::Address;
use phalanx::vm::evm::{AccessSet, CallBook, EvmConfig, EvmKey, EvmVm};
use phalanx_bench::ethereum::{BlockAccess, EthereumBlock, Reference, read_access, write_access};
use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking at what a block touches has all the time it needs.
const LOOK_LIMIT: Duration = Duration::from_secs(600);

/// Everything known so far.
pub struct Knowledge {
    hints: Hints,
    vm: EvmVm,
    book: CallBook,
    /// Access sets of a sidecar, and its path.
    sidecar: Option<(PathBuf, HashMap<u64, BlockAccess>)>,
    /// Where access sets are written.
    writer: Option<(PathBuf, BufWriter<File>)>,
}

impl Knowledge {
    /// At the beginning: what the options bring.
    ///
    /// # Errors
    /// `Input`, `Sidecar`.
    pub fn new(options: &ReplayOptions) -> Result<Knowledge, ReplayError> {
        let sidecar = match &options.access {
            Some(path) => Some((path.clone(), read_access(path)?)),
            None => None,
        };
        let writer = match &options.write_access {
            Some(path) => {
                let file = File::create(path);
                let file = file.map_err(|source| ReplayError::Sidecar { file: path.clone(), source })?;
                Some((path.clone(), BufWriter::new(file)))
            }
            None => None,
        };
        let vm = EvmVm::new(EvmConfig::default());
        Ok(Knowledge { hints: options.hints, vm, book: CallBook::default(), sidecar, writer })
    }

    /// Prepares a block with what is known of it.
    ///
    /// # Errors
    /// `NoAccess`, `Execute`.
    pub fn prepare(&self, block: &Block, beneficiary: Address) -> Result<PreparedBlock, ReplayError> {
        let height = block.header.height;
        let failed = |error| ReplayError::execute(height, error);
        let sets = match (self.hints, &self.sidecar) {
            (Hints::Oracle, Some((file, blocks))) => {
                let sets = blocks.get(&height);
                let (items, found) = (block.transactions.len(), sets.map_or(0, Vec::len));
                if items != found || sets.is_none() {
                    return Err(ReplayError::NoAccess { file: file.clone(), block: height, items, found });
                }
                sets
            }
            (Hints::Oracle, None) | (Hints::Cold | Hints::Learned, _) => None,
        };
        let mut prepared = PreparedBlock::new(block.header.clone());
        for (place, transaction) in block.transactions.iter().enumerate() {
            let pushed = prepared.push(transaction, |hint| match (sets, self.hints) {
                (Some(sets), _) => sets[place].declare(hint),
                (None, Hints::Learned) if self.book.declare(transaction, hint) => {
                    hint.access(EvmKey::balance(beneficiary).as_slice(), AccessMode::Add);
                }
                (None, Hints::Learned | Hints::Cold | Hints::Oracle) => {
                    self.vm.declare(&block.header, transaction, hint);
                }
            });
            pushed.map_err(failed)?;
        }
        Ok(prepared)
    }

    /// Learns from a block that was replayed, for those of higher numbers, and writes down what it touched.
    ///
    /// # Errors
    /// `Sidecar`, `Reference`, `Execute`.
    pub fn learn(
        &mut self,
        case: &EthereumBlock,
        reference: &Reference<'_>,
        block: &Block,
    ) -> Result<(), ReplayError> {
        if self.hints != Hints::Learned && self.writer.is_none() {
            return Ok(());
        }
        let height = block.header.height;
        let sets = self.look(case, reference, block)?;
        for (transaction, set) in block.transactions.iter().zip(&sets) {
            self.book.observe(transaction, set);
        }
        if let Some((path, writer)) = &mut self.writer {
            let written = write_access(writer, height, &sets);
            written.map_err(|source| ReplayError::Sidecar { file: path.clone(), source })?;
        }
        Ok(())
    }

    /// What the items of a block touch and how long they take.
    fn look(
        &self,
        case: &EthereumBlock,
        reference: &Reference<'_>,
        block: &Block,
    ) -> Result<BlockAccess, ReplayError> {
        let height = block.header.height;
        let state = BaseState::with_entries(MemoryConfig::default().state, case.entries())?;
        let mut prepared = PreparedBlock::new(block.header.clone());
        for transaction in &block.transactions {
            prepared.push(transaction, |_| {}).map_err(|error| ReplayError::execute(height, error))?;
        }
        let mut executor = Sequential::new(self.vm.clone(), state);
        let output = executor.execute(&Arc::new(prepared), Instant::now() + LOOK_LIMIT);
        let output = output.map_err(|error| ReplayError::execute(height, error))?;
        let costs = reference.costs().map_err(|cause| ReplayError::Reference { block: height, cause })?;
        let calls = block.transactions.len() - costs.len();
        let costs = std::iter::repeat_n(0, calls).chain(costs);
        let sets = output.transactions().zip(costs).map(|(one, cost_ns)| {
            let seen = AccessSet::seen(one.reads(), one.writes());
            seen.map(|set| AccessSet { cost_ns, ..set })
        });
        sets.collect::<Result<_, _>>().map_err(|error| ReplayError::execute(height, error))
    }

    /// Puts the sidecar on its file.
    ///
    /// # Errors
    /// `Sidecar`.
    pub fn finish(self) -> Result<(), ReplayError> {
        let Some((file, writer)) = self.writer else { return Ok(()) };
        writer
            .into_inner()
            .map(drop)
            .map_err(|error| ReplayError::Sidecar { file, source: error.into_error() })
    }
}
