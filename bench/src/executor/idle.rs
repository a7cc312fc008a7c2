//! Who wakes up while there is no block: shards, supervisor and coordinator should not.

use crate::executor::contender::BLOCK_LIMIT;
use crate::executor::error::ContenderError;
use crate::executor::{ExecutorOptions, IdleRow};
use crate::report::{Bound, Verdict};
use crate::{Workload, WorkloadConfig, WorkloadKind};
use phalanx::Phalanx;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEED: u64 = 17;
const ACCOUNTS: usize = 1_000;
const BLOCKS: u64 = 3;
const TARGET: Bound = Bound::AtMost(0.0);
/// Whoever still is on its way to sleep gets there.
const SETTLE: Duration = Duration::from_millis(100);

/// By process and thread: how often it was put on a core or taken off.
type Switches = BTreeMap<(i32, i32), u64>;

/// Counts over families of these sizes, one after the other, each after a few blocks.
pub(super) fn measure(options: &ExecutorOptions) -> Vec<IdleRow> {
    let span = if options.quick { Duration::from_millis(300) } else { Duration::from_secs(2) };
    let rows = options.shards.iter().map(|&shards| {
        let row = |at_work, idle: Option<u64>, error| IdleRow {
            shards,
            idle_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            at_work,
            idle,
            target: TARGET,
            verdict: idle.map_or(Verdict::Open, |idle| TARGET.judge(idle as f64)),
            error,
        };
        match run(shards, span) {
            Ok((at_work, idle)) => row(Some(at_work), Some(idle), None),
            Err(error) => row(None, None, Some(error.to_string())),
        }
    });
    rows.collect()
}

/// Switches while blocks were executed, and in `span` afterwards.
fn run(shards: usize, span: Duration) -> Result<(u64, u64), ContenderError> {
    let mut workload = Workload::new(WorkloadConfig {
        kind: WorkloadKind::Uniform,
        accounts: ACCOUNTS,
        block_size: 100 * shards,
        seed: SEED,
        signed: false,
        blocks: BLOCKS,
    })?;
    let config = workload.ledger_config();
    let vm = LedgerVm::new(config);
    let genesis = workload.genesis()?;
    let phalanx =
        Phalanx::builder(config).shards(shards).launch(genesis.iter().map(|(key, value)| (key, value)))?;
    let start = switches(&phalanx);
    while let Some(block) = workload.next_block() {
        let block = Arc::new(PreparedBlock::prepare(&vm, &block)?);
        phalanx.execute(&block, Instant::now() + BLOCK_LIMIT)?;
    }
    std::thread::sleep(SETTLE);
    let quiet = switches(&phalanx);
    std::thread::sleep(span);
    Ok((between(&start, &quiet), between(&quiet, &switches(&phalanx))))
}

fn between(before: &Switches, after: &Switches) -> u64 {
    // A thread that was not there before counts with all it did.
    after.iter().map(|(thread, count)| count - before.get(thread).copied().unwrap_or(0).min(*count)).sum()
}

/// Of all threads of shards and supervisor, and of the coordinator's thread in this process.
fn switches(phalanx: &Phalanx) -> Switches {
    let shards = phalanx.health().into_iter().map(|shard| shard.pid).filter(|&pid| pid != 0);
    let family = shards.chain(phalanx.supervisor().pid);
    let mut threads: Vec<(i32, i32)> =
        family.flat_map(|pid| threads_of(pid).into_iter().map(move |thread| (pid, thread))).collect();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let is_coordinator = |thread: &i32| {
        let name = std::fs::read_to_string(format!("/proc/{own}/task/{thread}/comm"));
        name.is_ok_and(|name| name.trim_end() == "phx-coordinator")
    };
    threads.extend(threads_of(own).into_iter().filter(is_coordinator).map(|thread| (own, thread)));
    threads.into_iter().filter_map(|at| Some((at, switches_of(at)?))).collect()
}

fn threads_of(pid: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn switches_of((pid, thread): (i32, i32)) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        name.ends_with("voluntary_ctxt_switches").then(|| count.trim().parse::<u64>().ok())?
    });
    Some(counts.sum())
}
