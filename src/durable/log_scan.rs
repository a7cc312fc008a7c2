//! Reads the log from its files: what is whole, what was never finished, what is damaged.
//!
//! Only the end of the last segment may be unfinished: appends that the death of the machine cut off. It is told from
//! damage by what was known to be durable: the segment's mark, the store behind the log, and records that were written
//! later. Whatever one of these proves to have been durable is damaged if it cannot be read.

use crate::durable::error::DurableError;
use crate::durable::record::{BlockMark, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader};
use crate::durable::segment::{self, DirectoryId, FIRST_RECORD, SegmentHead};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace {
    /// First sequence of its segment.
    pub(super) segment: u64,
    /// Offset in the segment's file.
    pub(super) offset: u64,
}

/// A block in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoggedBlock {
    pub(super) sequence: u64,
    pub(super) mark: BlockMark,
    pub(super) place: RecordPlace,
    /// Length of the record.
    pub(super) bytes: u64,
}

/// A segment that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentInfo {
    pub(super) first_sequence: u64,
    /// Height of its first block, if it has one.
    pub(super) first_height: Option<u64>,
}

/// The last segment, whose end is appended to.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) first_sequence: u64,
    /// End of its last whole record.
    pub(super) end: u64,
    /// Bytes behind that, of a record that was never finished.
    pub(super) unfinished: u64,
}

/// What the log holds.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) segments: Vec<SegmentInfo>,
    /// All blocks that were read and that the store lacks.
    pub(super) blocks: Vec<LoggedBlock>,
    /// Sequence of the last whole record, or what the store has if there is none.
    pub(super) last_sequence: u64,
    pub(super) last: Option<LastSegment>,
    /// Records that were read.
    pub(super) records: u64,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanOptions {
    pub(super) directory: DirectoryId,
    /// The store has all blocks up to this sequence.
    pub(super) applied: u64,
    /// Reads every segment, not only those with blocks that the store lacks.
    pub(super) everything: bool,
    /// Opens files for writing.
    pub(super) writable: bool,
}

/// Reads the log in `log`.
///
/// # Errors
/// `Damaged`, `Missing`, `Version`, `Io`.
pub(super) fn scan(log: &Path, options: &ScanOptions) -> Result<Scanned, DurableError> {
    let sequences = segments_in(log)?;
    let applied = options.applied;
    let missing = |sequence| DurableError::Missing { directory: log.to_owned(), sequence };
    let needed = sequences.iter().rposition(|&first| first <= applied + 1);
    let start = match (needed, sequences.is_empty()) {
        (Some(start), _) => start,
        (None, true) if applied == 0 => 0,
        (None, true) => return Err(missing(applied)),
        (None, false) => return Err(missing(applied + 1)),
    };
    let start = if options.everything { 0 } else { start };
    let mut scanned =
        Scanned { segments: Vec::new(), blocks: Vec::new(), last_sequence: applied, last: None, records: 0 };
    let mut last_height = None;
    for (index, &first_sequence) in sequences.iter().enumerate() {
        let path = segment::path_of(log, first_sequence);
        let mut open = OpenOptions::new();
        let file = open.read(true).write(options.writable).open(&path);
        let file = file.map_err(DurableError::io("open", &path))?;
        let head = head_of(&file, &path, first_sequence, options.directory)?;
        let first_height = first_height(&file, &path)?;
        scanned.segments.push(SegmentInfo { first_sequence, first_height });
        if index < start {
            continue;
        }
        let next = sequences.get(index + 1).copied();
        let mut reader = SegmentReader { file, path, head, applied, is_last: next.is_none(), last_height };
        let (end, unfinished) = reader.read_all(&mut scanned)?;
        last_height = reader.last_height;
        match next {
            Some(next) if next != scanned.last_sequence + 1 => {
                return Err(missing(scanned.last_sequence + 1));
            }
            Some(_) => {}
            None => {
                let SegmentReader { file, path, .. } = reader;
                scanned.last = Some(LastSegment { file, path, first_sequence, end, unfinished });
            }
        }
    }
    if scanned.last_sequence < applied {
        return Err(missing(scanned.last_sequence + 1));
    }
    Ok(scanned)
}

/// First sequences of all segments, in order.
///
/// # Errors
/// `Io`.
pub(super) fn segments_in(log: &Path) -> Result<Vec<u64>, DurableError> {
    let mut sequences = Vec::new();
    for entry in std::fs::read_dir(log).map_err(DurableError::io("list", log))? {
        let name = entry.map_err(DurableError::io("list", log))?.file_name();
        sequences.extend(name.to_str().and_then(segment::sequence_of));
    }
    sequences.sort_unstable();
    Ok(sequences)
}

