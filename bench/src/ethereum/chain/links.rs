//! A chain with all its branches: blocks that were found valid, what each of them left, and which one counts.

use crate::ethereum::Entries;
use crate::ethereum::chain::block_rlp::DecodedBlock;
use crate::ethereum::chain::execution::{Program, RunBlock};
use crate::ethereum::chain::header::HeaderRules;
use crate::ethereum::chain::ommers::check_ommers;
use crate::ethereum::chain::signer::signed;
use crate::ethereum::chain::{Fork, Network, Rejection, SealCheck, Stage, dao};
use crate::ethereum::outcome::AccountsAfter;
use alloy_consensus::Header;
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::primitives::{B256, U256};
use phalanx::vm::evm::{BlobContext, EvmBlockContext};
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// Earlier blocks whose hashes a block may ask for.
const HASHES: usize = 256;
/// Most bytes of a block from Osaka on: 10 MiB less 2 MiB for the beacon block around it (EIP-7934).
const BLOCK_BYTES: usize = 8 << 20;

/// A block that was found valid.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) hash: B256,
    pub(super) header: Header,
    fork: Fork,
    /// Sum of the difficulties from the first block to this one.
    total_difficulty: U256,
    pub(super) ommers: Vec<B256>,
    state: Arc<Entries>,
    /// Whether another block follows it.
    followed: bool,
}

/// Blocks by their hashes, from a first one on.
#[derive(Clone, Debug)]
pub struct Chain {
    network: Network,
    seal: SealCheck,
    chain_id: u64,
    links: HashMap<B256, Link>,
}

/// A block that was found valid just now.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its hash.
    pub hash: B256,
    /// Number of its transactions.
    pub transactions: usize,
}

/// Why a block was not taken.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It is not valid.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be executed, or what came out makes no sense.
    #[error("{0}")]
    Fault(String),
}

impl Chain {
    /// A chain that begins with a block and the state after it.
    ///
    /// # Errors
    /// [`Rejection`] when the block cannot be decoded or the state is not the one that it names.
    pub fn new(
        network: Network,
        seal: SealCheck,
        chain_id: u64,
        genesis: &[u8],
        state: Entries,
    ) -> Result<Chain, Rejection> {
        let block = DecodedBlock::decode(genesis)?;
        let (hash, header) = (block.hash, block.header);
        let (claimed, right) = (header.state_root, AccountsAfter::of_entries(&state).state_root());
        Rejection::unless_same("state root", claimed, right)?;
        let fork = network.stage(header.number, header.timestamp, U256::ZERO).fork;
        let total_difficulty = header.difficulty;
        let state = Arc::new(state);
        let link = Link { hash, header, fork, total_difficulty, ommers: Vec::new(), state, followed: false };
        Ok(Chain { network, seal, chain_id, links: HashMap::from([(hash, link)]) })
    }

