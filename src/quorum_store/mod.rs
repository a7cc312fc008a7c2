//! The quorum store: from mempool to committed block, with a commit that no component can miss.
//!
//! Components are plain state machines: what happens and the time come in as values, what is to be done comes out as
//! [`Effect`]s. Tasks drive them in a node, a scheduler with virtual time in simulations. A commit is one append to the
//! [`CommitLog`]; every component reads it from a cursor of its own, and is rebuilt from the batch store and the log.

mod batch;
mod batch_coordinator;
mod batch_generator;
mod batch_requester;
mod batch_store;
mod block_executor;
mod bounded;
mod commit_log;
mod config;
mod direct_mempool;
mod disk;
mod effect;
mod gate;
mod ids;
mod in_progress;
mod keys;
mod lmdb_disk;
mod mempool;
mod message;
mod network;
mod network_listener;
mod orderer;
mod proof;
mod proof_coordinator;
mod proof_manager;
mod proof_queue;
mod pull_rate;
mod quota;
mod refusal;
mod runtime;
mod transaction;
mod validator;
mod validator_config;

#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchInfo};
pub use batch_coordinator::{BatchCoordinator, TxnFilter};
pub use batch_generator::{BatchGenerator, GeneratorCounts, GeneratorSeat};
pub use batch_requester::BatchRequester;
pub use batch_store::{BatchStore, LiveBatch, Persisted};
pub use block_executor::{BlockExecutor, BlockToExecute, ExecutedBlock, ExecutorError, TxnOutcome};
pub use commit_log::{
    Admission, AppendError, CommitEntry, CommitLog, CommitStep, Committed, Cursor, PlannedAppend,
    TxnException,
};
pub use config::{BackPressureConfig, BatchLimits, MempoolConfig, QuorumStoreConfig, QuotaConfig};
pub use disk::{Disk, DiskError, KeptCommits, MemoryDisk, OrderedBlock};
pub use effect::{Effect, FetchEnd, GeneratorNews, Outbox, ProofNews, QueueNews};
pub use gate::{Component, CursorBoard, Gate};
pub use ids::{BatchDigest, BatchId, BatchKey, Epoch, Micros, TxnHash, ValidatorId};
pub use in_progress::InProgress;
pub use keys::{BlsKeys, BlsSecret, Keys, KeysError, RegisteredKey};
pub use lmdb_disk::LmdbDisk;
pub use mempool::{CommittedTxn, Departure, Mempool, TxnSource};
pub use message::{MAX_FRAME_BYTES, MAX_INFOS_PER_MESSAGE, Message};
pub use network::{FrameSink, Network};
pub use network_listener::{Incoming, NetworkListener};
pub use orderer::{Orderer, RoundRobin};
pub use proof::{MAX_VALIDATORS, ProofOfStore, SIGNATURE_BYTES, Signature, SignedBatchInfo, SignerSet};
pub use proof_coordinator::{ProofCoordinator, ProofSeat};
pub use proof_manager::{ManagerSeat, Payload, PayloadRequest, ProofManager};
pub use proof_queue::{ProofQueue, PullRequest, Pulled};
pub use pull_rate::{BackPressure, PullRate};
pub use quota::{Quota, Storage};
pub use refusal::{Refusal, RefusalCounts};
pub use runtime::agreement::{Agreement, Disagreement, NextBlock, Turn};
pub use runtime::clock::Clock;
pub use runtime::commit_feed::{CommitFeed, CommittedBlock};
pub use runtime::committee::{Committee, CommitteeConfig, CommitteeError};
pub use runtime::commons::{Role, ValidatorSeat};
pub use runtime::ends::TxnStatus;
pub use runtime::local_network::{LocalNetwork, NetworkCounts, NetworkFaults};
pub use runtime::mailbox::MailboxCounts;
pub use runtime::shutdown_report::{ShutdownReport, StepEnd};
pub use transaction::{PooledTxn, TxnBytes, TxnSummary};
pub use validator::{Counters, Cursors, Holdings, Restarts, StartError, Validator, ValidatorEnd};
pub use validator_config::{BlockConfig, MailboxConfig, PayloadSource, SupervisionConfig, ValidatorConfig};
