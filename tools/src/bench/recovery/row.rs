//! What recovery after one signal came to.

use crate::bench::RecoveryArguments;
use crate::bench::recovery::measure::Recovery;
use crate::percentiles::Percentiles;
use nix::sys::signal::Signal;
use phalanx::executor::DeathCause;
use phalanx_bench::report::{BenchReport, Verdict};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// A death is to be known sooner than this, in 99 of 100 cases.
const KNOWN_LIMIT_US: u64 = 1_000;
/// A successor is to be ready sooner than this, in 99 of 100 cases.
const READY_LIMIT_US: u64 = 5_000;
/// What is to be known: less is not what the targets mean.
const STATE_MIB: u64 = 1_024;
const KILLS: usize = 1_000;

/// One signal. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "recovery")]
pub struct RecoveryRow {
    signal: String,
    state_mib: u64,
    shards: usize,
    /// Signals sent.
    kills: usize,
    /// Of those, the ones whose victim died of that signal, with both times known.
    measured: usize,
    /// The least that any victim had touched when it was killed.
    touched_mib_min: u64,
    /// What the others are said to have died of, each once.
    other_causes: Vec<String>,
    /// Victims that left a core dump.
    core_dumps: usize,
    /// Victims of which that is not known, since they were not reaped in time.
    core_dumps_unknown: usize,
    known_us: Option<Percentiles>,
    ready_us: Option<Percentiles>,
    known_verdict: Verdict,
    ready_verdict: Verdict,
    /// Of each measured kill, until it was known and until its successor was ready, in us.
    #[serde(skip)]
    times: Vec<(u64, u64)>,
}

/// All signals together. The keys are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct RecoverySummary {
    state_mib: u64,
    /// Signals sent.
    kills: usize,
    known_us: Option<Percentiles>,
    ready_us: Option<Percentiles>,
}

impl RecoverySummary {
    /// Of the rows of one run.
    pub fn of(arguments: &RecoveryArguments, rows: &[RecoveryRow]) -> RecoverySummary {
        let times = || rows.iter().flat_map(|row| &row.times);
        RecoverySummary {
            state_mib: arguments.state_mib,
            kills: rows.iter().map(|row| row.kills).sum(),
            known_us: Percentiles::of(&times().map(|times| times.0).collect::<Vec<_>>()),
            ready_us: Percentiles::of(&times().map(|times| times.1).collect::<Vec<_>>()),
        }
    }
}

impl RecoveryRow {
    /// Of what is known of the kills by one signal.
    pub fn new(
        arguments: &RecoveryArguments,
        signal: Signal,
        kills: usize,
        known: &[&Recovery],
    ) -> RecoveryRow {
        let wrong = known.iter().filter(|it| it.incident.death.cause != DeathCause::Signal(signal as i32));
        let other_causes: BTreeSet<String> = wrong.map(|it| it.incident.death.cause.to_string()).collect();
        let right = known.iter().filter(|it| it.incident.death.cause == DeathCause::Signal(signal as i32));
        let since = |kill: Duration, at: Option<Duration>| {
            at.and_then(|at| at.checked_sub(kill)).and_then(|time| u64::try_from(time.as_micros()).ok())
        };
        let times: Vec<(u64, u64)> = right
            .filter_map(|it| {
                Some((since(it.kill.at, it.incident.known_at)?, since(it.kill.at, it.incident.ready_at)?))
            })
            .collect();
        let known_us = Percentiles::of(&times.iter().map(|times| times.0).collect::<Vec<_>>());
        let ready_us = Percentiles::of(&times.iter().map(|times| times.1).collect::<Vec<_>>());
        let as_meant = arguments.state_mib >= STATE_MIB && times.len() >= KILLS;
        let judge = |times: Option<Percentiles>, limit: u64| match times {
            Some(times) if as_meant && times.p99 < limit => Verdict::Pass,
            Some(_) if as_meant => Verdict::Miss,
            Some(_) | None => Verdict::Open,
        };
        RecoveryRow {
            signal: signal.as_str().to_owned(),
            state_mib: arguments.state_mib,
            shards: arguments.shards,
            kills,
            measured: times.len(),
            touched_mib_min: known.iter().map(|it| it.kill.touched >> 20).min().unwrap_or(0),
            other_causes: other_causes.into_iter().collect(),
            core_dumps: known.iter().filter(|it| it.dumped == Some(true)).count(),
            core_dumps_unknown: known.iter().filter(|it| it.dumped.is_none()).count(),
            known_us,
            ready_us,
            known_verdict: judge(known_us, KNOWN_LIMIT_US),
            ready_verdict: judge(ready_us, READY_LIMIT_US),
            times,
        }
    }
}

/// The report for people.
pub fn table(report: &BenchReport<RecoveryRow>) -> String {
    let mut table = report.heading();
    for row in &report.rows {
        let RecoveryRow { signal, kills, measured, touched_mib_min, core_dumps, shards, .. } = row;
        let times = |times: Option<Percentiles>| times.map_or("none".to_owned(), |times| times.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "\n{signal}: {kills} kills of {shards} shards, {measured} measured, at least {touched_mib_min} MiB touched, {core_dumps} core dumps"
        );
        let _ = writeln!(
            table,
            "  known  {}  (p99 < {KNOWN_LIMIT_US} us: {})",
            times(row.known_us),
            row.known_verdict
        );
        let _ = writeln!(
            table,
            "  ready  {}  (p99 < {READY_LIMIT_US} us: {})",
            times(row.ready_us),
            row.ready_verdict
        );
        if !row.other_causes.is_empty() {
            let _ = writeln!(table, "  others died of: {}", row.other_causes.join(", "));
        }
    }
    table
}
