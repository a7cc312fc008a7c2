//! Embedding in a host that already runs threads and an async runtime: submit, do something else, wait.
//!
//! Run with `cargo run --release --example async_host`. Ends with code 1 when a block fails.
#![deny(unsafe_code)]

use phalanx::Phalanx;
use phalanx::executor::{BlockOutput, ExecuteError};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// More than any of these blocks needs, on any host.
const DEADLINE: Duration = Duration::from_secs(30);
/// Blocks submitted and not waited for yet: the second is planned while the first executes.
const IN_FLIGHT: usize = 2;

type Failure = Box<dyn Error + Send + Sync>;
type Waiting = JoinHandle<Result<BlockOutput, ExecuteError>>;

fn main() -> Result<(), Failure> {
    // First, before the runtime and any other thread: the supervisor of the shards is this same program, started
    // again. The shards are forked from it, never from this process with its threads.
    phalanx::supervisor_entry();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(host())
}

async fn host() -> Result<(), Failure> {
    let ticks = Arc::new(AtomicU64::new(0));
    let ticker = tokio::spawn(tick(Arc::clone(&ticks)));

    let mut workload = Workload::new(WorkloadConfig {
        kind: WorkloadKind::Zipf { skew: 1.0 },
        accounts: 1_000,
        block_size: 1_000,
        seed: 2,
        signed: true,
        blocks: 6,
    })?;
    let vm = LedgerVm::new(workload.ledger_config());
    let (builder, genesis) = (Phalanx::builder(workload.ledger_config()).shards(2), workload.genesis()?);
    // Everything that blocks the calling thread goes to the runtime's threads for that: so do launch and shutdown.
    let phalanx = Arc::new(tokio::task::spawn_blocking(move || builder.launch(genesis)).await??);

    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    while let Some(block) = workload.next_block() {
        if waiting.len() == IN_FLIGHT {
            finish(&mut waiting).await?;
        }
        let block = Arc::new(PreparedBlock::prepare(&vm, &block)?);
        let handle = phalanx.submit(&block, Instant::now() + DEADLINE)?;
        waiting.push_back(tokio::task::spawn_blocking(move || handle.wait()));
    }
    while !waiting.is_empty() {
        finish(&mut waiting).await?;
    }

    for (shard, health) in phalanx.health().iter().enumerate() {
        println!(
            "shard {shard}: pid {}, generation {}, ready {}, executed {}",
            health.pid, health.generation, health.ready, health.executed
        );
    }
    println!(
        "{} blocks, {} ticks of the host meanwhile",
        phalanx.stats().blocks,
        ticks.load(Ordering::Relaxed)
    );
    ticker.abort();
    // The last owner's drop ends the processes and waits for them.
    tokio::task::spawn_blocking(move || drop(phalanx)).await?;
    Ok(())
}

/// Waits for the oldest block.
async fn finish(waiting: &mut VecDeque<Waiting>) -> Result<(), Failure> {
    if let Some(oldest) = waiting.pop_front() {
        let output = oldest.await??;
        println!("block {}: {} transactions, digest {}", output.height(), output.len(), output.digest());
    }
    Ok(())
}

/// What the host does besides.
async fn tick(ticks: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        ticks.fetch_add(1, Ordering::Relaxed);
    }
}
