//! The encoded output of one transaction: what a shard leaves in its arena and what callers read.
//!
//! Little-endian, every part padded to 8 bytes. The public part (header, writes, events) comes first so that it can be
//! kept without the reads. `docs/layout.md` has the byte tables.

use crate::types::{
    Delta, Incarnation, KeyId, MAX_KEY_BYTES, MAX_VALUE_BYTES, NumberWidth, OUTPUT_COLD, OUTPUT_PANICKED,
    OUTPUT_SPELLED, Origin, TxnIndex,
};
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use serde::{Deserialize, Serialize};
use std::mem::offset_of;
use thiserror::Error;

/// A transaction's status: 0 is success, the other codes belong to the virtual machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatusCode(pub u16);

impl StatusCode {
    /// The transaction did what it was asked to do.
    pub const SUCCESS: StatusCode = StatusCode(0);
}

/// What a transaction came to, beside its writes and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The transaction's status; [`StatusCode::SUCCESS`] or a code of the virtual machine's own.
    pub status: StatusCode,
    /// Gas used.
    pub gas_used: u64,
}

/// First bytes of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct OutputHeader {
    /// Length of the whole output, a multiple of 8.
    pub total_bytes: u32,
    /// Length of header, writes and events, a multiple of 8.
    pub public_bytes: u32,
    /// Which transaction.
    pub txn: TxnIndex,
    /// Which execution of it.
    pub incarnation: Incarnation,
    /// Status code.
    pub status: u16,
    /// Bit 0: the virtual machine panicked; the one event is what it said, nothing else in the output counts. Bit 1: behind
    /// the reads stands what was fetched from the store, up to the end. Bit 2: some keys of writes and reads are spelled out and
    /// have no id yet.
    pub flags: u16,
    /// Number of write records.
    pub writes: u32,
    /// Number of event records.
    pub events: u32,
    /// Number of read records.
    pub reads: u32,
    /// Gas used.
    pub gas_used: u64,
}

/// First bytes of a write record; the key (if it is spelled out) and the body follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WriteHead {
    pub(crate) key: KeyId,
    pub(crate) kind: u8,
    pub(crate) width: u8,
    pub(crate) key_bytes: u16,
    pub(crate) value_bytes: u32,
    pub(crate) reserved: u32,
}

/// First bytes of a read record; the key (if it is spelled out) and the value follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ReadHead {
    pub(crate) key: KeyId,
    pub(crate) key_bytes: u16,
    pub(crate) observed: u8,
    pub(crate) value_bytes: u8,
    pub(crate) origin: Origin,
}

/// First bytes of an event record; the data follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct EventHead {
    pub(crate) kind: u32,
    pub(crate) bytes: u32,
}

const _: () = assert!(size_of::<OutputHeader>() == 40);
const _: () =
    assert!(size_of::<WriteHead>() == 16 && size_of::<ReadHead>() == 16 && size_of::<EventHead>() == 8);

pub(crate) const WRITE_SET: u8 = 1;
pub(crate) const WRITE_DELETE: u8 = 2;
pub(crate) const WRITE_ADD: u8 = 3;
pub(crate) const WRITE_ADD_WIDE: u8 = 4;
/// Added to the kind of a delta that subtracts.
pub(crate) const WRITE_NEGATIVE: u8 = 0x80;

pub(crate) const OBSERVED_ABSENT: u8 = 0;
pub(crate) const OBSERVED_VALUE: u8 = 1;
pub(crate) const OBSERVED_LONG: u8 = 2;
pub(crate) const OBSERVED_THERE: u8 = 3;

/// Longest value that a read record repeats; of a longer one only the origin is known.
pub(crate) const OBSERVED_BYTES_MAX: usize = 64;

/// A write of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// The key has this value now.
    Set(&'a [u8]),
    /// The key is absent now.
    Delete,
    /// The number under the key changes by an amount.
    Add(Delta),
}

/// A write with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRecord<'a> {
    /// The key's id within the block, or [`KeyId::UNKNOWN`].
    pub key_id: KeyId,
    /// The key's bytes; empty if they are not spelled out, since the id is known.
    pub key: &'a [u8],
    /// The write.
    pub write: Write<'a>,
}

/// What a read saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed<'a> {
    /// The key was absent.
    Absent,
    /// The value, up to 64 bytes.
    Value(&'a [u8]),
    /// A longer value, known by its origin alone.
    Long,
    /// A value that the key itself tells: only that it was there counts.
    There,
}

/// A recorded read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRecord<'a> {
    /// The key's id within the block, or [`KeyId::UNKNOWN`].
    pub key_id: KeyId,
    /// The key's bytes; empty if they are not spelled out, since the id is known.
    pub key: &'a [u8],
    /// Who wrote the value that was seen.
    pub origin: Origin,
    /// What was seen.
    pub observed: Observed<'a>,
}

