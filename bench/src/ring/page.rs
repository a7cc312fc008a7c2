//! The report as a page.

use crate::report::page::{Entry, Figure, Page, RangeChart, RangePoint, RangeRow, Table};
use crate::report::{BenchReport, Ratio, Spread};
use crate::ring::{LatencyRow, Payload, Publication, RingRow, ThroughputRow, TransportName};

/// The report as one page for a browser.
pub fn page(report: &BenchReport<RingRow>) -> Page {
    let mut page = Page::new("Rings of phalanx beside other transports", report);
    let mut rows = Rows::default();
    report.rows.iter().for_each(|row| rows.sort_in(row));
    page.section(
        "Throughput",
        "Messages per second from one end to the other, every word of them written, read and verified. Further right is better.",
    );
    Payload::ALL
        .iter()
        .filter_map(|payload| throughput(&rows, payload.bytes()))
        .for_each(|it| page.figure(&it));
    page.table(&rates(&rows));
    page.section("Latency", "Messages of 64 bytes. Further left is better.");
    let trips = "Round trip: until the answer is there, both ends awake";
    let wakes = "Wake-up: one way, to a receiver that sleeps";
    let both = [latency(trips, &rows.trips), latency(wakes, &rows.wakes)];
    both.iter().flatten().for_each(|it| page.figure(it));
    page.table(&times(&rows));
    page.section("Targets", "Ratios round by round: the median and its 95 % bootstrap interval.");
    page.table(&ratios(&rows.ratios));
    page
}

#[derive(Default)]
struct Rows<'a> {
    rates: Vec<&'a ThroughputRow>,
    trips: Vec<&'a LatencyRow>,
    wakes: Vec<&'a LatencyRow>,
    ratios: Vec<&'a Ratio>,
}

impl<'a> Rows<'a> {
    fn sort_in(&mut self, row: &'a RingRow) {
        match row {
            RingRow::Throughput(row) => self.rates.push(row),
            RingRow::RoundTrip(row) => self.trips.push(row),
            RingRow::Wake(row) => self.wakes.push(row),
            RingRow::Ratio(row) => self.ratios.push(row),
        }
    }
}

fn is_own(transport: TransportName) -> bool {
    matches!(transport, TransportName::Phalanx | TransportName::PhalanxRing)
}

fn point(series: usize, spread: &Spread) -> RangePoint {
    RangePoint { series, value: spread.median, ends: (spread.min, spread.max) }
}

/// One size; none if nothing of it was measured.
fn throughput(all: &Rows<'_>, bytes: usize) -> Option<Figure> {
    let mut rows: Vec<(TransportName, RangeRow)> = Vec::new();
    for row in all.rates.iter().filter(|row| row.payload_bytes == bytes) {
        let Some(rate) = &row.messages_per_s else { continue };
        let series = match row.publication {
            Publication::Single => 0,
            Publication::Batched => 1,
        };
        let point = point(series, rate);
        match rows.iter_mut().find(|(transport, _)| *transport == row.transport) {
            Some((_, known)) => known.points.push(point),
            None => rows.push((row.transport, named(row.transport, row.processes, vec![point]))),
        }
    }
    let best = |row: &RangeRow| row.points.iter().map(|point| point.value).fold(0.0, f64::max);
    rows.sort_by(|(_, one), (_, other)| best(other).total_cmp(&best(one)));
    let chart = RangeChart {
        title: format!("Messages of {bytes} bytes"),
        caption: "Points: medians over the rounds; thin lines: least to greatest. The numbers are medians, single / batched."
            .to_owned(),
        axis: "messages per second, logarithmic".to_owned(),
        series: vec![
            ("each message published by itself".to_owned(), 1),
            ("many published at once".to_owned(), 3),
        ],
        joined: false,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    };
    (!chart.rows.is_empty()).then(|| chart.figure())
}

fn named(transport: TransportName, processes: bool, points: Vec<RangePoint>) -> RangeRow {
    let ends = if processes { "processes" } else { "threads" };
    RangeRow { name: format!("{transport} ({ends})"), strong: is_own(transport), points }
}

