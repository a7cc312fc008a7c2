//! One setting: contenders on the same blocks, in turns.

use crate::executor::contender::{Contender, RUN_IN, RUN_OUT};
use crate::executor::error::BenchError;
use crate::executor::{ExecutorName, ExecutorOptions, SettingKey, WorkloadName};
use crate::{Workload, WorkloadConfig, WorkloadKind};
use phalanx::state::StateDigest;
use phalanx::types::{Block, KeyId, PreparedBlock, TxnIndex};
use phalanx::vm::ledger::{LedgerConfig, LedgerVm};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything random follows from it.
const SEED: u64 = 7;
/// Recipients of a transaction of the workload `batch`.
const BATCH_RECIPIENTS: usize = 8;
/// Rounds before those that are measured.
const WARM_UP_ROUNDS: u32 = 1;
/// Rounds that are measured whatever the budget: one alone has no spread.
const ROUNDS_MIN: u32 = 2;

/// What the rounds of a setting came to.
pub(super) struct Measured {
    pub(super) key: SettingKey,
    pub(super) contenders: Vec<Contender>,
    pub(super) blocks_per_round: usize,
    /// Nanoseconds per transaction, by round.
    pub(super) generate: Vec<f64>,
    /// Nanoseconds per transaction, by round.
    pub(super) prepare: Vec<f64>,
    pub(super) chain_share: Option<f64>,
    pub(super) verified_blocks: u64,
}

impl Measured {
    pub(super) fn find(&self, executor: ExecutorName, shards: usize) -> Option<&Contender> {
        self.contenders.iter().find(|it| it.executor == executor && it.shards == shards)
    }

    /// Ends all executors; what was measured stays.
    pub(super) fn end(&mut self) {
        self.contenders.iter_mut().for_each(Contender::end);
    }

    /// What all others are compared with.
    pub(super) fn sequential(&self) -> Option<&Contender> {
        self.find(ExecutorName::Sequential, 1)
    }
}

/// Measures one setting; none if its workload has no blocks here.
///
/// # Errors
/// [`BenchError`]: no blocks, no sequential executor, or a wrong result.
pub(super) fn measure(
    options: &ExecutorOptions,
    key: SettingKey,
    mut on_round: impl FnMut(u32),
) -> Result<Option<Measured>, BenchError> {
    let blocks_per_round = options.blocks_per_turn(key.signed, key.block_size);
    let rounds = options.rounds.max(1);
    let Some(mut blocks) = Blocks::new(options, key, blocks_per_round, rounds)? else { return Ok(None) };
    let genesis = blocks.workload.genesis()?;
    let contenders = contenders(options)
        .map(|(executor, shards)| Contender::start(executor, shards, &blocks.vm, &genesis))
        .collect();
    drop(genesis);
    let mut measured = Measured {
        key,
        contenders,
        blocks_per_round,
        generate: Vec::new(),
        prepare: Vec::new(),
        chain_share: None,
        verified_blocks: 0,
    };
    let mut on_clock = Duration::ZERO;
    for round in 0..WARM_UP_ROUNDS + rounds {
        let done = round.saturating_sub(WARM_UP_ROUNDS);
        let budget = options.budget * u32::try_from(measured.contenders.len()).unwrap_or(u32::MAX);
        if done >= ROUNDS_MIN && on_clock >= budget {
            break;
        }
        on_round(round);
        let prepared = blocks.next_round(&mut measured)?;
        measured.chain_share = measured.chain_share.or_else(|| prepared.first().map(|it| chain_share(it)));
        on_clock += take_turns(&mut measured, &prepared, round)?;
    }
    Ok(Some(measured))
}

/// Rounds that [`measure`] has at most.
pub(super) fn rounds_of(options: &ExecutorOptions) -> usize {
    (WARM_UP_ROUNDS + options.rounds.max(1)) as usize
}

/// Who takes part, the sequential executor first.
fn contenders(options: &ExecutorOptions) -> impl Iterator<Item = (ExecutorName, usize)> {
    let others = || options.executors.iter().filter(|&&executor| executor != ExecutorName::Sequential);
    let sharded = options.shards.iter().flat_map(move |&shards| others().map(move |&it| (it, shards)));
    std::iter::once((ExecutorName::Sequential, 1)).chain(sharded)
}

/// All contenders execute the blocks, in an order that rotates from round to round; then all digests are compared.
/// Returns the time on the clock.
fn take_turns(
    measured: &mut Measured,
    blocks: &[Arc<PreparedBlock>],
    round: u32,
) -> Result<Duration, BenchError> {
    let count = measured.contenders.len();
    let (mut digests, mut on_clock) = (vec![None; count], Duration::ZERO);
    for place in 0..count {
        let place = (place + round as usize) % count;
        let (Some(contender), Some(digests)) = (measured.contenders.get_mut(place), digests.get_mut(place))
        else {
            continue;
        };
        let is_measured = round >= WARM_UP_ROUNDS;
        match contender.turn(blocks, is_measured) {
            Ok(after_each) => *digests = after_each,
            Err(cause) if contender.executor == ExecutorName::Sequential => {
                return Err(BenchError::Sequential { setting: measured.key, cause });
            }
            // Its row tells.
            Err(_) => {}
        }
        if let (true, Some(sample)) = (is_measured, contender.samples.last()) {
            on_clock += sample.wall;
        }
    }
    compare(measured, blocks, &digests)?;
    measured.verified_blocks += blocks.len() as u64;
    Ok(on_clock)
}

