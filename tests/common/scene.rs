//! A ledger with random blocks, its oracle, and the executors to compare with it.

use super::deadline;
use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStm, BlockStmConfig, ExecuteError, MemoryConfig, Sequential, Threads,
    ThreadsConfig,
};
use phalanx::partition::ArenaLimits;
use phalanx::state::{BaseState, StateConfig};
use phalanx::supervisor::{Processes, ProcessesConfig, SupervisorImage};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::BuiltInVm;
use phalanx::vm::ledger::{Address, GenesisEntry, LedgerConfig, LedgerVm, Payload, RawTransaction};
use phalanx::{Phalanx, PhalanxBuilder};
use phalanx_bench::{MixedWorkload, WORKLOAD_CHAIN_ID};
use std::sync::Arc;

/// Sizes that are ample for every block here and cheap to map.
pub fn small_memory() -> MemoryConfig {
    MemoryConfig {
        arena: ArenaLimits {
            transactions: 1 << 14,
            transaction_bytes: 1 << 24,
            accesses: 1 << 19,
            keys: 1 << 17,
            key_bytes: 1 << 24,
            edges: 1 << 17,
        },
        state: StateConfig { max_entries: 1 << 16, heap_bytes: 1 << 24 },
        output_arena_bytes: 64 << 20,
        ring_budget_bytes: 4 << 20,
    }
}

/// One ledger: random blocks for it, and executors that start on its genesis.
pub struct Scene {
    pub workload: MixedWorkload,
    pub vm: LedgerVm,
    pub genesis: Vec<GenesisEntry>,
    pub memory: MemoryConfig,
}

impl Scene {
    pub fn new(seed: u64, accounts: usize, signed: bool) -> Scene {
        let workload = MixedWorkload::new(seed, accounts, signed).unwrap();
        let vm = LedgerVm::new(workload.ledger_config());
        Scene { genesis: workload.genesis(), vm, workload, memory: small_memory() }
    }

    /// The same ledger with every change of a number as a read and a plain write.
    pub fn without_commutative_writes(mut self) -> Scene {
        self.vm = LedgerVm::new(LedgerConfig { commutative: false, ..self.vm.config() });
        self
    }

    pub fn state(&self) -> BaseState {
        self.try_state().unwrap()
    }

    pub fn try_state(&self) -> Result<BaseState, ExecuteError> {
        let entries = self.genesis.iter().map(|(key, value)| (key, value));
        Ok(BaseState::with_entries(self.memory.state, entries)?)
    }

    pub fn oracle(&self) -> Sequential<LedgerVm> {
        Sequential::new(self.vm.clone(), self.state())
    }

    pub fn threads(&self, shards: usize) -> Threads {
        let config = ThreadsConfig { shards, memory: self.memory, ..ThreadsConfig::default() };
        Threads::launch(config, self.vm.clone(), self.state()).unwrap()
    }

    /// Threads whose outputs are taken as they are: the negative control.
    pub fn threads_without_validation(&self, shards: usize) -> Threads {
        let config =
            ThreadsConfig { shards, memory: self.memory, validation: false, ..ThreadsConfig::default() };
        Threads::launch(config, self.vm.clone(), self.state()).unwrap()
    }

    pub fn block_stm(&self, threads: usize) -> BlockStm {
        self.block_stm_as(BlockStmConfig { threads, ..BlockStmConfig::default() })
    }

    pub fn block_stm_as(&self, config: BlockStmConfig) -> BlockStm {
        BlockStm::launch(config, self.vm.clone(), self.state()).unwrap()
    }

    pub fn processes_config(&self, shards: usize) -> ProcessesConfig {
        ProcessesConfig {
            shards,
            image: Scene::image(),
            vm: BuiltInVm::Ledger(self.vm.config()).to_bytes(),
            memory: self.memory,
            log: "error".to_owned(),
            ..ProcessesConfig::default()
        }
    }

    pub fn processes(&self, shards: usize) -> Processes {
        Processes::launch(&self.processes_config(shards), self.vm.clone(), self.state()).unwrap()
    }

    pub fn builder(&self, shards: usize) -> PhalanxBuilder<LedgerVm> {
        Phalanx::builder(self.vm.config())
            .shards(shards)
            .supervisor_image(Scene::image())
            .memory(self.memory)
            .log("error")
    }

    pub fn launch(&self, builder: PhalanxBuilder<LedgerVm>) -> Phalanx {
        builder.launch(self.genesis.iter().map(|(key, value)| (key, value))).unwrap()
    }

    pub fn phalanx(&self, shards: usize) -> Phalanx {
        self.launch(self.builder(shards))
    }

    pub fn image() -> SupervisorImage {
        SupervisorImage::Path(env!("CARGO_BIN_EXE_phalanx-supervisor").into())
    }

    pub fn prepare(&self, block: &Block) -> Arc<PreparedBlock> {
        Arc::new(PreparedBlock::prepare(&self.vm, block).unwrap())
    }

    /// Random blocks of these sizes with right hints, and what the oracle makes of them.
    pub fn expected(
        &mut self,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Vec<(Arc<PreparedBlock>, BlockOutput)> {
        let mut oracle = self.oracle();
        let blocks: Vec<Block> = sizes.into_iter().map(|size| self.workload.next_block(size)).collect();
        blocks
            .iter()
            .map(|block| {
                let prepared = self.prepare(block);
                let output = oracle.execute(&prepared, deadline()).unwrap();
                (prepared, output)
            })
            .collect()
    }
}

/// The oracle's word against the executor's.
pub fn assert_same(expected: &BlockOutput, got: &BlockOutput, context: &str) {
    if let Some(difference) = expected.first_difference(got) {
        panic!("{context}: {difference} is not that of sequential execution; {:?}", got.stats());
    }
}

/// A transfer, or with `create` the creation of the recipient's account.
pub fn transfer(
    from: Address,
    sequence_number: u64,
    to: Address,
    amount: u64,
    create: bool,
) -> RawTransaction {
    RawTransaction {
        chain_id: WORKLOAD_CHAIN_ID,
        sender: from,
        sequence_number,
        max_gas: 100_000,
        gas_price: 1,
        expiration_s: u64::MAX,
        payload: if create {
            Payload::CreateAccount { account: to, balance: amount }
        } else {
            Payload::Transfer { to, amount }
        },
    }
}