fn latency(title: &str, all: &[&LatencyRow]) -> Option<Figure> {
    let mut rows: Vec<RangeRow> = all
        .iter()
        .filter_map(|row| {
            let (p50, p99) = (row.p50_ns.as_ref()?, row.p99_ns.as_ref()?);
            Some(named(row.transport, row.processes, vec![point(0, p50), point(1, p99)]))
        })
        .collect();
    let median = |row: &RangeRow| row.points.first().map_or(0.0, |point| point.value);
    rows.sort_by(|one, other| median(one).total_cmp(&median(other)));
    let chart = RangeChart {
        title: title.to_owned(),
        caption: "Each the median over the rounds; thin lines: least to greatest. The numbers are p50 / p99, in ns."
            .to_owned(),
        axis: "nanoseconds, logarithmic".to_owned(),
        series: vec![("median (p50)".to_owned(), 1), ("99th percentile (p99)".to_owned(), 6)],
        joined: true,
        rows,
    };
    (!chart.rows.is_empty()).then(|| chart.figure())
}

fn strings<const N: usize>(columns: [&str; N]) -> Vec<String> {
    columns.map(str::to_owned).into()
}

fn spread(spread: Option<&Spread>, unit: f64, digits: usize) -> [Entry; 3] {
    let of = |value: fn(&Spread) -> f64| Entry::number(spread.map(|spread| value(spread) / unit), digits);
    [of(|spread| spread.median), of(|spread| spread.min), of(|spread| spread.max)]
}

fn rates(all: &Rows<'_>) -> Table {
    let row = |row: &&ThroughputRow| {
        let about = [
            Entry::text(row.transport),
            Entry::text(if row.processes { "processes" } else { "threads" }),
            Entry::Number(row.payload_bytes.to_string()),
            Entry::text(row.publication),
        ];
        let rate = spread(row.messages_per_s.as_ref(), 1e6, 3);
        let rest = [Entry::text(row.error.as_deref().unwrap_or_default()), Entry::text(row.note)];
        about.into_iter().chain(rate).chain(rest).collect()
    };
    Table {
        title: "All throughputs, million messages per second".to_owned(),
        columns: strings([
            "transport",
            "ends",
            "bytes",
            "published",
            "median",
            "least",
            "greatest",
            "error",
            "note",
        ]),
        rows: all.rates.iter().map(row).collect(),
        folded: true,
    }
}

fn times(all: &Rows<'_>) -> Table {
    let row = |what: &str, row: &LatencyRow| {
        let about = [
            Entry::text(what),
            Entry::text(row.transport),
            Entry::text(if row.processes { "processes" } else { "threads" }),
        ];
        let (p50, p99) = (spread(row.p50_ns.as_ref(), 1.0, 0), spread(row.p99_ns.as_ref(), 1.0, 0));
        let rest = [Entry::text(row.error.as_deref().unwrap_or_default()), Entry::text(row.note)];
        about.into_iter().chain(p50).chain(p99).chain(rest).collect::<Vec<_>>()
    };
    let trips = all.trips.iter().map(|it| row("round trip", it));
    let wakes = all.wakes.iter().map(|it| row("wake-up", it));
    Table {
        title: "All latencies, nanoseconds".to_owned(),
        columns: strings([
            "what",
            "transport",
            "ends",
            "p50",
            "least",
            "greatest",
            "p99",
            "least",
            "greatest",
            "error",
            "note",
        ]),
        rows: trips.chain(wakes).collect(),
        folded: true,
    }
}

fn ratios(all: &[&Ratio]) -> Table {
    let row = |ratio: &&Ratio| {
        vec![
            Entry::text(&ratio.name),
            Entry::number(ratio.median, 2),
            Entry::number(ratio.low, 2),
            Entry::number(ratio.high, 2),
            Entry::text(ratio.target.map_or(String::new(), |target| target.to_string())),
            Entry::Verdict(ratio.verdict),
        ]
    };
    Table {
        title: "Ratios and what they should be".to_owned(),
        columns: strings(["ratio", "median", "low", "high", "target", "verdict"]),
        rows: all.iter().map(row).collect(),
        folded: false,
    }
}
