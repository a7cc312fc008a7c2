//! What is known of a block's transactions before they execute, and what is learned from them.

use crate::replay::error::ReplayError;
use crate::replay::options::{Hints, ReplayOptions};
use phalanx::executor::{BlockExecutor, MemoryConfig, Sequential};
use phalanx::state::BaseState;
use phalanx::types::{AccessMode, Block, PreparedBlock};
use phalanx::vm::Vm;
use phalanx::vm::evm::{AccessSet, CallBook, EvmConfig, EvmKey, EvmVm};
use phalanx_bench::ethereum::{
    BlockAccess, BlockAccessList, EthereumBlock, ListedWrites, Reference, read_access, read_access_lists,
    write_access, write_access_list,
};
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
    /// What a file says, and its path.
    given: Option<(PathBuf, Given)>,
    /// Where access sets are written.
    writer: Option<Writer>,
    /// Where access lists are written.
    list_writer: Option<Writer>,
}

/// What a file says of blocks by number.
enum Given {
    Sets(HashMap<u64, BlockAccess>),
    Lists(HashMap<u64, BlockAccessList>),
}

/// A file being written, and its path.
type Writer = (PathBuf, BufWriter<File>);

/// What is known of one block beforehand.
pub enum Known<'a> {
    /// What each transaction touches.
    Sets(&'a BlockAccess),
    /// What each transaction leaves.
    Writes(ListedWrites),
    /// Nothing but what the transactions say.
    Nothing,
}

impl Knowledge {
    /// At the beginning: what the options bring.
    ///
    /// # Errors
    /// `Input`, `Sidecar`.
    pub fn new(options: &ReplayOptions) -> Result<Knowledge, ReplayError> {
        let given = options.access.as_ref().map(|path| {
            let given = match read_access_lists(path)? {
                Some(lists) => Given::Lists(lists),
                None => Given::Sets(read_access(path)?),
            };
            Ok::<_, ReplayError>((path.clone(), given))
        });
        let writer = |path: &Option<PathBuf>| {
            let create = |path: &PathBuf| {
                let file = File::create(path);
                let file = file.map_err(|source| ReplayError::Sidecar { file: path.clone(), source })?;
                Ok::<_, ReplayError>((path.clone(), BufWriter::new(file)))
            };
            path.as_ref().map(create).transpose()
        };
        Ok(Knowledge {
            hints: options.hints,
            vm: EvmVm::new(EvmConfig::default()),
            book: CallBook::default(),
            given: given.transpose()?,
            writer: writer(&options.write_access)?,
            list_writer: writer(&options.write_access_list)?,
        })
    }

    /// What is known of a block of `items` transactions, calls of the protocol included.
    ///
    /// # Errors
    /// `NoAccess`, `NoList`.
    pub fn known<'a>(&'a self, case: &'a EthereumBlock, items: usize) -> Result<Known<'a>, ReplayError> {
        let block = case.file.context.number;
        match (self.hints, &self.given) {
            (Hints::Oracle, Some((file, Given::Sets(blocks)))) => {
                let sets = blocks.get(&block);
                let found = sets.map_or(0, BlockAccess::items);
                let no_access = || ReplayError::NoAccess { file: file.clone(), block, items, found };
                Ok(Known::Sets(sets.filter(|_| items == found).ok_or_else(no_access)?))
            }
            (Hints::Oracle, Some((_, Given::Lists(_))) | None) => {
                let calls = case.system_calls().len();
                Ok(Known::Writes(ListedWrites::of(self.list(case)?, calls, items, case.file.context.spec)))
            }
            (Hints::Cold | Hints::Learned, _) => Ok(Known::Nothing),
        }
    }

    fn list<'a>(&'a self, case: &'a EthereumBlock) -> Result<&'a BlockAccessList, ReplayError> {
        let block = case.file.context.number;
        let (file, list) = match &self.given {
            Some((file, Given::Lists(blocks))) => (file.clone(), blocks.get(&block)),
            Some((_, Given::Sets(_))) | None => {
                (case.folder.join("block.json"), case.file.access_list.as_ref())
            }
        };
        list.ok_or(ReplayError::NoList { file, block })
    }

    /// The access list that a block is executed by, if it is.
    pub fn given_list<'a>(
        &'a self,
        known: &Known<'_>,
        case: &'a EthereumBlock,
    ) -> Option<&'a BlockAccessList> {
        if let Known::Writes(_) = known { self.list(case).ok() } else { None }
    }

    /// Prepares a block with what is known of it.
    ///
    /// # Errors
    /// `Execute`.
    pub fn prepare(
        &self,
        known: &Known<'_>,
        case: &EthereumBlock,
        block: &Block,
    ) -> Result<PreparedBlock, ReplayError> {
        let failed = |error| ReplayError::execute(block.header.height, error);
        let beneficiary = case.file.context.beneficiary;
        let mut prepared = match known {
            Known::Sets(sets) => PreparedBlock::with_keys(block, sets.keys()),
            Known::Nothing | Known::Writes(_) => PreparedBlock::with_room(block),
        };
        for (place, transaction) in block.fetched().enumerate() {
            let pushed = prepared.push(transaction, |hint| match (known, self.hints) {
                (Known::Sets(sets), _) => sets.declare(place, hint),
                (Known::Nothing, Hints::Learned) if self.book.declare(transaction, hint) => {
                    hint.access(EvmKey::balance(beneficiary).as_slice(), AccessMode::Add);
                }
                (Known::Nothing | Known::Writes(_), _) => self.vm.declare(&block.header, transaction, hint),
            });
            pushed.map_err(failed)?;
        }
        match known {
            Known::Writes(writes) => writes.foresee(&mut prepared),
            Known::Sets(_) | Known::Nothing => self.vm.foresee(&mut prepared),
        }
        .map_err(failed)?;
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
        let height = block.header.height;
        if let Some((path, writer)) = &mut self.list_writer {
            let list = reference.access_list();
            let list = list.map_err(|cause| ReplayError::Reference { block: height, cause })?;
            let written = write_access_list(writer, height, &list);
            written.map_err(|source| ReplayError::Sidecar { file: path.clone(), source })?;
        }
        if self.hints != Hints::Learned && self.writer.is_none() {
            return Ok(());
        }
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
    ) -> Result<Vec<AccessSet>, ReplayError> {
        let height = block.header.height;
        let entries = case.entries();
        let state = BaseState::with_entries(MemoryConfig::default().state, &entries)?;
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
            let before = |key: &[u8]| entries.get(key).map(Vec::as_slice);
            let seen = AccessSet::seen(one.reads(), one.writes(), before);
            seen.map(|set| AccessSet { cost_ns, ..set })
        });
        sets.collect::<Result<_, _>>().map_err(|error| ReplayError::execute(height, error))
    }

    /// Puts what was written on its files.
    ///
    /// # Errors
    /// `Sidecar`.
    pub fn finish(self) -> Result<(), ReplayError> {
        for (file, writer) in self.writer.into_iter().chain(self.list_writer) {
            let written = writer.into_inner().map(drop);
            written.map_err(|error| ReplayError::Sidecar { file, source: error.into_error() })?;
        }
        Ok(())
    }
}
