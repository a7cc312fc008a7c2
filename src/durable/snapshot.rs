//! A state as one stream of bytes: for copies, for moving house, for starting again after damage. The bytes are in
//! `docs/layout.md`.

use crate::durable::config::DurableConfig;
use crate::durable::directory::{self, DirectoryLock, store_of};
use crate::durable::error::DurableError;
use crate::durable::head::Head;
use crate::durable::opened::new_head;
use crate::durable::record::parse_entry;
use crate::durable::store::Store;
use crate::state::StateDigest;
use crate::types::{BlockHash, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Version of the format.
const SNAPSHOT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"PHXSNAP\0";
const CHUNK_MAGIC: [u8; 4] = *b"PHXC";
/// A chunk is closed when it has so many bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// The longest chunk: one that was nearly full, and the longest entry.
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + ENTRY_HEAD_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES;
const ENTRY_HEAD_BYTES: usize = 8;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    has_block: u32,
    entries: u64,
    height: u64,
    hash: [u8; 32],
    digest: [u8; 16],
    genesis: [u8; 16],
    reserved: [u8; 28],
    crc: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ChunkHeader {
    magic: [u8; 4],
    /// 0 in the last one, which has no bytes.
    entries: u32,
    bytes: u32,
    /// CRC-32 of the twelve bytes before, and of the entries.
    crc: u32,
}

const HEADER_BYTES: usize = size_of::<Header>();
const CHUNK_HEADER_BYTES: usize = size_of::<ChunkHeader>();
const _: () = assert!(HEADER_BYTES == 128 && CHUNK_HEADER_BYTES == 16);

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Height and hash of the last block; `None` before the first.
    pub block: Option<(u64, BlockHash)>,
    /// Digest of all entries.
    pub digest: StateDigest,
    /// Number of entries.
    pub entries: u64,
}

/// Writes the state in `directory`, as of one block, while its owner may go on. `progress` is called with entries written
/// and entries in all.
///
/// # Errors
/// `NoState`, `Digest`, `Store`; `Io` with `target` for a path when the stream refuses.
pub fn export(
    directory: &Path,
    stream: &mut dyn Write,
    target: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<SnapshotHead, DurableError> {
    let store = Store::open_to_read(&store_of(directory))?;
    let mut written = 0;
    let (head, (mut chunk, entries)) = store.check(
        |head, entries| {
            let header = header_of(head, entries);
            stream.write_all(bytes_of(&header)).map_err(DurableError::io("write", target))?;
            Ok((ChunkWriter { stream, bytes: Vec::new(), entries: 0 }, entries))
        },
        |(chunk, entries), key, value| {
            written += 1;
            progress(written, *entries);
            chunk.entry(key, value).map_err(DurableError::io("write", target))
        },
    )?;
    // An empty chunk is the end: a stream without it is not whole.
    let ended = chunk.close().and_then(|()| chunk.put()).and_then(|()| chunk.stream.flush());
    ended.map_err(DurableError::io("write", target))?;
    Ok(SnapshotHead { block: head.block, digest: head.digest, entries })
}

fn header_of(head: &Head, entries: u64) -> Header {
    let (height, hash) = head.block.unwrap_or_default();
    let mut header = Header {
        magic: MAGIC,
        version: SNAPSHOT_VERSION,
        has_block: u32::from(head.block.is_some()),
        entries,
        height,
        hash: hash.0,
        digest: head.digest.0.to_le_bytes(),
        genesis: head.genesis.0.to_le_bytes(),
        ..Header::zeroed()
    };
    header.crc = crc_of(&header);
    header
}

fn crc_of(header: &Header) -> u32 {
    crc32fast::hash(bytes_of(header).get(..HEADER_BYTES - 4).unwrap_or(&[]))
}

struct ChunkWriter<'a> {
    stream: &'a mut dyn Write,
    bytes: Vec<u8>,
    entries: u32,
}

impl ChunkWriter<'_> {
    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&key_bytes.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&value_bytes.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries += 1;
        if self.bytes.len() >= CHUNK_BYTES { self.put() } else { Ok(()) }
    }

    /// Writes what is left.
    fn close(&mut self) -> io::Result<()> {
        if self.entries > 0 { self.put() } else { Ok(()) }
    }

    fn put(&mut self) -> io::Result<()> {
        let bytes = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let mut header = ChunkHeader { magic: CHUNK_MAGIC, entries: self.entries, bytes, crc: 0 };
        header.crc = chunk_crc(&header, &self.bytes);
        self.stream.write_all(bytes_of(&header))?;
        self.stream.write_all(&self.bytes)?;
        self.bytes.clear();
        self.entries = 0;
        Ok(())
    }
}

