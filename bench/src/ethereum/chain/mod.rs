//! The rules of a chain: which blocks are valid, what they leave, and which of several branches counts.
//!
//! Executors execute; this room says what they are to execute, and compares what comes out with what the block claims.
//! It knows all rules from Frontier to Osaka, for tests of the protocol and for chains of a few blocks.

mod blobs;
mod block_rlp;
mod dao;
mod difficulty;
mod ethash;
mod execution;
mod fork;
mod header;
mod links;
mod network;
mod ommers;
mod refusal;
mod rejection;
mod requests;
mod signer;

pub use blobs::BlobRules;
pub use block_rlp::DecodedBlock;
pub use ethash::SealCheck;
pub use execution::RunBlock;
pub use fork::Fork;
pub use links::{Chain, ImportError, Imported};
pub use network::{Network, NetworkError, Stage};
pub use rejection::Rejection;
