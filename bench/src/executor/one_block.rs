//! One block with its timeline, for the page: not measured, only shown.

use crate::report::page::{Figure, TrackChart, TrackRow, TrackSpan};
use crate::{Workload, WorkloadConfig, WorkloadError, WorkloadKind};
use phalanx::executor::ExecuteError;
use phalanx::supervisor::LaunchError;
use phalanx::telemetry::{BlockTimeline, Span, SpanKind, TimelineConfig, Track};
use phalanx::types::{PrepareError, PreparedBlock};
use phalanx::vm::ledger::{GenesisError, LedgerVm};
use phalanx::{Phalanx, PhalanxBuilder};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Far more than a block takes.
const BLOCK_LIMIT: Duration = Duration::from_secs(60);
/// Blocks before the one that is shown: caches are warm then, pages are touched.
const BEFORE: u64 = 3;

/// What block to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneBlock {
    /// Shard processes.
    pub shards: usize,
    /// Whether transfers are signed and verified.
    pub signed: bool,
    /// Transfers.
    pub block_size: usize,
    /// Accounts that they are spread over evenly.
    pub accounts: usize,
}

/// Why there is no block to show.
#[derive(Debug, Error)]
pub enum OneBlockError {
    /// Its transfers cannot be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The first state cannot be made.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// It is too large.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Shards cannot be had.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It was not executed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Nothing was recorded of it.
    #[error("the block left no timeline")]
    NoTimeline,
}

/// Executes a few blocks over shard processes and draws what everyone did in the last.
///
/// # Errors
/// [`OneBlockError`]; no process is left then.
pub fn one_block(wanted: OneBlock) -> Result<Figure, OneBlockError> {
    let OneBlock { shards, signed, block_size, accounts } = wanted;
    let kind = WorkloadKind::Uniform;
    let blocks = BEFORE + 1;
    let mut workload = Workload::new(WorkloadConfig { kind, accounts, block_size, seed: 7, signed, blocks })?;
    let vm = LedgerVm::new(workload.ledger_config());
    let builder: PhalanxBuilder<LedgerVm> = Phalanx::builder(workload.ledger_config());
    let builder = builder.shards(shards).timeline(TimelineConfig::default());
    let phalanx = builder.launch(workload.genesis()?)?;
    while let Some(block) = workload.next_block() {
        let block = Arc::new(PreparedBlock::prepare(&vm, &block)?);
        phalanx.execute(&block, Instant::now() + BLOCK_LIMIT)?;
    }
    let last = phalanx.take_timeline().blocks.pop().ok_or(OneBlockError::NoTimeline)?;
    let told = if signed { "signed" } else { "unsigned" };
    Ok(figure(&last, &format!("Uniform, {told}, a block of {block_size} over {shards} shards")))
}

/// Name and colour of what is told apart.
const KINDS: [(&str, usize); 7] = [
    ("idle", 0),
    ("executing transactions", 1),
    ("waiting for another shard", 3),
    ("planning", 5),
    ("validating, looking up", 2),
    ("committing", 4),
    ("recovering from a death", 6),
];

/// Which of them; none for what others lie in.
fn kind_of(span: &Span) -> Option<usize> {
    match span.kind {
        SpanKind::Block | SpanKind::Round | SpanKind::Transaction => None,
        SpanKind::Wait | SpanKind::Parked => Some(0),
        SpanKind::Running => Some(1),
        SpanKind::Waiting => Some(2),
        SpanKind::Plan | SpanKind::Seal | SpanKind::PlanAhead => Some(3),
        SpanKind::LookUp | SpanKind::Validate => Some(4),
        SpanKind::Commit => Some(5),
        SpanKind::Recover | SpanKind::CutShort => Some(6),
    }
}

fn figure(block: &BlockTimeline, title: &str) -> Figure {
    let whole = block.spans.iter().find(|span| span.kind == SpanKind::Block);
    let (start, end) = whole.map_or((0, 0), |span| (span.start_ns, span.end_ns));
    let seconds = |at: u64| at.clamp(start, end).saturating_sub(start) as f64 / 1e9;
    let mut rows: BTreeMap<Track, Vec<TrackSpan>> = BTreeMap::new();
    for span in &block.spans {
        let own = rows.entry(span.track).or_default();
        if let Some(kind) = kind_of(span) {
            own.push(TrackSpan { kind, start_s: seconds(span.start_ns), end_s: seconds(span.end_ns) });
        }
        // A shard that has left its last round has nothing to do.
        if span.kind == SpanKind::Round && span.track != Track::Coordinator {
            own.push(TrackSpan { kind: 0, start_s: seconds(span.end_ns), end_s: seconds(end) });
        }
    }
    let rows = rows.into_iter().map(|(track, mut spans)| {
        spans.sort_by(|one, other| one.start_s.total_cmp(&other.start_s));
        let name = match track {
            Track::Coordinator => "coordinator".to_owned(),
            Track::Shard(shard, _) => format!("shard {shard}"),
        };
        TrackRow { name, spans }
    });
    let rows: Vec<TrackRow> = rows.collect();
    // Recovery takes microseconds when nothing is to recover: not worth a colour then.
    let kinds = KINDS.map(|(name, colour)| (name.to_owned(), colour));
    TrackChart {
        title: title.to_owned(),
        caption: "One block that the processes executed with their timeline on, after the measurements."
            .to_owned(),
        kinds: kinds.into(),
        rows,
    }
    .figure()
}
