//! Ethereum's blocks: read from files, executed by revm alone, judged by the rules of a chain, and compared.

mod access_file;
mod access_list;
mod block_file;
mod case;
pub mod chain;
mod error;
mod field;
mod listed_writes;
mod machine;
mod mainnet;
mod outcome;
mod receipts;
mod reference;

pub use access_file::{BlockAccess, read_access, write_access};
pub use access_list::{BlockAccessList, read_access_lists, write_access_list};
pub use block_file::{BLOOM_BYTES, BlockFile};
use case::{BEACON_ROOTS, HISTORY};
pub use case::{EthereumBlock, read_accounts};
pub use error::InputError;
pub use field::{Field, read_json};
pub use listed_writes::ListedWrites;
pub use machine::{Entries, LoadingEvm, loading_block};
pub use mainnet::{blob_update_fraction, mainnet_spec};
pub use outcome::{AccountAfter, AccountsAfter, Outcome, OutcomeError, apply};
pub use receipts::{Receipt, ReceiptTotals};
pub use reference::{HashMissing, Reference, ReferenceError, ReferenceState};
