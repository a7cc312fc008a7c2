//! What of a log is read again after its file was cut, damaged or half-written.
//!
//! Oracle: what was appended. What would break it: a checksum that leaves bytes out, a length that is believed before it is
//! checked, a torn tail that is taken for damage, or damage for a torn tail. Negative controls: see
//! docs/decisions/0011-log-before-state.md.

use crate::durable::appender::{AppendError, Appender};
use crate::durable::error::DurableError;
use crate::durable::log_scan::{LoggedBlock, ScanOptions, Scanned, read_record, scan};
use crate::durable::record::{BlockMark, for_each_write, outcomes};
use crate::durable::segment::{self, FIRST_RECORD};
use crate::durable::step::{Step, StepHook, Steps};
use crate::state::StateDigest;
use crate::types::{BlockHash, StatusCode};
use proptest::prelude::*;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const ID: [u8; 16] = *b"0123456789abcdef";

type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A log in a directory of its own, and what was appended to it.
struct Log {
    directory: TempDir,
    appender: Appender,
    blocks: Vec<LoggedBlock>,
}

impl Log {
    fn new(steps: Steps) -> Log {
        let directory = tempfile::tempdir().unwrap();
        let mut scanned = scan(directory.path(), &options(0)).unwrap();
        let path = directory.path().to_owned();
        let appender = Appender::open(path, ID, 4 << 10, &mut scanned, steps).unwrap();
        Log { directory, appender, blocks: Vec::new() }
    }

    /// Appends a block that is told to be written when `synced` blocks were durable.
    fn try_append(&mut self, synced: u64, roll: bool, writes: &Writes) -> Result<(), AppendError> {
        let height = self.blocks.last().map_or(10, |last| last.mark.height + 3);
        let record = self.appender.begin();
        for transaction in 0..3_u16 {
            record.outcome(StatusCode(transaction), height);
        }
        writes.iter().for_each(|(key, value)| record.write(key, value.as_deref()));
        let mark =
            BlockMark { height, hash: BlockHash([7; 32]), digest: StateDigest(u128::from(height) << 64) };
        let appended = self.appender.append(mark, synced, roll)?;
        self.blocks.push(appended.block);
        Ok(())
    }

    fn append(&mut self, synced: u64, roll: bool) {
        let key = vec![5; self.blocks.len()];
        let writes = vec![(key, Some(vec![9; 20])), (b"gone".to_vec(), None)];
        self.try_append(synced, roll, &writes).unwrap();
    }

    fn with_blocks(count: u64) -> Log {
        let mut log = Log::new(Steps::default());
        (0..count).for_each(|_| log.append(0, false));
        log
    }

    fn segment(&self, first: u64) -> PathBuf {
        segment::path_of(self.directory.path(), first)
    }

    /// Says that all is durable.
    fn mark(&self) {
        let path = self.segment(1);
        let file = File::options().write(true).open(&path).unwrap();
        let end = path.metadata().unwrap().len();
        segment::write_mark(&file, self.blocks.len() as u64, end).unwrap();
    }

    fn scan(&self, applied: u64) -> Result<Scanned, DurableError> {
        scan(self.directory.path(), &options(applied))
    }

    /// Ends of all records in the first segment.
    fn ends(&self) -> Vec<u64> {
        self.blocks.iter().map(|block| block.place.offset + block.bytes).collect()
    }
}

fn options(applied: u64) -> ScanOptions {
    ScanOptions { directory: ID, applied, everything: false, writable: true }
}

/// Where and in which file damage was found.
fn damage(result: Result<Scanned, DurableError>) -> (PathBuf, u64) {
    match result {
        Err(DurableError::Damaged { path, offset, .. }) => (path, offset),
        Err(error) => panic!("another error: {error}"),
        Ok(scanned) => panic!("nothing was found: {scanned:?}"),
    }
}

#[test]
fn a_log_cut_anywhere_has_exactly_the_whole_records_before_the_cut() {
    let log = Log::with_blocks(4);
    let (path, ends) = (log.segment(1), log.ends());
    let bytes = fs::read(&path).unwrap();
    for cut in usize::try_from(FIRST_RECORD).unwrap()..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let scanned = log.scan(0).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut as u64).count();
        assert_eq!(scanned.blocks, log.blocks[..whole], "cut at {cut}");
        assert_eq!(scanned.last_sequence, whole as u64);
        let last = scanned.last.unwrap();
        assert_eq!(last.end + last.unfinished, cut as u64);
    }
}

#[test]
fn a_log_cut_below_what_was_durable_is_an_error_that_names_file_and_offset() {
    let log = Log::with_blocks(3);
    log.mark();
    let path = log.segment(1);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(log.scan(0).unwrap().blocks, log.blocks);
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let (found, offset) = damage(log.scan(0));
        assert_eq!(found, path);
        assert!(offset <= cut as u64, "cut at {cut}, found at {offset}");
    }
}

#[test]
fn every_flipped_bit_of_a_durable_log_is_an_error_that_names_file_and_offset() {
    let log = Log::with_blocks(3);
    log.mark();
    let path = log.segment(1);
    let (bytes, ends) = (fs::read(&path).unwrap(), log.ends());
    let file = File::options().write(true).open(&path).unwrap();
    for (place, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ (1 << bit)], place as u64).unwrap();
            let (found, offset) = damage(log.scan(0));
            assert_eq!(found, path);
            let begin = ends.iter().copied().filter(|&end| end <= place as u64).max();
            let begin = begin.unwrap_or(if place < 512 { 0 } else { (place as u64).min(1_024) / 512 * 512 });
            assert_eq!(offset, begin, "bit {bit} of byte {place}");
        }
        file.write_all_at(&[*byte], place as u64).unwrap();
    }
}

