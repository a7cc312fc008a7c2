//! Chains made by hand: what is valid is taken, and each thing that makes a block invalid gets it rejected for that very
//! reason. That valid blocks of others are taken is shown by Ethereum's own tests (`phalanx conformance`).
//!
//! The signed transaction is the example of EIP-155, whose text names its signer. What would break: a check of a block that is
//! left out, or made against the wrong parent or fork. The negative control of each rejection is the same block without
//! the one change, which must be taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails its test by panicking")]

use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_primitives::{Address, B64, B256, Bytes, U256, address, hex, keccak256};
use phalanx::executor::{BlockExecutor, BlockOutput, Sequential};
use phalanx::state::{BaseState, StateConfig};
use phalanx::types::{Block, PreparedBlock};
use phalanx::vm::evm::{EvmAccount, EvmConfig, EvmVm, account_entries};
use phalanx_bench::ethereum::Entries;
use phalanx_bench::ethereum::chain::{
    Chain, DecodedBlock, Fork, ImportError, Network, Rejection, RunBlock, SealCheck,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The example of EIP-155: nonce 9, 20 gwei per gas, 21,000 gas, one ether.
const SIGNED: [u8; 110] = hex!(
    "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
);
const SIGNER: Address = address!("9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
const AUTHOR: Address = Address::repeat_byte(0xaa);
const ETHER: u128 = 1_000_000_000_000_000_000;

/// Executes each block on a state made anew.
struct Runner;

impl RunBlock for Runner {
    fn run(&mut self, before: &Entries, block: &Block) -> Result<BlockOutput, String> {
        let vm = EvmVm::new(EvmConfig::default());
        let state = BaseState::with_entries(StateConfig::default(), before).unwrap();
        let block = Arc::new(PreparedBlock::prepare(&vm, block).unwrap());
        let output = Sequential::new(vm, state).execute(&block, Instant::now() + Duration::from_secs(600));
        output.map_err(|error| error.to_string())
    }
}

/// A block that is being made.
#[derive(Clone, Debug)]
struct Draft {
    header: Header,
    transactions: Vec<Vec<u8>>,
    ommers: Vec<Header>,
    withdrawals: Option<Vec<(Address, u64)>>,
}

fn rlp_list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut bytes = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
    bytes.extend_from_slice(&payload);
    bytes
}

impl Draft {
    fn bytes(&self) -> Vec<u8> {
        let ommers: Vec<Vec<u8>> = self.ommers.iter().map(alloy_rlp::encode).collect();
        let mut parts =
            vec![alloy_rlp::encode(&self.header), rlp_list(&self.transactions), rlp_list(&ommers)];
        if let Some(withdrawals) = &self.withdrawals {
            let one = |(place, (to, gwei)): (usize, &(Address, u64))| {
                rlp_list(&[
                    alloy_rlp::encode(place as u64),
                    alloy_rlp::encode(1_u64),
                    alloy_rlp::encode(to),
                    alloy_rlp::encode(gwei),
                ])
            };
            parts.push(rlp_list(&withdrawals.iter().enumerate().map(one).collect::<Vec<_>>()));
        }
        rlp_list(&parts)
    }

    fn hash(&self) -> B256 {
        keccak256(alloy_rlp::encode(&self.header))
    }
}

/// A chain and what it began with.
struct Scene {
    chain: Chain,
    genesis: Header,
}

fn scene(network: &str, seal: SealCheck) -> Scene {
    let rich = EvmAccount { balance: U256::from(2 * ETHER), nonce: 9, ..EvmAccount::default() };
    scene_with(network, seal, &[(SIGNER, rich)])
}

fn scene_with(network: &str, seal: SealCheck, accounts: &[(Address, EvmAccount)]) -> Scene {
    scene_of(network, seal, accounts, Header { gas_limit: 5_000_000, ..Header::default() })
}

/// A chain that begins with `first`, of which everything follows from the network but gas limit, number and parent.
fn scene_of(network: &str, seal: SealCheck, accounts: &[(Address, EvmAccount)], first: Header) -> Scene {
    let network = Network::of_name(network).unwrap();
    let fork = network.stages()[0].fork;
    let entries: Entries =
        accounts.iter().flat_map(|(address, account)| account_entries(*address, account)).collect();
    let mut genesis = Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        timestamp: 1_000,
        difficulty: if fork >= Fork::Paris { U256::ZERO } else { U256::from(0x20000) },
        base_fee_per_gas: (fork >= Fork::London).then_some(7),
        withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
        blob_gas_used: (fork >= Fork::Cancun).then_some(0),
        excess_blob_gas: (fork >= Fork::Cancun).then_some(0),
        parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
        requests_hash: (fork >= Fork::Prague).then_some(B256::ZERO),
        ..first
    };
    loop {
        let draft = Draft {
            header: genesis.clone(),
            transactions: Vec::new(),
            ommers: Vec::new(),
            withdrawals: genesis.withdrawals_root.map(|_| Vec::new()),
        };
        match Chain::new(network.clone(), seal, 1, &draft.bytes(), entries.clone()) {
            Ok(chain) => return Scene { chain, genesis },
            Err(Rejection::Hash { field: "state root", right, .. }) => genesis.state_root = right,
            Err(other) => panic!("{other}"),
        }
    }
}

