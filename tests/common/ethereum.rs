//! Ethereum blocks made by hand: small ones in which everything conflicts, and what revm alone makes of them.

use super::contracts::{self, child, contracts, word, words};
use super::{Dice, deadline, seed};
use phalanx::executor::{BlockExecutor, MemoryConfig};
use phalanx::state::BaseState;
use phalanx::types::PreparedBlock;
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::context::transaction::{
    Authorization, RecoveredAuthority, RecoveredAuthorization,
};
use phalanx::vm::evm::revm::context_interface::either::Either;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use phalanx::vm::evm::{BlobContext, EvmAccount, EvmBlockContext, EvmConfig, EvmVm};
use phalanx_bench::ethereum::{
    BLOOM_BYTES, BlockAccessList, BlockFile, EthereumBlock, ListedWrites, Outcome, Reference, ReferenceState,
};
use std::collections::HashMap;
use std::sync::Arc;

pub const BENEFICIARY: Address = Address::repeat_byte(0xcb);
pub const TRANSACTIONS: usize = 60;

pub const SPECS: [SpecId; 12] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::LONDON,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::AMSTERDAM,
];

pub fn sender(number: usize) -> Address {
    Address::repeat_byte(0x10 + u8::try_from(number).unwrap())
}

/// An account that only ever authorizes.
pub fn authority(number: usize) -> Address {
    Address::repeat_byte(0x40 + u8::try_from(number).unwrap())
}

/// Anybody: senders, contracts, the beneficiary, accounts that are not there or are there and empty, a precompile.
pub fn anybody(dice: &mut Dice) -> Address {
    match dice.below(9) {
        0 => sender(dice.below(4)),
        1 => dice.pick(&contracts()).0,
        2 => BENEFICIARY,
        3 => Address::repeat_byte(0x70),
        4 => Address::repeat_byte(0x71),
        5 => authority(dice.below(2)),
        6 => Address::with_last_byte(1),
        7 => Address::repeat_byte(0x72 + u8::try_from(dice.below(4)).unwrap()),
        _ => child(),
    }
}

/// What the state before a block holds.
pub fn accounts(spec: SpecId) -> Vec<(Address, EvmAccount)> {
    let coins = |balance: u64| EvmAccount { balance: U256::from(balance), ..EvmAccount::default() };
    let mut accounts = contracts();
    accounts.extend((0..4).map(|number| (sender(number), coins(10_000_000_000))));
    accounts.push((authority(0), coins(5)));
    // Empty and yet there: left over from before Spurious Dragon, or made by it.
    accounts.push((Address::repeat_byte(0x70), EvmAccount::default()));
    if spec < SpecId::LONDON {
        accounts.push((BENEFICIARY, EvmAccount::default()));
    }
    accounts
}

pub fn input(dice: &mut Dice) -> Bytes {
    match dice.below(5) {
        0 => Bytes::new(),
        _ => words(&[word(anybody(dice)), U256::from(dice.below(90))]),
    }
}

pub fn transaction(dice: &mut Dice, spec: SpecId, nonces: &mut HashMap<Address, u64>) -> TxEnv {
    let from = sender(dice.below(4));
    let next = nonces.entry(from).or_default();
    let nonce = *next;
    *next += 1;
    let creates = dice.below(12) == 0;
    let data = if creates { hex::decode(contracts::CHILD_INIT).unwrap().into() } else { input(dice) };
    let typed = spec >= SpecId::LONDON && dice.below(2) == 0;
    let mut tx = TxEnv {
        tx_type: if typed { 2 } else { 0 },
        caller: from,
        gas_limit: if dice.chance(50) { 200_000 } else { 300_000 },
        gas_price: 10,
        gas_priority_fee: typed.then(|| if dice.chance(50) { 3 } else { 0 }),
        kind: if creates { TxKind::Create } else { TxKind::Call(anybody(dice)) },
        value: U256::from(dice.below(3) * dice.below(40)),
        data,
        nonce,
        chain_id: (spec >= SpecId::LONDON).then_some(1),
        ..TxEnv::default()
    };
    if spec >= SpecId::PRAGUE && !creates && dice.below(6) == 0 {
        tx.tx_type = 4;
        tx.gas_priority_fee = Some(2);
        let who = authority(dice.below(2));
        let known = nonces.entry(who).or_default();
        let wrong = dice.below(4) == 0;
        let inner = Authorization {
            chain_id: U256::from(dice.below(2)),
            address: if dice.below(4) == 0 { Address::ZERO } else { contracts::COUNTER },
            nonce: *known + u64::from(wrong),
        };
        *known += u64::from(!wrong);
        let authority = RecoveredAuthority::Valid(who);
        tx.authorization_list = vec![Either::Right(RecoveredAuthorization::new_unchecked(inner, authority))];
    }
    tx
}

