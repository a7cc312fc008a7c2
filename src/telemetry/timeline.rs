//! The timeline: who did what when, as spans of the monotonic clock, block by block.

use crate::types::{Generation, RoundId, ShardId, TxnIndex};
use parking_lot::Mutex;
use phalanx_ipc::monotonic_now;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Spans that are kept until somebody takes them; past that the oldest blocks go.
pub const SPANS_KEPT: usize = 1 << 20;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineConfig {
    /// Each transaction too, not only what lies between two waits.
    pub transactions: bool,
    /// Room for the spans of one shard in one round, [`TimelineConfig::ROOM_MIN`] ..= [`TimelineConfig::ROOM_MAX`]. What
    /// finds none is counted.
    pub spans_per_round: u32,
}

impl Default for TimelineConfig {
    fn default() -> TimelineConfig {
        TimelineConfig { transactions: false, spans_per_round: 1 << 17 }
    }
}

impl TimelineConfig {
    /// Least room.
    pub const ROOM_MIN: u32 = 16;
    /// Greatest room: 512 MiB of sparse memory per shard.
    pub const ROOM_MAX: u32 = 1 << 24;
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanKind {
    /// Coordinator: one block, from its turn to its result.
    Block,
    /// Coordinator: looking for shards that are ready, putting back dead ones.
    Recover,
    /// Coordinator: planning what is left of the block.
    Plan,
    /// Coordinator: completing the plan in shared memory.
    Seal,
    /// Coordinator: from the announcement of a round until every member has left it. Shard: its part of the round.
    Round,
    /// Coordinator, in a round: nothing to do.
    Wait,
    /// Coordinator, in a round: looking up keys that the commit will change.
    LookUp,
    /// Coordinator, in a round: planning the next block.
    PlanAhead,
    /// Coordinator: waiting for the members to leave a round that was cut short.
    CutShort,
    /// Coordinator: collecting and validating outputs.
    Validate,
    /// Coordinator: applying the writes to the base state.
    Commit,
    /// Shard: no round.
    Parked,
    /// Shard, in a round: consecutive transactions between two waits.
    Running,
    /// Shard, in a round: waiting for values of other shards, or for room to send.
    Waiting,
    /// Shard: one transaction.
    Transaction,
}

impl SpanKind {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SpanKind::Block => "block",
            SpanKind::Recover => "recover",
            SpanKind::Plan => "plan",
            SpanKind::Seal => "seal",
            SpanKind::Round => "round",
            SpanKind::Wait => "wait",
            SpanKind::LookUp => "look up",
            SpanKind::PlanAhead => "plan ahead",
            SpanKind::CutShort => "cut short",
            SpanKind::Validate => "validate",
            SpanKind::Commit => "commit",
            SpanKind::Parked => "parked",
            SpanKind::Running => "running",
            SpanKind::Waiting => "waiting",
            SpanKind::Transaction => "transaction",
        }
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    /// The coordinator.
    Coordinator,
    /// A shard, in one of its lives.
    Shard(ShardId, Generation),
}

/// Something that took time. On one track two spans lie apart or one inside the other, unless a damaged shard wrote
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Who.
    pub track: Track,
    /// What.
    pub kind: SpanKind,
    /// Begin, in ns of the monotonic clock.
    pub start_ns: u64,
    /// End, in ns of the monotonic clock; not before the begin.
    pub end_ns: u64,
    /// The round; 0 before the first one of a block.
    pub round: RoundId,
    /// The first transaction that it is about, if it is about any: executed, or waited for.
    pub txn: Option<TxnIndex>,
    /// Transactions executed in it.
    pub transactions: u32,
    /// Whether it never ended: its shard died, and the end is when the supervisor noticed it or, if it had not yet, when
    /// the coordinator took the spans in. No span of the shard's next life begins before.
    pub unfinished: bool,
}

/// What was recorded while one block executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTimeline {
    /// The block's height.
    pub height: u64,
    /// By track, in the order of their begins, an outer one before what lies in it.
    pub spans: Vec<Span>,
    /// Spans of shards that found no room.
    pub dropped: u64,
    /// Spans of shards that made no sense.
    pub refused: u64,
}

impl BlockTimeline {
    pub(crate) fn sort(&mut self) {
        self.spans.sort_by_key(|span| (span.track, span.start_ns, std::cmp::Reverse(span.end_ns), span.kind));
    }
}

/// What was recorded since the last time somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Blocks, those that failed included, in the order in which they were executed.
    pub blocks: Vec<BlockTimeline>,
    /// Blocks that nobody took in time.
    pub dropped_blocks: u64,
}

/// Where the coordinator leaves timelines, for any thread to take.
#[derive(Debug, Default)]
pub(crate) struct TimelineBook {
    inner: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    blocks: VecDeque<BlockTimeline>,
    spans: usize,
    dropped: u64,
}

impl TimelineBook {
    pub(crate) fn keep(&self, block: BlockTimeline) {
        let mut pages = self.inner.lock();
        pages.spans += block.spans.len();
        pages.blocks.push_back(block);
        // The newest block stays, however long it is.
        while pages.spans > SPANS_KEPT && pages.blocks.len() > 1 {
            let gone = pages.blocks.pop_front().map_or(0, |block| block.spans.len());
            pages.spans -= gone;
            pages.dropped += 1;
        }
    }

    pub(crate) fn take(&self) -> Timeline {
        let Pages { blocks, dropped, .. } = std::mem::take(&mut *self.inner.lock());
        Timeline { blocks: blocks.into(), dropped_blocks: dropped }
    }
}

/// The monotonic clock in ns: the clock of all spans and incidents, the same for all processes of the host.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(monotonic_now().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_ns: u64, end_ns: u64, kind: SpanKind) -> Span {
        Span {
            track: Track::Coordinator,
            kind,
            start_ns,
            end_ns,
            round: RoundId(1),
            txn: None,
            transactions: 0,
            unfinished: false,
        }
    }

    #[test]
    fn an_outer_span_comes_before_what_lies_in_it() {
        let spans =
            vec![span(5, 6, SpanKind::Wait), span(5, 9, SpanKind::Round), span(1, 9, SpanKind::Block)];
        let mut block = BlockTimeline { spans, ..BlockTimeline::default() };
        block.sort();
        let kinds: Vec<SpanKind> = block.spans.iter().map(|span| span.kind).collect();
        assert_eq!(kinds, [SpanKind::Block, SpanKind::Round, SpanKind::Wait]);
    }

    #[test]
    fn a_full_book_gives_up_its_oldest_blocks_and_says_so() {
        let book = TimelineBook::default();
        let long = vec![span(1, 2, SpanKind::Block); SPANS_KEPT / 2 + 1];
        for height in 1..=3 {
            book.keep(BlockTimeline { height, spans: long.clone(), ..BlockTimeline::default() });
        }
        let taken = book.take();
        assert_eq!((taken.blocks.len(), taken.blocks[0].height, taken.dropped_blocks), (1, 3, 2));
        assert_eq!(book.take(), Timeline::default());
    }
}
