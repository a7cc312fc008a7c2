//! Bytes as one string for serde: element by element, as a vector of numbers, ten kilobytes take most of 100 us. The encoding is
//! the same.

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

/// Writes the bytes.
pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads bytes.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(ByteString)
}

struct ByteString;

impl<'de> Visitor<'de> for ByteString {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a header that a shard reads differently from how the coordinator wrote it, or an encoding other than
    //! that of a vector, which is what an older program wrote.

    use crate::types::BlockHeader;

    #[test]
    fn a_header_is_encoded_as_ever_and_comes_back_in_both_formats() {
        for length in [0, 1, 127, 128, 10_000] {
            let extra: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
            let header = BlockHeader { height: 7, timestamp_s: 8, beneficiary: [9; 32], extra };
            let bytes = bcs::to_bytes(&header).unwrap();
            let as_vector = (header.height, header.timestamp_s, header.beneficiary, &header.extra);
            assert_eq!(bytes, bcs::to_bytes(&as_vector).unwrap());
            assert_eq!(bcs::from_bytes::<BlockHeader>(&bytes).unwrap(), header);
            let text = serde_json::to_string(&header).unwrap();
            assert_eq!(serde_json::from_str::<BlockHeader>(&text).unwrap(), header);
        }
    }
}
