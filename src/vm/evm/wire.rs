//! The bytes of transactions and block contexts: fixed little-endian fields and counted lists, read without copying.

use revm::primitives::{Address, B256, U256};
use thiserror::Error;

/// Bytes that are no Ethereum transaction or block context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A field reaches past the end.
    #[error("{field} at byte {at} is cut off; {bytes} bytes are there")]
    CutOff {
        /// Which field.
        field: &'static str,
        /// Where it starts.
        at: usize,
        /// Length of all bytes.
        bytes: usize,
    },
    /// A field has a value that no writer produces.
    #[error("{value} is no {field}")]
    BadValue {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Bytes are left over behind the last field.
    #[error("{bytes} bytes are left over")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
}

/// Takes fields off the front of some bytes.
#[derive(Debug)]
pub(super) struct WireReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> WireReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> WireReader<'a> {
        WireReader { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], WireError> {
        let cut_off = WireError::CutOff { field, at: self.at, bytes: self.bytes.len() };
        let end = self.at.checked_add(count).ok_or(cut_off)?;
        let taken = self.bytes.get(self.at..end).ok_or(cut_off)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let cut_off = WireError::CutOff { field, at: self.at, bytes: self.bytes.len() };
        self.take(field, N)?.try_into().map_err(|_| cut_off)
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(field)?[0])
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u128(&mut self, field: &'static str) -> Result<u128, WireError> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u256(&mut self, field: &'static str) -> Result<U256, WireError> {
        Ok(U256::from_le_bytes(self.array::<32>(field)?))
    }

    pub(super) fn address(&mut self, field: &'static str) -> Result<Address, WireError> {
        Ok(Address::from(self.array::<20>(field)?))
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<B256, WireError> {
        Ok(B256::from(self.array::<32>(field)?))
    }

    pub(super) fn counted(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count = self.u32(field)? as usize;
        self.take(field, count)
    }

    /// A flag byte, then the value if it is 1.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        value: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => value(self).map(Some),
            flag => Err(WireError::BadValue { field, value: flag.into() }),
        }
    }

    /// A count, then so many items, each of at least `least` bytes: no count makes this allocate more than the bytes
    /// could hold.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.u32(field)? as usize;
        if count.saturating_mul(least) > self.bytes.len() - self.at {
            return Err(WireError::CutOff { field, at: self.at, bytes: self.bytes.len() });
        }
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            bytes => Err(WireError::LeftOver { bytes }),
        }
    }
}

/// Appends fields to some bytes.
pub(super) trait WireWrite {
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_u128(&mut self, value: u128);
    fn put_u256(&mut self, value: &U256);
    /// The number of items of a list. One of more than 2^32 items would exceed any arena: decoding finds it cut off.
    fn put_count(&mut self, count: usize);
    fn put_counted(&mut self, bytes: &[u8]);
    fn put_optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T));
}

impl WireWrite for Vec<u8> {
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u256(&mut self, value: &U256) {
        self.extend_from_slice(&value.to_le_bytes::<32>());
    }

    fn put_count(&mut self, count: usize) {
        self.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.extend_from_slice(bytes);
    }

    fn put_optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.push(0),
            Some(value) => {
                self.push(1);
                put(self, value);
            }
        }
    }
}