    /// Checks and executes a block, and takes it if it is valid. One that is known already is not executed again.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn import(&mut self, bytes: &[u8], runner: &mut dyn RunBlock) -> Result<Imported, ImportError> {
        let block = DecodedBlock::decode(bytes)?;
        let imported = Imported { hash: block.hash, transactions: block.transactions.len() };
        if self.links.contains_key(&block.hash) {
            // Another body may have come with the same header.
            block.check_parts()?;
            block.check_transactions()?;
            return Ok(imported);
        }
        let parent_hash = block.header.parent_hash;
        let parent = self.links.get(&parent_hash).ok_or(Rejection::UnknownParent(parent_hash))?;
        let stage = self.check_header(&block.header, parent)?;
        let users = self.check_body(&block, stage, parent)?;
        let context = self.context(&block.header, stage, parent);
        let before = self.state_before(&block.header, parent);
        let program = Program::of(&block, context, stage.fork, self.chain_id, users);
        let output = runner.run(&before, &program.items()).map_err(ImportError::Fault)?;
        let before = Arc::try_unwrap(before).unwrap_or_else(|shared| Entries::clone(&shared));
        let state = program.judge(&output, before)?;
        let link = Link {
            hash: block.hash,
            total_difficulty: parent.total_difficulty.saturating_add(block.header.difficulty),
            fork: stage.fork,
            ommers: block.ommers.iter().map(|(hash, _)| *hash).collect(),
            header: block.header,
            state: Arc::new(state),
            followed: false,
        };
        self.links.insert(link.hash, link);
        if let Some(parent) = self.links.get_mut(&parent_hash) {
            parent.followed = true;
        }
        Ok(imported)
    }

    /// The accounts after a block that was taken.
    #[must_use]
    pub fn accounts(&self, hash: B256) -> Option<AccountsAfter> {
        self.links.get(&hash).map(|link| AccountsAfter::of_entries(&link.state))
    }

    /// The root of the state after a block that was taken: what its header says, which was checked.
    #[must_use]
    pub fn state_root(&self, hash: B256) -> Option<B256> {
        self.links.get(&hash).map(|link| link.header.state_root)
    }

    /// Whether this block may be the chain's last one. With proof of work no other may have more of it; without,
    /// whoever runs the chain chooses among those that no other follows.
    #[must_use]
    pub fn may_be_last(&self, hash: B256) -> bool {
        let Some(link) = self.links.get(&hash) else { return false };
        if link.fork.is_merged() {
            return !link.followed;
        }
        self.links
            .values()
            .all(|other| !other.fork.is_merged() && other.total_difficulty <= link.total_difficulty)
    }

    /// The block and its ancestors, youngest first.
    pub(super) fn ancestors<'a>(&'a self, from: &'a Link) -> impl Iterator<Item = &'a Link> {
        std::iter::successors(Some(from), |link| self.links.get(&link.header.parent_hash))
    }

    /// Checks a header after its parent and returns the rules in force.
    pub(super) fn check_header(&self, header: &Header, parent: &Link) -> Result<&Stage, Rejection> {
        let stage = self.network.stage(header.number, header.timestamp, parent.total_difficulty);
        let rules = HeaderRules {
            stage,
            parent: &parent.header,
            parent_fork: parent.fork,
            dao: self.network.dao(),
            seal: self.seal,
        };
        rules.check(header).map(|()| stage)
    }

    /// Checks that the body is the one that the header names, and finds who signed the transactions.
    fn check_body(
        &self,
        block: &DecodedBlock,
        stage: &Stage,
        parent: &Link,
    ) -> Result<Vec<TxEnv>, Rejection> {
        if stage.fork >= Fork::Osaka && block.bytes > BLOCK_BYTES {
            return Err(Rejection::TooLong { bytes: block.bytes, most: BLOCK_BYTES });
        }
        block.check_parts()?;
        check_ommers(self, block, parent)?;
        let mut users = Vec::with_capacity(block.transactions.len());
        for (txn, envelope) in block.transactions.iter().enumerate() {
            let signed = signed(envelope, stage.fork);
            users.push(signed.map_err(|cause| Rejection::Transaction { txn, cause })?);
        }
        check_blobs(&users, stage)?;
        Ok(users)
    }

    fn context(&self, header: &Header, stage: &Stage, parent: &Link) -> EvmBlockContext {
        let merged = stage.fork.is_merged();
        EvmBlockContext {
            spec: stage.fork.spec(),
            number: header.number,
            timestamp_s: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or(0),
            difficulty: if merged { U256::ZERO } else { header.difficulty },
            prevrandao: merged.then_some(header.mix_hash),
            blobs: stage.blobs.map(|rules| BlobContext {
                excess_gas: header.excess_blob_gas.unwrap_or(0),
                update_fraction: rules.update_fraction,
            }),
            slot: 0,
            block_hashes: self.hashes_before(parent),
        }
    }

    /// Hashes of the last blocks before a child of `parent`, by number, ascending. Of those before the first block of the chain only
    /// one is known, which that names; the others count as zero, as they do in geth.
    fn hashes_before(&self, parent: &Link) -> Vec<(u64, B256)> {
        let known: Vec<&Link> = self.ancestors(parent).take(HASHES).collect();
        let first = known.last().map_or(&parent.header, |first| &first.header);
        let named = first.number.checked_sub(1);
        let unknown = (0..named.unwrap_or(0)).rev().map(|number| (number, B256::ZERO));
        let before = named.map(|number| (number, first.parent_hash)).into_iter().chain(unknown);
        let links = known.iter().map(|link| (link.header.number, link.hash));
        let mut hashes: Vec<(u64, B256)> = links.chain(before).take(HASHES).collect();
        hashes.reverse();
        hashes
    }

    /// The state on which a block executes.
    fn state_before(&self, header: &Header, parent: &Link) -> Arc<Entries> {
        if self.network.dao() != Some(header.number) {
            return Arc::clone(&parent.state);
        }
        let mut state = Entries::clone(&parent.state);
        dao::move_balances(&mut state);
        Arc::new(state)
    }
}

/// No transaction may have too many blobs, nor all of them together.
fn check_blobs(users: &[TxEnv], stage: &Stage) -> Result<(), Rejection> {
    let Some(rules) = stage.blobs else { return Ok(()) };
    let mut left = rules.max;
    for (txn, tx) in users.iter().enumerate() {
        let (own, most) = (tx.blob_hashes.len() as u64, rules.max_per_transaction(stage.fork));
        if own > most.min(left) {
            let cause =
                format!("it has {own} blobs, at most {most} are allowed, and {left} are left of the block's");
            return Err(Rejection::Transaction { txn, cause });
        }
        left -= own;
    }
    Ok(())
}
