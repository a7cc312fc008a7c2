//! The transports: what each is, what it can be asked, and where it is measured.

mod crossbeam_channel;
mod futex;
#[cfg(feature = "peers")]
mod grpc;
#[cfg(feature = "peers")]
mod iceoryx;
mod ping_pong;
mod rtrb_ring;
mod shared_ring;
mod stream;

use crate::ring::{Job, Measure, Parcel, PeerError, Publication, Sample, processes, threads};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportName {
    /// Inbox, ring and doorbell of `phalanx-ipc`, as shards use them.
    Phalanx,
    /// The ring of `phalanx-ipc` without its doorbell.
    PhalanxRing,
    /// `rtrb`.
    Rtrb,
    /// Bounded channel of `crossbeam`.
    Crossbeam,
    /// Publish-subscribe of `iceoryx2`.
    Iceoryx2,
    /// A stream socket.
    UnixSocket,
    /// A pipe.
    Pipe,
    /// gRPC by `tonic` over loopback TCP.
    Tonic,
    /// One cache line that two threads write in turns.
    #[serde(rename = "ping-pong-1")]
    PingPong1,
    /// Two cache lines, each written by one thread.
    #[serde(rename = "ping-pong-2")]
    PingPong2,
    /// A futex word, nothing else.
    Futex,
}

impl TransportName {
    /// All of them, in the order of the tables.
    pub const ALL: [TransportName; 11] = [
        TransportName::Phalanx,
        TransportName::PhalanxRing,
        TransportName::Rtrb,
        TransportName::Crossbeam,
        TransportName::Iceoryx2,
        TransportName::UnixSocket,
        TransportName::Pipe,
        TransportName::Tonic,
        TransportName::PingPong1,
        TransportName::PingPong2,
        TransportName::Futex,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            TransportName::Phalanx => "phalanx",
            TransportName::PhalanxRing => "phalanx-ring",
            TransportName::Rtrb => "rtrb",
            TransportName::Crossbeam => "crossbeam",
            TransportName::Iceoryx2 => "iceoryx2",
            TransportName::UnixSocket => "unix-socket",
            TransportName::Pipe => "pipe",
            TransportName::Tonic => "tonic",
            TransportName::PingPong1 => "ping-pong-1",
            TransportName::PingPong2 => "ping-pong-2",
            TransportName::Futex => "futex",
        }
    }

    /// Whether it was built in: the feature `peers` brings iceoryx2 and tonic.
    pub const fn is_built_in(self) -> bool {
        match self {
            TransportName::Iceoryx2 | TransportName::Tonic => cfg!(feature = "peers"),
            TransportName::Phalanx
            | TransportName::PhalanxRing
            | TransportName::Rtrb
            | TransportName::Crossbeam
            | TransportName::UnixSocket
            | TransportName::Pipe
            | TransportName::PingPong1
            | TransportName::PingPong2
            | TransportName::Futex => true,
        }
    }

    /// Whether there is such a thing to measure.
    pub const fn has(self, measure: Measure, publication: Publication) -> bool {
        match measure {
            Measure::Throughput => match self {
                TransportName::Crossbeam | TransportName::Iceoryx2 => {
                    matches!(publication, Publication::Single)
                }
                TransportName::PingPong1 | TransportName::PingPong2 | TransportName::Futex => false,
                TransportName::Phalanx
                | TransportName::PhalanxRing
                | TransportName::Rtrb
                | TransportName::UnixSocket
                | TransportName::Pipe
                | TransportName::Tonic => true,
            },
            Measure::RoundTrip => !matches!(self, TransportName::Futex),
            Measure::Wake => match self {
                TransportName::Phalanx
                | TransportName::Crossbeam
                | TransportName::Iceoryx2
                | TransportName::UnixSocket
                | TransportName::Pipe
                | TransportName::Futex => true,
                TransportName::PhalanxRing
                | TransportName::Rtrb
                | TransportName::Tonic
                | TransportName::PingPong1
                | TransportName::PingPong2 => false,
            },
        }
    }

    /// Whether its ends are two processes.
    pub const fn between_processes(self) -> bool {
        match self {
            TransportName::Phalanx
            | TransportName::PhalanxRing
            | TransportName::Iceoryx2
            | TransportName::UnixSocket
            | TransportName::Pipe => true,
            TransportName::Rtrb
            | TransportName::Crossbeam
            | TransportName::Tonic
            | TransportName::PingPong1
            | TransportName::PingPong2
            | TransportName::Futex => false,
        }
    }

    /// What is meant by single and batched, and what else a reader of a figure should know.
    pub const fn note(self) -> &'static str {
        match self {
            TransportName::Phalanx => {
                "inbox and doorbell, as shards use them; up to 64 B are one cell, more is a cell that refers to an arena; batched: 64 cells per publication"
            }
            TransportName::PhalanxRing => "as phalanx, but nobody rings: the reader polls",
            TransportName::Rtrb => "batched: chunks of 64",
            TransportName::Crossbeam => "bounded channel",
            TransportName::Iceoryx2 => {
                "publish-subscribe, buffer of 256 samples, no overflow; wake: event service"
            }
            TransportName::UnixSocket => {
                "stream socket; single: one write per message, batched: 64 KiB per write; reads of 64 KiB; polled but in wake"
            }
            TransportName::Pipe => "pipe of 1 MiB; writes and reads as unix-socket",
            TransportName::Tonic => {
                "TCP loopback, no delay; single: unary calls, 256 in flight; batched: one client stream; round trip: one call"
            }
            TransportName::PingPong1 => "one cache line, written in turns: the floor",
            TransportName::PingPong2 => "two cache lines, one per writer",
            TransportName::Futex => "one word and the system call",
        }
    }
}