impl Scene {
    /// A draft of an empty block after `parent`, with all that follows from the rules alone.
    fn draft(&mut self, parent: &Header) -> Draft {
        let header = Header {
            parent_hash: keccak256(alloy_rlp::encode(parent)),
            number: parent.number + 1,
            timestamp: parent.timestamp + 15,
            beneficiary: AUTHOR,
            gas_used: 0,
            ..parent.clone()
        };
        let withdrawals = header.withdrawals_root.map(|_| Vec::new());
        Draft { header, transactions: Vec::new(), ommers: Vec::new(), withdrawals }
    }

    /// Sets every number and hash that the chain asks for until it takes the block.
    fn settle(&mut self, draft: &mut Draft) -> B256 {
        for _ in 0..20 {
            match self.chain.clone().import(&draft.bytes(), &mut Runner) {
                Ok(imported) => return imported.hash,
                Err(ImportError::Rejected(rejection)) => mend(draft, &rejection),
                Err(ImportError::Fault(cause)) => panic!("{cause}"),
            }
        }
        panic!("the block does not become valid: {draft:?}");
    }

    /// Has the chain take the block.
    fn take(&mut self, draft: &mut Draft) -> B256 {
        let hash = self.settle(draft);
        self.chain.import(&draft.bytes(), &mut Runner).unwrap();
        hash
    }

    /// Why the chain rejects the block.
    fn rejection(&self, draft: &Draft) -> Rejection {
        match self.chain.clone().import(&draft.bytes(), &mut Runner) {
            Ok(_) => panic!("accepted: {draft:?}"),
            Err(ImportError::Rejected(rejection)) => rejection,
            Err(ImportError::Fault(cause)) => panic!("{cause}"),
        }
    }
}

fn mend(draft: &mut Draft, rejection: &Rejection) {
    let header = &mut draft.header;
    if let Rejection::Value { field, right, .. } = rejection {
        match *field {
            "difficulty" => header.difficulty = *right,
            "base fee" => header.base_fee_per_gas = Some(right.to()),
            "gas used" => header.gas_used = right.to(),
            _ => panic!("{rejection}: {header:?}"),
        }
        return;
    }
    let Rejection::Hash { field, right, .. } = rejection else { panic!("{rejection}: {header:?}") };
    match *field {
        "transactions root" => header.transactions_root = *right,
        "ommers hash" => header.ommers_hash = *right,
        "withdrawals root" => header.withdrawals_root = Some(*right),
        "receipts root" => header.receipts_root = *right,
        "requests hash" => header.requests_hash = Some(*right),
        "state root" => header.state_root = *right,
        _ => panic!("{rejection}: {header:?}"),
    }
}