fn chunk_crc(header: &ChunkHeader, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes_of(header).get(..CHUNK_HEADER_BYTES - 4).unwrap_or(&[]));
    hasher.update(bytes);
    hasher.finalize()
}

/// Makes a new state directory from a snapshot. `progress` is called with entries read and entries in all.
///
/// # Errors
/// `NotEmpty`, `Locked`, `Store`, `Io`; `Damaged`, `Version`, `Digest` name `source`. Nothing is in the directory's store then.
pub fn import(
    config: &DurableConfig,
    stream: &mut dyn Read,
    source: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<SnapshotHead, DurableError> {
    config.check()?;
    let mut reader = SnapshotReader { stream, path: source.to_owned(), offset: 0 };
    // First: a file that is no snapshot leaves no directory.
    let header = reader.header()?;
    directory::make(&config.directory)?;
    let _lock = DirectoryLock::take(&config.directory)?;
    let store = Store::open(&store_of(&config.directory), config.store_bytes)?;
    if store.head()?.is_some() {
        return Err(DurableError::NotEmpty { directory: config.directory.clone() });
    }
    let head = store.initialise(|put| {
        let (mut digest, mut entries) = (StateDigest::default(), 0);
        while let Some((count, chunk)) = reader.chunk()? {
            reader.entries(count, &chunk, |key, value| {
                digest.insert(key, value);
                entries += 1;
                progress(entries, header.entries);
                put(key, value)
            })?;
        }
        reader.expect_end()?;
        let expected = StateDigest(u128::from_le_bytes(header.digest));
        if digest != expected || entries != header.entries {
            return Err(DurableError::Digest { directory: source.to_owned(), expected, found: digest });
        }
        let block = (header.has_block == 1).then_some((header.height, BlockHash(header.hash)));
        new_head(block, digest, StateDigest(u128::from_le_bytes(header.genesis)))
    })?;
    directory::sync(&config.directory)?;
    Ok(SnapshotHead { block: head.block, digest: head.digest, entries: header.entries })
}

struct SnapshotReader<'a> {
    stream: &'a mut dyn Read,
    path: PathBuf,
    offset: u64,
}

impl SnapshotReader<'_> {
    fn damaged(&self, what: &str) -> DurableError {
        DurableError::damaged(&self.path, self.offset, what)
    }

    /// Fills `bytes`.
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DurableError> {
        match self.stream.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("the snapshot is cut off"))
            }
            Err(error) => Err(DurableError::io("read", &self.path)(error)),
        }
    }

    fn header(&mut self) -> Result<Header, DurableError> {
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes)?;
        let header: Header = pod_read_unaligned(&bytes);
        self.offset = 0;
        if header.magic != MAGIC {
            return Err(self.damaged("this is no snapshot"));
        }
        if header.version != SNAPSHOT_VERSION {
            let (path, found, known) = (self.path.clone(), header.version, SNAPSHOT_VERSION);
            return Err(DurableError::Version { path, found, known });
        }
        if header.crc != crc_of(&header) {
            return Err(self.damaged("the snapshot's header has a wrong checksum"));
        }
        self.offset = HEADER_BYTES as u64;
        Ok(header)
    }

    /// The next chunk; `None` at the end.
    fn chunk(&mut self) -> Result<Option<(u32, Vec<u8>)>, DurableError> {
        let start = self.offset;
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        self.read(&mut bytes)?;
        let header: ChunkHeader = pod_read_unaligned(&bytes);
        let length = header.bytes as usize;
        let mut chunk = vec![0; length.min(CHUNK_BYTES_MAX)];
        let fits = header.magic == CHUNK_MAGIC && length <= CHUNK_BYTES_MAX;
        if fits {
            self.read(&mut chunk)?;
        }
        if !fits || header.crc != chunk_crc(&header, &chunk) {
            self.offset = start;
            return Err(self.damaged("a chunk has a wrong checksum"));
        }
        Ok((header.entries > 0).then_some((header.entries, chunk)))
    }

    fn entries(
        &self,
        count: u32,
        chunk: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), DurableError>,
    ) -> Result<(), DurableError> {
        let mut rest = chunk;
        for _ in 0..count {
            let (_, entry, after) =
                parse_entry(rest).ok_or_else(|| self.damaged("a chunk's entries are cut off"))?;
            each(entry.0, entry.1)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(self.damaged("a chunk has more than its entries")) }
    }

    fn expect_end(&mut self) -> Result<(), DurableError> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows the snapshot's end")),
            Err(error) => Err(DurableError::io("read", &self.path)(error)),
        }
    }
}
