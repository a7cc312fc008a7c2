//! Blocks of Ethereum's mainnet: read from files, executed by revm alone, and compared.

mod access_file;
mod block_file;
mod case;
mod error;
mod field;
mod machine;
mod mainnet;
mod outcome;
mod receipts;
mod reference;

pub use access_file::{BlockAccess, read_access, write_access};
pub use block_file::{BLOOM_BYTES, BlockFile};
pub use case::EthereumBlock;
pub use error::InputError;
pub use field::{Field, read_json};
pub use machine::{Entries, LoadingEvm, loading_block};
pub use mainnet::{blob_update_fraction, mainnet_spec};
pub use outcome::{AccountAfter, AccountsAfter, Outcome, OutcomeError};
pub use receipts::{Receipt, ReceiptTotals};
pub use reference::{HashMissing, Reference, ReferenceError, ReferenceState};
