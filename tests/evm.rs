//! The EVM on hand-made blocks: whatever executes them, receipts and all accounts afterwards are those that revm alone
//! leaves, under the rules of every spec.
//!
//! What would break: a balance, a nonce or the existence of an account that decided something and is not validated;
//! destroyed storage that comes back with a re-created contract; a touched empty account that stays or goes wrongly.
//! Negative controls run: with BALANCE not noted the test of threads fails; with the life of destroyed storage not ended it
//! fails by the gas of a re-created contract; without the mark of empty accounts before Spurious Dragon all three fail.
//!
//! A contract that goes: what would break is a bare account left by a call that saw the code gone and the nonce not yet, or the other way
//! round. Negative control run: without the nonce noted in `Settlement::decided_by_nonce` the test of it fails at once.
//!
//! Calls of the protocol: what would break is a limit that is not that of the standard, or an outcome that depends on what the same
//! thread executed before. Negative controls run: with the limit that revm gives them, and with precompiles left as they are, their tests fail.
//!
//! Code of the form of a delegation: what would break is code that is read as one before Prague, or otherwise by whoever made it or
//! kept it. Negative controls run: read as one from Homestead on, and with both forms kept by the machine, it fails.
//!
//! Access lists: what would break is a foreseen value that is believed without being compared, or that nobody sees, so that
//! transactions wait or are executed again although the list is right. Negative control run: with the same code foreseen once
//! for each of its accounts, in the order of the accounts instead of the block's, the one-round test fails for many seeds.
//!
//! Foreseen nonces: what would break is a sender's transfers that wait for each other, or a gap in their nonces that nobody
//! notices because each nonce was taken from its own transaction. Negative controls run: with nothing foreseen, and with nonces
//! one too high, it fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

mod common;

use common::ethereum::{
    BENEFICIARY, SPECS, TRANSACTIONS, assert_equal, block, expected, list_of, seeds, sender, state, with_list,
};
use common::{Dice, assert_same, deadline, seed};
use phalanx::executor::{
    BlockExecutor, BlockOutput, BlockStm, BlockStmConfig, Sequential, Threads, ThreadsConfig,
};
use phalanx::supervisor::{Processes, ProcessesConfig, SupervisorImage};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::BuiltInVm;
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use phalanx::vm::evm::{EvmAccount, EvmConfig, EvmStatus, EvmTransaction, EvmVm};
use phalanx_bench::ethereum::{BlockAccessList, EthereumBlock, Field, Outcome};
use std::path::Path;
use std::sync::Arc;

#[test]
fn one_after_the_other_every_spec_comes_to_what_revm_alone_leaves() {
    for seed in seeds(8) {
        for spec in SPECS {
            let (block, what) = (block(seed, spec), format!("PHALANX_SEED={seed} {spec:?}"));
            let mut sequential = Sequential::new(EvmVm::new(EvmConfig::default()), state(&block));
            assert_equal(&block, &mut sequential, &expected(&block, &what), &what);
        }
    }
}

#[test]
fn threads_and_optimistic_threads_come_to_the_same() {
    for seed in seeds(2) {
        for spec in SPECS {
            let (block, what) = (block(seed, spec), format!("PHALANX_SEED={seed} {spec:?}"));
            let (expected, vm) = (expected(&block, &what), EvmVm::new(EvmConfig::default()));
            let config = ThreadsConfig { shards: 3, ..ThreadsConfig::default() };
            let mut threads = Threads::launch(config, vm.clone(), state(&block)).unwrap();
            assert_equal(&block, &mut threads, &expected, &format!("threads, {what}"));
            let config = BlockStmConfig { threads: 3, ..BlockStmConfig::default() };
            let mut block_stm = BlockStm::launch(config, vm, state(&block)).unwrap();
            assert_equal(&block, &mut block_stm, &expected, &format!("block-stm, {what}"));
        }
    }
}

