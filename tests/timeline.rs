//! The timeline tells of every block, round and shard what was done when, and nothing when it is not asked for.
//!
//! What would break it: a span that is never closed, a shard's spans of another round taken in, a clock that is not the
//! same for all processes, a death that takes its round's spans along. Oracles: the block's own statistics, and that the
//! spans of one track lie apart or inside each other. Negative controls, each of which tests here failed: the first member's
//! spans left out, waiting that is never turned into running again, parking that begins a millisecond too early; and of the
//! library's own tests: spans of a dead shard that end when the coordinator took them in.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Scene, assert_same, deadline, send_signal};
use nix::sys::signal::Signal;
use phalanx::executor::{BlockExecutor, BlockOutput, Threads, ThreadsConfig};
use phalanx::supervisor::Pacing;
use phalanx::telemetry::{BlockTimeline, Span, SpanKind, Timeline, TimelineConfig, Track};
use phalanx::types::{PreparedBlock, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WITH_TRANSACTIONS: TimelineConfig = TimelineConfig { transactions: true, spans_per_round: 1 << 14 };

fn threads(scene: &Scene, shards: usize, timeline: Option<TimelineConfig>) -> Threads {
    let config = ThreadsConfig { shards, memory: scene.memory, timeline, ..ThreadsConfig::default() };
    Threads::launch(config, scene.vm.clone(), scene.state()).unwrap()
}

fn of_kind(block: &BlockTimeline, kind: SpanKind) -> impl Iterator<Item = &Span> {
    block.spans.iter().filter(move |span| span.kind == kind)
}

fn is_coordinators(span: &Span) -> bool {
    span.track == Track::Coordinator
}

fn sum(block: &BlockTimeline, kind: SpanKind, coordinators: bool) -> Duration {
    let wanted = of_kind(block, kind).filter(|span| is_coordinators(span) == coordinators);
    Duration::from_nanos(wanted.map(|span| span.end_ns - span.start_ns).sum())
}

/// Two spans of one track lie apart or one inside the other; they come in the order of their begins.
fn assert_nested(block: &BlockTimeline) {
    let mut open: Vec<&Span> = Vec::new();
    for span in &block.spans {
        assert!(span.start_ns <= span.end_ns, "{span:?}");
        if open.last().is_some_and(|last| last.track != span.track) {
            open.clear();
        }
        while open.last().is_some_and(|last| last.end_ns <= span.start_ns) {
            open.pop();
        }
        if let Some(outer) = open.last() {
            assert!(outer.start_ns <= span.start_ns && span.end_ns <= outer.end_ns, "{outer:?} {span:?}");
        }
        open.push(span);
    }
}

/// The same things measured twice: each within a fifth and what a loaded host takes away in between.
fn assert_close(told: Duration, measured: Duration, what: &str) {
    let slack = told.max(measured) / 5 + Duration::from_millis(20);
    assert!(
        told.abs_diff(measured) <= slack,
        "{what}: {told:?} in the timeline, {measured:?} in the statistics"
    );
}

fn assert_tells(timeline: &BlockTimeline, output: &BlockOutput, transactions: bool) {
    assert_nested(timeline);
    assert_eq!((timeline.height, timeline.dropped, timeline.refused), (output.height(), 0, 0));
    let stats = output.stats();
    let rounds = of_kind(timeline, SpanKind::Round).filter(|span| is_coordinators(span)).count();
    assert_eq!(rounds as u64, stats.rounds);
    assert_close(sum(timeline, SpanKind::Round, true), stats.execute, "execute");
    assert_close(sum(timeline, SpanKind::Validate, true), stats.validate, "validate");
    assert_close(sum(timeline, SpanKind::Commit, true), stats.commit, "commit");
    assert_close(sum(timeline, SpanKind::Plan, true), stats.plan, "plan");
    let whole: Vec<&Span> = of_kind(timeline, SpanKind::Block).collect();
    assert_eq!(whole.len(), 1);
    let inside = timeline.spans.iter().filter(|span| is_coordinators(span) || span.kind != SpanKind::Parked);
    for span in inside {
        assert!(whole[0].start_ns <= span.start_ns && span.end_ns <= whole[0].end_ns, "{span:?} {whole:?}");
    }
    let executed: u64 = of_kind(timeline, SpanKind::Running).map(|span| u64::from(span.transactions)).sum();
    let single = of_kind(timeline, SpanKind::Transaction).count() as u64;
    if stats.rounds_cut_short == 0 {
        assert_eq!(executed, output.len() as u64 + stats.reexecuted);
        assert_eq!(single, if transactions { executed } else { 0 });
    }
}

fn shards_in(timeline: &Timeline) -> BTreeSet<ShardId> {
    let spans = timeline.blocks.iter().flat_map(|block| &block.spans);
    spans
        .filter_map(|span| match span.track {
            Track::Shard(shard, _) => Some(shard),
            Track::Coordinator => None,
        })
        .collect()
}

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

fn execute_all(
    blocks: &Expected,
    mut execute: impl FnMut(&Arc<PreparedBlock>) -> BlockOutput,
    mut take: impl FnMut() -> Timeline,
) -> Timeline {
    let mut all = Timeline::default();
    for (block, expected) in blocks {
        let output = execute(block);
        assert_same(expected, &output, "with a timeline");
        let Timeline { blocks, dropped_blocks } = take();
        assert_eq!((blocks.len(), dropped_blocks), (1, 0));
        assert_tells(&blocks[0], &output, true);
        all.blocks.extend(blocks);
    }
    all
}

#[test]
fn every_block_round_and_shard_is_told_by_processes_and_by_threads() {
    for shards in [1, 2, 8] {
        let mut scene = Scene::new(71, 80, false);
        let blocks = scene.expected([900, 1, 300, 0, 900]);
        let everyone: BTreeSet<ShardId> = (0..).take(shards).map(ShardId).collect();
        let shards_of_threads = u32::try_from(shards).unwrap();
        let mut threads = threads(&scene, shards, Some(WITH_TRANSACTIONS));
        let book = std::cell::RefCell::new(&mut threads);
        let told = execute_all(
            &blocks,
            |block| book.borrow_mut().execute(block, deadline()).unwrap(),
            || book.borrow().take_timeline(),
        );
        assert_eq!(shards_in(&told), everyone, "{shards_of_threads} threads");
        let phalanx = scene.launch(scene.builder(shards).timeline(WITH_TRANSACTIONS));
        let told = execute_all(
            &blocks,
            |block| phalanx.execute(block, deadline()).unwrap(),
            || phalanx.take_timeline(),
        );
        assert_eq!(shards_in(&told), everyone, "{shards} processes");
    }
}

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let mut scene = Scene::new(72, 40, false);
    let blocks = scene.expected([300]);
    let phalanx = scene.phalanx(2);
    let mut threads = threads(&scene, 2, None);
    for (block, _) in &blocks {
        phalanx.execute(block, deadline()).unwrap();
        threads.execute(block, deadline()).unwrap();
    }
    assert_eq!(phalanx.take_timeline(), Timeline::default());
    assert_eq!(threads.take_timeline(), Timeline::default());
}

