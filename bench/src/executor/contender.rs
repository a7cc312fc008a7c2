//! One executor that takes part: how it is started, what it does in its turn, what is measured meanwhile.

use crate::executor::ExecutorName;
use crate::executor::error::ContenderError;
use crate::executor::usage::{OwnMemory, anonymous_of_all, cpu_with, on_huge_pages};
use phalanx::Phalanx;
use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStats, BlockStm, BlockStmConfig, ExecuteError, Sequential, Threads,
    ThreadsConfig,
};
use phalanx::partition::CostModel;
use phalanx::state::{BaseState, StateConfig, StateDigest};
use phalanx::supervisor::{Processes, ProcessesConfig, ShardHealth, SupervisorHealth};
use phalanx::topology::IdleLatency;
use phalanx::types::PreparedBlock;
use phalanx::vm::BuiltInVm;
use phalanx::vm::ledger::{GenesisEntry, LedgerVm};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far more than any block takes: what is late is broken.
pub(super) const BLOCK_LIMIT: Duration = Duration::from_secs(300);

/// All contenders are there at once, and a bound holds for the whole host: nobody asks for one.
const IDLE_LATENCY: IdleLatency = IdleLatency::Any;

/// Blocks of a turn that are executed before the clock is started, and after it is stopped: with planning ahead, all
/// blocks on the clock are then planned while another one executes, and one is planned for each.
pub(super) const RUN_IN: usize = 1;
pub(super) const RUN_OUT: usize = 1;

/// What one turn came to: sums over its blocks on the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) transactions: u64,
    pub(super) blocks: u64,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) stats: BlockStats,
}

impl Sample {
    /// Nanoseconds per transaction.
    pub(super) fn per_transaction(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.transactions.max(1) as f64
    }

    pub(super) fn total_ns(&self) -> f64 {
        self.per_transaction(self.wall)
    }

