//! A shard's spans of its present round, in a region of its own: the shard writes, the coordinator reads copies when the
//! shard has left the round or is gone. Full means counted, never waited for.

use crate::executor::fleet::Member;
use crate::telemetry::{BlockTimeline, Span, SpanKind, TimelineConfig, Track, monotonic_ns};
use crate::types::{RoundId, TxnIndex};
use phalanx_ipc::{PeerReader, Region, RegionError};
use std::os::fd::OwnedFd;

/// Words of the head, by place.
mod head {
    /// The round that everything here belongs to.
    pub(super) const ROUND: usize = 0;
    /// Whole spans.
    pub(super) const COUNT: usize = 1;
    /// Spans that found no room.
    pub(super) const DROPPED: usize = 2;
    /// When the shard entered the round.
    pub(super) const ENTERED: usize = 3;
    /// What it does since: the kind's code.
    pub(super) const KIND: usize = 4;
    /// Since when.
    pub(super) const SINCE: usize = 5;
    /// 1 when the shard has left the round: nothing is open.
    pub(super) const LEFT: usize = 6;
    /// How many words there are.
    pub(super) const WORDS: usize = 8;
}

const WORD: usize = size_of::<u64>();
const HEAD_BYTES: usize = head::WORDS * WORD;
/// A span: begin, end, kind << 32 | transactions, txn index + 1 or 0.
const SPAN_WORDS: usize = 4;
const SPAN_BYTES: usize = SPAN_WORDS * WORD;
const _: () = assert!(HEAD_BYTES.is_multiple_of(SPAN_BYTES));

/// Kinds that a shard may write; the code is the place here, counted from 1.
const KINDS: [SpanKind; 5] =
    [SpanKind::Parked, SpanKind::Round, SpanKind::Running, SpanKind::Waiting, SpanKind::Transaction];

fn code_of(kind: SpanKind) -> u64 {
    KINDS.iter().position(|&known| known == kind).map_or(0, |place| place as u64 + 1)
}

fn kind_of(code: u64) -> Option<SpanKind> {
    KINDS.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
}

fn room(config: TimelineConfig) -> usize {
    let spans = config.spans_per_round.clamp(TimelineConfig::ROOM_MIN, TimelineConfig::ROOM_MAX);
    usize::try_from(spans).unwrap_or(usize::MAX)
}

/// A region for one shard's spans.
pub(crate) fn create_span_region(config: TimelineConfig) -> Result<Region, RegionError> {
    Region::create("phalanx-spans", span_region_bytes(config))
}

/// Its size.
pub(crate) fn span_region_bytes(config: TimelineConfig) -> usize {
    HEAD_BYTES + room(config) * SPAN_BYTES
}

/// The shard's end. Does nothing, at the price of one branch, when no timeline is wanted.
#[derive(Debug)]
pub(crate) struct SpanWriter {
    on: Option<Box<Page>>,
}

/// The spans of the present round.
#[derive(Debug)]
struct Page {
    region: Region,
    room: usize,
    transactions: bool,
    count: usize,
    dropped: u64,
    /// When the shard left the last round, or was born.
    parked_since: u64,
    entered: u64,
    /// What the shard does now.
    kind: SpanKind,
    since: u64,
    /// The first transaction of it, and how many are done.
    txn: Option<TxnIndex>,
    done: u32,
    /// End of the last transaction.
    last_end: u64,
}

impl SpanWriter {
    /// Writes nothing.
    pub(crate) fn off() -> SpanWriter {
        SpanWriter { on: None }
    }

    /// Writes into a region from [`create_span_region`], from the first round on.
    pub(crate) fn new(region: Region, config: TimelineConfig) -> SpanWriter {
        let now = monotonic_ns();
        SpanWriter {
            on: Some(Box::new(Page {
                room: room(config).min(region.len().saturating_sub(HEAD_BYTES) / SPAN_BYTES),
                region,
                transactions: config.transactions,
                count: 0,
                dropped: 0,
                parked_since: now,
                entered: now,
                kind: SpanKind::Parked,
                since: now,
                txn: None,
                done: 0,
                last_end: now,
            })),
        }
    }

    /// The shard enters a round; the spans of the one before are given up.
    pub(super) fn enter(&mut self, round: RoundId) {
        if let Some(page) = &mut self.on {
            page.enter(round);
        }
    }

    /// The shard begins to wait, to be able to execute `txn` or to get its last messages out.
    pub(super) fn wait(&mut self, txn: Option<TxnIndex>) {
        if let Some(page) = &mut self.on {
            page.turn_to(SpanKind::Waiting, txn);
        }
    }

