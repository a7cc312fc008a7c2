//! What crosses between shards: the value of one key after one transaction, in one cell.

use crate::partition::Edge;
use crate::types::{KeyId, Origin, RoundId, TxnIndex};
use phalanx_ipc::Cell;

/// Longest value that a cell carries itself.
pub(super) const CELL_VALUE_BYTES: usize = 32;

const KIND_ABSENT: u8 = 1;
const KIND_VALUE: u8 = 2;
const KIND_REFERENCE: u8 = 3;
const KIND_UNKNOWN: u8 = 4;

/// The value of an edge's key after the edge's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// The key is absent.
    Absent,
    /// A short value and its length.
    Value { bytes: [u8; CELL_VALUE_BYTES], length: u8 },
    /// A longer value: where it lies in the sender's output arena, and its length.
    Reference { offset: u64, length: u32 },
    /// The sender could not keep the value: the reader goes by what it knows and is validated as ever.
    Unknown,
}

/// The answer to one cross-shard edge.
///
/// Cell layout, little-endian words: round; kind, length, 0, edge; key, writer; origin; 32 bytes of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The round it belongs to: the only tag that a receiver checks before it looks further.
    pub(super) round: RoundId,
    /// Which edge of that round's plan is answered.
    pub(super) edge: u32,
    /// The edge's key.
    pub(super) key: KeyId,
    /// The edge's writer.
    pub(super) writer: TxnIndex,
    /// Who wrote the value.
    pub(super) origin: Origin,
    pub(super) payload: Payload,
}

impl Message {
    pub(super) fn encode(&self) -> Cell {
        let mut words = [0_u64; 8];
        let (kind, length) = match &self.payload {
            Payload::Absent => (KIND_ABSENT, 0),
            Payload::Unknown => (KIND_UNKNOWN, 0),
            Payload::Value { bytes, length } => {
                for (word, chunk) in words[4..].iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *word = u64::from_le_bytes(*chunk);
                }
                (KIND_VALUE, *length)
            }
            Payload::Reference { offset, length } => {
                (words[4], words[5]) = (*offset, u64::from(*length));
                (KIND_REFERENCE, 0)
            }
        };
        words[0] = self.round.0;
        words[1] = u64::from(kind) | u64::from(length) << 8 | u64::from(self.edge) << 32;
        words[2] = u64::from(self.key.0) | u64::from(self.writer.0) << 32;
        words[3] = self.origin.0;
        Cell(words)
    }

    /// The round that a cell says it belongs to.
    pub(super) fn round_of(cell: &Cell) -> RoundId {
        RoundId(cell.0[0])
    }

    /// The message in a cell of `round`; `None` for a stale one or one that no sender writes. `edges` is that round's
    /// plan: a message that contradicts it is dropped as well.
    pub(super) fn decode(cell: &Cell, round: RoundId, edges: &[Edge]) -> Option<Message> {
        let [tag, head, names, origin, ..] = cell.0;
        if tag != round.0 {
            return None;
        }
        let [kind, length, ..] = head.to_le_bytes();
        let edge = high(head);
        let (key, writer) = (KeyId(low(names)), TxnIndex(high(names)));
        let planned = edges.get(edge as usize)?;
        if planned.key != key || planned.writer != writer {
            return None;
        }
        let payload = match kind {
            KIND_ABSENT => Payload::Absent,
            KIND_UNKNOWN => Payload::Unknown,
            KIND_REFERENCE => Payload::Reference { offset: cell.0[4], length: low(cell.0[5]) },
            KIND_VALUE if usize::from(length) <= CELL_VALUE_BYTES => {
                let mut bytes = [0_u8; CELL_VALUE_BYTES];
                for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&cell.0[4..]) {
                    *chunk = word.to_le_bytes();
                }
                Payload::Value { bytes, length }
            }
            _ => return None,
        };
        Some(Message { round, edge, key, writer, origin: Origin(origin), payload })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;
    use proptest::prelude::*;

    fn edges() -> Vec<Edge> {
        let edge =
            |key, writer| Edge { key: KeyId(key), writer: TxnIndex(writer), next_dependent: 0, to_shard: 1 };
        vec![edge(3, 4), edge(5, 6)]
    }

    fn message(payload: Payload) -> Message {
        let origin = Origin::written_by(TxnIndex(6), Incarnation(2));
        Message { round: RoundId(9), edge: 1, key: KeyId(5), writer: TxnIndex(6), origin, payload }
    }

    #[test]
    fn every_payload_survives_the_cell() {
        let value = Payload::Value { bytes: [7; 32], length: 32 };
        for payload in
            [Payload::Absent, Payload::Unknown, value, Payload::Reference { offset: 1 << 40, length: 9 }]
        {
            let sent = message(payload);
            assert_eq!(Message::decode(&sent.encode(), RoundId(9), &edges()), Some(sent));
        }
    }

    #[test]
    fn a_message_of_another_round_or_against_the_plan_is_dropped() {
        let cell = message(Payload::Absent).encode();
        assert_eq!(Message::decode(&cell, RoundId(8), &edges()), None, "stale");
        assert_eq!(Message::decode(&cell, RoundId(9), &edges()[..1]), None, "no such edge");
        let other = Message { key: KeyId(3), ..message(Payload::Absent) };
        assert_eq!(Message::decode(&other.encode(), RoundId(9), &edges()), None, "another key");
    }

    proptest! {
        #[test]
        fn any_words_decode_or_are_dropped(words in prop::array::uniform8(any::<u64>()), edge in 0_u64..3) {
            let mut cell = Cell(words);
            cell.0[0] = 9;
            cell.0[1] = (cell.0[1] & 0xffff_ffff) | edge << 32;
            if let Some(message) = Message::decode(&cell, RoundId(9), &edges())
                && let Payload::Value { length, .. } = message.payload
            {
                prop_assert!(usize::from(length) <= CELL_VALUE_BYTES);
            }
        }
    }
}
