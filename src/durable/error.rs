//! What can be wrong with durable state.

use crate::state::{StateDigest, StateError};
use crate::types::{BlockHash, OutOfRange};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What is wrong with durable state. Unless the variant says otherwise, nothing has changed.
#[derive(Debug, Error)]
pub enum DurableError {
    /// A size that no state directory can have.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The system refused something.
    #[error("cannot {step} {}: {cause}; {}", path.display(), advice(cause))]
    Io {
        /// What was tried, as a verb.
        step: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process has the directory.
    #[error(
        "state directory {} belongs to process {pid} (start time {start_time}); stop it, or name another directory",
        directory.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The owner's process id; 0 if it has not yet said.
        pid: i32,
        /// When the owner started, in clock ticks since boot.
        start_time: u64,
    },
    /// A file does not hold what was written to it.
    #[error(
        "{} is damaged at offset {offset}: {what}; keep a copy, then import a snapshot into a new directory",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Blocks are missing from the log.
    #[error(
        "the log in {} has no record {sequence}, which the store needs or had; put the missing segment back, or import a \
         snapshot into a new directory",
        directory.display()
    )]
    Missing {
        /// The log's directory.
        directory: PathBuf,
        /// The first record that is missing.
        sequence: u64,
    },
    /// Written by another version.
    #[error(
        "{} has format version {found}, this program knows {known}; export a snapshot with the program that wrote it, and \
         import that",
        path.display()
    )]
    Version {
        /// The file or directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// The directory was made from another first state.
    #[error(
        "state directory {} began with a first state of digest {found}, not {given}; name another directory, or give the \
         options with which it was made",
        directory.display()
    )]
    OtherGenesis {
        /// The directory.
        directory: PathBuf,
        /// Digest of the first state that it was made from.
        found: StateDigest,
        /// Digest of the first state that was given now.
        given: StateDigest,
    },
    /// There is no durable state.
    #[error("{} holds no state; name a directory that `--state-dir` or an import made", directory.display())]
    NoState {
        /// The directory.
        directory: PathBuf,
    },
    /// There is durable state where new one should be made.
    #[error("{} holds a state already; import into a new directory", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// The store refused something.
    #[error("cannot {step} the store in {}: {cause}; {}", directory.display(), store_advice(cause))]
    Store {
        /// What was tried, as a verb.
        step: &'static str,
        /// Where the store is.
        directory: PathBuf,
        /// What it said.
        cause: heed::Error,
    },
    /// What the store holds is not what its head says.
    #[error(
        "the entries in {} have digest {found}, their head says {expected}; keep a copy, then import a snapshot into a new \
         directory",
        directory.display()
    )]
    Digest {
        /// Where the store, or which snapshot.
        directory: PathBuf,
        /// As the head says.
        expected: StateDigest,
        /// As the entries are.
        found: StateDigest,
    },
    /// The base state cannot hold what the directory holds.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another block was committed at this height.
    #[error(
        "block {height} is {committed}, not {submitted}; submit the block that was committed, or the next one"
    )]
    OtherBlock {
        /// The height.
        height: u64,
        /// The block that was committed there.
        committed: BlockHash,
        /// The one that was submitted.
        submitted: BlockHash,
    },
    /// The height is passed, and nothing is known of a block there.
    #[error(
        "height {height} is passed: the last block is {last}, and nothing is kept of a block there; submit a later one"
    )]
    Passed {
        /// The height.
        height: u64,
        /// Height of the last block.
        last: u64,
    },
    /// The store lags too far behind the log.
    #[error(
        "the store lags {bytes} bytes behind the log, the limit is {limit}; give more time, a faster disk or a greater \
         backlog_bytes"
    )]
    Backlog {
        /// Bytes of the log that the store lacks.
        bytes: u64,
        /// The most allowed.
        limit: u64,
    },
    /// Something went wrong after which nothing can be promised.
    #[error("durable state failed: {cause}; no block is taken any more, open the directory again")]
    Failed {
        /// What went wrong.
        cause: String,
    },
    /// The time was up before the block was durable. It may be so at any moment.
    #[error("block {height} was not durable in time; the last durable block is {}", last_of(*durable))]
    NotYet {
        /// The block.
        height: u64,
        /// The last durable block.
        durable: Option<u64>,
    },
    /// The time was up before the store had the block.
    #[error("block {height} was not in the store in time; the last block there is {}", last_of(*stored))]
    NotStored {
        /// The block.
        height: u64,
        /// The last block that the store has.
        stored: Option<u64>,
    },
    /// Nothing is made durable here.
    #[error("there is no state directory; name one when launching")]
    NoDirectory,
}

fn last_of(height: Option<u64>) -> String {
    height.map_or_else(|| "none".to_owned(), |height| height.to_string())
}

fn advice(cause: &io::Error) -> &'static str {
    let advices = [
        (io::ErrorKind::StorageFull, "free some space there"),
        (io::ErrorKind::QuotaExceeded, "raise the quota"),
        (io::ErrorKind::PermissionDenied, "make it writable for this user"),
        (io::ErrorKind::ReadOnlyFilesystem, "mount it writable, or name another directory"),
        (io::ErrorKind::NotFound, "make the directory above it, or name another one"),
    ];
    let known = advices.iter().find(|(kind, _)| cause.kind() == *kind);
    known.map_or(
        "look for disk errors in the kernel's log, and at the limits of this session",
        |(_, advice)| advice,
    )
}

fn store_advice(cause: &heed::Error) -> &'static str {
    match cause {
        heed::Error::Mdb(heed::MdbError::MapFull) => "raise store_bytes",
        heed::Error::Io(cause) => advice(cause),
        heed::Error::Mdb(_) | heed::Error::Encoding(_) | heed::Error::Decoding(_) => {
            "keep a copy, then import a snapshot into a new directory"
        }
        heed::Error::EnvAlreadyOpened => "this process has it open already, close it first",
    }
}

impl DurableError {
    /// For `map_err` after a step on a file.
    pub(super) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError + use<> {
        let path = path.to_owned();
        move |cause| DurableError::Io { step, path, cause }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> DurableError {
        DurableError::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}