impl fmt::Display for TransportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Measures.
///
/// # Errors
/// When the transport cannot be had, or breaks, or has no such measure.
pub fn run(job: &Job) -> Result<Sample, PeerError> {
    if !job.transport.has(job.measure, job.publication) {
        return Err(PeerError::Unsupported("there is no such measure of this transport"));
    }
    match job.transport {
        TransportName::Phalanx => processes::run::<shared_ring::Rung>(job),
        TransportName::PhalanxRing => processes::run::<shared_ring::Polled>(job),
        TransportName::Rtrb => threads::run::<rtrb_ring::Rtrb>(job),
        TransportName::Crossbeam => threads::run::<crossbeam_channel::Crossbeam>(job),
        #[cfg(feature = "peers")]
        TransportName::Iceoryx2 => processes::run::<iceoryx::Iceoryx>(job),
        TransportName::UnixSocket => processes::run::<stream::UnixSocket>(job),
        TransportName::Pipe => processes::run::<stream::Pipe>(job),
        #[cfg(feature = "peers")]
        TransportName::Tonic => grpc::run(job),
        #[cfg(not(feature = "peers"))]
        TransportName::Iceoryx2 | TransportName::Tonic => Err(NOT_BUILT_IN),
        TransportName::PingPong1 => ping_pong::run(job, 1),
        TransportName::PingPong2 => ping_pong::run(job, 2),
        TransportName::Futex => futex::run(job),
    }
}

/// The far process's part.
///
/// # Errors
/// As [`run`].
pub fn accept(
    job: &Job,
    parcel: Parcel,
    ready: impl FnOnce() -> Result<(), PeerError>,
) -> Result<Option<Sample>, PeerError> {
    match job.transport {
        TransportName::Phalanx => processes::accept::<shared_ring::Rung>(job, parcel, ready),
        TransportName::PhalanxRing => processes::accept::<shared_ring::Polled>(job, parcel, ready),
        TransportName::UnixSocket => processes::accept::<stream::UnixSocket>(job, parcel, ready),
        TransportName::Pipe => processes::accept::<stream::Pipe>(job, parcel, ready),
        #[cfg(feature = "peers")]
        TransportName::Iceoryx2 => processes::accept::<iceoryx::Iceoryx>(job, parcel, ready),
        #[cfg(not(feature = "peers"))]
        TransportName::Iceoryx2 => Err(NOT_BUILT_IN),
        TransportName::Rtrb
        | TransportName::Crossbeam
        | TransportName::Tonic
        | TransportName::PingPong1
        | TransportName::PingPong2
        | TransportName::Futex => Err(PeerError::Unsupported("its ends are threads of one process")),
    }
}

#[cfg(not(feature = "peers"))]
const NOT_BUILT_IN: PeerError = PeerError::Unsupported("not built in; build with the feature peers");

/// Messages that a queue of so many words per message has room for: 1 MiB of them, but no more than 16,384.
fn slots<const W: usize>() -> usize {
    ((1 << 20) / (8 * W)).min(1 << 14)
}