    pub(super) fn transactions_per_s(&self) -> f64 {
        self.transactions as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

enum Engine {
    Sequential(Box<Sequential<LedgerVm>>),
    Threads(Box<Threads>),
    BlockStm(Box<BlockStm>),
    Processes(Box<Processes>),
    Ahead(Phalanx),
}

impl Engine {
    fn start(
        executor: ExecutorName,
        shards: usize,
        vm: &LedgerVm,
        genesis: &[GenesisEntry],
    ) -> Result<Engine, ContenderError> {
        Ok(match executor {
            ExecutorName::Sequential => {
                Engine::Sequential(Box::new(Sequential::new(vm.clone(), first_state(genesis)?)))
            }
            ExecutorName::Threads => {
                let config = ThreadsConfig { shards, idle_latency: IDLE_LATENCY, ..ThreadsConfig::default() };
                Engine::Threads(Box::new(Threads::launch(config, vm.clone(), first_state(genesis)?)?))
            }
            ExecutorName::BlockStm => {
                let config = BlockStmConfig {
                    threads: shards,
                    idle_latency: IDLE_LATENCY,
                    ..BlockStmConfig::default()
                };
                Engine::BlockStm(Box::new(BlockStm::launch(config, vm.clone(), first_state(genesis)?)?))
            }
            ExecutorName::Processes => {
                Engine::Processes(Box::new(processes(shards, CostModel::default(), vm, genesis)?))
            }
            ExecutorName::ProcessesAhead => {
                let builder = Phalanx::builder(vm.config()).shards(shards).idle_latency(IDLE_LATENCY);
                Engine::Ahead(builder.launch(genesis.iter().map(|(key, value)| (key, value)))?)
            }
        })
    }

    /// Its processes beside this one.
    fn family(&self) -> Vec<i32> {
        match self {
            Engine::Sequential(_) | Engine::Threads(_) | Engine::BlockStm(_) => Vec::new(),
            Engine::Processes(processes) => family(&processes.health(), processes.supervisor()),
            Engine::Ahead(phalanx) => family(&phalanx.health(), phalanx.supervisor()),
        }
    }

    /// Executes blocks one after the other and calls `after` when each is done.
    fn execute(
        &mut self,
        blocks: &[Arc<PreparedBlock>],
        mut after: impl FnMut(BlockOutput),
    ) -> Result<(), ExecuteError> {
        let one_by_one: &mut dyn BlockExecutor = match self {
            Engine::Sequential(sequential) => sequential.as_mut(),
            Engine::Threads(threads) => threads.as_mut(),
            Engine::BlockStm(block_stm) => block_stm.as_mut(),
            Engine::Processes(processes) => processes.as_mut(),
            Engine::Ahead(phalanx) => return submit_all(phalanx, blocks, after),
        };
        for block in blocks {
            after(one_by_one.execute(block, Instant::now() + BLOCK_LIMIT)?);
        }
        Ok(())
    }
}

/// Keeps one block waiting behind the one that executes.
fn submit_all(
    phalanx: &Phalanx,
    blocks: &[Arc<PreparedBlock>],
    mut after: impl FnMut(BlockOutput),
) -> Result<(), ExecuteError> {
    let submit = |block| phalanx.submit(block, Instant::now() + BLOCK_LIMIT);
    let mut executing = None;
    for block in blocks {
        let next = submit(block)?;
        if let Some(handle) = executing.replace(next) {
            // Dropped on an error, the others are given up with the executor.
            let handle: phalanx::BlockHandle = handle;
            after(handle.wait()?);
        }
    }
    executing.map_or(Ok(()), |last| last.wait().map(after))
}

/// A process executor with these costs of communication.
pub(super) fn processes(
    shards: usize,
    costs: CostModel,
    vm: &LedgerVm,
    genesis: &[GenesisEntry],
) -> Result<Processes, ContenderError> {
    let config = ProcessesConfig {
        shards,
        costs,
        idle_latency: IDLE_LATENCY,
        vm: BuiltInVm::Ledger(vm.config()).to_bytes(),
        ..ProcessesConfig::default()
    };
    Ok(Processes::launch(&config, vm.clone(), first_state(genesis)?)?)
}

fn first_state(genesis: &[GenesisEntry]) -> Result<BaseState, ContenderError> {
    let entries = genesis.iter().map(|(key, value)| (key, value));
    Ok(BaseState::with_entries(StateConfig::default(), entries)?)
}

fn family(shards: &[ShardHealth], supervisor: SupervisorHealth) -> Vec<i32> {
    let shards = shards.iter().map(|shard| shard.pid).filter(|&pid| pid != 0);
    shards.chain(supervisor.pid).collect()
}

/// An executor that takes part in a setting.
pub(super) struct Contender {
    pub(super) executor: ExecutorName,
    pub(super) shards: usize,
    /// None once it failed: its state is behind the others'.
    engine: Option<Engine>,
    /// One per measured round.
    pub(super) samples: Vec<Sample>,
    pub(super) error: Option<String>,
    /// What its turns have added to this process, in bytes.
    own_growth: i64,
    /// The most that its family had at the end of a turn, in bytes.
    pub(super) memory_peak: Option<u64>,
    /// Of its shared memory, what lies on huge pages, in bytes.
    pub(super) huge: u64,
}

impl Contender {
    pub(super) fn start(
        executor: ExecutorName,
        shards: usize,
        vm: &LedgerVm,
        genesis: &[GenesisEntry],
    ) -> Contender {
        let (before, huge_before) = (OwnMemory::now(), on_huge_pages());
        let engine = Engine::start(executor, shards, vm, genesis);
        let own_growth = OwnMemory::now().growth_since(before);
        let (engine, error) = match engine {
            Ok(engine) => (Some(engine), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let huge = on_huge_pages().saturating_sub(huge_before);
        Contender {
            executor,
            shards,
            engine,
            samples: Vec::new(),
            error,
            own_growth,
            memory_peak: None,
            huge,
        }
    }

    /// Executes the blocks, those between [`RUN_IN`] and [`RUN_OUT`] on the clock. Returns the state digest after each block;
    /// none if it is out of the race.
    ///
    /// # Errors
    /// What the executor failed with; it is out of the race then.
    pub(super) fn turn(
        &mut self,
        blocks: &[Arc<PreparedBlock>],
        measured: bool,
    ) -> Result<Option<Vec<StateDigest>>, ExecuteError> {
        let Some(engine) = &mut self.engine else { return Ok(None) };
        let before = OwnMemory::now();
        let family = engine.family();
        let mut outputs = Vec::with_capacity(blocks.len());
        let (mut on, mut off) = (None, None);
        let executed = engine.execute(blocks, |output| {
            outputs.push(output);
            if outputs.len() == RUN_IN {
                on = Some((Instant::now(), cpu_with(&family)));
            } else if outputs.len() + RUN_OUT == blocks.len() {
                off = Some((Instant::now(), cpu_with(&family)));
            }
        });
        let after = OwnMemory::now();
        self.own_growth += after.growth_since(before);
        let peak = u64::try_from(self.own_growth).unwrap_or(0) + anonymous_of_all(&engine.family());
        if let Err(error) = executed {
            self.engine = None;
            self.error = Some(error.to_string());
            return Err(error);
        }
        self.memory_peak = self.memory_peak.max(Some(peak));
        if let (true, Some((on, cpu_on)), Some((off, cpu_off))) = (measured, on, off) {
            let timed = outputs.get(RUN_IN..outputs.len() - RUN_OUT).unwrap_or_default();
            let mut sample = Sample {
                wall: off.saturating_duration_since(on),
                cpu: cpu_off.saturating_sub(cpu_on),
                ..Sample::default()
            };
            for output in timed {
                sample.transactions += output.len() as u64;
                sample.blocks += 1;
                sample.stats.add(output.stats());
            }
            self.samples.push(sample);
        }
        let digests = outputs.iter().map(BlockOutput::digest).collect();
        drop(outputs);
        self.own_growth += OwnMemory::now().growth_since(after);
        Ok(Some(digests))
    }

    /// Ends its threads or processes and gives its memory back.
    pub(super) fn end(&mut self) {
        self.engine = None;
    }

    /// One value per measured round.
    pub(super) fn values(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(value).collect()
    }
}
