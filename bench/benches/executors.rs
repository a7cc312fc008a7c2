//! Executors side by side: the same blocks, in one run, taking turns.
//!
//! `cargo bench -p phalanx-bench --bench executors -- [--blocks N] [--block-size N] [--signed-blocks N]` (0 blocks leave
//! a comparison out)
//!
//! Every block is prepared once (its time is a row of its own) and then executed by every executor, in an order that
//! rotates from block to block; each executor has its own state, and all must agree on the digest after every block.
//! Printed are medians per transaction, and medians of the per-block ratios with a 95 % bootstrap interval.

use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStm, BlockStmConfig, Sequential, Threads, ThreadsConfig,
};
use phalanx::state::{BaseState, StateConfig};
use phalanx::supervisor::{Processes, ProcessesConfig};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::{LedgerConfig, LedgerVm};
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks executed before measuring begins.
const WARM_UP: usize = 3;

struct Contender {
    name: String,
    executor: Box<dyn BlockExecutor>,
    nanos: Vec<f64>,
    plan: Vec<f64>,
    validate: Vec<f64>,
    commit: Vec<f64>,
    execute: Vec<f64>,
}

impl Contender {
    fn new(name: &str, executor: impl BlockExecutor + 'static) -> Contender {
        let executor: Box<dyn BlockExecutor> = Box::new(executor);
        let name = name.to_owned();
        let (nanos, plan, validate, commit, execute) = (vec![], vec![], vec![], vec![], vec![]);
        Contender { name, executor, nanos, plan, validate, commit, execute }
    }

    fn note(&mut self, spent: Duration, output: &BlockOutput) {
        let per_txn = |time: Duration| time.as_nanos() as f64 / output.len().max(1) as f64;
        self.nanos.push(per_txn(spent));
        self.plan.push(per_txn(output.stats().plan));
        self.validate.push(per_txn(output.stats().validate));
        self.commit.push(per_txn(output.stats().commit));
        self.execute.push(per_txn(output.stats().execute));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    phalanx::supervisor_entry();
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(default)
    };
    let block_size = number("--block-size", 10_000);
    let unsigned = Series { signed: false, commutative: true, blocks: number("--blocks", 40), block_size };
    compare("uniform, unsigned", WorkloadKind::Uniform, unsigned)?;
    compare("zipf 1.2, unsigned", WorkloadKind::Zipf { skew: 1.2 }, unsigned)?;
    compare("hot, unsigned", WorkloadKind::Hot, unsigned)?;
    let plain = Series { commutative: false, ..unsigned };
    compare("hot, unsigned, no commutative writes", WorkloadKind::Hot, plain)?;
    let signed = Series { signed: true, blocks: number("--signed-blocks", 8), ..unsigned };
    compare("uniform, signed", WorkloadKind::Uniform, signed)
}

/// What is the same for all contenders of one comparison.
#[derive(Clone, Copy)]
struct Series {
    signed: bool,
    commutative: bool,
    blocks: usize,
    block_size: usize,
}

fn compare(label: &str, kind: WorkloadKind, series: Series) -> Result<(), Box<dyn Error>> {
    let Series { signed, commutative, blocks, block_size } = series;
    if blocks == 0 {
        return Ok(());
    }
    let total = (blocks + WARM_UP) as u64;
    let config = WorkloadConfig { kind, accounts: 100_000, block_size, seed: 7, signed, blocks: total };
    let mut workload = Workload::new(config)?;
    let vm = LedgerVm::new(LedgerConfig { commutative, ..workload.ledger_config() });
    let genesis = workload.genesis()?;
    let state =
        || BaseState::with_entries(StateConfig::default(), genesis.iter().map(|(key, value)| (key, value)));
    let mut contenders = vec![Contender::new("sequential", Sequential::new(vm.clone(), state()?))];
    for shards in [1, 2] {
        let threads = ThreadsConfig { shards, ..ThreadsConfig::default() };
        contenders.push(Contender::new(
            &format!("threads {shards}"),
            Threads::launch(threads, vm.clone(), state()?)?,
        ));
        let processes =
            ProcessesConfig { shards, vm: bcs::to_bytes(&vm.config())?, ..ProcessesConfig::default() };
        let processes = Processes::launch(&processes, vm.clone(), state()?)?;
        contenders.push(Contender::new(&format!("processes {shards}"), processes));
        let block_stm = BlockStmConfig { threads: shards, ..BlockStmConfig::default() };
        let block_stm = BlockStm::launch(block_stm, vm.clone(), state()?)?;
        contenders.push(Contender::new(&format!("block-stm {shards}"), block_stm));
    }
    let mut prepare = Vec::new();
    for turn in 0..blocks + WARM_UP {
        let Some(block) = workload.next_block() else { break };
        let begun = Instant::now();
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &block)?);
        prepare.push(begun.elapsed().as_nanos() as f64 / block.transactions.len() as f64);
        let mut digest = None;
        for place in 0..contenders.len() {
            let count = contenders.len();
            let contender = &mut contenders[(place + turn) % count];
            let begun = Instant::now();
            let output = contender.executor.execute(&prepared, begun + Duration::from_secs(120))?;
            let spent = begun.elapsed();
            if *digest.get_or_insert(output.digest()) != output.digest() {
                return Err(format!("{} differs from the others in block {turn}", contender.name).into());
            }
            if turn >= WARM_UP {
                contender.note(spent, &output);
            }
        }
    }
    report(label, block_size, &prepare, &contenders);
    Ok(())
}

fn report(label: &str, block_size: usize, prepare: &[f64], contenders: &[Contender]) {
    println!(
        "\n{label}, blocks of {block_size}, ns per transaction (medians); prepare {:.0}",
        median(prepare)
    );
    println!(
        "{:<14}{:>9}{:>9}{:>9}{:>10}{:>9}   ratio to sequential [95 %]",
        "executor", "total", "plan", "execute", "validate", "commit"
    );
    for contender in contenders {
        let (low, middle, high) = ratio(&contenders[0].nanos, &contender.nanos);
        println!(
            "{:<14}{:>9.0}{:>9.0}{:>9.0}{:>10.0}{:>9.0}   {middle:.2} [{low:.2}, {high:.2}]",
            contender.name,
            median(&contender.nanos),
            median(&contender.plan),
            median(&contender.execute),
            median(&contender.validate),
            median(&contender.commit),
        );
    }
    for rivals in contenders[1..].chunks(3) {
        if let [threads, processes, block_stm] = rivals {
            for other in [threads, block_stm] {
                let (low, middle, high) = ratio(&other.nanos, &processes.nanos);
                println!("{} / {}: {middle:.2} [{low:.2}, {high:.2}]", processes.name, other.name);
            }
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Speed of `other` relative to `base` (above 1: faster): median over blocks and its 95 % bootstrap interval.
fn ratio(base: &[f64], other: &[f64]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = base.iter().zip(other).map(|(base, other)| base / other).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let place = usize::try_from(random % ratios.len().max(1) as u64).unwrap_or(0);
        ratios.get(place).copied().unwrap_or(f64::NAN)
    };
    let mut medians: Vec<f64> =
        (0..1_000).map(|_| median(&ratios.iter().map(|_| draw()).collect::<Vec<_>>())).collect();
    medians.sort_by(f64::total_cmp);
    (medians[25], median(&ratios), medians[975])
}
