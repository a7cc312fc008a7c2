//! The batch store and what lies on disk: scenarios 13 to 16, 41 and 42.
//!
//! What would break: an author that fills the memory of its peers; batches that vanish before those who need them have them,
//! or never; batch ids that are used twice after a crash.

use super::support::*;
use crate::quorum_store::*;
use std::sync::Arc;
use std::thread;

fn persist(store: &BatchStore, one: &Batch) -> Result<Persisted, Refusal> {
    store.persist(&[Arc::new(one.clone())]).remove(0)
}

/// Moves the time of a store on.
fn pass(store: &BatchStore, time: Micros) {
    let step = commit(store.cursor().applied() + 1, time, Vec::new());
    assert!(store.apply(&step));
}

/// Scenario 13.
#[test]
fn a_longer_expiration_replaces_a_shorter_one_is_ignored_and_all_go_when_the_buffer_is_over() {
    let bench = Bench::new(QuorumStoreConfig::default(), 4);
    let (store, txns) = (&bench.store, [txn(0, 0, 1)]);
    let until = |seconds| START.plus(secs(seconds));
    let (short, long) = (batch(1, 1, 0, until(10), &txns), batch(1, 2, 0, until(20), &txns));
    assert_eq!(persist(store, &short), Ok(Persisted::New));
    assert_eq!(persist(store, &long), Ok(Persisted::Extended));
    assert_eq!(persist(store, &short), Ok(Persisted::Known));
    assert_eq!(store.info(&short.info.digest), Some(long.info));
    pass(store, until(79));
    assert!(store.get(&long.info.digest).is_some(), "for slow peers");
    pass(store, until(80));
    assert!(store.get(&long.info.digest).is_none());
    assert_eq!(bench.disk.batch(&long.info.digest).unwrap(), None);
}

/// Scenario 14.
#[test]
fn an_extension_that_races_with_the_expiration_leaves_the_batch_or_is_refused() {
    let config = QuorumStoreConfig { expiration_buffer: secs(0), ..QuorumStoreConfig::default() };
    let bench = Bench::new(config, 4);
    let (store, txns) = (&bench.store, [txn(0, 0, 1)]);
    for round in 0..500_u64 {
        let now = START.plus(secs(round * 10));
        let old = batch(1, round * 2, 0, now.plus(secs(1)), &txns);
        let new = batch(1, round * 2 + 1, 0, now.plus(secs(5)), &txns);
        persist(store, &old).unwrap();
        let step = commit(store.cursor().applied() + 1, now.plus(secs(1)), Vec::new());
        let extended = thread::scope(|scope| {
            let extending = scope.spawn(|| persist(store, &new));
            store.apply(&step);
            extending.join().unwrap()
        });
        assert!(matches!(extended, Ok(Persisted::New | Persisted::Extended)), "round {round}: {extended:?}");
        assert_eq!(store.info(&new.info.digest), Some(new.info), "round {round}");
        assert!(store.get(&new.info.digest).is_some());
        pass(store, now.plus(secs(5)));
        assert!(store.is_empty(), "round {round}");
    }
    assert_eq!(store.quota_left(ValidatorId(1)), bench.config.quota);
}

/// Scenario 15.
#[test]
fn a_quota_goes_from_memory_to_disk_to_refusal_and_back() {
    let whole = QuotaConfig { batches: 3, db_bytes: 100, memory_bytes: 50 };
    let mut quota = Quota::new(whole);
    assert_eq!(quota.take(40), Ok(Storage::MemoryAndDisk));
    assert_eq!(quota.take(20), Ok(Storage::DiskOnly));
    assert_eq!(quota.take(41), Err(Refusal::DbQuota));
    assert_eq!(quota.take(10), Ok(Storage::MemoryAndDisk));
    assert_eq!(quota.take(1), Err(Refusal::BatchQuota));
    assert_eq!(quota.left(), QuotaConfig { batches: 0, db_bytes: 30, memory_bytes: 0 });
    quota.give_back(40, Storage::MemoryAndDisk);
    quota.give_back(20, Storage::DiskOnly);
    quota.give_back(10, Storage::MemoryAndDisk);
    assert_eq!(quota.left(), whole);
}

