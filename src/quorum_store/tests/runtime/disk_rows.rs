//! Rows that nobody wrote: bits that flip and bytes of nothing in every table of a validator's disk.
//!
//! What would break: a validator that panics at its start, or takes what was damaged for what it wrote.
//!
//! Control that was run: without comparing a batch with its digest, the test fails. (So it did when it was written.)

use super::super::support::*;
use crate::durable::open_environment;
use crate::quorum_store::*;
use heed::CommitOrAbort;
use heed::types::Bytes;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;

const TABLES: [&str; 4] = ["batches", "ids", "staged", "commits"];

/// A disk with rows in every table.
fn fill(directory: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(LmdbDisk::open(directory, 16 << 20).unwrap());
    let own = batch(0, 1, 0, START.plus(secs(60)), &[txn(1, 0, 1), txn(2, 0, 1)]);
    disk.put_batches(&[Arc::new(own.clone())]).unwrap();
    disk.reserve_ids(Epoch(1), 10, START).unwrap();
    let mut log = CommitLog::open(Arc::clone(&disk), secs(60)).unwrap();
    for sequence in 1..4 {
        let exceptions = vec![TxnException {
            hash: txn(1, 0, 1).summary.hash,
            outcome: TxnOutcome::WithoutEffect { again: true },
        }];
        let content = Committed::Block { height: sequence, batches: vec![own.info], exceptions };
        log.append(CommitEntry { sequence, timestamp: START, content }).unwrap();
    }
    disk.stage(&OrderedBlock { height: 4, timestamp: START, batches: vec![own.info] }).unwrap();
}

/// Changes one row of one table, or adds one.
fn damage(directory: &Path, random: &mut ChaCha8Rng) {
    let table = TABLES[random.random_range(0..TABLES.len())];
    let env = open_environment(directory, 16 << 20, 4).unwrap();
    let txn = env.read_txn().unwrap();
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        let found = opener.open_database::<Bytes, Bytes>(txn, Some(table))?;
        Ok::<_, heed::Error>(found.map_or(CommitOrAbort::Abort(()), CommitOrAbort::Commit))
    });
    let rows = opened.unwrap().commit().unwrap();
    let mut txn = env.write_txn().unwrap();
    let kept: Vec<(Vec<u8>, Vec<u8>)> = rows
        .iter(&txn)
        .unwrap()
        .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
        .collect();
    let (mut key, mut value) = kept[random.random_range(0..kept.len())].clone();
    match random.random_range(0..4) {
        0 | 1 if value.is_empty() => value.push(0),
        0 => {
            let place = random.random_range(0..value.len());
            value[place] ^= 1 << random.random_range(0..8);
        }
        1 => value.truncate(random.random_range(0..value.len())),
        2 => {
            value.resize(random.random_range(0..200), 0);
            random.fill_bytes(&mut value);
        }
        _ => {
            let mut fresh = vec![0; random.random_range(1..40)];
            random.fill_bytes(&mut fresh);
            key = fresh;
        }
    }
    rows.put(&mut txn, &key, &value).unwrap();
    txn.commit().unwrap();
}

#[test]
fn damaged_rows_are_removed_or_an_error_and_never_more_than_that() {
    let seed = any_seed();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut refused, mut opened) = (0, 0);
    for _ in 0..150 {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path());
        for _ in 0..random.random_range(1..4) {
            damage(directory.path(), &mut random);
        }
        let disk: Arc<dyn Disk> = Arc::new(LmdbDisk::open(directory.path(), 16 << 20).unwrap());
        let log = CommitLog::open(Arc::clone(&disk), secs(60));
        let store = BatchStore::open(Arc::clone(&disk), QuorumStoreConfig::default(), START);
        let (staged, ids) = (disk.staged(), disk.reserve_ids(Epoch(1), 1, START));
        let failed = [log.is_err(), store.is_err(), staged.is_err(), ids.is_err()];
        if failed.contains(&true) {
            refused += 1;
        } else {
            opened += 1;
        }
        // What is there is what was written under its digest.
        if let Ok(store) = store {
            for live in store.live(START) {
                assert!(
                    store.get(&live.info.digest).is_some_and(|batch| batch.holds()),
                    "seed {seed}: {live:?}"
                );
            }
        }
        if let Ok(log) = log {
            let mut cursor = Cursor::default();
            while let Some(step) = log.next(cursor) {
                assert_eq!(cursor.admit(&step), Admission::Apply, "seed {seed}: {step:?}");
            }
        }
    }
    println!("{refused} refused, {opened} opened");
    assert!(refused > 0 && opened > 0);
}