#[test]
fn calls_of_a_contract_that_goes_leave_what_they_leave_one_after_the_other() {
    let gone = Address::repeat_byte(0x99);
    let vm = EvmVm::new(EvmConfig::default());
    for spec in
        [SpecId::FRONTIER, SpecId::HOMESTEAD, SpecId::TANGERINE, SpecId::SPURIOUS_DRAGON, SpecId::LONDON]
    {
        let mut block = block(seed(), spec);
        // Who earns nothing comes into being with the first transaction: all others are executed again.
        block.accounts.retain(|(account, _)| *account != BENEFICIARY && *account != sender(2));
        block.accounts.push((sender(2), EvmAccount { balance: U256::ONE << 200, ..EvmAccount::default() }));
        // ADDRESS SELFDESTRUCT: the first call takes it away, all others touch what is not there.
        let code = Bytes::from_static(&[0x30, 0xff]);
        block
            .accounts
            .push((gone, EvmAccount { balance: U256::ONE, nonce: 1, code, ..EvmAccount::default() }));
        let call = |from: usize, gas_limit: u64| TxEnv {
            caller: sender(from),
            kind: TxKind::Call(gone),
            gas_limit,
            ..TxEnv::default()
        };
        // The first one runs out of gas; limits are such that the last two are not put where the second one is.
        let create = TxEnv { kind: TxKind::Create, nonce: 1, ..call(0, 184_421) };
        block.file.transactions = vec![call(0, 25_092), call(1, 323_652), create, call(2, 121_796)];
        block.file.context.base_fee = 0;
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &block.block()).unwrap());
        let right = Sequential::new(vm.clone(), state(&block)).execute(&prepared, deadline()).unwrap();
        for turn in 0..20 {
            let config = ThreadsConfig { shards: 2 + turn % 3, ..ThreadsConfig::default() };
            let mut threads = Threads::launch(config, vm.clone(), state(&block)).unwrap();
            let output = threads.execute(&prepared, deadline()).unwrap();
            assert_eq!(right.first_difference(&output), None, "{spec:?}, turn {turn}");
        }
    }
}

/// Code that uses about so much gas, by memory: MSTORE8 at the end of as many words as that pays for.
fn burning(gas: u64) -> Bytes {
    let words = (1..1_u32 << 20).take_while(|&words| {
        let words = u64::from(words);
        3 * words + words * words / 512 <= gas
    });
    let end = words.last().unwrap() * 32 - 1;
    [&[0x60, 1, 0x63][..], &end.to_be_bytes(), &[0x53, 0]].concat().into()
}

#[test]
fn a_call_of_the_protocol_may_use_thirty_million_gas_and_no_more() {
    let contract = Address::repeat_byte(0x98);
    let item = EvmTransaction::System { contract, input: Bytes::new() };
    for (gas, status) in [(29_990_000, EvmStatus::Success), (30_005_000, EvmStatus::Halted)] {
        let mut block = block(seed(), SpecId::PRAGUE);
        let code = burning(gas);
        block.accounts.push((contract, EvmAccount { nonce: 1, code, ..EvmAccount::default() }));
        let called = Block { transactions: vec![item.encode()], ..block.block() };
        let vm = EvmVm::new(EvmConfig::default());
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &called).unwrap());
        let output = Sequential::new(vm, state(&block)).execute(&prepared, deadline()).unwrap();
        let found = output.transactions().next().map(|one| one.status());
        assert_eq!(found, Some(status.code()), "with code that uses {gas}");
    }
}

/// What a call of the protocol leaves under some rules, on a thread that executed users' transactions under others before, or nothing:
/// the contract keeps what it cost to ask for the balance of a precompile, and to call one that there is from Osaka on.
fn left_by_a_call(spec: SpecId, before: Option<SpecId>) -> BlockOutput {
    let contract = Address::repeat_byte(0x98);
    // GAS, BALANCE of 1, GAS, the difference to slot 0; GAS, CALL of 0x100 without anything, GAS, the difference to slot 1.
    let code = "5a600131505a90036000555a60006000600060006000610100620186a0f1505a900360015500";
    let code = Bytes::from(hex::decode(code).unwrap());
    let item = EvmTransaction::System { contract, input: Bytes::new() };
    let call = move || {
        let vm = EvmVm::new(EvmConfig::default());
        if let Some(other) = before {
            let block = block(1, other);
            let prepared = Arc::new(PreparedBlock::prepare(&vm, &block.block()).unwrap());
            Sequential::new(vm.clone(), state(&block)).execute(&prepared, deadline()).unwrap();
        }
        let mut block = block(1, spec);
        block.accounts.push((contract, EvmAccount { nonce: 1, code, ..EvmAccount::default() }));
        let called = Block { transactions: vec![item.encode()], ..block.block() };
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &called).unwrap());
        Sequential::new(vm, state(&block)).execute(&prepared, deadline()).unwrap()
    };
    std::thread::spawn(call).join().unwrap()
}

#[test]
fn a_call_of_the_protocol_does_not_depend_on_what_the_thread_executed_before() {
    for spec in [SpecId::CANCUN, SpecId::PRAGUE, SpecId::OSAKA] {
        let fresh = left_by_a_call(spec, None);
        for before in [SpecId::CANCUN, SpecId::PRAGUE, SpecId::OSAKA] {
            let output = left_by_a_call(spec, Some(before));
            assert_eq!(fresh.first_difference(&output), None, "{spec:?} after {before:?}");
        }
    }
    let [prague, osaka] = [SpecId::PRAGUE, SpecId::OSAKA].map(|spec| left_by_a_call(spec, None));
    assert!(prague.first_difference(&osaka).is_some(), "only Osaka has the precompile");
}

