//! Builds one encoded output. Buffers are kept from transaction to transaction, so that nothing is allocated per
//! transaction once they have grown.

use crate::types::output::{
    EventHead, OBSERVED_ABSENT, OBSERVED_BYTES_MAX, OBSERVED_LONG, OBSERVED_THERE, OBSERVED_VALUE, ReadHead,
    WRITE_ADD, WRITE_ADD_WIDE, WRITE_DELETE, WRITE_NEGATIVE, WRITE_SET, WriteHead,
};
use crate::types::{
    Delta, Incarnation, KeyId, LimitExceeded, MAX_OUTPUT_BYTES, Origin, Outcome, OutputHeader, TxnIndex,
};
use bytemuck::{bytes_of, cast};

/// Flag of an output whose virtual machine panicked.
pub const OUTPUT_PANICKED: u16 = 1;
/// Flag of an output behind whose reads stands what was fetched from the store.
pub(crate) const OUTPUT_COLD: u16 = 2;
/// Flag of an output that spells out keys which have no id.
pub(crate) const OUTPUT_SPELLED: u16 = 4;
/// Longest note of a panic that an output carries, in bytes.
const PANIC_NOTE_BYTES: usize = 1024;

/// A write not yet encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingWrite {
    /// Set to the value at this range of the writer's value bytes.
    Set {
        /// Start of the value.
        start: usize,
        /// Length of the value.
        bytes: usize,
    },
    /// Deleted.
    Delete,
    /// Changed by a delta.
    Add(Delta),
}

/// A key as the output names it: an id that readers of the plan know, or the bytes.
#[derive(Clone, Copy, Debug)]
struct PendingKey {
    id: KeyId,
    start: usize,
    bytes: usize,
}

/// Collects reads, writes and events of one transaction and encodes them.
#[derive(Debug, Default)]
pub struct OutputWriter {
    writes: Vec<(PendingKey, PendingWrite)>,
    /// Keys (those without an id) and values of pending writes.
    pool: Vec<u8>,
    /// Length of all keys and values pushed, whether pooled or not: what the limit counts.
    charged: usize,
    events: Vec<u8>,
    event_count: u32,
    reads: Vec<u8>,
    read_count: u32,
    /// What was fetched from the store, as records of reads.
    cold: Vec<u8>,
    /// Whether a key of a write or read is spelled out.
    spelled: bool,
    encoded: Vec<u8>,
}

