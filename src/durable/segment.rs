//! A segment of the log: a file with a header, a mark that says how far it is durable, and records.

use crate::durable::error::DurableError;
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the format of segments and records.
pub(super) const LOG_VERSION: u32 = 1;
/// Records begin here.
pub(super) const FIRST_RECORD: u64 = FIRST_RECORD_32 as u64;
const FIRST_RECORD_32: u32 = 1_024;
/// The mark has a disk sector of its own, so that it is written whole or not at all.
const MARK_AT: u64 = SECTOR as u64;
const SECTOR: usize = 512;
const MAGIC: [u8; 8] = *b"PHXLOG\0\0";
const NAME_DIGITS: usize = 20;
const NAME_END: &str = ".log";
/// A segment that is being made.
pub(super) const NEW_NAME: &str = "new";

/// Tells the directories apart: a segment of another one is not taken for one's own.
pub(super) type DirectoryId = [u8; 16];

/// First sector of a segment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    first_record: u32,
    first_sequence: u64,
    directory: DirectoryId,
    reserved: [[u8; 8]; 58],
    zero: u32,
    crc: u32,
}

/// Second sector: what was durable when it was written. All zeros until then.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Mark {
    sequence: u64,
    end: u64,
    reserved: [[u8; 8]; 61],
    zero: u32,
    crc: u32,
}

const _: () = assert!(size_of::<Header>() == SECTOR && size_of::<Mark>() == SECTOR);
const _: () = assert!(FIRST_RECORD == 2 * SECTOR as u64);

/// Everything in a sector but the checksum at its end.
fn crc_of(sector: &[u8]) -> u32 {
    crc32fast::hash(sector.get(..SECTOR - 4).unwrap_or(&[]))
}

/// Where a segment lies.
pub(super) fn path_of(log: &Path, first_sequence: u64) -> PathBuf {
    log.join(format!("{first_sequence:0NAME_DIGITS$}{NAME_END}"))
}

/// The first sequence that a file's name tells; `None` if it is no segment's name.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END)?;
    (digits.len() == NAME_DIGITS).then(|| digits.parse().ok()).flatten()
}

/// Makes the file of a segment under another name, durable but for its name.
///
/// # Errors
/// `Io`; no file is left then, if it can be removed.
pub(super) fn make(log: &Path, directory: DirectoryId, first_sequence: u64) -> Result<File, DurableError> {
    let path = log.join(NEW_NAME);
    let mut header = Header {
        magic: MAGIC,
        version: LOG_VERSION,
        first_record: FIRST_RECORD_32,
        first_sequence,
        directory,
        ..Header::zeroed()
    };
    header.crc = crc_of(bytes_of(&header));
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(bytes_of(&header))?;
        file.write_all(&[0; SECTOR])?;
        file.sync_all()?;
        Ok(file)
    };
    write().map_err(|cause| {
        // A later attempt empties it, should it stay.
        let _ = std::fs::remove_file(&path);
        DurableError::Io { step: "make the log segment", path, cause }
    })
}

/// Writes down that records up to `sequence`, whose last byte is before `end`, are durable.
///
/// # Errors
/// As the system has it.
pub(super) fn write_mark(file: &File, sequence: u64, end: u64) -> std::io::Result<()> {
    let mut mark = Mark { sequence, end, ..Mark::zeroed() };
    mark.crc = crc_of(bytes_of(&mark));
    file.write_all_at(bytes_of(&mark), MARK_AT)
}

/// What header and mark of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) first_sequence: u64,
    pub(super) directory: DirectoryId,
    /// The last record known to be durable and the end of it; zeros if there is none.
    pub(super) marked: (u64, u64),
}

/// Reads header and mark.
///
/// # Errors
/// `Damaged`, `Version`, `Io`.
pub(super) fn read_head(file: &File, path: &Path) -> Result<SegmentHead, DurableError> {
    let mut bytes = [0; 2 * SECTOR];
    let length = file.metadata().map_err(DurableError::io("look at", path))?.len();
    if length < FIRST_RECORD {
        return Err(DurableError::damaged(path, length, "the segment's header is cut off"));
    }
    file.read_exact_at(&mut bytes, 0).map_err(DurableError::io("read", path))?;
    let (first, second) = bytes.split_at(SECTOR);
    let (header, mark): (Header, Mark) = (pod_read_unaligned(first), pod_read_unaligned(second));
    if header.magic != MAGIC || header.crc != crc_of(first) {
        return Err(DurableError::damaged(path, 0, "the segment's header has a wrong checksum"));
    }
    if header.version != LOG_VERSION || header.first_record != FIRST_RECORD_32 {
        let (found, known) = (header.version, LOG_VERSION);
        return Err(DurableError::Version { path: path.to_owned(), found, known });
    }
    let unmarked = second.iter().all(|&byte| byte == 0);
    if !unmarked && mark.crc != crc_of(second) {
        return Err(DurableError::damaged(path, MARK_AT, "the segment's mark has a wrong checksum"));
    }
    let Header { first_sequence, directory, .. } = header;
    Ok(SegmentHead { first_sequence, directory, marked: (mark.sequence, mark.end) })
}
