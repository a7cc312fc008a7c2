#![allow(missing_docs)]
use phalanx::executor::{BlockExecutor, Sequential};
use phalanx::state::{BaseState, StateConfig};
use phalanx::supervisor::{Processes, ProcessesConfig, SupervisorImage};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx_bench::MixedWorkload;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn processes_equal_sequential() {
    phalanx::telemetry::log_to_stderr("info");
    for seed in 0..10_u64 {
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
        let config = ProcessesConfig {
            shards,
            image: SupervisorImage::Path(env!("CARGO_BIN_EXE_phalanx-supervisor").into()),
            vm: bcs::to_bytes(&vm.config()).unwrap(),
            log: "info".into(),
            ..ProcessesConfig::default()
        };
        let begun = Instant::now();
        let mut processes = Processes::launch(&config, vm.clone(), state()).unwrap();
        println!("launch {:?}", begun.elapsed());
        for block in 0..6 {
            let block_in = workload.next_block(40 * (block + 1));
            let prepared = Arc::new(PreparedBlock::prepare(&vm, &block_in).unwrap());
            let deadline = Instant::now() + Duration::from_secs(20);
            let expected = oracle.execute(&prepared, deadline).unwrap();
            if block == 3 {
                let pid = processes.health()[0].pid;
                unsafe { libc_kill(pid, 9) };
            }
            let got = processes.execute(&prepared, deadline).unwrap();
            println!("{seed} {block} {:?}", got.stats());
            assert_eq!(
                expected.first_difference(&got).map(|d| d.to_string()),
                None,
                "SEED={seed} block {block}"
            );
        }
        println!("{:?}", processes.health());
    }
}
unsafe extern "C" {
    #[link_name = "kill"]
    fn libc_kill(pid: i32, sig: i32) -> i32;
}