/// Scenario 16. The original asked for the new share before it gave back the old one, and refused extensions near the limit.
#[test]
fn a_batch_past_its_quota_is_refused_and_room_that_is_free_again_is_used_again() {
    let bytes = txn(0, 0, 1).len();
    let quota = QuotaConfig { batches: 2, db_bytes: bytes * 2, memory_bytes: bytes };
    let bench = Bench::new(QuorumStoreConfig { quota, ..QuorumStoreConfig::default() }, 4);
    let store = &bench.store;
    let one = |sender, seconds| {
        batch(1, sender * 100 + seconds, 0, START.plus(secs(seconds)), &[txn(sender, 0, 1)])
    };
    assert_eq!(persist(store, &one(0, 10)), Ok(Persisted::New));
    assert_eq!(persist(store, &one(1, 20)), Ok(Persisted::New));
    assert!(store.get(&one(1, 20).info.digest).is_some(), "from the disk");
    assert_eq!(persist(store, &one(2, 20)), Err(Refusal::BatchQuota));
    assert_eq!(persist(store, &one(1, 30)), Ok(Persisted::Extended), "at the limit");
    let other = batch(2, 0, 0, START.plus(secs(20)), &[txn(2, 0, 1)]);
    assert_eq!(persist(store, &other), Ok(Persisted::New), "each author has its own");
    pass(store, START.plus(secs(70)));
    assert_eq!(persist(store, &one(3, 60)), Err(Refusal::Expired));
    assert_eq!(persist(store, &one(3, 90)), Ok(Persisted::New));
    pass(store, START.plus(secs(200)));
    assert_eq!((store.quota_left(ValidatorId(1)), store.len()), (quota, 0));
}

/// Every disk must do the same.
fn disks(name: &str, test: impl Fn(&dyn Fn() -> Arc<dyn Disk>)) {
    let memory = Arc::new(MemoryDisk::default());
    test(&|| {
        memory.reopen();
        Arc::clone(&memory) as Arc<dyn Disk>
    });
    let directory = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    test(&|| Arc::new(LmdbDisk::open(directory.path(), 64 << 20).unwrap()));
}

/// Scenario 41.
#[test]
fn batches_are_kept_found_listed_and_removed_on_every_disk() {
    disks("batches", |open| {
        let all: Vec<Arc<Batch>> =
            (0..3).map(|one| Arc::new(batch(1, one, 0, START, &[txn(one, 0, 1), txn(one, 1, 1)]))).collect();
        open().put_batches(&all).unwrap();
        let disk = open();
        assert_eq!(disk.batch(&all[1].info.digest).unwrap().as_ref(), Some(&*all[1]));
        disk.remove_batches(&[all[1].info.digest]).unwrap();
        drop(disk);
        let (disk, mut listed) = (open(), Vec::new());
        disk.for_each_batch(&mut |batch| listed.push(batch)).unwrap();
        listed.sort_unstable_by_key(|batch| batch.info);
        assert_eq!(listed, [(*all[0]).clone(), (*all[2]).clone()]);
        assert_eq!(disk.batch(&all[1].info.digest).unwrap(), None);
    });
}

/// Scenario 42.
#[test]
fn batch_ids_go_on_in_their_epoch_begin_anew_in_the_next_and_never_go_back() {
    disks("ids", |open| {
        let first = open().reserve_ids(Epoch(1), 10, START).unwrap();
        assert_eq!(first, BatchId { nonce: START.0, number: 0 });
        let again = open().reserve_ids(Epoch(1), 10, START.plus(secs(1))).unwrap();
        assert_eq!(again, BatchId { nonce: START.0, number: 10 });
        let next = open().reserve_ids(Epoch(2), 1, START.plus(secs(2))).unwrap();
        assert_eq!(next, BatchId { nonce: START.plus(secs(2)).0, number: 0 });
        assert!(matches!(open().reserve_ids(Epoch(1), 1, START), Err(DiskError::LaterEpoch { .. })));
    });
}

#[test]
fn staged_blocks_and_the_commit_log_are_there_after_every_opening() {
    disks("log", |open| {
        let block =
            |height| OrderedBlock { height, timestamp: START.plus(secs(height)), batches: Vec::new() };
        let entry = |sequence| CommitEntry {
            sequence,
            timestamp: START.plus(secs(sequence)),
            content: Committed::Synced { height: sequence },
        };
        for height in 1..=6 {
            open().stage(&block(height)).unwrap();
        }
        for sequence in 1..=4 {
            let mut log = CommitLog::open(open(), secs(2)).unwrap();
            assert_eq!(log.head(), sequence - 1);
            assert!(log.append(entry(sequence + 1)).is_err(), "a gap");
            log.append(entry(sequence)).unwrap();
            log.append(entry(sequence)).unwrap();
        }
        let staged: Vec<u64> = open().staged().unwrap().iter().map(|block| block.height).collect();
        assert_eq!(staged, [5, 6]);
        let kept = open().commits().unwrap();
        assert_eq!(kept.collapsed, (1, START.plus(secs(1))));
        assert_eq!(kept.entries, [entry(2), entry(3), entry(4)]);
        let log = CommitLog::open(open(), secs(2)).unwrap();
        let first = log.next(Cursor::default());
        assert_eq!(first, Some(CommitStep::Collapsed { through: 1, timestamp: START.plus(secs(1)) }));
    });
}