#[test]
fn without_a_mark_the_store_or_a_later_record_tells_damage_from_a_torn_end() {
    let mut log = Log::with_blocks(2);
    // This one knows that the first was durable.
    log.append(1, false);
    let path = log.segment(1);
    let whole = fs::read(&path).unwrap();
    let flip = |place: u64| {
        let mut bytes = whole.clone();
        bytes[usize::try_from(place).unwrap() + 110] ^= 4;
        fs::write(&path, &bytes).unwrap();
    };
    let starts: Vec<u64> = log.blocks.iter().map(|block| block.place.offset).collect();
    flip(starts[0]);
    assert_eq!(damage(log.scan(0)).1, starts[0], "a later record knows");
    flip(starts[1]);
    assert_eq!(log.scan(0).unwrap().blocks, log.blocks[..1], "nobody knows");
    assert_eq!(damage(log.scan(2)).1, starts[1], "the store knows");
}

#[test]
fn a_log_goes_on_in_the_next_segment_and_a_missing_one_is_named() {
    let mut log = Log::with_blocks(2);
    log.append(2, true);
    log.append(3, true);
    let scanned = log.scan(0).unwrap();
    assert_eq!(scanned.blocks, log.blocks);
    assert_eq!(scanned.segments.iter().map(|info| info.first_sequence).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(log.scan(3).unwrap().blocks, log.blocks[3..], "what the store has is not read again");

    let (second, aside) = (log.segment(3), log.directory.path().join("aside"));
    fs::rename(&second, &aside).unwrap();
    assert!(matches!(log.scan(0), Err(DurableError::Missing { sequence: 3, .. })));
    fs::rename(&aside, &second).unwrap();
    fs::remove_file(log.segment(1)).unwrap();
    assert!(matches!(log.scan(0), Err(DurableError::Missing { sequence: 1, .. })));
    assert_eq!(log.scan(2).unwrap().blocks, log.blocks[2..], "the store has what the first one had");
    let cut = File::options().write(true).open(&second).unwrap();
    cut.set_len(second.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(damage(log.scan(2)).0, second, "only the last segment may have a torn end");
}

#[test]
fn a_segment_of_another_directory_or_version_is_refused() {
    let log = Log::with_blocks(1);
    let other = ScanOptions { directory: [0; 16], ..options(0) };
    assert_eq!(damage(scan(log.directory.path(), &other)).1, 24);
    let path = log.segment(1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] += 1;
    let crc = crc32fast::hash(&bytes[..508]).to_le_bytes();
    bytes[508..512].copy_from_slice(&crc);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(log.scan(0), Err(DurableError::Version { found: 2, known: 1, .. })));
    fs::rename(&path, log.segment(9)).unwrap();
    assert!(matches!(log.scan(0), Err(DurableError::Missing { sequence: 1, .. })));
}

#[test]
fn a_failed_append_leaves_no_trace_and_the_next_one_succeeds() {
    for step in [Step::AboutToAppend, Step::RecordHalfWritten, Step::RecordWritten, Step::SegmentMade] {
        let fails = Arc::new(AtomicBool::new(false));
        let armed = Arc::clone(&fails);
        let hook = StepHook::new(move |passed| {
            let full = passed == step && armed.load(Ordering::SeqCst);
            if full { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
        });
        let mut log = Log::new(Steps { hook: Some(hook) });
        log.append(0, false);
        let before = fs::read(log.segment(1)).unwrap();
        fails.store(true, Ordering::SeqCst);
        let roll = step == Step::SegmentMade;
        let error = log.try_append(1, roll, &vec![(vec![1], None)]).unwrap_err();
        let AppendError::Clean(error) = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("free some space there"), "{error}");
        assert_eq!(fs::read(log.segment(1)).unwrap(), before, "{step:?}");
        assert_eq!(log.scan(0).unwrap().blocks, log.blocks, "{step:?}");
        fails.store(false, Ordering::SeqCst);
        log.append(1, roll);
        assert_eq!(log.scan(0).unwrap().blocks, log.blocks, "{step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_appended_is_read_again_byte_for_byte(
        blocks in prop::collection::vec(
            prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..40), prop::option::of(prop::collection::vec(any::<u8>(), 0..90))),
                0..30,
            ),
            1..8,
        )
    ) {
        let mut log = Log::new(Steps::default());
        for writes in &blocks {
            log.try_append(0, false, writes).unwrap();
        }
        prop_assert_eq!(&log.scan(0).unwrap().blocks, &log.blocks);
        let path = log.segment(1);
        let (file, mut body) = (File::open(&path).unwrap(), Vec::new());
        let length = path.metadata().unwrap().len();
        for (block, writes) in log.blocks.iter().zip(&blocks) {
            let header = read_record(&file, block.place.offset, length, &mut body).unwrap().unwrap();
            prop_assert_eq!(header.mark(), block.mark);
            let expected: Vec<_> = (0..3_u16).map(|status| (StatusCode(status), block.mark.height)).collect();
            prop_assert_eq!(outcomes(&header, &body).collect::<Vec<_>>(), expected);
            let mut found: Writes = Vec::new();
            let whole = for_each_write(&header, &body, |(key, value)| {
                found.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            });
            prop_assert!(whole);
            prop_assert_eq!(&found, writes);
        }
    }
}
