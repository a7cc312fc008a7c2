//! The ring between every pair of cores: what communication costs depending on who talks to whom.

use crate::report::{BenchReport, Spread};
use crate::ring::{Cores, Job, Measure, Payload, PeerError, Publication, Sample, TransportName, peers};
use serde::Serialize;
use std::fmt::Write;

/// One direction between two cores.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "pair")]
pub struct PairRow {
    /// The core that sends, and times the round trip.
    pub near: usize,
    /// The core that receives, and answers.
    pub far: usize,
    /// There and back, 64 bytes, both ends awake: medians of the rounds, in ns.
    pub round_trip_ns: Option<Spread>,
    /// One way, 64 bytes, published in batches.
    pub messages_per_s: Option<Spread>,
    /// Why there are no more rounds.
    pub error: Option<String>,
}

/// A pair is about to be measured.
#[derive(Clone, Copy, Debug)]
pub struct PairStep {
    /// Pairs done, over all rounds.
    pub done: usize,
    /// Pairs in all.
    pub total: usize,
    /// The pair.
    pub cores: Cores,
}

/// Measures every ordered pair of `cores`, all pairs in turn in each of `rounds`, each of the two measures for `millis`.
/// Nothing with fewer than two cores.
pub fn matrix(cores: &[usize], rounds: u32, millis: u64, mut on_step: impl FnMut(PairStep)) -> Vec<PairRow> {
    let pairs = cores.iter().flat_map(|&near| cores.iter().map(move |&far| Cores { near, far }));
    let pairs: Vec<Cores> = pairs.filter(|cores| cores.near != cores.far).collect();
    let mut series: Vec<Series> = pairs.iter().map(|_| Series::default()).collect();
    let total = pairs.len() * rounds as usize;
    for round in 0..rounds as usize {
        for (place, (&cores, series)) in pairs.iter().zip(&mut series).enumerate() {
            on_step(PairStep { done: round * pairs.len() + place, total, cores });
            series.measure(cores, millis);
        }
    }
    pairs.into_iter().zip(series).map(|(cores, series)| series.row(cores)).collect()
}

#[derive(Debug, Default)]
struct Series {
    round_trips: Vec<f64>,
    rates: Vec<f64>,
    error: Option<String>,
}

impl Series {
    fn measure(&mut self, cores: Cores, millis: u64) {
        if self.error.is_none()
            && let Err(error) = self.try_measure(cores, millis)
        {
            self.error = Some(error.to_string());
        }
    }

    fn try_measure(&mut self, cores: Cores, millis: u64) -> Result<(), PeerError> {
        for (measure, publication) in
            [(Measure::RoundTrip, Publication::Single), (Measure::Throughput, Publication::Batched)]
        {
            let (transport, payload) = (TransportName::PhalanxRing, Payload::B64);
            match peers::run(&Job { transport, measure, payload, publication, millis, cores: Some(cores) })? {
                Sample::Latency { p50, .. } => self.round_trips.push(p50 as f64),
                Sample::Rate { messages, nanos } => {
                    self.rates.push(messages as f64 * 1e9 / nanos.max(1) as f64)
                }
            }
        }
        Ok(())
    }

    fn row(self, Cores { near, far }: Cores) -> PairRow {
        let Series { round_trips, rates, error } = self;
        let (round_trip_ns, messages_per_s) = (Spread::of(&round_trips), Spread::of(&rates));
        PairRow { near, far, round_trip_ns, messages_per_s, error }
    }
}

/// Both measures as tables for people: who sends by row, who receives by column.
pub fn matrix_table(report: &BenchReport<PairRow>) -> String {
    let mut text = report.heading();
    let round_trip = |row: &PairRow| row.round_trip_ns.map(|spread| spread.median);
    let rate = |row: &PairRow| row.messages_per_s.map(|spread| spread.median / 1e6);
    draw(&mut text, "\nround trip, 64 B, both awake, ns (median of rounds)\n", &report.rows, round_trip);
    draw(
        &mut text,
        "\none way, 64 B in batches, million messages/s (median of rounds)\n",
        &report.rows,
        rate,
    );
    for row in &report.rows {
        if let Some(error) = &row.error {
            let _ = writeln!(text, "from {} to {}: {error}", row.near, row.far);
        }
    }
    text
}

/// Writing to a string cannot fail, so what `write!` says is not looked at.
fn draw(text: &mut String, title: &str, rows: &[PairRow], value: impl Fn(&PairRow) -> Option<f64>) {
    text.push_str(title);
    let mut cores: Vec<usize> = rows.iter().map(|row| row.near).collect();
    cores.dedup();
    let _ = write!(text, "{:>6}", "");
    for far in &cores {
        let _ = write!(text, "{far:>8}");
    }
    for near in &cores {
        let _ = write!(text, "\n{near:>6}");
        for far in &cores {
            let cell = rows.iter().find(|row| (row.near, row.far) == (*near, *far)).and_then(&value);
            let _ = match cell {
                Some(value) => write!(text, "{value:>8.0}"),
                None => write!(text, "{:>8}", "-"),
            };
        }
    }
    text.push('\n');
}
