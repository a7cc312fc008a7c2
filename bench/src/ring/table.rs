//! The report for people.

use crate::report::{BenchReport, Ratio, Spread};
use crate::ring::{LatencyRow, RingRow, ThroughputRow, TransportName};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The report as tables.
pub fn table(report: &BenchReport<RingRow>) -> String {
    let mut text = report.heading();
    let rows = &report.rows;
    let pinned = rows.iter().any(|row| match row {
        RingRow::Throughput(row) => row.pinned,
        RingRow::RoundTrip(row) | RingRow::Wake(row) => row.pinned,
        RingRow::Ratio(_) => false,
    });
    if !pinned {
        line(&mut text, "one core: nothing was pinned, and no target is judged; pinned pairs need two cores");
    }
    let rates =
        rows.iter().filter_map(|row| if let RingRow::Throughput(row) = row { Some(row) } else { None });
    throughputs(&mut text, &rates.collect::<Vec<_>>());
    let trips =
        rows.iter().filter_map(|row| if let RingRow::RoundTrip(row) = row { Some(row) } else { None });
    latencies(&mut text, "round trip, both ends awake", &trips.collect::<Vec<_>>());
    let wakes = rows.iter().filter_map(|row| if let RingRow::Wake(row) = row { Some(row) } else { None });
    latencies(&mut text, "one way to a sleeping receiver", &wakes.collect::<Vec<_>>());
    let found = rows.iter().filter_map(|row| if let RingRow::Ratio(row) = row { Some(row) } else { None });
    ratios(&mut text, &found.collect::<Vec<_>>());
    notes(&mut text, rows);
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn throughputs(text: &mut String, rows: &[&ThroughputRow]) {
    if rows.is_empty() {
        return;
    }
    line(text, "\none way, million messages per second, median (min..max) of the rounds");
    for row in rows {
        let ThroughputRow { transport, payload_bytes, publication, .. } = row;
        let _ =
            write!(text, "{transport:<13}{payload_bytes:>5} B  {publication:<8}{:>10}", ends(row.processes));
        match (&row.messages_per_s, &row.error) {
            (Some(rate), error) => {
                let gigabytes = row.bytes_per_s.unwrap_or(0.0) / 1e9;
                let cause = error.as_deref().unwrap_or_default();
                let _ = writeln!(text, "{}{gigabytes:>9.3} GB/s  {cause}", spread(rate, 1e6, 3));
            }
            (None, error) => line(text, &format!("  {}", error.as_deref().unwrap_or("not measured"))),
        }
    }
}

fn latencies(text: &mut String, title: &str, rows: &[&LatencyRow]) {
    if rows.is_empty() {
        return;
    }
    line(
        text,
        &format!("\n{title}, us: median and 99th percentile, each the median (min..max) of the rounds"),
    );
    for row in rows {
        let _ = write!(text, "{:<13}{:>10}", row.transport, ends(row.processes));
        match (&row.p50_ns, &row.p99_ns, &row.error) {
            (Some(p50), Some(p99), error) => {
                let cause = error.as_deref().unwrap_or_default();
                let _ = writeln!(text, "{}{}  {cause}", spread(p50, 1e3, 3), spread(p99, 1e3, 3));
            }
            (None, _, error) | (_, None, error) => {
                line(text, &format!("  {}", error.as_deref().unwrap_or("not measured")));
            }
        }
    }
}

fn ratios(text: &mut String, rows: &[&Ratio]) {
    line(text, "\nratios, median of the rounds and its 95 % interval");
    for Ratio { name, median, low, high, target, verdict } in rows {
        let _ = write!(text, "{name:<62}");
        match (median, low, high) {
            (Some(median), Some(low), Some(high)) => {
                let _ = write!(text, "{median:>8.2} [{low:.2}, {high:.2}]");
            }
            (None, _, _) | (_, None, _) | (_, _, None) => text.push_str("       -"),
        }
        if let (Some(target), Some(verdict)) = (target, verdict) {
            let _ = write!(text, "  {target} {verdict}");
        }
        text.push('\n');
    }
}

fn notes(text: &mut String, rows: &[RingRow]) {
    let transports: BTreeSet<TransportName> = rows
        .iter()
        .filter_map(|row| match row {
            RingRow::Throughput(row) => Some(row.transport),
            RingRow::RoundTrip(row) | RingRow::Wake(row) => Some(row.transport),
            RingRow::Ratio(_) => None,
        })
        .collect();
    text.push('\n');
    for transport in transports {
        let _ = writeln!(text, "{transport:<13}{}", transport.note());
    }
}

fn ends(processes: bool) -> &'static str {
    if processes { "processes" } else { "threads" }
}

fn spread(spread: &Spread, unit: f64, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    let range = format!("({:.digits$}..{:.digits$})", min / unit, max / unit);
    format!("{:>10.digits$} {range:<20}", median / unit)
}
