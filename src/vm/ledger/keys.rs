//! State keys: a tag byte and the account's address.

use crate::vm::ledger::Address;

/// Length of every key of the ledger.
pub const KEY_BYTES: usize = 33;

/// Value under an account's existence record: its format version. Written once, then only read.
pub const ACCOUNT_RECORD: [u8; 1] = [1];

const TAG_ACCOUNT: u8 = b'a';
const TAG_SEQUENCE: u8 = b's';
const TAG_BALANCE: u8 = b'b';

/// Key of the record that says that the account exists; the value is [`ACCOUNT_RECORD`].
#[must_use]
pub fn account_key(address: &Address) -> [u8; KEY_BYTES] {
    tagged(TAG_ACCOUNT, address)
}

/// Key of the account's next sequence number: 8 bytes, little-endian; absent is 0.
#[must_use]
pub fn sequence_key(address: &Address) -> [u8; KEY_BYTES] {
    tagged(TAG_SEQUENCE, address)
}

/// Key of the account's balance: 8 bytes, little-endian; absent is 0.
#[must_use]
pub fn balance_key(address: &Address) -> [u8; KEY_BYTES] {
    tagged(TAG_BALANCE, address)
}

/// Whether `key` holds a balance.
pub(super) fn is_balance(key: &[u8]) -> bool {
    key.len() == KEY_BYTES && key[0] == TAG_BALANCE
}

fn tagged(tag: u8, address: &Address) -> [u8; KEY_BYTES] {
    let mut key = [tag; KEY_BYTES];
    key[1..].copy_from_slice(&address.0);
    key
}
