//! The fuzz target of every decoder of what peers, clients and disks hand in: encodings with flipped, cut, doubled, spliced and
//! random bytes, from a corpus that grows by what decodes.
//!
//! What would break: bytes that bring a validator down, that two peers read differently, or that come out otherwise than they
//! went in; a decoder that nobody tries. Oracle: no panic, what decodes encodes to the same bytes (each thing has one encoding), and
//! what a decoder's target does not name is found in the sources by the last test.
//!
//! PHALANX_SEED chooses the bytes, PHALANX_FUZZ_ROUNDS their number for each target (20,000), PHALANX_FUZZ_SECONDS ends a target
//! earlier, PHALANX_FUZZ_CORPUS names a directory whose files are added to the corpus.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use phalanx::quorum_store::{
    Batch, BatchId, BatchInfo, BlsKeys, BlsSecret, CommitEntry, Committed, Epoch, Keys, Message, Micros,
    NetworkListener, OrderedBlock, PooledTxn, ProofOfStore, SIGNATURE_BYTES, Signature, SignedBatchInfo,
    SignerSet, TxnBytes, TxnException, TxnHash, TxnOutcome, ValidatorId,
};
use phalanx::types::OutputView;
use phalanx::vm::BuiltInVm;
use phalanx::vm::evm::{EvmConfig, EvmTransaction};
use phalanx::vm::ledger::{Address, LedgerConfig, Payload, RawTransaction, SignatureMode, SignedTransaction};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const CORPUS_MAX: usize = 256;

/// What one decoder makes of bytes; panics if something is wrong with it. True if it took them.
type Decode = fn(&[u8]) -> bool;

/// A decoder, and encodings to begin with.
struct Target {
    name: &'static str,
    decode: Decode,
    corpus: fn() -> Vec<Vec<u8>>,
    /// Whether changed bytes are ever taken: those under a signature or a seal are not.
    sealed: bool,
}

const TARGETS: [Target; 11] = [
    Target { name: "message of a peer", decode: message, corpus: messages, sealed: false },
    Target { name: "frame at a validator's door", decode: frame, corpus: messages, sealed: false },
    Target { name: "signature", decode: signature, corpus: signatures, sealed: true },
    Target { name: "pooled transaction", decode: pooled, corpus: transactions, sealed: false },
    Target { name: "transaction of the ledger", decode: of_ledger, corpus: transactions, sealed: false },
    Target { name: "transaction of the EVM", decode: of_evm, corpus: of_evm_all, sealed: false },
    Target { name: "output of a shard", decode: output, corpus: outputs, sealed: false },
    Target { name: "order of a machine", decode: machine, corpus: machines, sealed: false },
    Target { name: "row of a batch", decode: row::<Batch>, corpus: batch_rows, sealed: false },
    Target { name: "row of a commit", decode: row::<CommitEntry>, corpus: commit_rows, sealed: false },
    Target { name: "row of a staged block", decode: row::<OrderedBlock>, corpus: staged_rows, sealed: false },
];

/// Who tries a decoder.
enum Tried {
    /// These targets here.
    Here(&'static [&'static str]),
    /// Tests in this file.
    In(&'static str),
}

/// Every file that decodes such bytes, with the number of places in it.
const DECODERS: &[(&str, usize, Tried)] = &[
    ("src/durable/head.rs", 2, Tried::In("src/durable/tests/log.rs")),
    ("src/durable/record.rs", 3, Tried::In("src/durable/tests/log.rs")),
    ("src/quorum_store/keys.rs", 1, Tried::Here(&["signature"])),
    (
        "src/quorum_store/lmdb_disk.rs",
        2,
        Tried::Here(&["row of a batch", "row of a commit", "row of a staged block"]),
    ),
    ("src/quorum_store/message.rs", 2, Tried::Here(&["message of a peer", "frame at a validator's door"])),
    ("src/quorum_store/transaction.rs", 1, Tried::Here(&["pooled transaction"])),
    ("src/types/output.rs", 1, Tried::Here(&["output of a shard"])),
    ("src/vm/built_in.rs", 1, Tried::Here(&["order of a machine"])),
    ("src/vm/evm/outline.rs", 1, Tried::In("src/vm/evm/transaction.rs")),
    ("src/vm/evm/transaction.rs", 2, Tried::Here(&["transaction of the EVM"])),
    ("src/vm/ledger/transaction.rs", 2, Tried::Here(&["transaction of the ledger"])),
    ("tools/src/node/http/body.rs", 1, Tried::In("tools/src/node/http/body.rs")),
];

