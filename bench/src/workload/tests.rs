//! Workloads must be the same on every run and what they claim to be; a generator that drifts makes every measurement
//! after it worthless.

use super::model::Model;
use super::trace::Trace;
use super::*;
use phalanx::types::{Block, StatusCode};
use phalanx::vm::Vm;
use phalanx::vm::ledger::{LedgerStatus, LedgerVm, Payload, SignatureMode, SignedTransaction};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

const KINDS: [WorkloadKind; 3] = [WorkloadKind::Uniform, WorkloadKind::Zipf { skew: 1.1 }, WorkloadKind::Hot];

fn config(kind: WorkloadKind, signed: bool) -> WorkloadConfig {
    WorkloadConfig { kind, accounts: 50, block_size: 200, seed: 11, signed, blocks: 3 }
}

fn blocks_of(workload: &mut Workload) -> Vec<Block> {
    std::iter::from_fn(|| workload.next_block()).collect()
}

fn decoded(block: &Block) -> Vec<SignedTransaction> {
    block.transactions.iter().map(|bytes| SignedTransaction::decode(bytes).unwrap()).collect()
}

/// Executes blocks one transaction after the other and counts the statuses.
fn statuses(vm: &mut LedgerVm, model: &mut Model, blocks: &[Block]) -> BTreeMap<LedgerStatus, usize> {
    let mut counts = BTreeMap::new();
    for block in blocks {
        vm.begin_block(&block.header);
        for transaction in &block.transactions {
            let code = vm.execute(transaction, model).status;
            *counts.entry(LedgerStatus::from_code(code).unwrap()).or_default() += 1;
        }
    }
    counts
}

/// Runs the whole workload; every transaction must succeed. Returns its blocks.
fn assert_all_succeed(mut workload: Workload) -> Vec<Block> {
    let blocks = blocks_of(&mut workload);
    let mut model = Model::new(workload.genesis().unwrap());
    let counts = statuses(&mut LedgerVm::new(workload.ledger_config()), &mut model, &blocks);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&LedgerStatus::Success], "{counts:?}");
    blocks
}

#[test]
fn the_same_seed_gives_the_same_blocks_and_another_seed_others() {
    for kind in KINDS {
        let mut first = Workload::new(config(kind.clone(), false)).unwrap();
        let mut again = Workload::new(config(kind.clone(), false)).unwrap();
        let mut other = Workload::new(WorkloadConfig { seed: 12, ..config(kind, false) }).unwrap();
        let blocks = blocks_of(&mut first);
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks, blocks_of(&mut again));
        assert_eq!(first.genesis().unwrap(), again.genesis().unwrap());
        assert_ne!(blocks, blocks_of(&mut other));
    }
}

#[test]
fn every_transfer_of_every_kind_succeeds_in_order() {
    for kind in KINDS {
        let blocks = assert_all_succeed(Workload::new(config(kind, false)).unwrap());
        assert!(blocks.iter().all(|block| block.transactions.len() == 200));
        let mut next: HashMap<_, u64> = HashMap::new();
        for transaction in blocks.iter().flat_map(decoded) {
            let expected = next.entry(transaction.raw.sender).or_default();
            assert_eq!(transaction.raw.sequence_number, *expected);
            *expected += 1;
            let Payload::Transfer { to, .. } = transaction.raw.payload else { panic!("not a transfer") };
            assert_ne!(to, transaction.raw.sender);
        }
    }
}

#[test]
fn a_batch_pays_so_many_different_accounts_and_succeeds() {
    let kind = WorkloadKind::Batch { recipients: 8 };
    let blocks = assert_all_succeed(Workload::new(config(kind, false)).unwrap());
    assert_eq!(blocks.len(), 3);
    for transaction in blocks.iter().flat_map(decoded) {
        let Payload::BatchTransfer { recipients } = transaction.raw.payload else { panic!("not a batch") };
        let different: HashSet<_> = recipients.iter().map(|(to, _)| to).collect();
        assert_eq!((recipients.len(), different.len()), (8, 8));
        assert!(!different.contains(&transaction.raw.sender));
    }
    let few = WorkloadConfig { accounts: 8, ..config(WorkloadKind::Batch { recipients: 8 }, false) };
    assert!(matches!(Workload::new(few), Err(WorkloadError::TooFewAccounts { accounts: 8 })));
}