/// An emitted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Kind, as the virtual machine numbers it.
    pub kind: u32,
    /// Data, as the virtual machine encodes it.
    pub data: &'a [u8],
}

/// Bytes that are no output. From a shard it means that its memory was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutputError {
    /// A part reaches past the end of its bytes.
    #[error("output of {bytes} bytes is cut off at byte {at}")]
    CutOff {
        /// Where the part starts.
        at: usize,
        /// Length of all bytes.
        bytes: usize,
    },
    /// A field has a value that no writer produces.
    #[error("output has {value} as its {field} at byte {at}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Where the record starts.
        at: usize,
    },
}

/// A well-delimited output. The records are checked as they are read.
#[derive(Clone, Copy, Debug)]
pub struct OutputView<'a> {
    header: OutputHeader,
    bytes: &'a [u8],
}

impl<'a> OutputView<'a> {
    /// Reads the header of the output at the start of `bytes`, which may hold the public part alone.
    ///
    /// # Errors
    /// [`OutputError`] when the lengths do not fit `bytes` or each other.
    pub fn parse(bytes: &'a [u8]) -> Result<OutputView<'a>, OutputError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let header: OutputHeader = cursor.pod()?;
        let (total, public) = (header.total_bytes as usize, header.public_bytes as usize);
        if public < size_of::<OutputHeader>() || public > total || public % 8 != 0 || total % 8 != 0 {
            return Err(OutputError::BadField { field: "length", value: public as u64, at: 0 });
        }
        let end = if bytes.len() >= total { total } else { public };
        let bytes = bytes.get(..end).ok_or(OutputError::CutOff { at: end, bytes: bytes.len() })?;
        Ok(OutputView { header, bytes })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &OutputHeader {
        &self.header
    }

    /// The transaction's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode(self.header.status)
    }

    /// Gas used.
    #[must_use]
    pub fn gas_used(&self) -> u64 {
        self.header.gas_used
    }

    /// The writes, in the order in which the transaction first touched the keys.
    pub fn writes(&self) -> impl Iterator<Item = Result<WriteRecord<'a>, OutputError>> + use<'a> {
        let mut cursor = self.cursor(size_of::<OutputHeader>());
        (0..self.header.writes).map(move |_| cursor.write())
    }

    /// What the virtual machine said when it panicked; `None` if it did not.
    #[must_use]
    pub fn panic_note(&self) -> Option<String> {
        let panicked = self.header.flags & OUTPUT_PANICKED != 0;
        let note =
            || self.events().next()?.ok().map(|event| String::from_utf8_lossy(event.data).into_owned());
        panicked.then(|| note().unwrap_or_default())
    }

    /// The events, in order of emission.
    pub fn events(&self) -> impl Iterator<Item = Result<Event<'a>, OutputError>> + use<'a> {
        let mut cursor = self.cursor(size_of::<OutputHeader>());
        let skipped = (0..self.header.writes).try_for_each(|_| cursor.write().map(drop));
        let mut broken = skipped.err();
        (0..self.header.events).map(move |_| broken.take().map_or_else(|| cursor.event(), Err))
    }

    /// The recorded reads; none if only the public part was kept.
    pub fn reads(&self) -> impl Iterator<Item = Result<ReadRecord<'a>, OutputError>> + use<'a> {
        let kept = self.bytes.len() > self.header.public_bytes as usize;
        let mut cursor = Cursor { bytes: self.bytes, at: self.header.public_bytes as usize };
        (0..if kept { self.header.reads } else { 0 }).map(move |_| cursor.read())
    }

    /// What was fetched from the store: records like those of reads. Nothing rests on them.
    pub(crate) fn cold(&self) -> impl Iterator<Item = Result<ReadRecord<'a>, OutputError>> + use<'a> {
        let has = self.header.flags & OUTPUT_COLD != 0;
        let end = if has { self.bytes.len() } else { 0 };
        let mut cursor = Cursor { bytes: self.bytes, at: self.header.public_bytes as usize };
        let skipped = (0..if has { self.header.reads } else { 0 }).try_for_each(|_| cursor.read().map(drop));
        let mut broken = skipped.err();
        std::iter::from_fn(move || match broken.take() {
            Some(error) => Some(Err(error)),
            None => (cursor.at < end).then(|| cursor.read()),
        })
        .fuse()
    }

