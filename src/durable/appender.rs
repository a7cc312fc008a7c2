//! Appends records to the log. What is appended is in the system's hands, not yet on the disk.

use crate::durable::error::DurableError;
use crate::durable::log_scan::{LastSegment, LoggedBlock, RecordPlace, Scanned};
use crate::durable::record::{BlockMark, RecordWriter};
use crate::durable::segment::{self, DirectoryId, FIRST_RECORD};
use crate::durable::step::{Step, Steps};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    file: Arc<File>,
    path: PathBuf,
    first_sequence: u64,
    end: u64,
}

/// The one writer of the log.
#[derive(Debug)]
pub(super) struct Appender {
    log: PathBuf,
    directory: DirectoryId,
    segment_bytes: u64,
    last_sequence: u64,
    active: Option<Active>,
    record: RecordWriter,
    steps: Steps,
}

/// Where the log ends, for who makes it durable.
#[derive(Clone, Debug)]
pub(super) struct LogEnd {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) end: u64,
}

/// What appending came to.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) block: LoggedBlock,
    pub(super) end: LogEnd,
    /// A segment was begun with this block.
    pub(super) new_segment: bool,
}

/// An append that failed.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The log is as it was.
    Clean(DurableError),
    /// Nobody knows how the log is.
    Broken(DurableError),
}

impl Appender {
    /// Cuts off what was never finished, and makes all the rest durable.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn open(
        log: PathBuf,
        directory: DirectoryId,
        segment_bytes: u64,
        scanned: &mut Scanned,
        steps: Steps,
    ) -> Result<Appender, DurableError> {
        // Left by a process that died making a segment.
        let _ = std::fs::remove_file(log.join(segment::NEW_NAME));
        let last_sequence = scanned.last_sequence;
        let active = match scanned.last.take() {
            Some(last) => Some(settle(last, last_sequence)?),
            None => None,
        };
        let record = RecordWriter::default();
        Ok(Appender { log, directory, segment_bytes, last_sequence, active, record, steps })
    }

    /// The record of the next block, to be filled.
    pub(super) fn begin(&mut self) -> &mut RecordWriter {
        self.record.begin();
        &mut self.record
    }

    pub(super) fn record(&mut self) -> &mut RecordWriter {
        &mut self.record
    }

    /// Whether the next append begins a segment, for which all before it must be durable.
    pub(super) fn is_full(&self, synced: u64) -> bool {
        let Some(active) = &self.active else { return false };
        // A little more does no harm; waiting for the disk does.
        let limit = if synced >= self.last_sequence { self.segment_bytes } else { self.segment_bytes * 2 };
        active.end >= limit
    }

    /// Appends the record that was begun. `roll` as [`is_full`](Self::is_full) has it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(super) fn append(
        &mut self,
        mark: BlockMark,
        synced: u64,
        roll: bool,
    ) -> Result<Appended, AppendError> {
        let clean = |step, path: &PathBuf| {
            let path = path.clone();
            move |cause| AppendError::Clean(DurableError::Io { step, path, cause })
        };
        self.steps.pass(Step::AboutToAppend).map_err(clean("append to", &self.log))?;
        let sequence = self.last_sequence + 1;
        let new_segment = roll || self.active.is_none();
        if new_segment {
            self.active = Some(self.make_segment(sequence).map_err(AppendError::Clean)?);
        }
        let Some(active) = &mut self.active else {
            return Err(AppendError::Broken(DurableError::Failed { cause: "no log segment".to_owned() }));
        };
        let bytes = self.record.finish(sequence, synced, mark);
        if let Err(cause) = write(&active.file, bytes, active.end, &self.steps) {
            let failed = DurableError::Io { step: "append to", path: active.path.clone(), cause };
            return Err(match active.file.set_len(active.end) {
                Ok(()) => AppendError::Clean(failed),
                Err(cause) => {
                    let cause = format!("{failed}; and its beginning cannot be taken back: {cause}");
                    AppendError::Broken(DurableError::Failed { cause })
                }
            });
        }
        let place = RecordPlace { segment: active.first_sequence, offset: active.end };
        let block = LoggedBlock { sequence, mark, place, bytes: bytes.len() as u64 };
        active.end += block.bytes;
        self.last_sequence = sequence;
        let Active { file, path, end, .. } = active;
        let end = LogEnd { file: Arc::clone(file), path: path.clone(), end: *end };
        Ok(Appended { block, end, new_segment })
    }

    fn make_segment(&self, first_sequence: u64) -> Result<Active, DurableError> {
        let failed = |step| DurableError::io(step, &self.log);
        self.steps.pass(Step::AboutToRoll).map_err(failed("begin a segment in"))?;
        let file = segment::make(&self.log, self.directory, first_sequence)?;
        let path = segment::path_of(&self.log, first_sequence);
        self.steps.pass(Step::SegmentMade).map_err(failed("begin a segment in"))?;
        std::fs::rename(self.log.join(segment::NEW_NAME), &path).map_err(DurableError::io("name", &path))?;
        let named = self.steps.pass(Step::SegmentNamed);
        let synced = named.and_then(|()| File::open(&self.log)).and_then(|directory| directory.sync_all());
        if let Err(cause) = synced {
            // An empty segment does no harm, but one that may vanish does.
            let _ = std::fs::remove_file(&path);
            return Err(DurableError::Io { step: "sync", path: self.log.clone(), cause });
        }
        Ok(Active { file: Arc::new(file), path, first_sequence, end: FIRST_RECORD })
    }
}

/// Two halves, so that a test can have the process die between them.
fn write(file: &File, bytes: &[u8], at: u64, steps: &Steps) -> io::Result<()> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all_at(first, at)?;
    steps.pass(Step::RecordHalfWritten)?;
    file.write_all_at(second, at + first.len() as u64)?;
    steps.pass(Step::RecordWritten)
}

fn settle(last: LastSegment, last_sequence: u64) -> Result<Active, DurableError> {
    let LastSegment { file, path, first_sequence, end, unfinished } = last;
    if unfinished > 0 {
        tracing::warn!(
            segment = %path.display(), offset = end, bytes = unfinished,
            "the last record was never finished and is cut off; its block had not been reported durable"
        );
        file.set_len(end).map_err(DurableError::io("cut", &path))?;
    }
    file.sync_all().map_err(DurableError::io("sync", &path))?;
    if last_sequence >= first_sequence {
        segment::write_mark(&file, last_sequence, end).map_err(DurableError::io("mark", &path))?;
    }
    Ok(Active { file: Arc::new(file), path, first_sequence, end })
}