#[test]
fn what_finds_no_room_is_counted_and_disturbs_nobody() {
    let mut scene = Scene::new(73, 40, false);
    let blocks = scene.expected([400, 400]);
    let tiny = TimelineConfig { transactions: true, spans_per_round: TimelineConfig::ROOM_MIN };
    let phalanx = scene.launch(scene.builder(2).timeline(tiny));
    for (block, expected) in &blocks {
        let output = phalanx.execute(block, deadline()).unwrap();
        assert_same(expected, &output, "with a tiny timeline");
        let told = phalanx.take_timeline().blocks.remove(0);
        let kept = told.spans.iter().filter(|span| !is_coordinators(span)).count() as u64;
        // Each shard: at least its transactions, the stretch, the round, the parking before.
        assert!(kept <= 16 * 2 * output.stats().rounds, "{kept}");
        assert!(kept + told.dropped >= output.len() as u64 + 2 * 2, "{kept} {}", told.dropped);
        assert_nested(&told);
    }
}

/// Executes the blocks while somebody kills shard 0 again and again; how many spans no end was seen of.
fn unfinished_under_kills(scene: &Scene, blocks: &Expected) -> usize {
    // Shards that die idle count as useless deaths; nobody is slowed down for it here.
    let pacing = Pacing { immediate: u32::MAX, intensity: u32::MAX, ..Pacing::default() };
    let phalanx = scene.launch(scene.builder(2).pacing(pacing).timeline(TimelineConfig::default()));
    let mut unfinished = 0;
    let done = AtomicBool::new(false);
    let (done, family) = (&done, &phalanx);
    std::thread::scope(|scope| {
        let killer = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(40));
                let pid = family.health()[0].pid;
                send_signal(pid, "phx-shard", Signal::SIGKILL);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (block, expected) in blocks {
                let output = phalanx.execute(block, deadline()).unwrap();
                assert_same(expected, &output, "with a killer");
                let told = phalanx.take_timeline().blocks.remove(0);
                assert_tells(&told, &output, false);
                assert_lives_follow(&told);
                let cuts = of_kind(&told, SpanKind::CutShort).count() as u64;
                assert_eq!(cuts, output.stats().rounds_cut_short);
                unfinished += told.spans.iter().filter(|span| span.unfinished).count();
            }
        }));
        done.store(true, Ordering::Relaxed);
        killer.join().unwrap();
        outcome.unwrap();
    });
    unfinished
}

/// A shard's next life begins after all that is told of the one before.
fn assert_lives_follow(block: &BlockTimeline) {
    for span in &block.spans {
        let Track::Shard(shard, life) = span.track else { continue };
        let of_next =
            |other: &&Span| matches!(other.track, Track::Shard(of, its) if of == shard && its > life);
        for next in block.spans.iter().filter(of_next) {
            assert!(span.end_ns <= next.start_ns, "{span:?} {next:?}");
        }
    }
}

#[test]
fn a_killed_shard_leaves_what_it_had_begun() {
    let mut scene = Scene::new(74, 40, true);
    let blocks = scene.expected([1000; 12]);
    // Whether a kill falls into a round is a matter of luck.
    let limit = deadline();
    while unfinished_under_kills(&scene, &blocks) == 0 {
        assert!(Instant::now() < limit, "nobody was killed in a round");
    }
}