    /// The keys of writes and reads that are spelled out and have no id, each with the place where its id stands.
    pub(crate) fn spelled(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let mut cursor = self.cursor(size_of::<OutputHeader>());
        let writes = (0..self.header.writes).map_while(move |_| {
            let at = cursor.at;
            cursor.write().ok().map(|WriteRecord { key_id, key, .. }| (at, key_id, key))
        });
        let mut cursor = Cursor { bytes: self.bytes, at: self.header.public_bytes as usize };
        let reads = (0..self.header.reads).map_while(move |_| {
            let at = cursor.at;
            cursor.read().ok().map(|ReadRecord { key_id, key, .. }| (at, key_id, key))
        });
        writes.chain(reads).filter(|(_, id, _)| *id == KeyId::UNKNOWN).map(|(at, _, key)| (at, key))
    }

    fn cursor(&self, at: usize) -> Cursor<'a> {
        let public = self.bytes.get(..self.header.public_bytes as usize).unwrap_or(self.bytes);
        Cursor { bytes: public, at }
    }
}

/// Notes the ids of spelled-out keys at the places where [`OutputView::spelled`] found them, in the bytes of the output.
pub(crate) fn note_ids(output: &mut [u8], ids: &[(usize, KeyId)]) {
    // The key's id comes first in both kinds of records.
    const _: () = assert!(offset_of!(WriteHead, key) == 0 && offset_of!(ReadHead, key) == 0);
    for (at, id) in ids {
        if let Some(place) = output.get_mut(*at..*at + size_of::<KeyId>()) {
            place.copy_from_slice(bytes_of(id));
        }
    }
    let flags = offset_of!(OutputHeader, flags);
    if let Some(low) = output.get_mut(flags) {
        *low &= !OUTPUT_SPELLED.to_le_bytes()[0];
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], OutputError> {
        let cut_off = OutputError::CutOff { at: self.at, bytes: self.bytes.len() };
        let padded = length.checked_next_multiple_of(8).ok_or(cut_off)?;
        let end = self.at.checked_add(padded).filter(|&end| end <= self.bytes.len()).ok_or(cut_off)?;
        let taken = &self.bytes[self.at..self.at + length];
        self.at = end;
        Ok(taken)
    }

    fn pod<T: Pod>(&mut self) -> Result<T, OutputError> {
        Ok(pod_read_unaligned(self.take(size_of::<T>())?))
    }

    fn key(&mut self, id: KeyId, length: u16) -> Result<&'a [u8], OutputError> {
        if id != KeyId::UNKNOWN && length == 0 {
            return Ok(&[]);
        }
        if usize::from(length) > MAX_KEY_BYTES {
            return Err(OutputError::BadField { field: "key length", value: length.into(), at: self.at });
        }
        self.take(usize::from(length))
    }

    // Inlined: a record that is returned is put together and taken apart in memory, which costs more than all the rest.
    #[inline(always)]
    fn write(&mut self) -> Result<WriteRecord<'a>, OutputError> {
        let at = self.at;
        let head: WriteHead = self.pod()?;
        let key = self.key(head.key, head.key_bytes)?;
        let write = match head.kind & !WRITE_NEGATIVE {
            WRITE_SET if head.value_bytes as usize > MAX_VALUE_BYTES => {
                let value = head.value_bytes.into();
                return Err(OutputError::BadField { field: "value length", value, at });
            }
            WRITE_SET => Write::Set(self.take(head.value_bytes as usize)?),
            WRITE_DELETE => Write::Delete,
            WRITE_ADD => {
                let [amount, least, most]: [u64; 3] = self.pod()?;
                Write::Add(delta_of(&head, [amount.into(), least.into(), most.into()], at)?)
            }
            WRITE_ADD_WIDE => {
                let words: [u64; 6] = self.pod()?;
                let wide = |i: usize| u128::from(words[i]) | (u128::from(words[i + 1]) << 64);
                Write::Add(delta_of(&head, [wide(0), wide(2), wide(4)], at)?)
            }
            kind => return Err(OutputError::BadField { field: "write kind", value: kind.into(), at }),
        };
        Ok(WriteRecord { key_id: head.key, key, write })
    }

    #[inline(always)]
    fn read(&mut self) -> Result<ReadRecord<'a>, OutputError> {
        let at = self.at;
        let head: ReadHead = self.pod()?;
        let key = self.key(head.key, head.key_bytes)?;
        let value = self.take(usize::from(head.value_bytes))?;
        let observed = match head.observed {
            OBSERVED_ABSENT => Observed::Absent,
            OBSERVED_VALUE => Observed::Value(value),
            OBSERVED_LONG => Observed::Long,
            OBSERVED_THERE => Observed::There,
            kind => return Err(OutputError::BadField { field: "observation", value: kind.into(), at }),
        };
        Ok(ReadRecord { key_id: head.key, key, origin: head.origin, observed })
    }

    fn event(&mut self) -> Result<Event<'a>, OutputError> {
        let head: EventHead = self.pod()?;
        Ok(Event { kind: head.kind, data: self.take(head.bytes as usize)? })
    }
}