/// A change of a header, and how the reason for the rejection begins.
type Break = (fn(&mut Header), &'static str);

fn each_is_rejected(network: &str, breaks: &[Break]) {
    let mut scene = scene(network, SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.transactions = vec![SIGNED.to_vec()];
    scene.settle(&mut draft);
    for (place, (break_it, reason)) in breaks.iter().enumerate() {
        let mut broken = draft.clone();
        break_it(&mut broken.header);
        let rejection = scene.rejection(&broken).to_string();
        assert!(rejection.starts_with(reason), "{network} {place}: {rejection:?} instead of {reason:?}");
    }
}

#[test]
fn a_header_that_says_anything_wrong_is_rejected_for_it() {
    let always: [Break; 13] = [
        (|header| header.parent_hash = B256::repeat_byte(1), "parent 0x0101"),
        (|header| header.number = 2, "number 2 does not follow 0"),
        (|header| header.timestamp = 1_000, "time 1000 is not after"),
        (|header| header.gas_limit += 5_000_000 / 1_024, "gas limit 5004882"),
        (|header| header.gas_limit -= 5_000_000 / 1_024, "gas limit 4995118"),
        (|header| header.gas_used = header.gas_limit + 1, "gas used 5000001 exceeds"),
        (|header| header.extra_data = Bytes::from(vec![0; 33]), "extra data has 33 bytes"),
        (|header| header.gas_used += 1, "gas used is 21001, it should be 21000"),
        (|header| header.transactions_root = B256::ZERO, "transactions root"),
        (|header| header.receipts_root = B256::ZERO, "receipts root"),
        (|header| header.state_root = B256::ZERO, "state root"),
        (|header| header.logs_bloom.0[0] = 1, "hash of the logs' bloom"),
        (|header| header.beneficiary = Address::ZERO, "state root"),
    ];
    // Until Byzantium receipts hold a state root, in which the beneficiary's fee shows already.
    each_is_rejected("EIP158", &always[..12]);
    each_is_rejected("EIP158", &[(|header| header.beneficiary = Address::ZERO, "receipts root")]);
    for network in ["Byzantium", "Berlin", "London", "Paris", "Shanghai"] {
        each_is_rejected(network, &always);
    }
}

#[test]
fn a_field_of_another_fork_is_too_early_or_missing() {
    each_is_rejected(
        "Berlin",
        &[(|header| header.base_fee_per_gas = Some(7), "base fee is not allowed yet")],
    );
    each_is_rejected(
        "London",
        &[
            (|header| header.base_fee_per_gas = None, "base fee is missing"),
            (|header| header.base_fee_per_gas = Some(99), "base fee is 99, it should be 7"),
            (|header| header.withdrawals_root = Some(EMPTY_ROOT_HASH), "withdrawals root is not allowed yet"),
            (|header| header.difficulty += U256::ONE, "difficulty is"),
        ],
    );
    each_is_rejected(
        "Paris",
        &[
            (|header| header.difficulty = U256::ONE, "difficulty is not that of a block without"),
            (|header| header.nonce = B64::repeat_byte(1), "nonce is not that of a block without"),
            (|header| header.ommers_hash = B256::ZERO, "ommers hash is not that of a block without"),
        ],
    );
    each_is_rejected(
        "Shanghai",
        &[
            (|header| header.withdrawals_root = None, "withdrawals root is missing"),
            (|header| header.withdrawals_root = Some(B256::ZERO), "withdrawals root is"),
            (|header| header.blob_gas_used = Some(0), "blob gas used is not allowed yet"),
        ],
    );
    each_is_rejected(
        "Cancun",
        &[
            (|header| header.blob_gas_used = Some(1), "blob gas 1 exceeds"),
            (|header| header.blob_gas_used = Some(7 << 17), "blob gas 917504 exceeds 786432"),
            (|header| header.blob_gas_used = Some(1 << 17), "blob gas used is 131072, it should be 0"),
            (|header| header.excess_blob_gas = Some(1), "excess blob gas is 1, it should be 0"),
            (|header| header.parent_beacon_block_root = None, "parent beacon root is missing"),
            (|header| header.requests_hash = Some(B256::ZERO), "requests hash is not allowed yet"),
        ],
    );
}

#[test]
fn from_prague_on_the_contracts_that_the_protocol_calls_must_be_there() {
    let mut scene = scene("Prague", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let draft = scene.draft(&genesis);
    assert!(matches!(scene.rejection(&draft), Rejection::SystemContract(_)));
}

#[test]
fn bytes_that_are_no_block_are_rejected_wherever_they_are_cut() {
    let mut scene = scene("Shanghai", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.transactions = vec![SIGNED.to_vec()];
    scene.settle(&mut draft);
    let bytes = draft.bytes();
    for end in 0..bytes.len() {
        assert!(DecodedBlock::decode(&bytes[..end]).is_err(), "{end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(DecodedBlock::decode(&longer), Err(Rejection::Undecodable { .. })));
}

#[test]
fn a_transaction_that_may_not_stand_there_is_named_with_the_reason() {
    let network = "Shanghai";
    let poor = EvmAccount { balance: U256::from(ETHER), nonce: 9, ..EvmAccount::default() };
    let late = EvmAccount { balance: U256::from(2 * ETHER), nonce: 10, ..EvmAccount::default() };
    let coded = EvmAccount { code: Bytes::from_static(&[0]), ..late.clone() };
    let coded = EvmAccount { nonce: 9, ..coded };
    for (account, reason) in
        [(poor, "lack of funds"), (late, "nonce"), (coded, "reject transactions from senders")]
    {
        let mut scene = scene_with(network, SealCheck::Off, &[(SIGNER, account)]);
        let genesis = scene.genesis.clone();
        let mut draft = scene.draft(&genesis);
        draft.transactions = vec![SIGNED.to_vec()];
        draft.header.transactions_root = DecodedBlock::decode(&draft.bytes()).unwrap().transactions_root;
        let rejection = scene.rejection(&draft);
        let Rejection::Transaction { txn: 0, cause } = &rejection else { panic!("{rejection}") };
        assert!(cause.contains(reason), "{cause}");
    }
    let mut scene = scene("Homestead", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    scene.settle(&mut draft);
    draft.transactions = vec![SIGNED.to_vec()];
    draft.header.transactions_root = DecodedBlock::decode(&draft.bytes()).unwrap().transactions_root;
    let rejection = scene.rejection(&draft);
    let Rejection::Transaction { txn: 0, cause } = &rejection else { panic!("{rejection}") };
    assert!(cause.contains("names a chain"), "{cause}");
}

#[test]
fn a_transaction_for_which_too_little_gas_is_left_is_refused_before_anything_else() {
    let rich = EvmAccount { balance: U256::from(2 * ETHER), nonce: 9, ..EvmAccount::default() };
    for (gas_limit, left) in [(30_000, Some(9_000)), (5_000_000, None)] {
        let mut scene = scene_of(
            "Shanghai",
            SealCheck::Off,
            &[(SIGNER, rich.clone())],
            Header { gas_limit, ..Header::default() },
        );
        let genesis = scene.genesis.clone();
        let mut draft = scene.draft(&genesis);
        draft.transactions = vec![SIGNED.to_vec(), SIGNED.to_vec()];
        match (scene.rejection(&draft), left) {
            (rejection, Some(left)) => {
                assert_eq!(rejection, Rejection::GasPool { txn: 1, limit: 21_000, left });
            }
            (Rejection::Transaction { txn: 1, cause }, None) => assert!(cause.contains("nonce"), "{cause}"),
            (other, None) => panic!("{other}"),
        }
    }
}

#[test]
fn withdrawals_and_rewards_are_paid_and_ommers_are_taken_once() {
    let mut scene = scene("Shanghai", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.withdrawals = Some(vec![(Address::repeat_byte(3), 5), (Address::repeat_byte(3), 6)]);
    let hash = scene.take(&mut draft);
    let paid = EvmAccount { balance: U256::from(11_000_000_000_u64), ..EvmAccount::default() };
    let rich = EvmAccount { balance: U256::from(2 * ETHER), nonce: 9, ..EvmAccount::default() };
    assert_leaves(&scene, hash, &[(SIGNER, rich.clone()), (Address::repeat_byte(3), paid)]);

    let mut scene = self::scene("Byzantium", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut first = scene.draft(&genesis);
    scene.take(&mut first);
    let mut rival = scene.draft(&genesis);
    rival.header.beneficiary = Address::repeat_byte(0xbb);
    scene.settle(&mut rival);
    let mut second = scene.draft(&first.header);
    second.ommers = vec![rival.header.clone()];
    let hash = scene.take(&mut second);
    let earned = |wei: u128| EvmAccount { balance: U256::from(wei), ..EvmAccount::default() };
    let expected = [
        (SIGNER, rich),
        (AUTHOR, earned(6 * ETHER + 3 * ETHER / 32)),
        (Address::repeat_byte(0xbb), earned(3 * ETHER * 7 / 8)),
    ];
    assert_leaves(&scene, hash, &expected);

    let mut third = scene.draft(&second.header);
    third.header.ommers_hash = EMPTY_OMMER_ROOT_HASH;
    scene.settle(&mut third);
    let with_ommers = |ommers: Vec<Header>| {
        let mut draft = Draft { ommers, ..third.clone() };
        draft.header.ommers_hash = DecodedBlock::decode(&draft.bytes()).unwrap().ommers_hash;
        scene.rejection(&draft).to_string()
    };
    assert_eq!(with_ommers(vec![rival.header.clone()]), "ommer 0: it was named before");
    assert_eq!(with_ommers(vec![first.header.clone()]), "ommer 0: it is an ancestor");
    assert!(with_ommers(vec![rival.header.clone(); 3]).starts_with("3 ommers"));
    let brother = Header { beneficiary: Address::ZERO, ..third.header.clone() };
    assert!(with_ommers(vec![brother]).contains("is no ancestor"), "a brother's parent is the parent");
    let odd = Header { gas_limit: 1, ..rival.header.clone() };
    assert!(with_ommers(vec![odd]).contains("gas limit 1"));
}

fn assert_leaves(scene: &Scene, hash: B256, accounts: &[(Address, EvmAccount)]) {
    let entries: Entries =
        accounts.iter().flat_map(|(address, account)| account_entries(*address, account)).collect();
    let expected = phalanx_bench::ethereum::AccountsAfter::of_entries(&entries);
    assert_eq!(scene.chain.accounts(hash).unwrap().first_difference(&expected), None);
}

#[test]
fn the_branch_with_more_work_counts_and_without_work_any_end_may() {
    let mut scene = scene("Frontier", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut quick = scene.draft(&genesis);
    quick.header.timestamp = genesis.timestamp + 1;
    let quick_hash = scene.take(&mut quick);
    let mut slow = scene.draft(&genesis);
    slow.header.timestamp = genesis.timestamp + 100;
    let slow_hash = scene.take(&mut slow);
    assert!(scene.chain.may_be_last(quick_hash) && !scene.chain.may_be_last(slow_hash));
    let mut longer = scene.draft(&slow.header);
    let longer_hash = scene.take(&mut longer);
    assert!(scene.chain.may_be_last(longer_hash) && !scene.chain.may_be_last(quick_hash));

    let mut scene = self::scene("Paris", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut one = scene.draft(&genesis);
    let one_hash = scene.take(&mut one);
    let mut other = scene.draft(&genesis);
    other.header.timestamp += 1;
    let other_hash = scene.take(&mut other);
    assert!(scene.chain.may_be_last(one_hash) && scene.chain.may_be_last(other_hash));
    let mut next = scene.draft(&one.header);
    let next_hash = scene.take(&mut next);
    assert!(scene.chain.may_be_last(next_hash) && !scene.chain.may_be_last(one_hash));
    assert!(!scene.chain.may_be_last(B256::ZERO));
}

#[test]
fn a_chain_changes_its_rules_where_its_network_says() {
    let mut scene = scene("BerlinToLondonAt5", SealCheck::Off);
    let mut parent = scene.genesis.clone();
    for number in 1..=6 {
        let mut draft = scene.draft(&parent);
        if number >= 5 {
            draft.header.base_fee_per_gas = Some(0);
            if number == 5 {
                draft.header.gas_limit *= 2;
            }
        }
        scene.take(&mut draft);
        parent = draft.header;
    }
    assert_eq!((parent.number, parent.base_fee_per_gas), (6, Some(875_000_000)));

    let mut scene = self::scene("HomesteadToDaoAt5", SealCheck::Off);
    let mut parent = scene.genesis.clone();
    for number in 1..=15 {
        let mut draft = scene.draft(&parent);
        draft.header.extra_data = Bytes::new();
        if (5..15).contains(&number) {
            assert_eq!(self_mended(&scene, &draft), Rejection::DaoExtraData);
            draft.header.extra_data = Bytes::from_static(b"dao-hard-fork");
        }
        scene.take(&mut draft);
        parent = draft.header;
    }
}

/// The first rejection that does not name what is right.
fn self_mended(scene: &Scene, draft: &Draft) -> Rejection {
    let mut draft = draft.clone();
    loop {
        let rejection = scene.rejection(&draft);
        if !matches!(rejection, Rejection::Value { .. } | Rejection::Hash { .. }) {
            return rejection;
        }
        mend(&mut draft, &rejection);
    }
}

#[test]
fn a_proof_of_work_that_does_not_hold_is_rejected_where_it_counts() {
    let mut scene = scene("Frontier", SealCheck::Ethash);
    let genesis = scene.genesis.clone();
    let draft = scene.draft(&genesis);
    assert_eq!(self_mended(&scene, &draft), Rejection::Seal("the mix is another one"));
}

/// Code that returns one word of `byte`, whatever it is called with.
fn returning(byte: u8) -> EvmAccount {
    // PUSH1 byte, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN.
    let code = vec![0x60, byte, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];
    EvmAccount { nonce: 1, code: Bytes::from(code), ..EvmAccount::default() }
}

#[test]
fn requests_are_what_the_called_contracts_return_and_their_hash_is_that_of_eip_7685() {
    use sha2::{Digest, Sha256};
    let contracts = [
        (address!("00000961Ef480Eb55e80D19ad83579A64c007002"), returning(7)),
        (address!("0000BBdDc7CE488642fb579F8B00f3a590007251"), returning(9)),
    ];
    let mut scene = scene_with("Prague", SealCheck::Off, &contracts);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    scene.settle(&mut draft);
    let word = |kind: u8, byte: u8| Sha256::digest([&[kind][..], &[0; 31], &[byte]].concat());
    let expected = Sha256::digest([word(1, 7), word(2, 9)].concat());
    assert_eq!(draft.header.requests_hash, Some(B256::from_slice(&expected)));
    let mut wrong = draft.clone();
    wrong.header.requests_hash = Some(B256::ZERO);
    assert!(matches!(scene.rejection(&wrong), Rejection::Hash { field: "requests hash", .. }));

    let failing = EvmAccount { code: Bytes::from_static(&[0xfe]), ..returning(0) };
    let contracts = [contracts[0].clone(), (contracts[1].0, failing)];
    let mut scene = scene_with("Prague", SealCheck::Off, &contracts);
    let genesis = scene.genesis.clone();
    let draft = scene.draft(&genesis);
    assert_eq!(scene.rejection(&draft), Rejection::SystemCall(contracts[1].0));
}

#[test]
fn calls_before_the_first_transaction_leave_what_they_are_given() {
    // CALLDATA's first word goes to slot 0: PUSH0, CALLDATALOAD, PUSH0, SSTORE.
    let keeper =
        EvmAccount { nonce: 1, code: Bytes::from_static(&[0x5f, 0x35, 0x5f, 0x55]), ..EvmAccount::default() };
    let place = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
    let mut scene = scene_with("Cancun", SealCheck::Off, &[(place, keeper.clone())]);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.header.parent_beacon_block_root = Some(B256::with_last_byte(77));
    let hash = scene.take(&mut draft);
    let kept = EvmAccount { storage: vec![(U256::ZERO, U256::from(77))], ..keeper };
    assert_leaves(&scene, hash, &[(place, kept)]);
}

/// A chain that begins late: nobody has the hashes of the blocks before its first one, but for the one that this names.
#[test]
fn a_block_before_the_first_one_has_the_hash_that_the_first_one_says_or_none() {
    // BLOCKHASH of 5, 6, 7 and 8 to the slots of these numbers, each: PUSH1 n, BLOCKHASH, PUSH1 n, SSTORE.
    let code: Vec<u8> = (5..9).flat_map(|number| [0x60, number, 0x40, 0x60, number, 0x55]).collect();
    let asking = EvmAccount { nonce: 1, code: Bytes::from(code), ..EvmAccount::default() };
    let place = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
    let before = B256::repeat_byte(6);
    let first = Header { number: 7, parent_hash: before, gas_limit: 5_000_000, ..Header::default() };
    let mut scene = scene_of("Cancun", SealCheck::Off, &[(place, asking.clone())], first);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    let hash = scene.take(&mut draft);
    let slot = |number: u64, hash: B256| (U256::from(number), U256::from_be_bytes(hash.0));
    let storage = vec![slot(6, before), slot(7, draft.header.parent_hash)];
    assert_leaves(&scene, hash, &[(place, EvmAccount { storage, ..asking })]);
}

/// A block whose header is known may come with another body.
#[test]
fn a_known_header_does_not_make_another_body_valid() {
    let mut scene = scene("Shanghai", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.withdrawals = Some(vec![(Address::repeat_byte(3), 5)]);
    let hash = scene.take(&mut draft);
    let again = scene.chain.import(&draft.bytes(), &mut Runner).unwrap();
    assert_eq!(again.hash, hash);
    let others = [
        (Draft { transactions: vec![SIGNED.to_vec()], ..draft.clone() }, "transactions root"),
        (Draft { ommers: vec![genesis.clone()], ..draft.clone() }, "ommers hash"),
        (Draft { withdrawals: Some(Vec::new()), ..draft.clone() }, "withdrawals root"),
        (Draft { withdrawals: None, ..draft.clone() }, "list of withdrawals is missing"),
    ];
    for (other, expected) in others {
        assert_eq!(other.hash(), hash);
        let reason = scene.rejection(&other).to_string();
        assert!(reason.starts_with(expected), "{reason}");
    }
}

/// The tests of the command that are always there must be what the rules say of these chains. To make one anew, take the object
/// that this test prints when it fails.
#[test]
fn the_commands_own_tests_are_chains_made_by_hand() {
    let mut scene = scene("Shanghai", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let mut draft = scene.draft(&genesis);
    draft.transactions = vec![SIGNED.to_vec()];
    scene.take(&mut draft);
    let (tip, fee) = (20_000_000_000_u128 - 7, 20_000_000_000_u128 * 21_000);
    let after = json!({
        (SIGNER.to_string().to_lowercase()): account_json(ETHER - fee, 10),
        "0x3535353535353535353535353535353535353535": account_json(ETHER, 0),
        (AUTHOR.to_string().to_lowercase()): account_json(tip * 21_000, 0),
    });
    assert_is_own_test("one_transfer", &test_json("Shanghai", &mut scene, &draft, &after));

    let mut scene = self::scene("Prague", SealCheck::Off);
    let genesis = scene.genesis.clone();
    let draft = scene.draft(&genesis);
    assert!(matches!(scene.rejection(&draft), Rejection::SystemContract(_)));
    let after = json!({ (SIGNER.to_string().to_lowercase()): account_json(2 * ETHER, 9) });
    assert_is_own_test("no_contracts", &test_json("Prague", &mut scene, &draft, &after));
}

fn account_json(balance: u128, nonce: u64) -> Value {
    json!({ "balance": format!("{balance:#x}"), "nonce": format!("{nonce:#x}"), "code": "0x", "storage": {} })
}

/// A test with one block after the first one.
fn test_json(network: &str, scene: &mut Scene, block: &Draft, after: &Value) -> Value {
    let genesis = scene.genesis.clone();
    let first = Draft { header: genesis.clone(), ..scene.draft(&genesis) };
    json!({
        "network": network,
        "sealEngine": "NoProof",
        "genesisRLP": Bytes::from(first.bytes()).to_string(),
        "genesisBlockHeader": { "hash": first.hash().to_string() },
        "pre": { (SIGNER.to_string().to_lowercase()): account_json(2 * ETHER, 9) },
        "blocks": [{
            "rlp": Bytes::from(block.bytes()).to_string(),
            "blockHeader": { "hash": block.hash().to_string() },
        }],
        "lastblockhash": block.hash().to_string(),
        "postState": after,
    })
}

fn assert_is_own_test(name: &str, test: &Value) {
    let path = format!("{}/../tools/tests/conformance/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let there: Value = serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()).unwrap_or_default();
    let made = json!({ (name): test });
    assert_eq!(there, made, "{path} should hold {made:#}");
}
