//! State keys of accounts and what stands under them.

use revm::primitives::{Address, B256, KECCAK_EMPTY, U256};

/// Longest key.
pub(super) const KEY_BYTES_MAX: usize = 61;

const TAG_BALANCE: u8 = b'b';
const TAG_NONCE: u8 = b'n';
const TAG_CODE_OF: u8 = b'c';
const TAG_CODE: u8 = b'x';
const TAG_SLOT: u8 = b's';
const TAG_EXISTS: u8 = b'e';

/// Value of the record that says that an empty account exists.
pub const EXISTS_RECORD: [u8; 1] = [1];

/// A key: 21 to 61 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmKey {
    bytes: [u8; KEY_BYTES_MAX],
    length: u8,
}

impl EvmKey {
    /// Of parts whose lengths are known when this is compiled, so that copying them calls nobody.
    #[inline]
    fn of<const BYTES: usize>(tag: u8, part: &[u8; BYTES]) -> EvmKey {
        let mut key = EvmKey { bytes: [0; KEY_BYTES_MAX], length: 1 };
        key.bytes[0] = tag;
        key.and(part)
    }

    /// With one more part; together they never exceed the longest key.
    #[inline]
    fn and<const BYTES: usize>(mut self, part: &[u8; BYTES]) -> EvmKey {
        let start = usize::from(self.length);
        self.bytes[start..start + BYTES].copy_from_slice(part);
        self.length += u8::try_from(BYTES).unwrap_or(0);
        self
    }

    /// Balance of an account in wei: a number of 16 bytes, or of 32 if it needs them; absent is 0.
    #[must_use]
    pub fn balance(account: Address) -> EvmKey {
        EvmKey::of(TAG_BALANCE, &account.0.0)
    }

    /// Nonce of an account: a number of 8 bytes; absent is 0.
    #[must_use]
    pub fn nonce(account: Address) -> EvmKey {
        EvmKey::of(TAG_NONCE, &account.0.0)
    }

    /// Which code an account has, and which life of its storage is in force: a [`CodeRecord`]; absent is no code and the
    /// first life.
    #[must_use]
    pub fn code_of(account: Address) -> EvmKey {
        EvmKey::of(TAG_CODE_OF, &account.0.0)
    }

    /// The code with this hash.
    #[must_use]
    pub fn code(hash: B256) -> EvmKey {
        EvmKey::of(TAG_CODE, &hash.0)
    }

    /// A slot of an account in one life of its storage: big-endian without leading zeros; absent is 0.
    #[must_use]
    pub fn slot(account: Address, life: u64, slot: U256) -> EvmKey {
        let key = EvmKey::of(TAG_SLOT, &account.0.0).and(&slot.to_be_bytes::<32>());
        if life == 0 { key } else { key.and(&life.to_be_bytes()) }
    }

    /// The record that says that an account exists although it is empty ([`EXISTS_RECORD`]). It may be there for others
    /// too, and says nothing then.
    #[must_use]
    pub fn exists(account: Address) -> EvmKey {
        EvmKey::of(TAG_EXISTS, &account.0.0)
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvmField {
    /// A balance.
    Balance(Address),
    /// A nonce.
    Nonce(Address),
    /// Which code.
    CodeOf(Address),
    /// Code.
    Code(B256),
    /// A slot, with the life of the storage.
    Slot(Address, u64, U256),
    /// The mark of an empty account.
    Exists(Address),
}

impl EvmField {
    /// What stands under `key`; `None` if that is no key of an EVM.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<EvmField> {
        let (&tag, rest) = key.split_first()?;
        if tag == TAG_CODE {
            return Some(EvmField::Code(B256::from(<[u8; 32]>::try_from(rest).ok()?)));
        }
        let (account, rest) = rest.split_first_chunk::<20>()?;
        let account = Address::from(*account);
        match (tag, rest.len()) {
            (TAG_BALANCE, 0) => Some(EvmField::Balance(account)),
            (TAG_NONCE, 0) => Some(EvmField::Nonce(account)),
            (TAG_CODE_OF, 0) => Some(EvmField::CodeOf(account)),
            (TAG_EXISTS, 0) => Some(EvmField::Exists(account)),
            (TAG_SLOT, 32 | 40) => {
                let (slot, life) = rest.split_first_chunk::<32>()?;
                let life = life.try_into().map_or(0, u64::from_be_bytes);
                Some(EvmField::Slot(account, life, U256::from_be_bytes(*slot)))
            }
            _ => None,
        }
    }
}

/// Which code an account has, and how often its storage was destroyed: slots are kept under the number of their life,
/// so that none need be found to destroy all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRecord {
    /// Keccak-256 of the code; that of no bytes for no code.
    pub hash: B256,
    /// Number of the storage's life, from 0.
    pub life: u64,
}