/// Code of the form of a delegation, there before or made by the block's first transaction, and odd codes that begin like one.
#[test]
fn code_of_the_form_of_a_delegation_is_one_from_prague_on_alone() {
    let form = [&[0xef, 0x01, 0x00][..], common::contracts::COUNTER.as_slice()].concat();
    let codes = [form.clone(), form[..9].to_vec(), [&[0xef, 0x01, 0x01], &form[3..]].concat()];
    let place = |number: usize| Address::repeat_byte(0x90 + u8::try_from(number).unwrap());
    // PUSH23 code, PUSH1 0, MSTORE, PUSH1 23, PUSH1 9, RETURN.
    let init = [&[0x76][..], &form, &hex::decode("60005260176009f3").unwrap()].concat();
    // What it keeps of one set of rules it has under the next ones.
    let vm = EvmVm::new(EvmConfig::default());
    for spec in [SpecId::HOMESTEAD, SpecId::BERLIN, SpecId::LONDON, SpecId::CANCUN, SpecId::PRAGUE] {
        let mut block = block(1, spec);
        let contract =
            |code: &Vec<u8>| EvmAccount { nonce: 1, code: code.clone().into(), ..EvmAccount::default() };
        block.accounts.extend(codes.iter().enumerate().map(|(number, code)| (place(number), contract(code))));
        let call = |from: usize, nonce: u64, to: Address| TxEnv {
            caller: sender(from),
            nonce,
            kind: TxKind::Call(to),
            gas_limit: 100_000,
            gas_price: 10,
            ..TxEnv::default()
        };
        let create = TxEnv { kind: TxKind::Create, data: init.clone().into(), ..call(0, 0, Address::ZERO) };
        let made = sender(0).create(0);
        let called = (0..3).map(place).chain([made]).enumerate();
        let calls = called.flat_map(|(nonce, to)| (1..4).map(move |from| call(from, nonce as u64, to)));
        block.file.transactions = std::iter::once(create).chain(calls).collect();
        let right = expected(&block, &format!("{spec:?}"));
        let done: Vec<bool> = right.receipts.iter().map(|receipt| receipt.success).collect();
        let (delegates, deployed) = (spec >= SpecId::PRAGUE, spec < SpecId::LONDON);
        // From London on there is nobody at the last address, and a call of nobody does what it is asked to do.
        let expected_done: Vec<bool> = std::iter::once(deployed)
            .chain([delegates, false, false, !deployed].into_iter().flat_map(|done| [done; 3]))
            .collect();
        assert_eq!(done, expected_done, "{spec:?}");
        assert_equal(&block, &mut Sequential::new(vm.clone(), state(&block)), &right, &format!("{spec:?}"));
        for shards in 2..4 {
            let config = ThreadsConfig { shards, ..ThreadsConfig::default() };
            let mut threads = Threads::launch(config, vm.clone(), state(&block)).unwrap();
            assert_equal(&block, &mut threads, &right, &format!("{shards} threads, {spec:?}"));
        }
    }
}

#[test]
fn processes_of_the_supervisor_program_come_to_the_same() {
    for seed in seeds(1) {
        for spec in [SpecId::HOMESTEAD, SpecId::PETERSBURG, SpecId::PRAGUE] {
            let (block, what) = (block(seed, spec), format!("processes, PHALANX_SEED={seed} {spec:?}"));
            let config = EvmConfig::default();
            let processes = ProcessesConfig {
                shards: 4,
                image: SupervisorImage::Path(env!("CARGO_BIN_EXE_phalanx-supervisor").into()),
                vm: BuiltInVm::Evm(config).to_bytes(),
                ..ProcessesConfig::default()
            };
            let mut executor = Processes::launch(&processes, EvmVm::new(config), state(&block)).unwrap();
            assert_equal(&block, &mut executor, &expected(&block, &what), &what);
        }
    }
}

/// The list of a block as a file has it, changed by `change`.
fn changed(list: &BlockAccessList, change: impl FnOnce(&mut serde_json::Value)) -> BlockAccessList {
    let mut json = list.to_json();
    change(&mut json);
    BlockAccessList::read(&Field::whole(Path::new("made by hand"), &json)).unwrap()
}

