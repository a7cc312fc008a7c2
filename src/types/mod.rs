//! Plain data that every other room speaks of: ids, blocks, accesses, deltas, outputs. No behaviour beyond encoding.

mod access;
mod block;
mod block_hash;
mod delta;
mod ids;
mod key;
mod key_list;
mod key_table;
mod named_keys;
mod out_of_range;
mod output;
mod output_writer;

pub use access::{AccessMode, HintWriter, TransactionAccess};
pub use block::{Block, BlockHeader, ForeseenWrite, PrepareError, PreparedBlock, PreparedTransaction};
pub use block_hash::BlockHash;
pub use delta::{Delta, NumberWidth, number_of};
pub use ids::{CpuId, Generation, Incarnation, KeyId, NodeId, Origin, RoundId, ShardId, TxnIndex};
pub(crate) use key::same_bytes;
pub use key::{KeyHasher, LimitExceeded, MAX_KEY_BYTES, MAX_OUTPUT_BYTES, MAX_VALUE_BYTES};
pub(crate) use key_list::KeyList;
pub use key_table::KeyRecord;
pub(crate) use key_table::{KeyTable, index_slots, link};
pub use named_keys::NamedKeys;
pub use out_of_range::OutOfRange;
pub use output::{
    Event, Observed, Outcome, OutputError, OutputHeader, OutputView, ReadRecord, StatusCode, Write,
    WriteRecord,
};
pub use output_writer::{OUTPUT_PANICKED, OutputWriter, PendingWrite};

pub(crate) use output::{OBSERVED_BYTES_MAX, note_ids};
pub(crate) use output_writer::{OUTPUT_COLD, OUTPUT_SPELLED};
