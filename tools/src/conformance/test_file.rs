//! A BlockchainTest as its file holds it.

use phalanx::vm::evm::EvmAccount;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes};
use phalanx_bench::ethereum::chain::{BlobRules, Network, NetworkError, SealCheck};
use phalanx_bench::ethereum::{Field, InputError, read_accounts};

/// Accounts by their addresses.
pub type Accounts = Vec<(Address, EvmAccount)>;

/// One test.
#[derive(Clone, Debug)]
pub struct ChainTest {
    pub network: Network,
    pub seal: SealCheck,
    pub chain_id: u64,
    pub genesis: Bytes,
    pub genesis_hash: B256,
    pub before: Accounts,
    pub blocks: Vec<TestBlock>,
    pub last_hash: B256,
    pub after: After,
}

/// A block, and whether it is valid.
#[derive(Clone, Debug)]
pub struct TestBlock {
    pub bytes: Bytes,
    pub expected: Expected,
}

/// What must become of a block.
#[derive(Clone, Debug)]
pub enum Expected {
    /// It is valid and has this hash.
    Valid { hash: B256 },
    /// It must be rejected, for what the test calls this.
    Rejected { exception: String },
}

/// What the chain must have left.
#[derive(Clone, Debug)]
pub enum After {
    /// These accounts, and no others.
    Accounts(Accounts),
    /// A state with this root.
    Root(B256),
    /// The test leaves it to the last block.
    Unsaid,
}

/// Something that is in a file with tests.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A test.
    Test(Box<ChainTest>),
    /// One that cannot be executed, and why.
    Skip(String),
}

/// Reads one test.
///
/// # Errors
/// [`InputError`], which names file, test, field and what was expected.
pub fn read_test(test: &Field<'_>) -> Result<Entry, InputError> {
    test.members()?;
    if let Some(format) = other_format(test) {
        return Ok(Entry::Skip(format!("no BlockchainTest but {format}")));
    }
    let config = test.get("config");
    let name = test.get("network");
    let name = name.present().unwrap_or_else(|| config.get("network"));
    let text = name.text().ok_or_else(|| name.wrong("the name of a network"))?;
    let mut network = match Network::of_name(text) {
        Ok(network) => network,
        Err(error @ NetworkError::Unsupported { .. }) => return Ok(Entry::Skip(error.to_string())),
        Err(NetworkError::Unknown(_)) => {
            return Err(name.wrong("the name of a fork, or AToBAtN, AToBAtTimeN or AToBAtDiffN"));
        }
    };
    if let Some(schedule) = config.get("blobSchedule").present() {
        for (fork, blobs) in schedule.members()? {
            network.set_blobs(fork, read_blobs(&blobs)?);
        }
    }
    let chain_id = config.get("chainid");
    let header = test.get("genesisBlockHeader");
    let blocks = test.get("blocks").items()?;
    Ok(Entry::Test(Box::new(ChainTest {
        network,
        seal: read_seal(&test.get("sealEngine"))?,
        chain_id: chain_id.present().map_or(Ok(1), |id| id.u64())?,
        genesis: test.get("genesisRLP").bytes()?,
        genesis_hash: header.get("hash").hash()?,
        before: read_accounts(&test.get("pre"))?,
        blocks: blocks.iter().map(read_block).collect::<Result<_, _>>()?,
        last_hash: test.get("lastblockhash").hash()?,
        after: read_after(test)?,
    })))
}

/// What else the suites hold under names of tests.
fn other_format(test: &Field<'_>) -> Option<&'static str> {
    let has = |name: &str| test.get(name).present().is_some();
    match () {
        () if has("blocks") => None,
        () if has("engineNewPayloads") => Some("an engine test"),
        () if has("transaction") && has("post") => Some("a state test"),
        () if has("txbytes") => Some("a transaction test"),
        () => None,
    }
}

fn read_blobs(blobs: &Field<'_>) -> Result<BlobRules, InputError> {
    let fraction = blobs.get("baseFeeUpdateFraction");
    let update_fraction = fraction.u64()?;
    if update_fraction == 0 {
        return Err(fraction.wrong("a number that is not 0"));
    }
    Ok(BlobRules { target: blobs.get("target").u64()?, max: blobs.get("max").u64()?, update_fraction })
}

fn read_seal(seal: &Field<'_>) -> Result<SealCheck, InputError> {
    match seal.present().map(|seal| seal.text()) {
        None | Some(Some("NoProof")) => Ok(SealCheck::Off),
        Some(Some("Ethash")) => Ok(SealCheck::Ethash),
        Some(_) => Err(seal.wrong("NoProof or Ethash")),
    }
}

/// Older files call an exception after the network for which it is expected, and perhaps not after the test's own: there an invalid
/// block is one without a header.
fn read_block(block: &Field<'_>) -> Result<TestBlock, InputError> {
    let members = block.members()?;
    let header = block.get("blockHeader").present();
    let is_exception = |name: &str| match &header {
        Some(_) => name == "expectException",
        None => name.starts_with("expectException"),
    };
    let exception = members.iter().find(|(name, _)| is_exception(name));
    let expected = match (exception, &header) {
        (Some((_, exception)), _) => {
            Expected::Rejected { exception: exception.text().unwrap_or("any reason").to_owned() }
        }
        (None, None) => Expected::Rejected { exception: "any reason".to_owned() },
        (None, Some(header)) => Expected::Valid { hash: header.get("hash").hash()? },
    };
    Ok(TestBlock { bytes: block.get("rlp").bytes()?, expected })
}

fn read_after(test: &Field<'_>) -> Result<After, InputError> {
    if let Some(accounts) = test.get("postState").present() {
        return read_accounts(&accounts).map(After::Accounts);
    }
    test.get("postStateHash").present().map_or(Ok(After::Unsaid), |root| root.hash().map(After::Root))
}
