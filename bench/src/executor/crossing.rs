//! The price of crossing: what a value costs that goes from one shard process to another.
//!
//! Blocks of pairs of transfers by one sender each: the second needs the sequence number that the first leaves. The same
//! blocks are planned in two ways. The planner is told that an edge costs a lifetime, so that it follows its inputs, and
//! the hints name one key more per transaction, which nobody touches: transactions that name the same key stay on the
//! shard of the first of them. Either both of a pair name the same key, or all first ones name one and all second ones
//! another.

use crate::Accounts;
use crate::executor::contender::{BLOCK_LIMIT, processes};
use crate::executor::error::ContenderError;
use crate::executor::usage::cpu_of;
use crate::executor::{CrossingRow, ExecutorOptions};
use crate::report::{Spread, median};
use crate::workload::WORKLOAD_CHAIN_ID;
use phalanx::executor::BlockExecutor;
use phalanx::partition::CostModel;
use phalanx::supervisor::Processes;
use phalanx::types::{AccessMode, BlockHeader, PrepareError, PreparedBlock};
use phalanx::vm::Vm;
use phalanx::vm::ledger::{
    GenesisEntry, LedgerConfig, LedgerVm, Payload, RawTransaction, SignatureMode, genesis,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEED: u64 = 11;
const BALANCE: u64 = 1 << 40;
const MAX_GAS: u64 = 5_000;
/// A lifetime, as the planner sees it; sums of it stay far below 2^64.
const EDGE_NS: u64 = 1_000_000_000_000;
/// Declared for the first transaction on the second shard: more than all others together, so that the values of the first
/// shard are always there before the second shard is free.
const ANCHOR_COST_NS: u32 = 1_000_000_000;
/// Rounds before those that are measured.
const WARM_UP_ROUNDS: u32 = 2;

/// How a block is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Both of a pair on one shard, pairs in turns on both.
    SameShard,
    /// The first of each pair on one shard, the second on the other.
    TwoShards,
}

/// Measures pairs that follow each other at once, and pairs with much work in between.
pub(super) fn measure(options: &ExecutorOptions, cores: usize) -> Vec<CrossingRow> {
    let pairs = if options.quick { 200 } else { 5_000 };
    let lags = [0, pairs / 5];
    lags.into_iter()
        .map(|lag| {
            if cores < 2 {
                return row(pairs, lag, &[], Some("two shards need two cores".to_owned()));
            }
            match Bench::start(pairs, lag).and_then(|mut bench| bench.run(options.rounds.max(1))) {
                Ok(turns) => row(pairs, lag, &turns, None),
                Err(error) => row(pairs, lag, &[], Some(error.to_string())),
            }
        })
        .collect()
}

/// What one block cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time of each shard, in ns.
    shards: [f64; 2],
    wall: f64,
    edges: u64,
}

/// The same pairs planned in both ways.
#[derive(Clone, Copy, Debug)]
struct Turn {
    same: Cost,
    two: Cost,
}

struct Bench {
    processes: Processes,
    pairs: Pairs,
}

impl Bench {
    fn start(pairs: usize, lag: usize) -> Result<Bench, ContenderError> {
        let pairs = Pairs::new(pairs, lag);
        let accounts = pairs.accounts.addresses().iter().map(|&address| (address, BALANCE));
        let first: Vec<GenesisEntry> = genesis(accounts)?.collect();
        let costs = CostModel { edge_ns: EDGE_NS };
        let processes = processes(2, costs, &pairs.vm, &first)?;
        Ok(Bench { processes, pairs })
    }

    fn run(&mut self, rounds: u32) -> Result<Vec<Turn>, ContenderError> {
        let mut turns = Vec::new();
        for round in 0..WARM_UP_ROUNDS + rounds {
            // Whoever comes first in a round comes last in the next.
            let turn = if round % 2 == 0 {
                let same = self.execute(Layout::SameShard)?;
                Turn { same, two: self.execute(Layout::TwoShards)? }
            } else {
                let two = self.execute(Layout::TwoShards)?;
                Turn { same: self.execute(Layout::SameShard)?, two }
            };
            if round >= WARM_UP_ROUNDS {
                turns.push(turn);
            }
        }
        Ok(turns)
    }

    fn execute(&mut self, layout: Layout) -> Result<Cost, ContenderError> {
        let block = Arc::new(self.pairs.next_block(layout)?);
        let pids: Vec<i32> = self.processes.health().iter().map(|shard| shard.pid).collect();
        let cpu = |place: usize| pids.get(place).map_or(Duration::ZERO, |&pid| cpu_of(pid));
        let before = [cpu(0), cpu(1)];
        let output = self.processes.execute(&block, Instant::now() + BLOCK_LIMIT)?;
        let shards = [0, 1].map(|place| nanos(cpu(place).saturating_sub(before[place])));
        let stats = output.stats();
        Ok(Cost { shards, wall: nanos(stats.execute), edges: stats.cross_shard_edges })
    }
}

/// Blocks of pairs.
struct Pairs {
    vm: LedgerVm,
    accounts: Accounts,
    pairs: usize,
    lag: usize,
    height: u64,
    /// The next sequence number of all senders of pairs.
    sequence_number: u64,
}

