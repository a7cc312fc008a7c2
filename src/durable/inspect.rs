//! Looks at a state directory, beside the process that has it.

use crate::durable::directory::{log_of, store_of};
use crate::durable::error::DurableError;
use crate::durable::head::Head;
use crate::durable::log_scan::{ScanOptions, Scanned, scan};
use crate::durable::segment;
use crate::durable::store::Store;
use std::io;
use std::path::Path;

/// A segment may be removed between two looks; so often it is looked again.
const LOOKS: u32 = 5;

/// What a state directory holds.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryReport {
    /// Where the store stands.
    pub head: Head,
    /// Entries of the state.
    pub entries: u64,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Blocks whose results are kept, as far as the store knows.
    pub kept_blocks: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Records of the log that were read.
    pub log_records: u64,
    /// Blocks that are in the log and not yet in the store.
    pub backlog_blocks: u64,
    /// Height of the last block in the log, if one is not yet in the store.
    pub backlog_height: Option<u64>,
    /// Bytes at the end of the log that belong to a record being written, or never finished.
    pub unfinished_bytes: u64,
}

/// Looks at what is there: the store's head and what the log has beyond it.
///
/// # Errors
/// `NoState`; what is wrong with store or log.
pub fn inspect(directory: &Path) -> Result<DirectoryReport, DurableError> {
    look(directory, false, |_, _| {})
}

/// Reads everything: every record of the log, and every entry of the store, whose digest must be that of the head.
/// `progress` is called with entries read and entries in all.
///
/// # Errors
/// `NoState`; what is wrong with store or log: the first thing found.
pub fn verify(directory: &Path, progress: impl FnMut(u64, u64)) -> Result<DirectoryReport, DurableError> {
    look(directory, true, progress)
}

fn look(
    directory: &Path,
    everything: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<DirectoryReport, DurableError> {
    let (log, store) = (log_of(directory), store_of(directory));
    let store = Store::open_to_read(&store)?;
    let no_state = || DurableError::NoState { directory: directory.to_owned() };
    let head = store.head()?.ok_or_else(no_state)?;
    let (scanned, log_bytes) = scan_beside(&log, &head, everything)?;
    let (head, entries) = if everything {
        let mut read = 0;
        store.check(
            |_, entries| Ok(entries),
            |entries, _, _| {
                read += 1;
                progress(read, *entries);
                Ok(())
            },
        )?
    } else {
        (head, store.entries()?)
    };
    Ok(DirectoryReport {
        head,
        entries,
        store_bytes: store.disk_bytes()?,
        kept_blocks: store.kept_blocks()?,
        segments: scanned.segments.len() as u64,
        log_bytes,
        log_records: scanned.records,
        backlog_blocks: scanned.blocks.len() as u64,
        backlog_height: scanned.blocks.last().map(|block| block.mark.height),
        unfinished_bytes: scanned.last.map_or(0, |last| last.unfinished),
    })
}

/// Reads the log while its owner may append to it and remove segments.
fn scan_beside(log: &Path, head: &Head, everything: bool) -> Result<(Scanned, u64), DurableError> {
    let options =
        ScanOptions { directory: head.directory, applied: head.sequence, everything, writable: false };
    let mut looks = 0;
    loop {
        looks += 1;
        match scan(log, &options).and_then(|scanned| Ok((bytes_of(log, &scanned)?, scanned))) {
            Ok((bytes, scanned)) => return Ok((scanned, bytes)),
            Err(DurableError::Io { cause, .. })
                if cause.kind() == io::ErrorKind::NotFound && looks < LOOKS => {}
            Err(error) => return Err(error),
        }
    }
}

fn bytes_of(log: &Path, scanned: &Scanned) -> Result<u64, DurableError> {
    let mut bytes = 0;
    for info in &scanned.segments {
        let path = segment::path_of(log, info.first_sequence);
        bytes += path.metadata().map_err(DurableError::io("look at", &path))?.len();
    }
    Ok(bytes)
}
