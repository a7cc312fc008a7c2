//! Why a block is not valid.

use phalanx::vm::evm::revm::primitives::{Address, B256, U256};
use thiserror::Error;

/// Why a block is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each message names its fields")]
pub enum Rejection {
    /// The bytes are no block.
    #[error("{part} cannot be decoded: {cause}")]
    Undecodable { part: String, cause: String },
    /// Nobody knows the parent, or it was rejected.
    #[error("parent {0} is not known")]
    UnknownParent(B256),
    /// It does not come right after its parent.
    #[error("number {number} does not follow {parent}")]
    Number { number: u64, parent: u64 },
    /// It is not later than its parent.
    #[error("time {time_s} is not after its parent's, {parent_s}")]
    Time { time_s: u64, parent_s: u64 },
    /// The gas limit is out of bounds or moved too far.
    #[error("gas limit {limit} is not within {least} to {most}")]
    GasLimit { limit: u64, least: u64, most: u64 },
    /// More gas used than there may be.
    #[error("gas used {used} exceeds the gas limit {limit}")]
    GasAboveLimit { used: u64, limit: u64 },
    /// Too much extra data.
    #[error("extra data has {0} bytes, at most 32 are allowed")]
    ExtraData(usize),
    /// Around the DAO fork blocks must say which side they are on.
    #[error("extra data is not that of the DAO fork")]
    DaoExtraData,
    /// A number of the header is not what follows from the chain.
    #[error("{field} is {claimed}, it should be {right}")]
    Value { field: &'static str, claimed: U256, right: U256 },
    /// A hash of the header is not that of what it stands for.
    #[error("{field} is {claimed}, it should be {right}")]
    Hash { field: &'static str, claimed: B256, right: B256 },
    /// A field that the rules in force ask for.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field that came with later rules.
    #[error("{0} is not allowed yet")]
    TooEarly(&'static str),
    /// Not what a block without proof of work may have.
    #[error("{0} is not that of a block without proof of work")]
    NotMerged(&'static str),
    /// The proof of work does not hold.
    #[error("the proof of work does not hold: {0}")]
    Seal(&'static str),
    /// Too many ommers.
    #[error("{0} ommers, at most 2 are allowed")]
    TooManyOmmers(usize),
    /// An ommer that may not stand here.
    #[error("ommer {place}: {cause}")]
    Ommer { place: usize, cause: String },
    /// The block is too long (EIP-7934).
    #[error("the block has {bytes} bytes, at most {most} are allowed")]
    TooLong { bytes: usize, most: usize },
    /// Too many blobs.
    #[error("blob gas {used} exceeds {most}, or is not that of whole blobs")]
    BlobGas { used: u64, most: u64 },
    /// A transaction whose signature or fields are not valid.
    #[error("transaction {txn}: {cause}")]
    Transaction { txn: usize, cause: String },
    /// A transaction for which too little of the block's gas is left.
    #[error("transaction {txn}: its gas limit {limit} exceeds what is left of the block's, {left}")]
    GasPool { txn: usize, limit: u64, left: u64 },
    /// A contract that the protocol calls is missing.
    #[error("there is no code at {0}, which the protocol calls")]
    SystemContract(Address),
    /// A call of the protocol failed.
    #[error("the protocol's call of {0} failed")]
    SystemCall(Address),
    /// A deposit that is laid out in another way (EIP-6110).
    #[error("a deposit's event is not laid out as it should be")]
    Deposit,
}

impl Rejection {
    /// Whether a header's hash is that of what it stands for.
    ///
    /// # Errors
    /// [`Rejection::Hash`].
    pub(super) fn unless_same(field: &'static str, claimed: B256, right: B256) -> Result<(), Rejection> {
        if claimed == right { Ok(()) } else { Err(Rejection::Hash { field, claimed, right }) }
    }
}
