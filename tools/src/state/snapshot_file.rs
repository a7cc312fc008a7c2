//! Snapshots as files, or as standard input and output.

use phalanx::durable::{DurableConfig, DurableError, SnapshotHead, export, import};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const STREAM: &str = "-";

/// Called with entries done and entries in all.
pub type Show<'a> = &'a mut dyn FnMut(u64, u64);

/// Whether the name means standard input or output.
pub fn is_stream(file: &Path) -> bool {
    file.as_os_str() == STREAM
}

/// Writes a snapshot. A file is there under its name only when it is whole and durable.
///
/// # Errors
/// [`DurableError`].
pub fn export_to(directory: &Path, file: &Path, show: Show<'_>) -> Result<SnapshotHead, DurableError> {
    if is_stream(file) {
        let mut out = BufWriter::new(io::stdout().lock());
        return export(directory, &mut out, Path::new("standard output"), show);
    }
    let part = part_of(file);
    let result = export_part(directory, &part, show).and_then(|head| {
        std::fs::rename(&part, file).map_err(io_error("name", file))?;
        Ok(head)
    });
    if result.is_err() {
        // Perhaps it was never made.
        let _ = std::fs::remove_file(&part);
    }
    result
}

fn export_part(directory: &Path, part: &Path, show: Show<'_>) -> Result<SnapshotHead, DurableError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut out = BufWriter::new(file.map_err(io_error("make", part))?);
    let head = export(directory, &mut out, part, show)?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(io_error("sync", part))?;
    Ok(head)
}

/// Where a snapshot lies while it is written.
fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".part");
    file.with_file_name(name)
}

/// Makes a state directory from a snapshot.
///
/// # Errors
/// [`DurableError`].
pub fn import_from(
    config: &DurableConfig,
    file: &Path,
    show: Show<'_>,
) -> Result<SnapshotHead, DurableError> {
    if is_stream(file) {
        return import(config, &mut io::stdin().lock(), Path::new("standard input"), show);
    }
    let opened = File::open(file).map_err(io_error("open", file))?;
    import(config, &mut BufReader::new(opened), file, show)
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError + use<> {
    let path = path.to_owned();
    move |cause| DurableError::Io { step, path, cause }
}