impl CodeRecord {
    /// No code, first life.
    pub const NONE: CodeRecord = CodeRecord { hash: KECCAK_EMPTY, life: 0 };

    /// The record that a value stands for; `None` if it is none.
    #[must_use]
    pub fn of_value(value: Option<&[u8]>) -> Option<CodeRecord> {
        let Some(value) = value else { return Some(CodeRecord::NONE) };
        let (hash, life) = value.split_first_chunk::<32>()?;
        let life = if life.is_empty() { 0 } else { u64::from_le_bytes(life.try_into().ok()?) };
        Some(CodeRecord { hash: B256::from(*hash), life })
    }

    /// Whether there is code.
    #[must_use]
    pub fn has_code(&self) -> bool {
        self.hash != KECCAK_EMPTY
    }

    /// Writes the value into `buffer`; `None` where the key is to be absent.
    #[must_use]
    pub fn value<'b>(&self, buffer: &'b mut [u8; 40]) -> Option<&'b [u8]> {
        if *self == CodeRecord::NONE {
            return None;
        }
        buffer[..32].copy_from_slice(self.hash.as_slice());
        buffer[32..].copy_from_slice(&self.life.to_le_bytes());
        Some(if self.life == 0 { &buffer[..32] } else { &buffer[..] })
    }
}

/// A balance as it is stored: 16 bytes if they are enough, 32 otherwise.
#[must_use]
pub fn balance_value(balance: U256, buffer: &mut [u8; 32]) -> &[u8] {
    *buffer = balance.to_le_bytes();
    if balance.bit_len() <= 128 { &buffer[..16] } else { &buffer[..] }
}

/// The balance that a value stands for.
#[must_use]
pub fn balance_of(value: Option<&[u8]>) -> U256 {
    value.map_or(U256::ZERO, |value| U256::try_from_le_slice(value).unwrap_or_default())
}

/// A slot's value as it is stored; `None` where the key is to be absent.
#[must_use]
pub fn slot_value(value: U256, buffer: &mut [u8; 32]) -> Option<&[u8]> {
    *buffer = value.to_be_bytes();
    let zeros = value.leading_zeros() / 8;
    if zeros == 32 { None } else { Some(&buffer[zeros..]) }
}

/// The slot's value that a stored one stands for.
#[must_use]
pub fn slot_of(value: Option<&[u8]>) -> U256 {
    value.map_or(U256::ZERO, |value| U256::try_from_be_slice(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    //! What would break: two things under one key, or a value that comes back as another one.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_tells_what_it_holds(account: [u8; 20], hash: [u8; 32], life: u64, slot: [u8; 32]) {
            let (account, hash, slot) = (Address::from(account), B256::from(hash), U256::from_be_bytes(slot));
            for (key, field) in [
                (EvmKey::balance(account), EvmField::Balance(account)),
                (EvmKey::nonce(account), EvmField::Nonce(account)),
                (EvmKey::code_of(account), EvmField::CodeOf(account)),
                (EvmKey::code(hash), EvmField::Code(hash)),
                (EvmKey::exists(account), EvmField::Exists(account)),
                (EvmKey::slot(account, 0, slot), EvmField::Slot(account, 0, slot)),
                (EvmKey::slot(account, life, slot), EvmField::Slot(account, life, slot)),
            ] {
                prop_assert_eq!(EvmField::of_key(key.as_slice()), Some(field));
            }
        }

        #[test]
        fn values_come_back(number: [u8; 32], cut in 0_usize..=32, life: u64) {
            let mut bytes = number;
            bytes[..cut].fill(0);
            let number = U256::from_be_bytes(bytes);
            prop_assert_eq!(slot_of(slot_value(number, &mut [0; 32])), number);
            prop_assert_eq!(balance_of(Some(balance_value(number, &mut [0; 32]))), number);
            for life in [0, life] {
                let record = CodeRecord { hash: B256::from(bytes), life };
                prop_assert_eq!(CodeRecord::of_value(record.value(&mut [0; 40])), Some(record));
                let none = CodeRecord { hash: KECCAK_EMPTY, life };
                prop_assert_eq!(CodeRecord::of_value(none.value(&mut [0; 40])), Some(none));
            }
        }
    }
}
