//! The commit log and its readers.
//!
//! What would break: a reader that skips an entry, or applies one twice; a log that grows for ever behind a dead reader.

use super::support::*;
use crate::quorum_store::*;
use std::sync::Arc;

fn log(window: std::time::Duration) -> CommitLog {
    CommitLog::open(Arc::new(MemoryDisk::default()), window).unwrap()
}

fn entry(sequence: u64, second: u64) -> CommitEntry {
    CommitEntry {
        sequence,
        timestamp: START.plus(secs(second)),
        content: Committed::Synced { height: sequence },
    }
}

#[test]
fn readers_at_their_own_pace_all_see_every_entry_once_and_in_order() {
    let mut log = log(secs(1_000));
    let (mut fast, mut slow, mut seen) = (Cursor::default(), Cursor::default(), Vec::new());
    for sequence in 1..=10 {
        // Times go back and forth.
        log.append(entry(sequence, sequence % 3)).unwrap();
        while let Some(step) = log.next(fast) {
            assert_eq!(fast.admit(&step), Admission::Apply);
            assert_eq!(fast.admit(&step), Admission::Duplicate);
            seen.push(step.sequence());
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert_eq!(fast.time(), START.plus(secs(2)), "the latest, not the last");
    assert_eq!(slow.admit(&CommitStep::Entry(Arc::new(entry(2, 0)))), Admission::Gap);
    let mut steps = 0;
    while let Some(step) = log.next(slow) {
        assert_eq!(slow.admit(&step), Admission::Apply);
        steps += 1;
    }
    assert_eq!((steps, slow), (10, fast));
}

#[test]
fn the_log_is_bounded_by_time_and_a_dead_reader_that_comes_back_gets_the_rest_as_one_step() {
    let mut log = log(secs(10));
    let (mut reader, mut longest) = (Cursor::default(), 0);
    for sequence in 1..=1_000 {
        log.append(entry(sequence, sequence)).unwrap();
        longest = longest.max(log.len());
    }
    assert!(longest <= 12, "{longest}");
    let first = log.next(reader).unwrap();
    assert_eq!(first, CommitStep::Collapsed { through: 989, timestamp: START.plus(secs(989)) });
    while let Some(step) = log.next(reader) {
        assert_eq!(reader.admit(&step), Admission::Apply);
    }
    assert_eq!((reader.applied(), log.head()), (1_000, 1_000));
}

#[test]
fn an_entry_out_of_order_is_refused_and_one_that_is_there_does_nothing() {
    let mut log = log(secs(10));
    assert!(matches!(log.append(entry(2, 0)), Err(AppendError::OutOfOrder { sequence: 2, head: 0 })));
    log.append(entry(1, 0)).unwrap();
    log.append(entry(1, 5)).unwrap();
    assert_eq!((log.head(), log.time()), (1, START));
}

#[test]
fn limits_that_cannot_work_together_are_named() {
    let good = QuorumStoreConfig::default();
    good.check().unwrap();
    type Change = fn(&mut QuorumStoreConfig);
    let changes: [(&str, Change); 13] = [
        ("quorum.sender.batch_txns", |config| config.sender.batch_txns = 151),
        ("quorum.sender.batch_bytes", |config| config.sender.batch_bytes = config.receiver.batch_bytes + 1),
        ("quorum.sender.batch_bytes", |config| config.sender.batch_bytes = 100),
        ("quorum.sender.batches", |config| config.sender.batches = 21),
        ("quorum.sender.total_txns", |config| config.sender.total_txns = 2_001),
        ("quorum.sender.total_txns", |config| config.sender.total_txns = 99),
        ("quorum.sender.total_bytes", |config| config.sender.total_bytes = config.receiver.total_bytes + 1),
        ("quorum.receiver.batch_txns", |config| config.receiver.total_txns = 149),
        ("quorum.back_pressure.decrease_to_percent", |config| config.back_pressure.decrease_to_percent = 100),
        ("quorum.back_pressure.min_txns_per_s", |config| config.back_pressure.min_txns_per_s = 12_001),
        ("quorum.quota.memory_bytes", |config| config.quota.memory_bytes = config.quota.db_bytes + 1),
        ("quorum.gas_buckets", |config| config.gas_buckets.clear()),
        ("quorum.gas_buckets (ascending: 1)", |config| config.gas_buckets = vec![0, 5, 5]),
    ];
    for (option, change) in changes {
        let mut config = good.clone();
        change(&mut config);
        // The sender's total is looked at before the receiver's.
        let named = config.check().unwrap_err().option;
        assert!(
            named == option || option == "quorum.receiver.batch_txns" && named == "quorum.sender.total_txns",
            "{named}, not {option}"
        );
    }
}