fn head_of(
    file: &File,
    path: &Path,
    first_sequence: u64,
    directory: DirectoryId,
) -> Result<SegmentHead, DurableError> {
    let head = segment::read_head(file, path)?;
    if head.directory != directory {
        return Err(DurableError::damaged(path, 24, "the segment belongs to another state directory"));
    }
    if head.first_sequence != first_sequence {
        return Err(DurableError::damaged(path, 16, "the segment's name is not that of its first record"));
    }
    Ok(head)
}

fn first_height(file: &File, path: &Path) -> Result<Option<u64>, DurableError> {
    let mut bytes = [0; RECORD_HEADER_BYTES];
    let read = file.read_at(&mut bytes, FIRST_RECORD).map_err(DurableError::io("read", path))?;
    Ok(RecordHeader::parse(&bytes[..read]).map(|header| header.height))
}

/// Reads the header and body of the record at `offset`; `Err` tells what is wrong with it.
///
/// # Errors
/// What is wrong, in words; the outer error is the system's.
pub(super) fn read_record(
    file: &File,
    offset: u64,
    length: u64,
    body: &mut Vec<u8>,
) -> std::io::Result<Result<RecordHeader, &'static str>> {
    let left = length.saturating_sub(offset);
    let mut head = [0; RECORD_HEADER_BYTES];
    if left < head.len() as u64 {
        return Ok(Err("a record's header is cut off"));
    }
    file.read_exact_at(&mut head, offset)?;
    let Some(header) = RecordHeader::parse(&head) else {
        return Ok(Err("a record's header has a wrong checksum"));
    };
    if header.body_bytes > left - head.len() as u64 {
        return Ok(Err("a record is cut off"));
    }
    body.resize(usize::try_from(header.body_bytes).unwrap_or(usize::MAX), 0);
    file.read_exact_at(body, offset + head.len() as u64)?;
    if header.owns(body) { Ok(Ok(header)) } else { Ok(Err("a record has a wrong checksum")) }
}

struct SegmentReader {
    file: File,
    path: PathBuf,
    head: SegmentHead,
    applied: u64,
    is_last: bool,
    last_height: Option<u64>,
}

impl SegmentReader {
    /// Reads all records; returns the end of the last whole one, and the bytes behind it that were never finished.
    fn read_all(&mut self, scanned: &mut Scanned) -> Result<(u64, u64), DurableError> {
        let length = self.file.metadata().map_err(DurableError::io("look at", &self.path))?.len();
        let (mut offset, mut expected) = (FIRST_RECORD, self.head.first_sequence);
        let mut body = Vec::new();
        scanned.last_sequence = expected.saturating_sub(1);
        while offset < length {
            let record = read_record(&self.file, offset, length, &mut body);
            let header = match record.map_err(DurableError::io("read", &self.path))? {
                Ok(header) => header,
                Err(what) => {
                    self.excuse(offset, length, expected, what)?;
                    return Ok((offset, length - offset));
                }
            };
            if header.sequence != expected || self.last_height.is_some_and(|last| header.height <= last) {
                let what = format!(
                    "record {} of height {} stands where record {expected} belongs",
                    header.sequence, header.height
                );
                return Err(DurableError::damaged(&self.path, offset, what));
            }
            let bytes = RECORD_HEADER_BYTES as u64 + header.body_bytes;
            let place = RecordPlace { segment: self.head.first_sequence, offset };
            if expected > self.applied {
                let (sequence, mark) = (expected, header.mark());
                scanned.blocks.push(LoggedBlock { sequence, mark, place, bytes });
            }
            scanned.last_sequence = expected;
            scanned.records += 1;
            self.last_height = Some(header.height);
            offset += bytes;
            expected += 1;
        }
        if self.head.marked.1 > offset {
            let what = "the segment ends before records that were durable";
            return Err(DurableError::damaged(&self.path, offset, what));
        }
        Ok((offset, 0))
    }

    /// Whether what cannot be read at `offset` may be a record that was never finished.
    fn excuse(&self, offset: u64, length: u64, expected: u64, what: &str) -> Result<(), DurableError> {
        let durable = !self.is_last
            || self.head.marked.1 > offset
            || self.applied >= expected
            || self.later_record_knows(offset, length, expected)?;
        if durable { Err(DurableError::damaged(&self.path, offset, what)) } else { Ok(()) }
    }

    /// Whether a record behind `offset` was written when record `expected` was durable.
    fn later_record_knows(&self, offset: u64, length: u64, expected: u64) -> Result<bool, DurableError> {
        let mut rest = vec![0; usize::try_from(length - offset).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut rest, offset).map_err(DurableError::io("read", &self.path))?;
        let mut places = (RECORD_ALIGN..rest.len()).step_by(RECORD_ALIGN);
        Ok(places.any(|place| {
            let header = rest.get(place..).and_then(RecordHeader::parse);
            header.is_some_and(|header| header.sequence > expected && header.synced >= expected)
        }))
    }
}