fn message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    assert_eq!(message.encode().as_deref(), Ok(bytes));
    true
}

fn frame(bytes: &[u8]) -> bool {
    let mut listener = NetworkListener::new(4, u64::MAX);
    let taken = listener.receive(Micros(1), ValidatorId(1), bytes).is_ok();
    assert_eq!(taken, Message::decode(bytes).is_ok(), "the door and the decoder differ");
    let refused: u64 = listener.refusals().iter().map(|(_, count)| count).sum();
    assert_eq!(refused, u64::from(!taken), "what is refused is counted once");
    taken
}

fn keys() -> &'static BlsKeys {
    static KEYS: OnceLock<BlsKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let secret =
            |id: u16| BlsSecret::from_seed(ValidatorId(id), &[u8::try_from(id).unwrap() + 1; 32]).unwrap();
        let registered: Vec<_> = (0..4).map(|id| secret(id).register()).collect();
        BlsKeys::new(secret(0), &registered).unwrap()
    })
}

const SIGNED: &[u8] = b"what is signed";

fn signature(bytes: &[u8]) -> bool {
    let Ok(bytes) = <[u8; SIGNATURE_BYTES]>::try_from(bytes) else { return false };
    let one = Signature(bytes);
    let signers: SignerSet = [ValidatorId(0)].into_iter().collect();
    let own = keys().verify(ValidatorId(0), SIGNED, &one);
    assert_eq!(own, one == keys().sign(SIGNED), "a signature has one encoding");
    assert!(!keys().verify(ValidatorId(1), SIGNED, &one) && !keys().verify(ValidatorId(9), SIGNED, &one));
    let aggregate = keys().aggregate(&[one]);
    let proven = aggregate.is_some_and(|one| keys().verify_aggregate(signers, SIGNED, &one));
    assert_eq!(proven, own, "alone or as an aggregate of one");
    own
}

fn pooled(bytes: &[u8]) -> bool {
    let Ok(txn) = PooledTxn::read(TxnBytes(bytes.into())) else { return false };
    assert_eq!((&*txn.bytes.0, txn.summary.hash), (bytes, TxnHash(*blake3::hash(bytes).as_bytes())));
    true
}

fn of_ledger(bytes: &[u8]) -> bool {
    let Ok(txn) = SignedTransaction::decode(bytes) else { return false };
    assert_eq!(txn.encode().unwrap(), bytes);
    true
}

fn of_evm(bytes: &[u8]) -> bool {
    let Ok(txn) = EvmTransaction::decode(bytes) else { return false };
    assert_eq!(EvmTransaction::decode(&txn.encode()), Ok(txn), "what was read is written and read again");
    true
}

fn output(bytes: &[u8]) -> bool {
    // Read as the coordinator reads it: from memory that is aligned.
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
    let bytes = &bytemuck::cast_slice::<u64, u8>(&words)[..bytes.len()];
    OutputView::parse(bytes).is_ok()
}

fn machine(bytes: &[u8]) -> bool {
    let Ok(machine) = BuiltInVm::from_bytes(bytes) else { return false };
    assert_eq!(machine.to_bytes(), bytes);
    true
}

fn machines() -> Vec<Vec<u8>> {
    let ledger = LedgerConfig { chain_id: 1, signatures: SignatureMode::Verify, commutative: true };
    vec![BuiltInVm::Ledger(ledger).to_bytes(), BuiltInVm::Evm(EvmConfig::default()).to_bytes()]
}

fn row<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
    let Ok(row) = bcs::from_bytes::<T>(bytes) else { return false };
    assert_eq!(bcs::to_bytes(&row).unwrap(), bytes, "{row:?}");
    true
}