/// Compares what the contenders came to after each block with what the first of them, the sequential executor, did.
fn compare(
    measured: &Measured,
    blocks: &[Arc<PreparedBlock>],
    digests: &[Option<Vec<StateDigest>>],
) -> Result<(), BenchError> {
    let Some(Some(right)) = digests.first() else { return Ok(()) };
    for (contender, found) in measured.contenders.iter().zip(digests) {
        let Some(found) = found else { continue };
        for ((block, &expected), &digest) in blocks.iter().zip(right).zip(found) {
            if expected != digest {
                return Err(BenchError::Mismatch {
                    setting: measured.key,
                    executor: contender.executor,
                    shards: contender.shards,
                    height: block.header().height,
                    expected,
                    digest,
                });
            }
        }
    }
    Ok(())
}

/// Where the blocks of a setting come from.
struct Blocks {
    workload: Workload,
    vm: LedgerVm,
    per_round: usize,
}

impl Blocks {
    fn new(
        options: &ExecutorOptions,
        key: SettingKey,
        blocks_per_round: usize,
        rounds: u32,
    ) -> Result<Option<Blocks>, BenchError> {
        let kind = match (key.workload, &options.trace) {
            (WorkloadName::Uniform, _) => WorkloadKind::Uniform,
            (WorkloadName::Zipf08, _) => WorkloadKind::Zipf { skew: 0.8 },
            (WorkloadName::Zipf12, _) => WorkloadKind::Zipf { skew: 1.2 },
            (WorkloadName::Hot | WorkloadName::HotPlain, _) => WorkloadKind::Hot,
            (WorkloadName::Batch, _) => WorkloadKind::Batch { recipients: BATCH_RECIPIENTS },
            (WorkloadName::Trace, Some(path)) => WorkloadKind::LoopedTrace(path.clone()),
            (WorkloadName::Trace, None) => return Ok(None),
        };
        let per_round = RUN_IN + blocks_per_round + RUN_OUT;
        let workload = Workload::new(WorkloadConfig {
            kind,
            accounts: options.accounts,
            block_size: key.block_size,
            seed: SEED,
            signed: key.signed,
            blocks: per_round as u64 * u64::from(WARM_UP_ROUNDS + rounds),
        })?;
        let config = LedgerConfig { commutative: key.workload.is_commutative(), ..workload.ledger_config() };
        Ok(Some(Blocks { workload, vm: LedgerVm::new(config), per_round }))
    }

    /// Generates and prepares the blocks of one round and notes how long that took.
    fn next_round(&mut self, measured: &mut Measured) -> Result<Vec<Arc<PreparedBlock>>, BenchError> {
        let begun = Instant::now();
        let blocks: Vec<Block> =
            std::iter::from_fn(|| self.workload.next_block()).take(self.per_round).collect();
        let transactions = blocks.iter().map(|block| block.transactions.len()).sum::<usize>().max(1);
        let per_transaction = |time: Duration| time.as_secs_f64() * 1e9 / transactions as f64;
        measured.generate.push(per_transaction(begun.elapsed()));
        let begun = Instant::now();
        let prepared = blocks.iter().map(|block| PreparedBlock::prepare(&self.vm, block));
        let prepared: Vec<PreparedBlock> = prepared.collect::<Result<_, _>>()?;
        measured.prepare.push(per_transaction(begun.elapsed()));
        Ok(prepared.into_iter().map(Arc::new).collect())
    }
}

/// Transactions in the longest chain of declared dependencies, as a share of the block: however many shards there are, those
/// are executed one after the other.
fn chain_share(block: &PreparedBlock) -> f64 {
    let mut depths: HashMap<KeyId, u32> = HashMap::new();
    let mut longest = 0;
    for txn in (0_u32..).map(TxnIndex).take(block.len()) {
        let modes = block.accesses_of(txn).iter().map(|access| (access.key, access.access_mode()));
        let inputs = modes.clone().filter(|(_, mode)| mode.wants_value());
        let depth = 1 + inputs.filter_map(|(key, _)| depths.get(&key).copied()).max().unwrap_or(0);
        for (key, _) in modes.filter(|(_, mode)| mode.changes_value()) {
            // Who adds does not wait, but whoever reads waits for all who added.
            let known = depths.entry(key).or_default();
            *known = depth.max(*known);
        }
        longest = longest.max(depth);
    }
    f64::from(longest) / block.len().max(1) as f64
}