    /// The shard has what it waited for.
    pub(super) fn resume(&mut self) {
        if let Some(page) = &mut self.on {
            page.turn_to(SpanKind::Running, None);
        }
    }

    /// A transaction is executed and its edges are answered.
    pub(super) fn executed(&mut self, txn: TxnIndex) {
        if let Some(page) = &mut self.on {
            page.executed(txn);
        }
    }

    /// The shard leaves the round.
    pub(super) fn leave(&mut self) {
        if let Some(page) = &mut self.on {
            page.leave();
        }
    }
}

impl Page {
    fn enter(&mut self, round: RoundId) {
        let now = monotonic_ns();
        (self.count, self.dropped, self.entered) = (0, 0, now);
        self.set(head::LEFT, 0);
        self.set(head::COUNT, 0);
        self.set(head::DROPPED, 0);
        self.set(head::ENTERED, now);
        self.begin(SpanKind::Running, None, now);
        // Last: whoever reads this round here finds its words.
        self.set(head::ROUND, round.0);
        self.push(SpanKind::Parked, (self.parked_since, now), None, 0);
    }

    fn begin(&mut self, kind: SpanKind, txn: Option<TxnIndex>, now: u64) {
        (self.kind, self.since, self.txn, self.done, self.last_end) = (kind, now, txn, 0, now);
        self.set(head::KIND, code_of(kind));
        self.set(head::SINCE, now);
    }

    fn turn_to(&mut self, kind: SpanKind, txn: Option<TxnIndex>) {
        let now = monotonic_ns();
        self.close(now);
        self.begin(kind, txn, now);
    }

    fn close(&mut self, now: u64) {
        // Before its first wait a shard may have run nothing.
        if self.kind == SpanKind::Waiting || self.done > 0 {
            self.push(self.kind, (self.since, now), self.txn, self.done);
        }
    }

    fn executed(&mut self, txn: TxnIndex) {
        self.txn = self.txn.or(Some(txn));
        self.done += 1;
        if self.transactions {
            let now = monotonic_ns();
            self.push(SpanKind::Transaction, (self.last_end, now), Some(txn), 1);
            self.last_end = now;
        }
    }

    fn leave(&mut self) {
        let now = monotonic_ns();
        self.close(now);
        self.push(SpanKind::Round, (self.entered, now), None, 0);
        self.set(head::LEFT, 1);
        self.parked_since = now;
    }

    fn push(&mut self, kind: SpanKind, (start, end): (u64, u64), txn: Option<TxnIndex>, transactions: u32) {
        let words = [
            start,
            end,
            code_of(kind) << 32 | u64::from(transactions),
            txn.map_or(0, |txn| u64::from(txn.0) + 1),
        ];
        let place = HEAD_BYTES + self.count * SPAN_BYTES;
        match self.region.slice_mut::<u64>(place, SPAN_WORDS) {
            Ok(target) if self.count < self.room => {
                target.copy_from_slice(&words);
                self.count += 1;
                self.set(head::COUNT, self.count as u64);
            }
            Ok(_) | Err(_) => {
                self.dropped += 1;
                self.set(head::DROPPED, self.dropped);
            }
        }
    }

    fn set(&self, word: usize, value: u64) {
        // The head is always inside the region.
        let _ = self.region.store_u64(word * WORD, value);
    }
}

/// The coordinator's end. Nothing that it reads is believed: a shard may write anything here.
#[derive(Debug)]
pub(crate) struct SpanReader {
    region: PeerReader,
    room: usize,
    /// No span begins before.
    born: u64,
}

impl SpanReader {
    /// Call before a shard can write.
    pub(crate) fn map(fd: OwnedFd, config: TimelineConfig) -> Result<SpanReader, RegionError> {
        let region = PeerReader::map(fd)?;
        let room = room(config).min(region.len().saturating_sub(HEAD_BYTES) / SPAN_BYTES);
        Ok(SpanReader { region, room, born: monotonic_ns() })
    }

    /// Has the region's present pages looked at from now on: some have been replaced.
    pub(crate) fn let_go(&self) -> Result<(), RegionError> {
        self.region.let_go()
    }