/// Invariant 11: nothing follows the acknowledgement.
#[test]
fn a_closed_store_writes_nothing_and_refuses() {
    disks("closed", |open| {
        let disk = open();
        let store = BatchStore::open(Arc::clone(&disk), QuorumStoreConfig::default(), Micros(0)).unwrap();
        let (one, two) = (batch(1, 1, 0, START, &[txn(1, 0, 1)]), batch(1, 2, 0, START, &[txn(2, 0, 1)]));
        persist(&store, &one).unwrap();
        store.close();
        assert_eq!(persist(&store, &two), Err(Refusal::Storage));
        assert_eq!(store.quota_left(ValidatorId(1)).batches, QuorumStoreConfig::default().quota.batches - 1);
        assert!(store.info(&two.info.digest).is_none() && disk.batch(&two.info.digest).unwrap().is_none());
        assert!(matches!(disk.reserve_ids(Epoch(1), 1, START), Err(DiskError::Closed)));
    });
}

/// The original removed batches at the start that were still alive, by a wrong sign.
#[test]
fn opening_keeps_what_is_alive_and_removes_what_is_past_its_buffer() {
    let bench = Bench::new(QuorumStoreConfig::default(), 4);
    let one = |number, seconds| batch(1, number, 0, START.plus(secs(seconds)), &[txn(number, 0, 1)]);
    for (number, seconds) in [(0, 0), (1, 1), (2, 120)] {
        persist(&bench.store, &one(number, seconds)).unwrap();
    }
    let disk: Arc<dyn Disk> = Arc::clone(&bench.disk) as Arc<dyn Disk>;
    let store = BatchStore::open(disk, (*bench.config).clone(), START.plus(secs(60))).unwrap();
    assert!(store.info(&one(0, 0).info.digest).is_none());
    assert!(store.info(&one(1, 1).info.digest).is_some() && store.info(&one(2, 120).info.digest).is_some());
    assert_eq!(store.live(START.plus(secs(60))).len(), 1);
    assert_eq!(
        store.held(ValidatorId(1)).0 + store.quota_left(ValidatorId(1)).batches,
        bench.config.quota.batches
    );
}

/// What was committed would fill memory and rebuilds until it expires. Its peers still get it.
#[test]
fn a_committed_batch_is_on_disk_only_and_no_part_of_a_new_life() {
    let bench = Bench::new(QuorumStoreConfig::default(), 4);
    let (store, until) = (&bench.store, START.plus(secs(60)));
    let (done, open) = (batch(1, 1, 0, until, &[txn(1, 0, 1)]), batch(1, 2, 0, until, &[txn(2, 0, 1)]));
    let other = batch(2, 1, 0, until, &[txn(3, 0, 1)]);
    for one in [&done, &open, &other] {
        assert_eq!(persist(store, one), Ok(Persisted::New));
    }
    let whole = bench.config.quota;
    assert_eq!(store.held(ValidatorId(1)), (2, done.info.bytes + open.info.bytes));
    // One that is said to be in the block under another number is not that batch.
    let stranger = BatchInfo { id: BatchId { nonce: 9, number: 9 }, ..open.info };
    assert!(store.apply(&commit(1, START, vec![done.info, stranger])));
    assert_eq!(store.held(ValidatorId(1)), (2, open.info.bytes));
    let left = store.quota_left(ValidatorId(1));
    assert_eq!(
        (left.batches, left.db_bytes),
        (whole.batches - 2, whole.db_bytes - done.info.bytes - open.info.bytes)
    );
    assert_eq!(left.memory_bytes, whole.memory_bytes - open.info.bytes);
    let infos = |live: Vec<LiveBatch>| live.into_iter().map(|one| one.info).collect::<Vec<_>>();
    assert_eq!(infos(store.live(START)), [open.info, other.info]);
    assert_eq!(infos(store.live_of(ValidatorId(1), START)), [open.info]);
    assert_eq!(store.get(&done.info.digest).as_deref(), Some(&done), "from the disk");
    assert_eq!(persist(store, &done), Ok(Persisted::Known));
    let (requester, mut out) = (&mut bench.requester(), Vec::new());
    requester.serve(ValidatorId(3), done.info.digest, Epoch(1), &mut out);
    assert!(matches!(&out[..], [Effect::Send(ValidatorId(3), Message::Fetched(batch))] if *batch == done));
    pass(store, until.plus(secs(60)));
    assert_eq!((store.len(), store.quota_left(ValidatorId(1))), (0, whole));
}