pub fn block(seed: u64, spec: SpecId) -> EthereumBlock {
    let mut dice = Dice::new(seed ^ ((spec as u64) << 32));
    let mut nonces = HashMap::new();
    let merged = spec >= SpecId::MERGE;
    let context = EvmBlockContext {
        spec,
        number: 1_000,
        timestamp_s: 1_000_000,
        beneficiary: BENEFICIARY,
        gas_limit: 100_000_000,
        base_fee: if spec >= SpecId::LONDON { 7 } else { 0 },
        difficulty: if merged { U256::ZERO } else { U256::from(99) },
        prevrandao: merged.then(|| B256::repeat_byte(7)),
        blobs: (spec >= SpecId::CANCUN).then_some(BlobContext { excess_gas: 0, update_fraction: 5_007_716 }),
        slot: 5,
        block_hashes: Vec::new(),
    };
    let transactions = (0..TRANSACTIONS).map(|_| transaction(&mut dice, spec, &mut nonces)).collect();
    let file = BlockFile {
        context,
        transactions,
        gas_used: 0,
        receipts_root: B256::ZERO,
        logs_bloom: vec![0; BLOOM_BYTES].into(),
        parent_beacon_root: None,
        parent_hash: B256::ZERO,
        access_list: None,
    };
    EthereumBlock { folder: "made by hand".into(), file, accounts: accounts(spec) }
}

pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = seed();
    first..first + count
}

pub fn state(block: &EthereumBlock) -> BaseState {
    BaseState::with_entries(MemoryConfig::default().state, block.entries()).unwrap()
}

pub fn expected(block: &EthereumBlock, what: &str) -> Outcome {
    let state = ReferenceState::of(block);
    Reference::new(block, &state).outcome().unwrap_or_else(|error| panic!("{what}: {error}"))
}

pub fn assert_equal(block: &EthereumBlock, executor: &mut dyn BlockExecutor, expected: &Outcome, what: &str) {
    let vm = EvmVm::new(EvmConfig::default());
    let prepared = Arc::new(PreparedBlock::prepare(&vm, &block.block()).unwrap());
    assert_prepared_equal(block, &prepared, executor, expected, what);
}

/// As [`assert_equal`], with what is known of the block beforehand.
pub fn assert_prepared_equal(
    block: &EthereumBlock,
    prepared: &Arc<PreparedBlock>,
    executor: &mut dyn BlockExecutor,
    expected: &Outcome,
    what: &str,
) {
    let output = executor.execute(prepared, deadline()).unwrap();
    let outcome = Outcome::of_output(block, &mut block.entries(), &output).unwrap();
    assert_eq!(outcome.first_difference(expected), None, "{what}");
}

/// A block with what its access list says.
pub fn with_list(block: &EthereumBlock, list: &BlockAccessList) -> Arc<PreparedBlock> {
    let vm = EvmVm::new(EvmConfig::default());
    let mut prepared = PreparedBlock::prepare(&vm, &block.block()).unwrap();
    let writes = ListedWrites::of(list, block.system_calls().len(), prepared.len(), block.file.context.spec);
    writes.foresee(&mut prepared).unwrap();
    Arc::new(prepared)
}

/// The access list of a block, as revm alone finds it.
pub fn list_of(block: &EthereumBlock) -> BlockAccessList {
    let state = ReferenceState::of(block);
    Reference::new(block, &state).access_list().unwrap()
}
