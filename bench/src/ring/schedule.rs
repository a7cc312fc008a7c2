//! Who is measured when, and what is compared with what.

use crate::report::{Bound, Ratio};
use crate::ring::rows::Series;
use crate::ring::{Cores, Job, Measure, Payload, Publication, RingRow, TransportName, peers};

/// What to measure.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Rounds: every transport has its turn in each.
    pub rounds: u32,
    /// How long one measurement lasts, in ms.
    pub millis: u64,
    /// Sizes of messages for throughput; latencies are measured at 64 bytes, if that is among them.
    pub payloads: Vec<Payload>,
    /// Transports.
    pub transports: Vec<TransportName>,
}

/// A measurement is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Measurements done.
    pub done: usize,
    /// Measurements in all.
    pub total: usize,
    /// The one that begins.
    pub job: Job,
}

/// A side of a ratio.
type Side = (TransportName, Publication);

/// Measures everything, transports in turns, and says before each measurement which one it is.
///
/// With one core for this process nothing is pinned, and ratios with targets are left open. A transport that fails has
/// the reason in its row.
pub fn run(options: &RingOptions, mut on_step: impl FnMut(Step)) -> Vec<RingRow> {
    let cores = pair_of_cores();
    let mut groups = groups(options, cores);
    let total = groups.iter().map(Vec::len).sum::<usize>() * options.rounds as usize;
    let mut done = 0;
    for group in &mut groups {
        for round in 0..options.rounds as usize {
            for place in 0..group.len() {
                // Whoever comes first in a round comes last in the next.
                let place = (place + round) % group.len();
                let Some(series) = group.get_mut(place) else { continue };
                on_step(Step { done, total, job: series.job });
                measure(series);
                done += 1;
            }
        }
    }
    let all: Vec<Series> = groups.into_iter().flatten().collect();
    let ratios = ratios(&all, cores.is_none());
    all.iter().map(row).chain(ratios.into_iter().map(RingRow::Ratio)).collect()
}

fn pair_of_cores() -> Option<Cores> {
    match *phalanx_ipc::allowed_cores().unwrap_or_default() {
        [near, far, ..] => Some(Cores { near, far }),
        [] | [_] => None,
    }
}

/// What is measured in turns: all transports, for one measure and one size.
fn groups(options: &RingOptions, cores: Option<Cores>) -> Vec<Vec<Series>> {
    let by_size = options.payloads.iter().map(|&payload| (Measure::Throughput, payload));
    let latencies = options.payloads.contains(&Payload::B64);
    let by_measure = [Measure::RoundTrip, Measure::Wake].into_iter().filter(|_| latencies);
    let kinds = by_size.chain(by_measure.map(|measure| (measure, Payload::B64)));
    kinds.map(|(measure, payload)| group(options, measure, payload, cores)).collect()
}

fn group(options: &RingOptions, measure: Measure, payload: Payload, cores: Option<Cores>) -> Vec<Series> {
    let publications: &[Publication] = match measure {
        Measure::Throughput => &[Publication::Single, Publication::Batched],
        Measure::RoundTrip | Measure::Wake => &[Publication::Single],
    };
    let all = options
        .transports
        .iter()
        .flat_map(|&transport| publications.iter().map(move |&publication| (transport, publication)));
    all.filter(|(transport, publication)| transport.has(measure, *publication))
        .map(|(transport, publication)| {
            let job = Job { transport, measure, payload, publication, millis: options.millis, cores };
            Series { job, samples: Vec::new(), error: None }
        })
        .collect()
}

fn measure(series: &mut Series) {
    if series.error.is_some() {
        return;
    }
    match peers::run(&series.job) {
        Ok(sample) => series.samples.push(sample),
        Err(error) => series.error = Some(error.to_string()),
    }
}

fn row(series: &Series) -> RingRow {
    match series.job.measure {
        Measure::Throughput => RingRow::Throughput(series.throughput()),
        Measure::RoundTrip => RingRow::RoundTrip(series.latency()),
        Measure::Wake => RingRow::Wake(series.latency()),
    }
}

fn ratios(all: &[Series], left_open: bool) -> Vec<Ratio> {
    use Publication::{Batched, Single};
    use TransportName::{Futex, Iceoryx2, Phalanx, PhalanxRing, PingPong1, Rtrb};
    let wanted: [(Measure, Side, Side, Bound); 13] = [
        (Measure::Throughput, (Phalanx, Single), (Rtrb, Single), Bound::AtLeast(1.0)),
        (Measure::Throughput, (PhalanxRing, Single), (Rtrb, Single), Bound::AtLeast(1.0)),
        (Measure::Throughput, (Phalanx, Batched), (Rtrb, Single), Bound::AtLeast(2.0)),
        (Measure::Throughput, (PhalanxRing, Batched), (Rtrb, Single), Bound::AtLeast(2.0)),
        (Measure::Throughput, (Phalanx, Single), (Iceoryx2, Single), Bound::AtLeast(30.0)),
        (Measure::Throughput, (PhalanxRing, Single), (Iceoryx2, Single), Bound::AtLeast(30.0)),
        (Measure::Throughput, (Phalanx, Batched), (Iceoryx2, Single), Bound::AtLeast(30.0)),
        (Measure::Throughput, (PhalanxRing, Batched), (Iceoryx2, Single), Bound::AtLeast(30.0)),
        (Measure::RoundTrip, (Phalanx, Single), (Rtrb, Single), Bound::AtMost(1.0)),
        (Measure::RoundTrip, (PhalanxRing, Single), (Rtrb, Single), Bound::AtMost(1.0)),
        (Measure::RoundTrip, (Phalanx, Single), (PingPong1, Single), Bound::AtMost(2.5)),
        (Measure::RoundTrip, (PhalanxRing, Single), (PingPong1, Single), Bound::AtMost(2.5)),
        (Measure::Wake, (Phalanx, Single), (Futex, Single), Bound::AtMost(1.1)),
    ];
    let values = |measure, (transport, publication): Side| {
        let found = all.iter().find(|series| {
            let job = series.job;
            job.measure == measure
                && job.payload == Payload::B64
                && (job.transport, job.publication) == (transport, publication)
        });
        found.map(Series::values).unwrap_or_default()
    };
    let ratio = |(measure, over, under, target)| {
        let name = name_of(measure, over, under);
        let ratio = Ratio::new(name, &values(measure, over), &values(measure, under), Some(target));
        if left_open { ratio.left_open() } else { ratio }
    };
    wanted.into_iter().map(ratio).collect()
}

fn name_of(measure: Measure, over: Side, under: Side) -> String {
    match measure {
        Measure::Throughput => format!("throughput 64 B, {} {} / {} {}", over.0, over.1, under.0, under.1),
        Measure::RoundTrip => format!("round trip 64 B, {} / {}", over.0, under.0),
        Measure::Wake => format!("wake, {} / {}", over.0, under.0),
    }
}
