//! What is measured: one transport, one measure, one size.

use crate::ring::TransportName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What is asked of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Messages per second from one end to the other.
    Throughput,
    /// Time from sending a message until its answer is there, both ends awake.
    RoundTrip,
    /// Time from sending a message until a receiver that slept has it.
    Wake,
}

/// How many messages are made visible at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publication {
    /// Each by itself.
    Single,
    /// Many, as many as suit the transport.
    Batched,
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Publication::Single => "single",
            Publication::Batched => "batched",
        })
    }
}

/// Size of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Payload {
    /// 16 bytes.
    B16,
    /// 64 bytes: a cell.
    B64,
    /// 256 bytes.
    B256,
    /// 4096 bytes.
    B4096,
}

impl Payload {
    /// All of them, ascending.
    pub const ALL: [Payload; 4] = [Payload::B16, Payload::B64, Payload::B256, Payload::B4096];

    /// Its bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Payload::B16 => 16,
            Payload::B64 => 64,
            Payload::B256 => 256,
            Payload::B4096 => 4096,
        }
    }

    /// The size of so many bytes, if it is one that is measured.
    pub fn of_bytes(bytes: usize) -> Option<Payload> {
        Payload::ALL.into_iter().find(|payload| payload.bytes() == bytes)
    }
}

/// The cores that the two ends have for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// Of the end that this process runs.
    pub near: usize,
    /// Of the other end.
    pub far: usize,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Of what.
    pub transport: TransportName,
    /// What.
    pub measure: Measure,
    /// Size of a message.
    pub payload: Payload,
    /// Messages per publication.
    pub publication: Publication,
    /// How long to measure.
    pub millis: u64,
    /// None on a host that has one core for this process: the ends share it, and yield instead of spinning.
    pub cores: Option<Cores>,
}

impl Job {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// What a measurement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sample {
    /// Of [`Measure::Throughput`].
    Rate {
        /// Messages received, all verified.
        messages: u64,
        /// From the first to the last.
        nanos: u64,
    },
    /// Of the other two.
    Latency {
        /// How many were timed.
        samples: u64,
        /// Their median, in ns.
        p50: u64,
        /// The 99th percentile, in ns.
        p99: u64,
    },
}