impl OutputWriter {
    /// Starts over for the next transaction.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.pool.clear();
        self.charged = 0;
        self.events.clear();
        self.event_count = 0;
        self.reads.clear();
        self.read_count = 0;
        self.cold.clear();
        self.spelled = false;
    }

    /// Number of pending writes.
    #[must_use]
    pub fn write_count(&self) -> usize {
        self.writes.len()
    }

    /// The pending write at `place`.
    #[must_use]
    pub fn write(&self, place: usize) -> Option<PendingWrite> {
        self.writes.get(place).map(|&(_, write)| write)
    }

    /// The value of a pending [`PendingWrite::Set`].
    #[must_use]
    pub fn value(&self, start: usize, bytes: usize) -> &[u8] {
        self.pool.get(start..start + bytes).unwrap_or(&[])
    }

    /// Appends a write to a key that has none yet and returns its place.
    ///
    /// # Errors
    /// [`LimitExceeded::Output`]: nothing is recorded.
    pub fn push_write(
        &mut self,
        id: KeyId,
        key: &[u8],
        write: WriteInput<'_>,
    ) -> Result<usize, LimitExceeded> {
        self.admit(key.len() + write.len())?;
        self.charged += key.len() + write.len();
        let start = self.pool.len();
        let spelled = if id == KeyId::UNKNOWN { key } else { &[] };
        self.spelled |= id == KeyId::UNKNOWN;
        if !spelled.is_empty() {
            self.pool.extend_from_slice(spelled);
        }
        let pending = self.pool_write(write);
        self.writes.push((PendingKey { id, start, bytes: spelled.len() }, pending));
        Ok(self.writes.len() - 1)
    }

    /// Replaces the write at `place`.
    ///
    /// # Errors
    /// [`LimitExceeded::Output`]: nothing is recorded.
    pub fn replace_write(&mut self, place: usize, write: WriteInput<'_>) -> Result<(), LimitExceeded> {
        self.admit(write.len())?;
        self.charged += write.len();
        let pending = self.pool_write(write);
        if let Some((_, slot)) = self.writes.get_mut(place) {
            *slot = pending;
        }
        Ok(())
    }

    /// Appends an event.
    ///
    /// # Errors
    /// [`LimitExceeded::Output`]: nothing is recorded.
    pub fn push_event(&mut self, kind: u32, data: &[u8]) -> Result<(), LimitExceeded> {
        self.admit(data.len() + size_of::<EventHead>())?;
        // The output limit is far below 4 GiB, so lengths fit.
        self.events.extend_from_slice(bytes_of(&EventHead { kind, bytes: length_u32(data.len()) }));
        push_padded(&mut self.events, data);
        self.event_count += 1;
        Ok(())
    }

    /// Records a read.
    pub fn push_read(&mut self, id: KeyId, key: &[u8], origin: Origin, value: Option<&[u8]>) {
        encode_read(&mut self.reads, id, key, origin, value);
        self.spelled |= id == KeyId::UNKNOWN;
        self.read_count += 1;
    }

    /// Records a read of a key that tells its value: whether that was there, and nothing else of it.
    pub fn push_content(&mut self, id: KeyId, key: &[u8], origin: Origin, value: Option<&[u8]>) {
        if value.is_none() {
            return self.push_read(id, key, origin, None);
        }
        let spelled = if id == KeyId::UNKNOWN { key } else { &[] };
        let key_bytes = u16::try_from(spelled.len()).unwrap_or(u16::MAX);
        let head = ReadHead { key: id, key_bytes, observed: OBSERVED_THERE, value_bytes: 0, origin };
        self.reads.extend_from_slice(bytes_of(&head));
        push_padded(&mut self.reads, spelled);
        self.spelled |= id == KeyId::UNKNOWN;
        self.read_count += 1;
    }

    /// Notes what the store has for a key: up to 64 bytes. No read: nothing rests on it.
    pub(crate) fn push_cold(&mut self, id: KeyId, key: &[u8], value: Option<&[u8]>) {
        encode_read(&mut self.cold, id, key, Origin::BASE, value);
    }

    fn flags(&self) -> u16 {
        let cold = if self.cold.is_empty() { 0 } else { OUTPUT_COLD };
        cold | if self.spelled { OUTPUT_SPELLED } else { 0 }
    }

    /// Encodes everything collected since [`clear`](Self::clear).
    pub fn finish(&mut self, txn: TxnIndex, incarnation: Incarnation, outcome: Outcome) -> &[u8] {
        self.encoded.clear();
        self.encoded.resize(size_of::<OutputHeader>(), 0);
        for (key, write) in &self.writes {
            encode_write(&mut self.encoded, &self.pool, key, write);
        }
        self.encoded.extend_from_slice(&self.events);
        let public_bytes = length_u32(self.encoded.len());
        self.encoded.extend_from_slice(&self.reads);
        self.encoded.extend_from_slice(&self.cold);
        let header = OutputHeader {
            total_bytes: length_u32(self.encoded.len()),
            public_bytes,
            txn,
            incarnation,
            status: outcome.status.0,
            flags: self.flags(),
            writes: length_u32(self.writes.len()),
            events: self.event_count,
            reads: self.read_count,
            gas_used: outcome.gas_used,
        };
        self.encoded[..size_of::<OutputHeader>()].copy_from_slice(bytes_of(&header));
        &self.encoded
    }

    /// Encodes an output that says only that the virtual machine panicked and what it said (as its one event), keeping
    /// the reads that led there.
    pub fn finish_panicked(&mut self, txn: TxnIndex, incarnation: Incarnation, note: &str) -> &[u8] {
        let note = note.as_bytes().get(..PANIC_NOTE_BYTES).unwrap_or(note.as_bytes());
        self.encoded.clear();
        self.encoded.resize(size_of::<OutputHeader>(), 0);
        self.encoded.extend_from_slice(bytes_of(&EventHead { kind: 0, bytes: length_u32(note.len()) }));
        push_padded(&mut self.encoded, note);
        let public_bytes = length_u32(self.encoded.len());
        self.encoded.extend_from_slice(&self.reads);
        self.encoded.extend_from_slice(&self.cold);
        let header = OutputHeader {
            total_bytes: length_u32(self.encoded.len()),
            public_bytes,
            txn,
            incarnation,
            status: 0,
            flags: OUTPUT_PANICKED | self.flags(),
            writes: 0,
            events: 1,
            reads: self.read_count,
            gas_used: 0,
        };
        self.encoded[..size_of::<OutputHeader>()].copy_from_slice(bytes_of(&header));
        &self.encoded
    }

    /// Whether `more` bytes still fit the output limit. Counts generously (80 bytes per record), the same in every
    /// executor.
    fn admit(&self, more: usize) -> Result<(), LimitExceeded> {
        let bytes = self.charged + self.events.len() + 80 * (self.writes.len() + 1) + more;
        if bytes > MAX_OUTPUT_BYTES { Err(LimitExceeded::Output { bytes }) } else { Ok(()) }
    }

    fn pool_write(&mut self, write: WriteInput<'_>) -> PendingWrite {
        match write {
            WriteInput::Set(value) => {
                let start = self.pool.len();
                self.pool.extend_from_slice(value);
                PendingWrite::Set { start, bytes: value.len() }
            }
            WriteInput::Delete => PendingWrite::Delete,
            WriteInput::Add(delta) => PendingWrite::Add(delta),
        }
    }
}

