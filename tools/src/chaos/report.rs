//! What a trial comes to: the table and the JSON object.

use crate::chaos::check::{Finding, Findings};
use crate::chaos::fault::FaultKind;
use crate::chaos::options::ChaosOptions;
use crate::chaos::schedule::Schedule;
use crate::chaos::trial::Outcome;
use crate::percentiles::Percentiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Version of the JSON object: raised when a key changes its meaning or goes, not when one is added.
const SCHEMA_VERSION: u32 = 1;

/// What a trial comes to. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    seed: u64,
    schedule_hash: String,
    mix: String,
    rate: f64,
    shards: usize,
    stall_limit_ms: f64,
    workload: String,
    /// Folders with blocks of Ethereum; with them the three that follow mean nothing.
    folders: usize,
    accounts: usize,
    block_size: usize,
    signed: bool,
    duration_s: f64,
    elapsed_s: f64,
    interrupted: bool,
    faults_planned: usize,
    faults_injected: BTreeMap<FaultKind, u64>,
    faults_missed: BTreeMap<FaultKind, u64>,
    signals_sent: usize,
    blocks: u64,
    transactions: u64,
    rounds: u64,
    rounds_cut_short: u64,
    reexecuted: u64,
    deaths: usize,
    respawns: u64,
    supervisor_restarts: u64,
    pauses_survived: u64,
    pauses_overrun: u64,
    kill_to_known_us: Option<Percentiles>,
    kill_to_ready_us: Option<Percentiles>,
    supervisor_to_full_strength_us: Option<Percentiles>,
    recovered_after_ms: Option<f64>,
    verified: bool,
    leaks: Vec<String>,
    checks: Findings,
}

impl Report {
    /// Of a trial that came to its end.
    pub fn new(options: &ChaosOptions, seed: u64, schedule: &Schedule, outcome: &Outcome) -> Report {
        let Outcome { findings, book, verdict, tally, totals, .. } = outcome;
        let failed = |name: &str| findings.failures().any(|(check, _)| check.name() == name);
        let leaks = findings.failures().filter(|(check, _)| check.is_leak());
        let millis = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Report {
            schema_version: SCHEMA_VERSION,
            seed,
            schedule_hash: schedule.hash(),
            mix: options.mix.to_string(),
            rate: options.rate,
            shards: options.shards,
            stall_limit_ms: millis(options.stall_limit),
            workload: options.workload.to_string(),
            folders: options.workload_kind().map_or(options.blocks.len(), |_| 0),
            accounts: options.accounts,
            block_size: options.block_size,
            signed: options.signed,
            duration_s: options.duration.as_secs_f64(),
            elapsed_s: millis(outcome.elapsed) / 1e3,
            interrupted: outcome.interrupted,
            faults_planned: schedule.faults().len(),
            faults_injected: book.faults(),
            faults_missed: book.missed.clone(),
            signals_sent: book.strikes.len(),
            blocks: tally.blocks,
            transactions: tally.transactions,
            rounds: totals.stats.rounds,
            rounds_cut_short: totals.stats.rounds_cut_short,
            reexecuted: totals.stats.reexecuted,
            deaths: book.deaths.len(),
            respawns: outcome.respawns,
            supervisor_restarts: totals.supervisor_restarts,
            pauses_survived: verdict.pauses_survived,
            pauses_overrun: verdict.pauses_overrun,
            kill_to_known_us: Percentiles::of(&verdict.known_us),
            kill_to_ready_us: Percentiles::of(&verdict.ready_us),
            supervisor_to_full_strength_us: Percentiles::of(&verdict.full_strength_us),
            recovered_after_ms: outcome.recovered_after.map(millis),
            verified: tally.blocks > 0 && !failed("digest") && !failed("lost-block"),
            leaks: leaks.map(|(check, what)| format!("{check}: {what}")).collect(),
            checks: findings.clone(),
        }
    }

    /// The JSON object, on one line.
    ///
    /// # Errors
    /// None that can happen with these fields; the encoder's type has one.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (name, value) in self.rows() {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{name:<20}  {value}");
        }
        for (check, finding) in self.checks.iter() {
            let (result, detail) = match finding {
                Finding::Ok(detail) => ("ok", detail),
                Finding::Failed(detail) => ("FAILED", detail),
                Finding::Skipped(detail) => ("skipped", detail),
            };
            let _ = writeln!(table, "  {check:<18}  {result:<7}  {detail}");
        }
        table
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let signed = if self.signed { "signed" } else { "unsigned" };
        let called_off = if self.interrupted { ", called off" } else { "" };
        let kinds = |counts: &BTreeMap<FaultKind, u64>| {
            let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        vec![
            ("seed", format!("{}, schedule {}, mix {}", self.seed, self.schedule_hash, self.mix)),
            ("shards", format!("{}, stall limit {} ms", self.shards, self.stall_limit_ms)),
            (
                "workload",
                match self.folders {
                    0 => format!(
                        "{}, {signed}, {} accounts, blocks of {}",
                        self.workload, self.accounts, self.block_size
                    ),
                    folders => format!("{folders} blocks, again and again"),
                },
            ),
            ("time", format!("{:.1} s of {:.1} s{called_off}", self.elapsed_s, self.duration_s)),
            ("faults", kinds(&self.faults_injected)),
            ("faults missed", kinds(&self.faults_missed)),
            ("signals", self.signals_sent.to_string()),
            ("blocks", format!("{} with {} transactions", self.blocks, self.transactions)),
            ("rounds", format!("{}, {} cut short", self.rounds, self.rounds_cut_short)),
            ("executed again", self.reexecuted.to_string()),
            ("deaths", self.deaths.to_string()),
            (
                "respawns",
                format!("{} of shards, {} of the supervisor", self.respawns, self.supervisor_restarts),
            ),
            ("pauses", format!("{} survived, {} overrun", self.pauses_survived, self.pauses_overrun)),
            ("kill to known", row_of(self.kill_to_known_us)),
            ("kill to ready", row_of(self.kill_to_ready_us)),
            ("supervisor to full", row_of(self.supervisor_to_full_strength_us)),
            (
                "verified",
                if self.verified { "every block equals sequential execution" } else { "NO" }.to_owned(),
            ),
            ("checks", String::new()),
        ]
    }
}

fn row_of(times: Option<Percentiles>) -> String {
    times.map_or_else(|| "none measured".to_owned(), |times| times.to_string())
}