impl Pairs {
    fn new(pairs: usize, lag: usize) -> Pairs {
        // A sender and a recipient for each pair, and for the two anchors.
        let accounts = Accounts::derive(SEED, 2 * (pairs + 2), false);
        let config =
            LedgerConfig { chain_id: WORKLOAD_CHAIN_ID, signatures: SignatureMode::Skip, commutative: true };
        Pairs { vm: LedgerVm::new(config), accounts, pairs, lag, height: 0, sequence_number: 0 }
    }

    /// Two anchors, then the pairs: the second of a pair comes `lag` first ones after its own.
    fn next_block(&mut self, layout: Layout) -> Result<PreparedBlock, PrepareError> {
        self.height += 1;
        let header = BlockHeader { height: self.height, beneficiary: [0xfe; 32], ..BlockHeader::default() };
        let mut block = PreparedBlock::new(header);
        let anchors = [(self.pairs, 0, None), (self.pairs + 1, 1, Some(ANCHOR_COST_NS))];
        for (pair, seat, cost) in anchors {
            self.push(&mut block, pair, self.height - 1, seat, cost)?;
        }
        let seats = |pair: usize| match layout {
            Layout::SameShard => (pair % 2, pair % 2),
            Layout::TwoShards => (0, 1),
        };
        for step in 0..self.pairs + self.lag {
            if step < self.pairs {
                self.push(&mut block, step, self.sequence_number, seats(step).0, None)?;
            }
            if let Some(pair) = step.checked_sub(self.lag) {
                self.push(&mut block, pair, self.sequence_number + 1, seats(pair).1, None)?;
            }
        }
        self.sequence_number += 2;
        Ok(block)
    }

    fn push(
        &self,
        block: &mut PreparedBlock,
        pair: usize,
        sequence_number: u64,
        seat: usize,
        cost: Option<u32>,
    ) -> Result<(), PrepareError> {
        let address = |account: usize| self.accounts.addresses().get(account).copied().unwrap_or_default();
        let raw = RawTransaction {
            chain_id: WORKLOAD_CHAIN_ID,
            sender: address(2 * pair),
            sequence_number,
            max_gas: MAX_GAS,
            gas_price: 0,
            expiration_s: u64::MAX,
            payload: Payload::Transfer { to: address(2 * pair + 1), amount: 1 },
        };
        let transaction = self.accounts.encode(raw, 2 * pair);
        let header = block.header().clone();
        block.push(&transaction, |hint| {
            self.vm.declare(&header, &transaction, hint);
            hint.access(&[b'#', u8::try_from(seat).unwrap_or(u8::MAX)], AccessMode::ReadWrite);
            if let Some(cost) = cost {
                hint.cost_ns(cost);
            }
        })
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn row(pairs: usize, lag: usize, turns: &[Turn], skipped: Option<String>) -> CrossingRow {
    let each = pairs.max(1) as f64;
    let values = |value: &dyn Fn(&Turn) -> f64| turns.iter().map(value).collect::<Vec<f64>>();
    // Both shards have as many transactions each as there are pairs, in either plan.
    let same = |turn: &Turn| (turn.same.shards[0] + turn.same.shards[1]) / 2.0 / each;
    let side = |place: usize| values(&|turn| turn.two.shards[place] / each - same(turn));
    let edges = |cost: &dyn Fn(&Turn) -> Cost| median(&values(&|turn| cost(turn).edges as f64 / each));
    CrossingRow {
        lag,
        pairs,
        rounds: u32::try_from(turns.len()).unwrap_or(u32::MAX),
        same_shard_ns: median(&values(&same)),
        writer_ns: Spread::of(&side(0)),
        reader_ns: Spread::of(&side(1)),
        wall_ns: Spread::of(&values(&|turn| (turn.two.wall - turn.same.wall) / each)),
        edges_per_pair: edges(&|turn| turn.same).zip(edges(&|turn| turn.two)),
        skipped,
    }
}

#[cfg(test)]
mod tests {
    //! What would break: hints that no longer keep transactions where they are meant to be; the row would then tell the
    //! price of something else. Negative control: with hints that name no common key all transactions but one went to
    //! one shard, and the test failed.

    use super::*;
    use phalanx::partition::{ArenaLimits, ArenaWriter, Planner, Standing};
    use phalanx::types::{Incarnation, RoundId, ShardId};

    #[test]
    fn pairs_stay_together_or_all_of_them_cross() {
        let shards = [ShardId(0), ShardId(1)];
        for lag in [0, 7, 100] {
            let mut pairs = Pairs::new(100, lag);
            for (layout, edges) in [(Layout::SameShard, 0), (Layout::TwoShards, 100), (Layout::SameShard, 0)]
            {
                let block = pairs.next_block(layout).unwrap();
                assert_eq!(block.len(), 202);
                let mut arena = ArenaWriter::create("phalanx-test-pairs", ArenaLimits::default()).unwrap();
                let mut planner = Planner::new(CostModel { edge_ns: EDGE_NS });
                arena.begin_load(&block).unwrap();
                while !arena.load_step(&block).unwrap() {}
                planner.begin(&mut arena, &shards).unwrap();
                let open = |_| (Standing::Open, Incarnation(1));
                while !planner.step(&mut arena, usize::MAX, open).unwrap() {}
                let totals = planner.seal(&mut arena, RoundId(1), false).unwrap();
                assert_eq!(totals.edges, edges, "{layout:?}, lag {lag}");
                let lengths = shards.map(|shard| arena.part_of(shard).count);
                assert_eq!(lengths, [101, 101], "{layout:?}, lag {lag}");
            }
        }
    }
}
