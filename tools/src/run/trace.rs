//! The timeline of a run as a file in the trace event format, which Perfetto and Chrome show.
//!
//! The file is one JSON array, an event on each line, written as the run goes. That of a run that was ended from outside
//! lacks its closing bracket; the viewers accept that.

use crate::run::error::RunError;
use phalanx::supervisor::{Incidents, ShardIncident, SupervisorIncident};
use phalanx::telemetry::{BlockTimeline, Span, SpanKind, Timeline, Track, monotonic_ns};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose events they are. The format wants a number for each process; lives of a shard share one.
const COORDINATOR: u64 = 1;
const SUPERVISOR: u64 = 2;
const FIRST_SHARD: u64 = 10;
/// Every process has one row of its own.
const ROW: u64 = 1;

/// A trace being written.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// Times are told from here on, in ns of the monotonic clock: small numbers stay exact.
    base_ns: u64,
    empty: bool,
    /// What the file does not show.
    lost: Lost,
}

/// What a trace does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    spans: u64,
    blocks: u64,
    incidents: u64,
}

impl TraceFile {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// `Trace` when it cannot be written.
    pub fn create(path: &Path) -> Result<TraceFile, RunError> {
        let failed = |cause| RunError::Trace { path: path.to_owned(), cause };
        let file = File::create(path).map_err(failed)?;
        let mut out = BufWriter::new(file);
        // Flushed at once: a full disk is known before anything runs.
        out.write_all(b"[").and_then(|()| out.flush()).map_err(failed)?;
        let (base_ns, empty, lost) = (monotonic_ns(), true, Lost::default());
        Ok(TraceFile { path: path.to_owned(), out, base_ns, empty, lost })
    }

    /// Names everyone.
    ///
    /// # Errors
    /// `Trace` when the file cannot be written.
    pub fn name(&mut self, shards: usize, processes: bool) -> Result<(), RunError> {
        let kind = if processes { "process" } else { "thread" };
        let supervisor = processes.then(|| (SUPERVISOR, "supervisor".to_owned(), "losses"));
        let everyone = [(COORDINATOR, "coordinator".to_owned(), "blocks and rounds")]
            .into_iter()
            .chain(supervisor)
            .chain(
                (0_u64..).take(shards).map(|id| (FIRST_SHARD + id, format!("shard {id} ({kind})"), "rounds")),
            );
        for (pid, name, row) in everyone {
            let about = |what: &str, args: Value| json!({"ph": "M", "name": what, "pid": pid, "tid": ROW, "args": args});
            self.event(&about("process_name", json!({"name": name})))?;
            self.event(&about("process_sort_index", json!({"sort_index": pid})))?;
            self.event(&about("thread_name", json!({"name": row})))?;
        }
        Ok(())
    }

    /// Adds what was recorded, and has the system take it.
    ///
    /// # Errors
    /// `Trace` when the file cannot be written.
    pub fn add(&mut self, timeline: &Timeline, incidents: &Incidents) -> Result<(), RunError> {
        for block in &timeline.blocks {
            for span in &block.spans {
                let event = self.span(block, span);
                self.event(&event)?;
            }
            self.lost.spans = self.lost.spans.saturating_add(block.dropped.saturating_add(block.refused));
        }
        self.lost.blocks += timeline.dropped_blocks;
        for incident in &incidents.shards {
            self.death(incident)?;
        }
        for incident in &incidents.supervisors {
            self.loss(incident)?;
        }
        self.lost.incidents += incidents.dropped;
        self.out.flush().map_err(|cause| self.failed(cause))
    }

    /// Closes the file; says in the log what it does not show.
    ///
    /// # Errors
    /// `Trace` when it cannot be written.
    pub fn finish(mut self) -> Result<(), RunError> {
        let closed = self.out.write_all(b"\n]\n").and_then(|()| self.out.flush());
        closed.map_err(|cause| self.failed(cause))?;
        let Lost { spans, blocks, incidents } = self.lost;
        if self.lost != Lost::default() {
            tracing::warn!(spans, blocks, incidents, "the trace does not show everything");
        }
        Ok(())
    }