fn transaction(sender: u8, payload: Payload) -> Vec<u8> {
    let raw = RawTransaction {
        chain_id: 1,
        sender: Address([sender; 32]),
        sequence_number: 3,
        max_gas: 1_000,
        gas_price: 7,
        expiration_s: 1_000_000,
        payload,
    };
    raw.unsigned().encode().unwrap()
}

fn transactions() -> Vec<Vec<u8>> {
    let to = |byte| Address([byte; 32]);
    vec![
        transaction(1, Payload::Transfer { to: to(2), amount: 1 }),
        transaction(
            3,
            Payload::BatchTransfer { recipients: (1..9).map(|one| (to(one), one.into())).collect() },
        ),
    ]
}

fn of_evm_all() -> Vec<Vec<u8>> {
    let account = phalanx::vm::evm::revm::primitives::Address::repeat_byte(7);
    let all = [
        EvmTransaction::User(Box::default()),
        EvmTransaction::System { contract: account, input: vec![1, 2, 3].into() },
        EvmTransaction::Credit { account, amount: 77 },
    ];
    all.iter().map(EvmTransaction::encode).collect()
}

fn outputs() -> Vec<Vec<u8>> {
    // A header of plausible lengths, and zeros.
    let lengths = [64_u32, 64, 128, 4_096];
    lengths.iter().map(|length| length.to_le_bytes().repeat(64)).chain([vec![0; 256]]).collect()
}

fn batch(number: u64) -> Batch {
    let info = BatchInfo {
        author: ValidatorId(1),
        id: BatchId { nonce: 5, number },
        epoch: Epoch(1),
        expiration: Micros(60_000_000),
        gas_bucket: 300,
        ..BatchInfo::default()
    };
    Batch::new(info, transactions().into_iter().map(|bytes| TxnBytes(bytes.into())).collect())
}

fn messages() -> Vec<Vec<u8>> {
    let (one, signature) = (batch(1), keys().sign(SIGNED));
    let info = one.info;
    let signers: SignerSet = (0..3).map(ValidatorId).collect();
    let all = [
        Message::Batches(vec![one.clone(), batch(2)]),
        Message::Signatures(vec![SignedBatchInfo { info, signer: ValidatorId(2), signature }; 3]),
        Message::Proofs(vec![ProofOfStore { info, signers, signature }; 2]),
        Message::Fetch { digest: info.digest, epoch: Epoch(3) },
        Message::Fetched(one),
        Message::NotFound { digest: info.digest, epoch: Epoch(3), committed: Micros(9) },
    ];
    all.iter().map(|message| message.encode().unwrap()).collect()
}

fn signatures() -> Vec<Vec<u8>> {
    vec![keys().sign(SIGNED).0.to_vec(), keys().sign(b"something else").0.to_vec()]
}

fn batch_rows() -> Vec<Vec<u8>> {
    vec![bcs::to_bytes(&batch(1)).unwrap()]
}

fn commit_rows() -> Vec<Vec<u8>> {
    let outcome = TxnOutcome::WithoutEffect { again: true };
    let exceptions = vec![TxnException { hash: TxnHash([3; 32]), outcome }];
    let block = Committed::Block { height: 4, batches: vec![batch(1).info, batch(2).info], exceptions };
    let entry = |content| CommitEntry { sequence: 4, timestamp: Micros(8), content };
    [block, Committed::Synced { height: 4 }].map(|content| bcs::to_bytes(&entry(content)).unwrap()).into()
}

fn staged_rows() -> Vec<Vec<u8>> {
    let block = OrderedBlock { height: 4, timestamp: Micros(8), batches: vec![batch(1).info; 3] };
    vec![bcs::to_bytes(&block).unwrap()]
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn extra() -> Vec<Vec<u8>> {
    let Some(directory) = std::env::var_os("PHALANX_FUZZ_CORPUS") else { return Vec::new() };
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap()).collect()
}