/// A write to record.
pub type WriteInput<'a> = crate::types::Write<'a>;

impl WriteInput<'_> {
    fn len(&self) -> usize {
        match self {
            WriteInput::Set(value) => value.len(),
            WriteInput::Delete | WriteInput::Add(_) => 0,
        }
    }
}

fn encode_write(encoded: &mut Vec<u8>, pool: &[u8], key: &PendingKey, write: &PendingWrite) {
    let mut head = WriteHead {
        key: key.id,
        kind: WRITE_DELETE,
        width: 0,
        key_bytes: u16::try_from(key.bytes).unwrap_or(u16::MAX),
        value_bytes: 0,
        reserved: 0,
    };
    let key = &pool[key.start..key.start + key.bytes];
    match write {
        PendingWrite::Add(delta) => encode_add(encoded, head, key, delta),
        PendingWrite::Set { start, bytes } => {
            (head.kind, head.value_bytes) = (WRITE_SET, length_u32(*bytes));
            encoded.extend_from_slice(bytes_of(&head));
            push_padded(encoded, key);
            push_padded(encoded, &pool[*start..*start + *bytes]);
        }
        PendingWrite::Delete => {
            encoded.extend_from_slice(bytes_of(&head));
            push_padded(encoded, key);
        }
    }
}

/// Most writes are these, on keys that have an id: head and numbers in one piece.
fn encode_add(encoded: &mut Vec<u8>, mut head: WriteHead, key: &[u8], delta: &Delta) {
    let words = narrow(delta);
    let sign = if delta.negative { WRITE_NEGATIVE } else { 0 };
    head.kind = if words.is_some() { WRITE_ADD } else { WRITE_ADD_WIDE } | sign;
    head.width = delta.width as u8;
    let numbers = [delta.amount, delta.at_least, delta.at_most];
    let [first, second]: [u64; 2] = cast(head);
    match (words, key) {
        (Some([amount, least, most]), []) => {
            encoded.extend_from_slice(bytes_of(&[first, second, amount, least, most]));
        }
        (None, []) => {
            encoded.extend_from_slice(bytes_of(&[cast(head), numbers[0], numbers[1], numbers[2]]));
        }
        (words, key) => {
            encoded.extend_from_slice(bytes_of(&head));
            push_padded(encoded, key);
            match words {
                Some(words) => encoded.extend_from_slice(bytes_of(&words)),
                None => encoded.extend_from_slice(bytes_of(&numbers)),
            }
        }
    }
}

fn encode_read(encoded: &mut Vec<u8>, id: KeyId, key: &[u8], origin: Origin, value: Option<&[u8]>) {
    let spelled = if id == KeyId::UNKNOWN { key } else { &[] };
    let (observed, shown) = match value {
        None => (OBSERVED_ABSENT, &[][..]),
        Some(value) if value.len() <= OBSERVED_BYTES_MAX => (OBSERVED_VALUE, value),
        Some(_) => (OBSERVED_LONG, &[][..]),
    };
    let head = ReadHead {
        key: id,
        key_bytes: u16::try_from(spelled.len()).unwrap_or(u16::MAX),
        observed,
        value_bytes: u8::try_from(shown.len()).unwrap_or(u8::MAX),
        origin,
    };
    encoded.extend_from_slice(bytes_of(&head));
    push_padded(encoded, spelled);
    push_padded(encoded, shown);
}

/// The delta's numbers as 64-bit words, if all three fit.
fn narrow(delta: &Delta) -> Option<[u64; 3]> {
    let word = |number: u128| u64::try_from(number).ok();
    Some([word(delta.amount)?, word(delta.at_least)?, word(delta.at_most)?])
}

fn push_padded(to: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    to.extend_from_slice(bytes);
    to.resize(to.len().next_multiple_of(8), 0);
}

/// Lengths inside one output stay far below 4 GiB (see [`MAX_OUTPUT_BYTES`]).
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