    /// Appends what `member` wrote in `round`, of a block of so many transactions. The member must have left the round or
    /// be gone; what it had begun then ends when its death was `noticed` (ns of the monotonic clock), or else now.
    pub(super) fn collect(
        &self,
        member: Member,
        noticed: Option<u64>,
        round: RoundId,
        transactions: usize,
        into: &mut BlockTimeline,
    ) -> Result<(), RegionError> {
        self.region.look_over(0, HEAD_BYTES)?;
        if self.word(head::ROUND)? != round.0 {
            // It died before it entered the round.
            return Ok(());
        }
        let (count, now) = (self.word(head::COUNT)?, monotonic_ns());
        let until = noticed.map_or(now, |noticed| noticed.min(now));
        let written = usize::try_from(count).unwrap_or(usize::MAX).min(self.room);
        into.dropped = into.dropped.saturating_add(self.word(head::DROPPED)?);
        into.refused = into.refused.saturating_add(count.saturating_sub(written as u64));
        let mut bytes = Vec::new();
        self.region.look_over(HEAD_BYTES, written * SPAN_BYTES)?;
        self.region.copy_out(HEAD_BYTES, written * SPAN_BYTES, &mut bytes)?;
        let mut check = Check { member, round, transactions, born: self.born, until, latest: self.born };
        let mut words = bytes.chunks_exact(WORD).map(word_of);
        for _ in 0..written {
            let span =
                [words.next(), words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
            into.take(check.span(span, false));
        }
        if self.word(head::LEFT)? == 0 {
            for (kind, since) in [
                (code_of(SpanKind::Round), self.word(head::ENTERED)?),
                (self.word(head::KIND)?, self.word(head::SINCE)?),
            ] {
                into.take(check.span([since, until, kind << 32, 0], true));
            }
        }
        Ok(())
    }

    fn word(&self, place: usize) -> Result<u64, RegionError> {
        self.region.load_u64(place * WORD)
    }
}

impl BlockTimeline {
    fn take(&mut self, span: Option<Span>) {
        match span {
            Some(span) => self.spans.push(span),
            None => self.refused = self.refused.saturating_add(1),
        }
    }
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// What a span must be to be taken in.
struct Check {
    member: Member,
    round: RoundId,
    transactions: usize,
    born: u64,
    /// No span ends after.
    until: u64,
    /// End of the last stretch of parking, running or waiting: they follow each other.
    latest: u64,
}

impl Check {
    fn span(&mut self, [start_ns, end_ns, what, txn]: [u64; SPAN_WORDS], unfinished: bool) -> Option<Span> {
        let kind = kind_of(what >> 32)?;
        let done = u32::try_from(what & u64::from(u32::MAX)).ok()?;
        let txn = match txn.checked_sub(1) {
            Some(txn) => Some(TxnIndex(u32::try_from(txn).ok()?)),
            None => None,
        };
        let in_block = txn.is_none_or(|txn| txn.index() < self.transactions)
            && usize::try_from(done).is_ok_and(|done| done <= self.transactions);
        if start_ns > end_ns || end_ns > self.until || !in_block {
            return None;
        }
        match kind {
            SpanKind::Parked | SpanKind::Running | SpanKind::Waiting => {
                if start_ns < self.latest {
                    return None;
                }
                self.latest = end_ns;
            }
            SpanKind::Round | SpanKind::Transaction => {
                if start_ns < self.born {
                    return None;
                }
            }
            SpanKind::Block
            | SpanKind::Recover
            | SpanKind::Plan
            | SpanKind::Seal
            | SpanKind::Wait
            | SpanKind::LookUp
            | SpanKind::PlanAhead
            | SpanKind::CutShort
            | SpanKind::Validate
            | SpanKind::Commit => return None,
        }
        let track = Track::Shard(self.member.shard, self.member.generation);
        Some(Span { track, kind, start_ns, end_ns, round: self.round, txn, transactions: done, unfinished })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Generation, ShardId};

    const CONFIG: TimelineConfig = TimelineConfig { transactions: true, spans_per_round: 16 };
    const MEMBER: Member = Member { shard: ShardId(3), generation: Generation(2), pid: 0 };
    const ROUND: RoundId = RoundId(7);

    fn ends() -> (Region, SpanWriter, SpanReader) {
        let region = create_span_region(CONFIG).unwrap();
        let reader = SpanReader::map(region.reader_fd().unwrap(), CONFIG).unwrap();
        let vandal = Region::map_writer(region.writer_fd().unwrap()).unwrap();
        (vandal, SpanWriter::new(region, CONFIG), reader)
    }

    fn collect(reader: &SpanReader) -> BlockTimeline {
        let mut block = BlockTimeline::default();
        reader.collect(MEMBER, None, ROUND, 10, &mut block).unwrap();
        block
    }

    fn kinds(block: &BlockTimeline) -> Vec<SpanKind> {
        block.spans.iter().map(|span| span.kind).collect()
    }

