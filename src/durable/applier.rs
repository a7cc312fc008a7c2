//! The thread that brings the log into the store, and removes segments that nobody needs any more.

use crate::durable::batch::Batch;
use crate::durable::error::DurableError;
use crate::durable::head::Head;
use crate::durable::log_scan::{LoggedBlock, RecordPlace, SegmentInfo, read_record};
use crate::durable::progress::{Shared, StoreWork};
use crate::durable::record::{RecordHeader, for_each_write};
use crate::durable::segment;
use crate::durable::step::{Step, Steps};
use crate::durable::store::Store;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Reads single records of the log.
#[derive(Debug)]
pub(super) struct RecordReader {
    log: PathBuf,
    /// The segment read last.
    open: Option<(u64, File)>,
    body: Vec<u8>,
}

impl RecordReader {
    pub(super) fn new(log: PathBuf) -> RecordReader {
        RecordReader { log, open: None, body: Vec::new() }
    }

    /// Header and body of the record at a place.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(super) fn read(&mut self, place: RecordPlace) -> Result<(RecordHeader, &[u8]), DurableError> {
        let path = segment::path_of(&self.log, place.segment);
        let file = match self.open.take() {
            Some((segment, file)) if segment == place.segment => file,
            Some(_) | None => File::open(&path).map_err(DurableError::io("open", &path))?,
        };
        let length = file.metadata().map_err(DurableError::io("look at", &path))?.len();
        let record = read_record(&file, place.offset, length, &mut self.body);
        self.open = Some((place.segment, file));
        match record.map_err(DurableError::io("read", &path))? {
            Ok(header) => Ok((header, &self.body)),
            Err(what) => Err(DurableError::damaged(&path, place.offset, what)),
        }
    }
}

/// Brings the log into the store.
#[derive(Debug)]
pub(super) struct Applier {
    pub(super) store: Arc<Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: RecordReader,
    pub(super) head: Head,
    pub(super) keep_blocks: u64,
    pub(super) steps: Steps,
    pub(super) batch: Batch,
}

impl Applier {
    /// Brings in all that the store lacks.
    ///
    /// # Errors
    /// [`DurableError`]; the store stands at some block then.
    pub(super) fn catch_up(&mut self) -> Result<(), DurableError> {
        let mut blocks = Vec::new();
        loop {
            self.shared.lacking(&mut blocks);
            if blocks.is_empty() {
                return Ok(());
            }
            self.apply(&blocks)?;
        }
    }

    /// Until it is told to stop and the store has all, or the store refuses.
    pub(super) fn run(mut self) {
        let (mut blocks, mut stored, mut looked) = (Vec::new(), Instant::now(), Instant::now());
        loop {
            let done = match self.shared.next_store((stored, looked), &mut blocks) {
                StoreWork::Apply => {
                    let applied = self.apply(&blocks);
                    stored = Instant::now();
                    applied
                }
                StoreWork::ClearReaders => self.clear_readers(),
                StoreWork::Stop => return,
            };
            looked = Instant::now();
            if let Err(error) = done {
                return self.shared.fail(&error);
            }
        }
    }

    fn clear_readers(&self) -> Result<(), DurableError> {
        let cleared = self.store.clear_dead_readers()?;
        if cleared > 0 {
            tracing::info!(cleared, "slots of dead readers of the store are free again");
        }
        self.shared.cleared(cleared);
        Ok(())
    }

    fn apply(&mut self, blocks: &[LoggedBlock]) -> Result<(), DurableError> {
        self.batch.clear();
        for block in blocks {
            let (header, body) = self.reader.read(block.place)?;
            let batch = &mut self.batch;
            if header.sequence != block.sequence
                || !for_each_write(&header, body, |(key, value)| batch.write(key, value))
            {
                let path = segment::path_of(&self.reader.log, block.place.segment);
                return Err(DurableError::damaged(
                    &path,
                    block.place.offset,
                    "a record's writes make no sense",
                ));
            }
            self.batch.block(block);
        }
        let unneeded = self.unneeded();
        let floor = unneeded.last().map(|&(_, floor)| floor);
        self.head = self.store.apply(&mut self.batch, self.head, floor, &self.steps)?;
        self.shared.stored(blocks);
        for (segment, _) in unneeded {
            self.remove(segment)?;
        }
        self.clear_readers()
    }

    /// Segments whose blocks are all in the store and too old to be kept, each with the height that follows.
    fn unneeded(&self) -> Vec<(SegmentInfo, u64)> {
        let segments = self.shared.segments();
        let Some(keep_from) = self.head.height().and_then(|last| last.checked_sub(self.keep_blocks)) else {
            return Vec::new();
        };
        let pairs = segments.iter().zip(segments.iter().skip(1));
        pairs
            .map_while(|(segment, next)| {
                let floor = next.first_height?;
                let stored = next.first_sequence <= self.head.sequence + 1;
                (stored && floor <= keep_from).then_some((*segment, floor))
            })
            .collect()
    }

    fn remove(&self, segment: SegmentInfo) -> Result<(), DurableError> {
        let path = segment::path_of(&self.reader.log, segment.first_sequence);
        let failed = |step, path: &Path| DurableError::io(step, path);
        self.steps.pass(Step::AboutToPrune).map_err(failed("remove", &path))?;
        std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        self.shared.pruned(segment.first_sequence);
        self.steps.pass(Step::Pruned).map_err(failed("remove", &path))
    }
}