fn delta_of(
    head: &WriteHead,
    [amount, at_least, at_most]: [u128; 3],
    at: usize,
) -> Result<Delta, OutputError> {
    let width = NumberWidth::from_bytes(head.width).ok_or(OutputError::BadField {
        field: "number width",
        value: head.width.into(),
        at,
    })?;
    Ok(Delta { amount, negative: head.kind & WRITE_NEGATIVE != 0, width, at_least, at_most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::OutputWriter;

    /// An output with one write: a key of so many bytes, spelled out, and a value.
    fn output(key_bytes: usize, value_bytes: usize) -> Vec<u8> {
        let head = WriteHead {
            key: KeyId::UNKNOWN,
            kind: WRITE_SET,
            width: 0,
            key_bytes: u16::try_from(key_bytes).unwrap(),
            value_bytes: u32::try_from(value_bytes).unwrap(),
            reserved: 0,
        };
        let body = key_bytes.next_multiple_of(8) + value_bytes.next_multiple_of(8);
        let bytes = size_of::<OutputHeader>() + size_of::<WriteHead>() + body;
        let length = u32::try_from(bytes).unwrap();
        let header =
            OutputHeader { total_bytes: length, public_bytes: length, writes: 1, ..Zeroable::zeroed() };
        let mut encoded = [bytes_of(&header), bytes_of(&head)].concat();
        encoded.resize(bytes, 7);
        encoded
    }

    /// A value longer than any class of the state's heap would be found only while it is committed, which poisons the
    /// state.
    #[test]
    fn a_key_or_a_value_that_no_view_lets_through_is_damage() {
        for (key_bytes, value_bytes, fits) in [
            (MAX_KEY_BYTES, MAX_VALUE_BYTES, true),
            (MAX_KEY_BYTES + 1, 8, false),
            (8, MAX_VALUE_BYTES + 1, false),
            (0, 16 << 20, false),
        ] {
            let encoded = output(key_bytes, value_bytes);
            let write = OutputView::parse(&encoded).unwrap().writes().next().unwrap();
            assert_eq!(write.is_ok(), fits, "{key_bytes} {value_bytes}: {:?}", write.err());
        }
    }

    /// What would break: an id written over something else, or a record that is read differently once its key has one.
    #[test]
    fn keys_that_got_their_ids_are_known_by_them_and_nothing_else_changes() {
        let mut writer = OutputWriter::default();
        writer.clear();
        writer.push_write(KeyId(7), b"known", Write::Set(b"value")).unwrap();
        writer.push_write(KeyId::UNKNOWN, b"spelled", Write::Delete).unwrap();
        writer.push_event(3, b"event").unwrap();
        writer.push_read(KeyId::UNKNOWN, b"read", Origin::BASE, Some(b"seen"));
        writer.push_content(KeyId::UNKNOWN, b"content", Origin::BASE, Some(&[1; 100]));
        writer.push_content(KeyId(8), b"missing", Origin::BASE, None);
        let outcome = Outcome { status: StatusCode(2), gas_used: 9 };
        let mut encoded = writer.finish(TxnIndex(4), Incarnation(5), outcome).to_vec();
        assert_ne!(OutputView::parse(&encoded).unwrap().header().flags & OUTPUT_SPELLED, 0);
        let spelled: Vec<_> = OutputView::parse(&encoded).unwrap().spelled().collect();
        assert_eq!(
            spelled.iter().map(|(_, key)| *key).collect::<Vec<_>>(),
            [&b"spelled"[..], b"read", b"content"]
        );
        let ids: Vec<_> = (20_u32..).map(KeyId).zip(&spelled).map(|(id, (at, _))| (*at, id)).collect();
        note_ids(&mut encoded, &ids);
        let view = OutputView::parse(&encoded).unwrap();
        let writes: Vec<_> =
            view.writes().map(|write| write.unwrap()).map(|w| (w.key_id, w.key, w.write)).collect();
        let expected: [(_, &[u8], _); 2] =
            [(KeyId(7), b"", Write::Set(b"value")), (KeyId(20), b"spelled", Write::Delete)];
        assert_eq!(writes, expected);
        let reads: Vec<_> =
            view.reads().map(|read| read.unwrap()).map(|r| (r.key_id, r.key, r.observed)).collect();
        let expected: [(_, &[u8], _); 3] = [
            (KeyId(21), b"read", Observed::Value(b"seen")),
            (KeyId(22), b"content", Observed::There),
            (KeyId(8), b"", Observed::Absent),
        ];
        assert_eq!(reads, expected);
        assert_eq!(view.events().next().unwrap().unwrap(), Event { kind: 3, data: b"event" });
        assert_eq!((view.header().flags, view.status(), view.gas_used()), (0, StatusCode(2), 9));
        assert_eq!(view.spelled().count(), 0);
    }
}
