//! Rows of the report.

use crate::report::{Ratio, Spread};
use crate::ring::{Job, Publication, Sample, TransportName};
use serde::Serialize;

/// A row.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RingRow {
    /// Messages per second, one way.
    Throughput(ThroughputRow),
    /// There and back, both ends awake.
    RoundTrip(LatencyRow),
    /// One way, to a receiver that sleeps.
    Wake(LatencyRow),
    /// Two of these, one divided by the other.
    Ratio(Ratio),
}

/// Messages per second of one transport at one size.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughputRow {
    /// The transport.
    pub transport: TransportName,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// How messages were published.
    pub publication: Publication,
    /// Between two processes; otherwise two threads.
    pub processes: bool,
    /// Each end had a core of its own.
    pub pinned: bool,
    /// Messages received in all rounds, every word of them read, their order and sum verified.
    pub messages: u64,
    /// Over the rounds; none if there was none.
    pub messages_per_s: Option<Spread>,
    /// Payload bytes per second, the median.
    pub bytes_per_s: Option<f64>,
    /// Why there are no more rounds.
    pub error: Option<String>,
    /// What a reader of the figures should know.
    pub note: &'static str,
}

/// Latency of one transport.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyRow {
    /// The transport.
    pub transport: TransportName,
    /// Bytes of a message; cache lines and futexes carry a word or a time.
    pub payload_bytes: usize,
    /// Between two processes; otherwise two threads.
    pub processes: bool,
    /// Each end had a core of its own.
    pub pinned: bool,
    /// Messages timed in all rounds.
    pub samples: u64,
    /// Medians of the rounds, in ns; none if there was no round.
    pub p50_ns: Option<Spread>,
    /// 99th percentiles of the rounds, in ns.
    pub p99_ns: Option<Spread>,
    /// Why there are no more rounds.
    pub error: Option<String>,
    /// What a reader of the figures should know.
    pub note: &'static str,
}

/// One job and what its rounds came to.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) job: Job,
    pub(super) samples: Vec<Sample>,
    pub(super) error: Option<String>,
}

impl Series {
    /// Messages per second, or median nanoseconds, by round.
    pub(super) fn values(&self) -> Vec<f64> {
        self.samples
            .iter()
            .map(|sample| match *sample {
                Sample::Rate { messages, nanos } => messages as f64 * 1e9 / nanos.max(1) as f64,
                Sample::Latency { p50, .. } => p50 as f64,
            })
            .collect()
    }

    pub(super) fn throughput(&self) -> ThroughputRow {
        let Job { transport, payload, publication, cores, .. } = self.job;
        let messages_per_s = Spread::of(&self.values());
        ThroughputRow {
            transport,
            payload_bytes: payload.bytes(),
            publication,
            processes: transport.between_processes(),
            pinned: cores.is_some(),
            messages: self.total(),
            messages_per_s,
            bytes_per_s: messages_per_s.map(|rate| rate.median * payload.bytes() as f64),
            error: self.error.clone(),
            note: transport.note(),
        }
    }

    pub(super) fn latency(&self) -> LatencyRow {
        let Job { transport, payload, cores, .. } = self.job;
        let tails: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|sample| match *sample {
                Sample::Rate { .. } => None,
                Sample::Latency { p99, .. } => Some(p99 as f64),
            })
            .collect();
        LatencyRow {
            transport,
            payload_bytes: payload.bytes(),
            processes: transport.between_processes(),
            pinned: cores.is_some(),
            samples: self.total(),
            p50_ns: Spread::of(&self.values()),
            p99_ns: Spread::of(&tails),
            error: self.error.clone(),
            note: transport.note(),
        }
    }

    fn total(&self) -> u64 {
        self.samples
            .iter()
            .map(|sample| match *sample {
                Sample::Rate { messages, .. } => messages,
                Sample::Latency { samples, .. } => samples,
            })
            .sum()
    }
}
