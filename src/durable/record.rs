//! One record of the log: a block, what it came to, and what it changed. The bytes are in `docs/layout.md`.

use crate::state::StateDigest;
use crate::types::{BlockHash, MAX_KEY_BYTES, MAX_VALUE_BYTES, StatusCode};
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

/// Length of a record's header.
pub(super) const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();
/// Records start at multiples of this.
pub(super) const RECORD_ALIGN: usize = 8;
/// First bytes of a record.
const MAGIC: [u8; 4] = *b"PHXR";
/// Bytes of one transaction's outcome.
const OUTCOME_BYTES: usize = 10;
/// Bytes before each key.
const WRITE_HEAD_BYTES: usize = 8;
const KIND_DELETE: u8 = 0;
const KIND_SET: u8 = 1;

/// Header of a record.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RecordHeader {
    magic: [u8; 4],
    /// CRC-32 of all header bytes behind it.
    crc: u32,
    pub(super) sequence: u64,
    /// The last record that was durable when this one was written.
    pub(super) synced: u64,
    pub(super) height: u64,
    hash: [u8; 32],
    digest: [u8; 16],
    /// Length of the body: outcomes, writes, and zeros up to a multiple of 8.
    pub(super) body_bytes: u64,
    pub(super) transactions: u32,
    pub(super) writes: u32,
    body_crc: u32,
    reserved: u32,
}

const _: () = assert!(RECORD_HEADER_BYTES == 104 && RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGN));

/// What a block is called, and what the state is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockMark {
    pub(crate) height: u64,
    pub(crate) hash: BlockHash,
    pub(crate) digest: StateDigest,
}

impl RecordHeader {
    /// The header at the start of `bytes`, if it is whole and its checksum holds.
    pub(super) fn parse(bytes: &[u8]) -> Option<RecordHeader> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        let header: RecordHeader = pod_read_unaligned(bytes);
        let holds = header.magic == MAGIC
            && header.crc == crc32fast::hash(bytes.get(8..)?)
            && header.body_bytes.is_multiple_of(RECORD_ALIGN as u64);
        holds.then_some(header)
    }

    pub(super) fn mark(&self) -> BlockMark {
        let digest = StateDigest(u128::from_le_bytes(self.digest));
        BlockMark { height: self.height, hash: BlockHash(self.hash), digest }
    }

    /// Whether `body` is the body that belongs to this header.
    pub(super) fn owns(&self, body: &[u8]) -> bool {
        body.len() as u64 == self.body_bytes && crc32fast::hash(body) == self.body_crc
    }
}

/// Builds one record after the other in one buffer: outcomes first, then writes.
#[derive(Debug, Default)]
pub(super) struct RecordWriter {
    bytes: Vec<u8>,
    transactions: u32,
    writes: u32,
}

impl RecordWriter {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(RECORD_HEADER_BYTES, 0);
        self.transactions = 0;
        self.writes = 0;
    }

    pub(super) fn outcome(&mut self, status: StatusCode, gas_used: u64) {
        self.bytes.extend_from_slice(&status.0.to_le_bytes());
        self.bytes.extend_from_slice(&gas_used.to_le_bytes());
        self.transactions += 1;
    }

    /// Keys and values are within [`MAX_KEY_BYTES`] and [`MAX_VALUE_BYTES`].
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let kind = if value.is_some() { KIND_SET } else { KIND_DELETE };
        let value = value.unwrap_or(&[]);
        let key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&key_bytes.to_le_bytes());
        self.bytes.extend_from_slice(&[kind, 0]);
        self.bytes.extend_from_slice(&value_bytes.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.writes += 1;
    }

    /// The whole record.
    pub(super) fn finish(&mut self, sequence: u64, synced: u64, mark: BlockMark) -> &[u8] {
        self.bytes.resize(self.bytes.len().next_multiple_of(RECORD_ALIGN), 0);
        let body = self.bytes.get(RECORD_HEADER_BYTES..).unwrap_or(&[]);
        let mut header = RecordHeader {
            magic: MAGIC,
            crc: 0,
            sequence,
            synced,
            height: mark.height,
            hash: mark.hash.0,
            digest: mark.digest.0.to_le_bytes(),
            body_bytes: body.len() as u64,
            transactions: self.transactions,
            writes: self.writes,
            body_crc: crc32fast::hash(body),
            reserved: 0,
        };
        header.crc = crc32fast::hash(bytes_of(&header).get(8..).unwrap_or(&[]));
        if let Some(place) = self.bytes.get_mut(..RECORD_HEADER_BYTES) {
            place.copy_from_slice(bytes_of(&header));
        }
        &self.bytes
    }
}

/// A key and its new value; `None` removes it.
pub(super) type KeyWrite<'a> = (&'a [u8], Option<&'a [u8]>);

/// Status and gas of each transaction, in block order. A body is what its header [`owns`](RecordHeader::owns).
pub(super) fn outcomes<'a>(
    header: &RecordHeader,
    body: &'a [u8],
) -> impl Iterator<Item = (StatusCode, u64)> + use<'a> {
    let all = body.get(..header.transactions as usize * OUTCOME_BYTES).unwrap_or(&[]);
    all.chunks_exact(OUTCOME_BYTES).map(|outcome| {
        let (status, gas) = outcome.split_at(2);
        (StatusCode(pod_read_unaligned(status)), pod_read_unaligned(gas))
    })
}

/// Calls `each` with every write, in the order of the record; false if the body does not hold what its header says.
pub(super) fn for_each_write<'a>(
    header: &RecordHeader,
    body: &'a [u8],
    mut each: impl FnMut(KeyWrite<'a>),
) -> bool {
    let mut rest = body.get(header.transactions as usize * OUTCOME_BYTES..);
    for _ in 0..header.writes {
        let Some((write, after)) = rest.and_then(parse_write) else { return false };
        each(write);
        rest = Some(after);
    }
    rest.is_some_and(|rest| rest.len() < RECORD_ALIGN)
}

fn parse_write(bytes: &[u8]) -> Option<(KeyWrite<'_>, &[u8])> {
    let (kind, (key, value), rest) = parse_entry(bytes)?;
    match kind {
        KIND_SET => Some(((key, Some(value)), rest)),
        KIND_DELETE if value.is_empty() => Some(((key, None), rest)),
        _ => None,
    }
}

/// Kind, key with value, and the bytes behind them.
pub(super) type ParsedEntry<'a> = (u8, (&'a [u8], &'a [u8]), &'a [u8]);

/// The entry at the start of `bytes`: lengths and kind in its first eight, then key and value.
pub(super) fn parse_entry(bytes: &[u8]) -> Option<ParsedEntry<'_>> {
    let (head, rest) = bytes.split_at_checked(WRITE_HEAD_BYTES)?;
    let key_bytes = usize::from(pod_read_unaligned::<u16>(&head[..2]));
    let value_bytes = pod_read_unaligned::<u32>(&head[4..]) as usize;
    if key_bytes > MAX_KEY_BYTES || value_bytes > MAX_VALUE_BYTES {
        return None;
    }
    let (key, rest) = rest.split_at_checked(key_bytes)?;
    let (value, rest) = rest.split_at_checked(value_bytes)?;
    Some((head[2], (key, value), rest))
}