    #[test]
    fn a_round_is_read_as_it_was_written() {
        let (_, mut writer, reader) = ends();
        writer.enter(ROUND);
        writer.executed(TxnIndex(4));
        writer.wait(Some(TxnIndex(6)));
        writer.resume();
        writer.executed(TxnIndex(6));
        writer.leave();
        let block = collect(&reader);
        use SpanKind::{Parked, Round, Running, Transaction, Waiting};
        assert_eq!(kinds(&block), [Parked, Transaction, Running, Waiting, Transaction, Running, Round]);
        assert_eq!((block.dropped, block.refused), (0, 0));
        let waiting = block.spans[3];
        assert_eq!(
            (waiting.txn, waiting.track),
            (Some(TxnIndex(6)), Track::Shard(MEMBER.shard, MEMBER.generation))
        );
        assert!(block.spans.windows(2).all(|pair| pair[0].end_ns <= pair[1].end_ns), "{block:?}");
        let mut other = BlockTimeline::default();
        reader.collect(MEMBER, None, RoundId(8), 10, &mut other).unwrap();
        assert_eq!(other, BlockTimeline::default(), "another round's spans are none of this one");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (_, mut writer, reader) = ends();
        writer.enter(ROUND);
        (0..40).for_each(|_| writer.executed(TxnIndex(1)));
        writer.leave();
        let block = collect(&reader);
        // Page-rounded regions have more room; the agreed one counts.
        assert_eq!((block.spans.len(), block.dropped), (16, 1 + 40 + 1 + 1 - 16));
    }

    #[test]
    fn a_shard_that_dies_leaves_its_open_spans() {
        let (_, mut writer, reader) = ends();
        writer.enter(ROUND);
        writer.wait(Some(TxnIndex(2)));
        drop(writer);
        let block = collect(&reader);
        assert_eq!(kinds(&block), [SpanKind::Parked, SpanKind::Round, SpanKind::Waiting]);
        assert_eq!(block.spans.iter().map(|span| span.unfinished).collect::<Vec<_>>(), [false, true, true]);
    }

    /// Negative control: with `now` for the end of what is open, it reaches into the next life.
    #[test]
    fn what_a_dead_shard_had_begun_ends_before_its_next_life_begins() {
        let (_, mut writer, reader) = ends();
        writer.enter(ROUND);
        writer.wait(None);
        let noticed = monotonic_ns();
        let mut block = BlockTimeline::default();
        reader.collect(MEMBER, Some(noticed), ROUND, 10, &mut block).unwrap();
        assert_eq!(kinds(&block), [SpanKind::Parked, SpanKind::Round, SpanKind::Waiting]);
        let open: Vec<u64> =
            block.spans.iter().filter(|span| span.unfinished).map(|span| span.end_ns).collect();
        assert_eq!((open, block.refused), (vec![noticed; 2], 0));
    }

    #[test]
    fn nonsense_is_counted_and_goes_no_further() {
        let (mut vandal, mut writer, reader) = ends();
        writer.enter(ROUND);
        writer.wait(None);
        writer.leave();
        let whole = collect(&reader).spans.len() as u64;
        let damage: [(usize, u64); 5] = [
            (HEAD_BYTES, u64::MAX),
            (HEAD_BYTES + WORD, u64::MAX),
            (HEAD_BYTES + 2 * WORD, 99 << 32),
            (HEAD_BYTES + 3 * WORD, 12),
            (HEAD_BYTES + 3 * WORD, u64::MAX),
        ];
        for (place, word) in damage {
            let old = std::mem::replace(&mut vandal.slice_mut::<u64>(place, 1).unwrap()[0], word);
            let block = collect(&reader);
            assert_eq!((block.spans.len() as u64, block.refused), (whole - 1, 1), "{place} {word}");
            vandal.slice_mut::<u64>(place, 1).unwrap()[0] = old;
        }
        vandal.store_u64(head::COUNT * WORD, u64::MAX).unwrap();
        vandal.store_u64(head::DROPPED * WORD, u64::MAX).unwrap();
        vandal.store_u64(head::LEFT * WORD, 0).unwrap();
        vandal.store_u64(head::KIND * WORD, u64::MAX).unwrap();
        let block = collect(&reader);
        // The region's sixteen and the two that the head keeps open; of the claimed rest none is believed.
        let taken = block.spans.len() as u64;
        assert!(taken <= 17, "{block:?}");
        assert_eq!((block.dropped, block.refused), (u64::MAX, (u64::MAX - 16) + (16 + 2 - taken)));
    }
}