#[test]
fn a_looped_trace_never_ends_and_every_transfer_succeeds() {
    let directory = std::env::temp_dir().join(format!("phalanx-looped-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("trace.csv");
    let rows =
        format!("7,0,{ALICE},{BOB},{max}\n7,1,{BOB},{ALICE},{max}\n8,0,{ALICE},{BOB},5\n", max = u128::MAX);
    std::fs::write(&path, format!("block,index,from,to,value_wei\n{rows}")).unwrap();
    let workload = Workload::new(config(WorkloadKind::LoopedTrace(path), false));
    std::fs::remove_dir_all(&directory).unwrap();
    let blocks = assert_all_succeed(workload.unwrap());
    assert!(blocks.len() == 3 && blocks.iter().all(|block| block.transactions.len() == 200));
}

#[test]
fn signed_blocks_carry_signatures_that_hold() {
    let workload = Workload::new(config(WorkloadKind::Uniform, true)).unwrap();
    assert_eq!(workload.ledger_config().signatures, SignatureMode::Verify);
    assert_all_succeed(workload);
}

#[test]
fn a_hot_workload_pays_one_account_and_a_skewed_one_favours_few() {
    let recipients = |kind: WorkloadKind| {
        let mut counts: HashMap<_, usize> = HashMap::new();
        for transaction in
            blocks_of(&mut Workload::new(config(kind, false)).unwrap()).iter().flat_map(decoded)
        {
            let Payload::Transfer { to, .. } = transaction.raw.payload else { panic!("not a transfer") };
            *counts.entry(to).or_default() += 1;
        }
        let most = *counts.values().max().unwrap();
        (counts.len(), most)
    };
    assert_eq!(recipients(WorkloadKind::Hot), (1, 600));
    let (_, uniform) = recipients(WorkloadKind::Uniform);
    let (_, skewed) = recipients(WorkloadKind::Zipf { skew: 1.1 });
    assert!(uniform < 40 && skewed > 60, "uniform {uniform}, skewed {skewed}");
}

#[test]
fn derived_accounts_do_not_depend_on_how_many_are_derived() {
    for signed in [false, true] {
        let few = Accounts::derive(5, 10, signed);
        let many = Accounts::derive(5, 1_000, signed);
        assert_eq!(few.addresses(), &many.addresses()[..10]);
        assert_eq!(many.addresses().iter().collect::<HashSet<_>>().len(), 1_000);
        assert_eq!(many.key(0).is_some(), signed);
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |config: WorkloadConfig| Workload::new(config).unwrap_err();
    let uniform = config(WorkloadKind::Uniform, false);
    let lonely = refused(WorkloadConfig { accounts: 1, ..uniform.clone() });
    assert!(matches!(lonely, WorkloadError::TooFewAccounts { accounts: 1 }));
    assert!(matches!(refused(WorkloadConfig { block_size: 0, ..uniform }), WorkloadError::EmptyBlocks));
    for skew in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(config(WorkloadKind::Zipf { skew }, false));
        assert!(matches!(error, WorkloadError::BadSkew { .. }));
    }
    let missing = refused(config(WorkloadKind::Trace(PathBuf::from("no/such/file.csv")), false));
    assert!(missing.to_string().contains("no/such/file.csv"), "{missing}");
}

const ALICE: &str = "0x00000000000000000000000000000000000000a1";
const BOB: &str = "0x00000000000000000000000000000000000000B0";

fn read(rows: &str) -> Result<Trace, WorkloadError> {
    Trace::read(format!("block,index,from,to,value_wei\n{rows}").as_bytes(), Path::new("t.csv"))
}

#[test]
fn a_trace_numbers_accounts_as_they_come_and_scales_amounts() {
    let mut trace = read(&format!(
        "7,0,{BOB},{ALICE},2999999999999\n7,1,{ALICE},{BOB},340282366920938463463374607431768211455\n"
    ))
    .unwrap();
    assert_eq!(trace.accounts, 2);
    trace.cap(1_000);
    let rows: Vec<_> = trace.transfers.iter().map(|row| (row.from, row.to, row.amount)).collect();
    assert_eq!(rows, [(0, 1, 2), (1, 0, 1_000)]);
}

#[test]
fn a_bad_row_is_named_by_its_line() {
    let good = format!("7,0,{ALICE},{BOB},1\n");
    let cases = [
        (format!("7,1,0x12,{BOB},1"), "from is \"0x12\""),
        (format!("7,1,{ALICE},{}g,1", &BOB[..41]), "to is"),
        (format!("7,1,{ALICE},{BOB},-1"), "value_wei is \"-1\""),
        (format!("x,1,{ALICE},{BOB},1"), "block is \"x\""),
        (format!("7,1,{ALICE},{BOB}"), "fields"),
    ];
    for (row, said) in cases {
        let error = read(&format!("{good}{row}\n")).unwrap_err();
        assert!(matches!(error, WorkloadError::TraceRow { line: 3, .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(matches!(read("").unwrap_err(), WorkloadError::TraceEmpty { .. }));
    let other = Trace::read(&b"a,b\n"[..], Path::new("t.csv")).unwrap_err();
    assert!(matches!(other, WorkloadError::TraceRow { line: 1, .. }), "{other}");
}

#[test]
fn a_recorded_trace_replays_without_a_failure_and_then_ends() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/ethereum_transfers.csv");
    let path = std::env::var_os("PHALANX_TRACE").map_or(default, PathBuf::from);
    if !path.exists() {
        eprintln!("not run: there is no trace at {}; name one in PHALANX_TRACE", path.display());
        return;
    }
    let rows = Trace::open(&path).unwrap().transfers.len();
    let kind = WorkloadKind::Trace(path);
    let workload = Workload::new(WorkloadConfig { blocks: u64::MAX, ..config(kind, false) }).unwrap();
    let blocks = assert_all_succeed(workload);
    assert_eq!(blocks.iter().map(|block| block.transactions.len()).sum::<usize>(), rows);
    assert_eq!(blocks.len(), rows.div_ceil(200));
}

#[test]
fn mixed_blocks_are_the_same_for_the_same_seed() {
    let blocks = |seed| {
        let mut mixed = MixedWorkload::new(seed, 6, false).unwrap();
        (mixed.genesis(), (0..3).map(|_| mixed.next_block(100)).collect::<Vec<_>>())
    };
    assert_eq!(blocks(1), blocks(1));
    assert_ne!(blocks(1), blocks(2));
}

/// What once broke: the largest account gave everything away, after which nothing could overflow and nearly half of
/// the transactions failed for want of gas money.
#[test]
fn mixed_blocks_reach_every_status_and_mostly_succeed() {
    for signed in [false, true] {
        let mut mixed = MixedWorkload::new(3, 8, signed).unwrap();
        let mut model = Model::new(mixed.genesis());
        let blocks: Vec<Block> = (0..40).map(|_| mixed.next_block(150)).collect();
        let counts = statuses(&mut LedgerVm::new(mixed.ledger_config()), &mut model, &blocks);
        let missing: Vec<&LedgerStatus> = LedgerStatus::ALL
            .iter()
            .filter(|status| !counts.contains_key(status))
            .filter(|&&status| status != LedgerStatus::StateFault)
            .filter(|&&status| signed || status != LedgerStatus::BadSignature)
            .collect();
        assert!(missing.is_empty(), "signed {signed}: never reached {missing:?} in {counts:?}");
        assert!(counts[&LedgerStatus::Success] > 6_000 / 3, "signed {signed}: {counts:?}");
    }
}

#[test]
fn a_created_account_is_used_in_the_block_that_creates_it() {
    let mut mixed = MixedWorkload::new(9, 4, false).unwrap();
    let mut used = 0;
    let mut vm = LedgerVm::new(mixed.ledger_config());
    let mut model = Model::new(mixed.genesis());
    for _ in 0..10 {
        let block = mixed.next_block(200);
        vm.begin_block(&block.header);
        let mut created = HashSet::new();
        for bytes in &block.transactions {
            let success = vm.execute(bytes, &mut model).status == StatusCode::SUCCESS;
            let Ok(SignedTransaction { raw, .. }) = SignedTransaction::decode(bytes) else {
                continue;
            };
            used += usize::from(success && created.contains(&raw.sender));
            if let Payload::Transfer { to, .. } = &raw.payload {
                used += usize::from(success && created.contains(to));
            } else if let (Payload::CreateAccount { account, .. }, true) = (raw.payload, success) {
                created.insert(account);
            }
        }
    }
    assert!(used > 10, "{used} uses");
}
