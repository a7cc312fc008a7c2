//! The coordinator's part of the timeline: its own spans, and those of its shards as it takes them in.

use crate::executor::fleet::{Fleet, Member};
use crate::telemetry::{BlockTimeline, Span, SpanKind, TimelineBook, Track, monotonic_ns};
use crate::types::RoundId;
use std::sync::Arc;

/// Records one block at a time. Does nothing, at the price of one branch, when no timeline is wanted.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    on: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    book: Arc<TimelineBook>,
    block: BlockTimeline,
    /// The block's last round so far.
    round: RoundId,
    transactions: usize,
}

impl Recorder {
    /// Leaves what it records in `book`.
    pub(super) fn into_book(book: Arc<TimelineBook>) -> Recorder {
        let recording =
            Recording { book, block: BlockTimeline::default(), round: RoundId(0), transactions: 0 };
        Recorder { on: Some(Box::new(recording)) }
    }

    /// The time, as the begin of a span; meaningless when nothing is recorded.
    pub(super) fn now(&self) -> u64 {
        if self.on.is_some() { monotonic_ns() } else { 0 }
    }

    /// A block begins.
    pub(super) fn begin(&mut self, height: u64, transactions: usize) {
        if let Some(recording) = &mut self.on {
            recording.block = BlockTimeline { height, ..BlockTimeline::default() };
            (recording.round, recording.transactions) = (RoundId(0), transactions);
        }
    }

    /// The next round begins.
    pub(super) fn enter(&mut self, round: RoundId) {
        if let Some(recording) = &mut self.on {
            recording.round = round;
        }
    }

    /// Something that lasted from `start` until now.
    pub(super) fn note(&mut self, kind: SpanKind, start: u64) {
        if let Some(recording) = &mut self.on {
            recording.push(kind, start);
        }
    }

    /// As [`note`](Self::note); goes on with the last span if that is of the same kind and round.
    pub(super) fn go_on(&mut self, kind: SpanKind, start: u64) {
        let Some(recording) = &mut self.on else { return };
        let round = recording.round;
        match recording.block.spans.last_mut() {
            Some(last) if (last.track, last.kind, last.round) == (Track::Coordinator, kind, round) => {
                last.end_ns = monotonic_ns();
            }
            Some(_) | None => recording.push(kind, start),
        }
    }

    /// Takes in what the members of the present round left; they have left it or are gone.
    pub(super) fn take_in(&mut self, fleet: &impl Fleet, members: &[Member]) {
        let Some(recording) = &mut self.on else { return };
        let Recording { block, round, transactions, .. } = &mut **recording;
        for &member in members {
            let Some(spans) = fleet.spans(member.shard) else { continue };
            // Its successor, if it has one already, was made after that.
            let noticed = fleet.slot(member.shard).and_then(|slot| slot.noticed_of(member.generation.0));
            let noticed = noticed.and_then(|at| u64::try_from(at.as_nanos()).ok());
            if let Err(error) = spans.collect(member, noticed, *round, *transactions, block) {
                tracing::warn!(shard = %member.shard, %error, "spans cannot be read");
            }
        }
    }

    /// The block that began at `start` has come to its end.
    pub(super) fn end(&mut self, start: u64) {
        if let Some(recording) = &mut self.on {
            recording.push(SpanKind::Block, start);
            let mut block = std::mem::take(&mut recording.block);
            block.sort();
            recording.book.keep(block);
        }
    }
}

impl Recording {
    fn push(&mut self, kind: SpanKind, start_ns: u64) {
        self.block.spans.push(Span {
            track: Track::Coordinator,
            kind,
            start_ns,
            end_ns: monotonic_ns(),
            round: self.round,
            txn: None,
            transactions: 0,
            unfinished: false,
        });
    }
}