#[test]
fn by_its_access_list_a_block_is_done_in_one_round_without_waiting() {
    for seed in seeds(4) {
        for spec in [SpecId::LONDON, SpecId::SHANGHAI, SpecId::CANCUN, SpecId::PRAGUE, SpecId::AMSTERDAM] {
            let (mut block, what) = (block(seed, spec), format!("PHALANX_SEED={seed} {spec:?}"));
            // A list has no word for accounts that are there and empty: there are none by these rules.
            block.accounts.retain(|(address, _)| *address != Address::repeat_byte(0x70));
            let list = changed(&list_of(&block), |_| {});
            assert_eq!(list.first_difference(&list_of(&block)), None, "{what}");
            let config = ThreadsConfig { shards: 3, ..ThreadsConfig::default() };
            let vm = EvmVm::new(EvmConfig::default());
            let mut threads = Threads::launch(config, vm, state(&block)).unwrap();
            let output = threads.execute(&with_list(&block, &list), deadline()).unwrap();
            let outcome = Outcome::of_output(&block, &mut block.entries(), &output).unwrap();
            assert_eq!(outcome.first_difference(&expected(&block, &what)), None, "{what}");
            let stats = output.stats();
            assert_eq!((stats.rounds, stats.reexecuted, stats.cross_shard_edges), (1, 0, 0), "{what}");
        }
    }
}

/// A block of transfers of one sender, each to somebody else; from `gap` on one nonce is left out.
fn transfers(seed: u64, gap: Option<usize>) -> EthereumBlock {
    let mut block = block(seed, SpecId::SHANGHAI);
    let transfer = |number: usize| TxEnv {
        caller: sender(0),
        gas_limit: 21_000,
        gas_price: 10,
        kind: TxKind::Call(Address::from_word(B256::from(U256::from(0x1_0000 + number)))),
        value: U256::from(1 + number),
        nonce: (number + usize::from(gap.is_some_and(|gap| number >= gap))) as u64,
        chain_id: Some(1),
        ..TxEnv::default()
    };
    block.file.transactions = (0..TRANSACTIONS).map(transfer).collect();
    block
}

#[test]
fn transfers_of_one_sender_wait_for_nobody_and_a_gap_in_their_nonces_is_found() {
    let gaps = [None, Some(1), Some(TRANSACTIONS / 2), Some(TRANSACTIONS - 1)];
    for (seed, gap) in seeds(4).zip(gaps) {
        let (block, vm) = (transfers(seed, gap), EvmVm::new(EvmConfig::default()));
        let what = format!("PHALANX_SEED={seed} gap {gap:?}");
        let prepared = Arc::new(PreparedBlock::prepare(&vm, &block.block()).unwrap());
        assert_eq!(
            prepared.foreseen().count(),
            TRANSACTIONS - 1,
            "the next one waits for none of them: {what}"
        );
        let expected = Sequential::new(vm.clone(), state(&block)).execute(&prepared, deadline()).unwrap();
        let config = ThreadsConfig { shards: 3, ..ThreadsConfig::default() };
        let mut threads = Threads::launch(config, vm, state(&block)).unwrap();
        let output = threads.execute(&prepared, deadline()).unwrap();
        assert_same(&expected, &output, &what);
        let done = output.transactions().filter(|output| output.gas_used() > 0).count();
        assert_eq!(done, gap.unwrap_or(TRANSACTIONS), "{what}");
        if gap.is_none() {
            let stats = output.stats();
            assert_eq!((stats.rounds, stats.reexecuted, stats.cross_shard_edges), (1, 0, 0), "{what}");
        }
    }
}

#[test]
fn a_wrong_access_list_is_named_and_the_block_comes_to_the_same() {
    for seed in seeds(6) {
        let (block, mut dice) = (block(seed, SpecId::PRAGUE), Dice::new(seed));
        let right = list_of(&block);
        let wrong = changed(&right, |json| {
            let accounts = json.as_array_mut().unwrap();
            for _ in 0..4 {
                let place = dice.below(accounts.len());
                let part = ["balanceChanges", "nonceChanges", "storageChanges"][dice.below(3)];
                match accounts[place][part].as_array_mut().unwrap() {
                    changes if changes.is_empty() => {}
                    changes if dice.below(3) == 0 => changes.clear(),
                    changes if part == "storageChanges" => {
                        changes[0]["changes"][0]["value"] = serde_json::json!("0x77");
                    }
                    changes => changes[0]["value"] = serde_json::json!("0x1234"),
                }
            }
            accounts[0]["balanceChanges"] = serde_json::json!([{ "index": "0x5", "value": "0x123456" }]);
        });
        let named = wrong.first_difference(&right).unwrap();
        assert!(named.starts_with("account 0x"), "PHALANX_SEED={seed}: {named}");
        let what = format!("PHALANX_SEED={seed}, {named}");
        let config = ThreadsConfig { shards: 3, ..ThreadsConfig::default() };
        let mut threads = Threads::launch(config, EvmVm::new(EvmConfig::default()), state(&block)).unwrap();
        let output = threads.execute(&with_list(&block, &wrong), deadline()).unwrap();
        let outcome = Outcome::of_output(&block, &mut block.entries(), &output).unwrap();
        assert_eq!(outcome.first_difference(&expected(&block, &what)), None, "{what}");
    }
}