/// Some changes to an encoding; now and then none of it is left.
fn mutated(corpus: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(0..5) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..9) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&random.next_u64().to_le_bytes()),
            2 => bytes.insert(at, 0xff),
            3 => {
                // Lengths and counts that are as large as they get.
                let end = (at + [1, 2, 4, 8][random.random_range(0..4)]).min(bytes.len());
                bytes[at..end].fill(if random.random_bool(0.5) { 0xff } else { 0 });
            }
            4 => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => {
                let end = random.random_range(at..=bytes.len());
                bytes.extend_from_within(at..end);
            }
            6 if random.random_bool(0.05) => {
                bytes = vec![0; random.random_range(0..300)];
                random.fill_bytes(&mut bytes);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
        }
    }
    bytes
}

#[test]
fn no_bytes_bring_a_decoder_down_and_what_it_takes_has_one_encoding() {
    let seed = number("PHALANX_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let rounds = number("PHALANX_FUZZ_ROUNDS").unwrap_or(20_000);
    let limit = Duration::from_secs(number("PHALANX_FUZZ_SECONDS").unwrap_or(60));
    println!("PHALANX_SEED={seed} PHALANX_FUZZ_ROUNDS={rounds}");
    let extra = extra();
    for Target { name, decode, corpus, sealed } in TARGETS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut corpus: Vec<Vec<u8>> = corpus().into_iter().chain(extra.clone()).collect();
        // Pairings take a millisecond.
        let rounds = if sealed { rounds / 100 + 1 } else { rounds };
        let (begun, mut taken, mut refused) = (Instant::now(), 0_u64, 0_u64);
        for _ in 0..rounds {
            if begun.elapsed() > limit {
                break;
            }
            let bytes = mutated(&corpus, &mut random);
            let tried = std::panic::catch_unwind(|| decode(&bytes));
            match tried {
                Ok(true) => {
                    taken += 1;
                    let place = random.random_range(0..CORPUS_MAX);
                    if corpus.len() < CORPUS_MAX { corpus.push(bytes) } else { corpus[place] = bytes }
                }
                Ok(false) => refused += 1,
                Err(_) => panic!("{name}, PHALANX_SEED={seed}: {bytes:02x?}"),
            }
        }
        println!("{name}: {taken} taken, {refused} refused, {:?}", begun.elapsed());
        assert!(taken > 0 && refused > 0, "{name}, PHALANX_SEED={seed}: {taken} taken, {refused} refused");
    }
}

/// Whether this line decodes bytes, or begins something that does.
fn decodes(line: &str) -> bool {
    let line = line.trim_start();
    let begins = [
        "decode(",
        "decode<",
        "parse(",
        "parse_write(",
        "parse_entry(",
        "read(bytes",
        "decode_user(",
        "from_hex(",
    ]
    .iter()
    .any(|name| line.contains(&format!("fn {name}")));
    !line.starts_with("//") && (begins || line.contains("bcs::from_bytes"))
}

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && name != "tests" {
            sources(&entry, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(entry);
        }
    }
}

/// A decoder that is new, or gone, is to be entered above, with who tries it.
#[test]
fn every_decoder_in_the_sources_is_tried_by_somebody() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src/durable", "src/quorum_store", "src/types", "src/vm", "tools/src/node"] {
        sources(&root.join(folder), &mut files);
    }
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let count = product.lines().filter(|line| decodes(line)).count();
        if count > 0 {
            found.insert(file.strip_prefix(root).unwrap().to_string_lossy().into_owned(), count);
        }
    }
    let known: BTreeMap<String, usize> =
        DECODERS.iter().map(|&(file, count, _)| (file.to_owned(), count)).collect();
    assert_eq!(found, known, "left: in the sources; right: in DECODERS");
    for (file, _, tried) in DECODERS {
        match tried {
            Tried::Here(names) => {
                for name in *names {
                    assert!(TARGETS.iter().any(|target| target.name == *name), "{file}: no target {name}");
                }
            }
            Tried::In(test) => {
                let text = std::fs::read_to_string(root.join(test)).unwrap();
                assert!(text.contains("#[test]"), "{file}: no test in {test}");
            }
        }
    }
}
