//! Running one test and what it comes to.

use crate::conformance::engine::Engine;
use crate::conformance::test_file::{Accounts, After, ChainTest, Expected};
use phalanx::vm::evm::revm::primitives::Address;
use phalanx::vm::evm::{EvmAccount, account_entries};
use phalanx_bench::ethereum::chain::{Chain, Fork, ImportError, Rejection};
use phalanx_bench::ethereum::{AccountsAfter, Entries};

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is as it should be.
    Passed,
    /// What is not.
    Failed(String),
    /// Why it cannot be executed.
    Skipped(String),
}

/// A test that was run.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub ending: Ending,
    /// Blocks that were judged, valid or not.
    pub blocks: u64,
    /// Transactions of the valid ones.
    pub transactions: u64,
    /// Blocks that were rejected as they should be.
    pub rejections: Vec<Refused>,
}

/// A block that was rejected as it should be.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its place in the test.
    pub block: usize,
    /// What the test expected.
    pub expected: String,
    /// Why it was rejected.
    pub reason: String,
}

impl Verdict {
    /// Of a test of which nothing was run.
    pub fn without_blocks(ending: Ending) -> Verdict {
        Verdict { ending, blocks: 0, transactions: 0, rejections: Vec::new() }
    }
}

/// Runs a test.
pub fn run_test(test: &ChainTest, engine: &mut Engine) -> Verdict {
    let mut verdict = Verdict::without_blocks(Ending::Passed);
    if let Err(trouble) = judge(test, engine, &mut verdict) {
        verdict.ending = match (trouble, created_over_storage(&test.before)) {
            (Trouble::Outdated(contract), _) => Ending::Skipped(format!(
                "made before a block had to be rejected where there is no code for the protocol to call (EIP-7002, EIP-7251): {contract}"
            )),
            (Trouble::Wrong(_), Some(account)) => Ending::Skipped(format!(
                "revm does not refuse to create where storage is left (EIP-7610): {account} and others like it"
            )),
            (Trouble::Wrong(cause), None) => Ending::Failed(cause),
        };
    }
    verdict
}

/// Why a test did not pass.
enum Trouble {
    /// Something is not as it should be.
    Wrong(String),
    /// It is older than the rule that there must be code at this address.
    Outdated(Address),
}

impl From<String> for Trouble {
    fn from(cause: String) -> Trouble {
        Trouble::Wrong(cause)
    }
}

fn judge(test: &ChainTest, engine: &mut Engine, verdict: &mut Verdict) -> Result<(), Trouble> {
    let chain =
        Chain::new(test.network.clone(), test.seal, test.chain_id, &test.genesis, entries_of(&test.before));
    let mut chain = chain.map_err(|rejection| format!("the first block: {rejection}"))?;
    if chain.accounts(test.genesis_hash).is_none() {
        return Err(format!("the first block has another hash than {}", test.genesis_hash).into());
    }
    for (place, block) in test.blocks.iter().enumerate() {
        verdict.blocks += 1;
        match (&block.expected, chain.import(&block.bytes, engine)) {
            (Expected::Valid { hash }, Ok(imported)) => {
                verdict.transactions += imported.transactions as u64;
                if imported.hash != *hash {
                    return Err(
                        format!("block {place} has the hash {} instead of {hash}", imported.hash).into()
                    );
                }
            }
            (Expected::Valid { .. }, Err(ImportError::Rejected(Rejection::SystemContract(contract))))
                if is_outdated(test, contract) =>
            {
                return Err(Trouble::Outdated(contract));
            }
            (Expected::Valid { .. }, Err(error)) => {
                return Err(format!("block {place} is valid, but: {error}").into());
            }
            (Expected::Rejected { exception }, Ok(_)) => {
                let cause = format!("block {place} was accepted instead of being rejected for {exception}");
                return Err(cause.into());
            }
            (Expected::Rejected { exception }, Err(ImportError::Rejected(rejection))) => {
                let (expected, reason) = (exception.clone(), rejection.to_string());
                verdict.rejections.push(Refused { block: place, expected, reason });
            }
            (Expected::Rejected { .. }, Err(ImportError::Fault(cause))) => {
                return Err(format!("block {place} could not be judged: {cause}").into());
            }
        }
    }
    check_end(test, &chain).map_err(Trouble::Wrong)
}

/// Whether a test has the protocol call a contract from its first block on, and begins without it. Such tests were made when the call
/// counted as one that returns nothing.
fn is_outdated(test: &ChainTest, contract: Address) -> bool {
    let first = test.network.stages().first();
    let has_code =
        |(address, account): &(Address, EvmAccount)| *address == contract && !account.code.is_empty();
    first.is_some_and(|first| first.fork >= Fork::Prague) && !test.before.iter().any(has_code)
}

/// The last block must be the one that the chain's rules choose, and the state after it the one that the test names.
fn check_end(test: &ChainTest, chain: &Chain) -> Result<(), String> {
    let Some(accounts) = chain.accounts(test.last_hash) else {
        return Err(format!(
            "the last block should be {}, which is not among the valid ones",
            test.last_hash
        ));
    };
    if !chain.may_be_last(test.last_hash) {
        return Err(format!("the last block should be {}, but another branch counts more", test.last_hash));
    }
    match &test.after {
        After::Unsaid => Ok(()),
        After::Root(root) if chain.state_root(test.last_hash) == Some(*root) => Ok(()),
        After::Root(root) => Err(format!("the state after the last block has another root than {root}")),
        After::Accounts(expected) => {
            let expected = AccountsAfter::of_entries(&entries_of(expected));
            let difference = accounts.first_difference(&expected);
            difference.map_or(Ok(()), |difference| Err(format!("after the last block: {difference}")))
        }
    }
}

fn entries_of(accounts: &Accounts) -> Entries {
    accounts.iter().flat_map(|(address, account)| account_entries(*address, account)).collect()
}

/// An account that has storage, but neither code nor nonce: revm would create a contract there.
fn created_over_storage(accounts: &Accounts) -> Option<Address> {
    let odd = accounts.iter().find(|(_, account)| {
        account.code.is_empty()
            && account.nonce == 0
            && account.storage.iter().any(|(_, value)| !value.is_zero())
    });
    odd.map(|(address, _)| *address)
}
