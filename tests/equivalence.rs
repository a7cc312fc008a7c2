#![allow(missing_docs)]
use phalanx::executor::{BlockExecutor, MemoryConfig, Sequential, Threads, ThreadsConfig};
use phalanx::state::{BaseState, StateConfig};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::MixedWorkload;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn threads_equal_sequential() {
    for seed in 0..30_u64 {
        let mut workload = MixedWorkload::new(seed, 12, false).unwrap();
        let vm = LedgerVm::new(workload.ledger_config());
        let genesis: Vec<_> = workload.genesis();
        let state = || {
            BaseState::with_entries(
                StateConfig { max_entries: 1 << 16, heap_bytes: 1 << 24 },
                genesis.iter().map(|(k, v)| (k, v)),
            )
            .unwrap()
        };
        let mut oracle = Sequential::new(vm.clone(), state());
        let shards = 1 + (seed as usize % 6);
        let config = ThreadsConfig { shards, memory: MemoryConfig::default(), ..ThreadsConfig::default() };
        let mut threads = Threads::launch(config, vm.clone(), state()).unwrap();
        for block in 0..5 {
            let block_in = workload.next_block(40 * (block + 1));
            let prepared = Arc::new(PreparedBlock::prepare(&vm, &block_in).unwrap());
            let deadline = Instant::now() + Duration::from_secs(20);
            let expected = oracle.execute(&prepared, deadline).unwrap();
            let got = threads.execute(&prepared, deadline).unwrap();
            println!("{seed} {block} {:?}", got.stats());
            assert_eq!(
                expected.first_difference(&got).map(|d| d.to_string()),
                None,
                "SEED={seed} block {block}"
            );
        }
    }
}