    fn span(&self, block: &BlockTimeline, span: &Span) -> Value {
        let mut args = json!({"height": block.height, "round": span.round.0});
        if let Some(txn) = span.txn {
            args["txn"] = json!(txn.0);
        }
        if let Track::Shard(_, generation) = span.track {
            args["generation"] = json!(generation.0);
        }
        if span.kind == SpanKind::Running {
            args["transactions"] = json!(span.transactions);
        }
        if span.unfinished {
            args["unfinished"] = json!(true);
        }
        let name = match span.kind {
            SpanKind::Block => format!("block {}", block.height),
            SpanKind::Round => format!("round {}", span.round.0),
            SpanKind::Transaction => format!("txn {}", span.txn.unwrap_or_default()),
            SpanKind::Recover
            | SpanKind::Plan
            | SpanKind::Seal
            | SpanKind::Wait
            | SpanKind::LookUp
            | SpanKind::PlanAhead
            | SpanKind::CutShort
            | SpanKind::Validate
            | SpanKind::Commit
            | SpanKind::Parked
            | SpanKind::Running
            | SpanKind::Waiting => span.kind.name().to_owned(),
        };
        let pid = match span.track {
            Track::Coordinator => COORDINATOR,
            Track::Shard(shard, _) => FIRST_SHARD + u64::from(shard.0),
        };
        json!({
            "ph": "X", "name": name, "cat": span.kind.name(), "pid": pid, "tid": ROW,
            "ts": self.micros(span.start_ns), "dur": micros(span.end_ns.saturating_sub(span.start_ns)),
            "args": args,
        })
    }

    fn death(&mut self, incident: &ShardIncident) -> Result<(), RunError> {
        let ShardIncident { death, known_at, ready_at } = incident;
        let pid = FIRST_SHARD + u64::from(death.shard.0);
        let args = json!({
            "generation": death.generation.0, "pid": death.pid, "cause": death.cause.to_string(),
            "txn": death.txn.map(|txn| txn.0),
        });
        self.instant(pid, "death", *known_at, args)?;
        self.instant(pid, "respawn", *ready_at, json!({"generation": death.generation.0.saturating_add(1)}))
    }

    fn loss(&mut self, incident: &SupervisorIncident) -> Result<(), RunError> {
        let args = json!({"pid": incident.pid, "cause": incident.cause});
        self.instant(SUPERVISOR, "supervisor lost", Some(incident.known_at), args)?;
        self.instant(SUPERVISOR, "all shards back", incident.ready_at, json!({}))
    }

    /// An event without a time is one that nobody saw.
    fn instant(&mut self, pid: u64, name: &str, at: Option<Duration>, args: Value) -> Result<(), RunError> {
        let Some(at) = at.and_then(|at| u64::try_from(at.as_nanos()).ok()) else { return Ok(()) };
        let ts = self.micros(at);
        let event = json!({
            "ph": "i", "s": "p", "name": name, "cat": "incident", "pid": pid, "tid": ROW, "ts": ts, "args": args,
        });
        self.event(&event)
    }

    fn event(&mut self, event: &Value) -> Result<(), RunError> {
        let separator: &[u8] = if std::mem::take(&mut self.empty) { b"\n" } else { b",\n" };
        let written = self
            .out
            .write_all(separator)
            .and_then(|()| serde_json::to_writer(&mut self.out, event).map_err(io::Error::from));
        written.map_err(|cause| self.failed(cause))
    }

    fn micros(&self, at_ns: u64) -> f64 {
        micros(at_ns.saturating_sub(self.base_ns))
    }

    fn failed(&self, cause: io::Error) -> RunError {
        RunError::Trace { path: self.path.clone(), cause }
    }
}

/// The format's unit. Nanoseconds survive as decimals: a run lasts less than 2^53 of them.
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
