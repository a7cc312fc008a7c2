//! Why a transport could not be measured.

use phalanx_ipc::PinError;
use std::fmt::Display;

/// Why a transport could not be measured. Becomes the text of its row.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A step of setting it up or of using it was refused.
    #[error("cannot {step}: {cause}")]
    Refused {
        /// The step, as a verb.
        step: &'static str,
        /// What was said.
        cause: String,
    },
    /// Nothing moved for too long.
    #[error(
        "{what} did not come in {limit_ms} ms; look whether the far end lives, or give the host less other work"
    )]
    Stalled {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit_ms: u128,
    },
    /// Messages were lost, torn or out of order.
    #[error(
        "{faults} of {messages} messages were out of order or torn, sum {sum:#x} instead of {expected:#x}; report it"
    )]
    Damaged {
        /// Messages received.
        messages: u64,
        /// Those with a wrong first or last word.
        faults: u64,
        /// Sum of all words received.
        sum: u64,
        /// What it should be.
        expected: u64,
    },
    /// The far end reported a failure.
    #[error("far end: {0}")]
    FarEnd(String),
    /// The end ran in a thread that panicked.
    #[error("an end panicked; report it with the lines above")]
    Panicked,
    /// An end could not be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// This transport has no such thing.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl PeerError {
    /// What refuses a step, with the reason that a library gave.
    pub(super) fn refused<E: Display>(step: &'static str) -> impl FnOnce(E) -> PeerError {
        move |cause| PeerError::Refused { step, cause: cause.to_string() }
    }
}
