//! What hints need of a user's transaction, read where it stands: decoding all of it takes longer than to declare it.

use crate::vm::evm::transaction::KIND_USER;
use crate::vm::evm::wire::{WireError, WireReader};
use revm::primitives::{Address, B256, U256};

/// Some fields of a user's transaction. What follows them was not looked at.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    pub(super) sender: Address,
    /// `None` for a creation.
    pub(super) recipient: Option<Address>,
    pub(super) nonce: u64,
    pub(super) gas_limit: u64,
    pub(super) value: U256,
    pub(super) input: &'a [u8],
    access_list: WireReader<'a>,
}

impl<'a> Outline<'a> {
    /// That of an encoded transaction; `None` if it is no user's or cannot be read.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Outline<'a>> {
        Outline::read(bytes).ok().flatten()
    }

    fn read(bytes: &'a [u8]) -> Result<Option<Outline<'a>>, WireError> {
        let mut reader = WireReader::new(bytes);
        if reader.byte("kind of transaction")? != KIND_USER {
            return Ok(None);
        }
        reader.byte("transaction type")?;
        let sender = reader.address("sender")?;
        let recipient = reader.optional("recipient", |reader| reader.address("recipient"))?;
        let (nonce, gas_limit) = (reader.u64("nonce")?, reader.u64("gas limit")?);
        reader.u128("gas price")?;
        reader.optional("priority fee", |reader| reader.u128("priority fee"))?;
        let value = reader.u256("value")?;
        reader.optional("chain id", |reader| reader.u64("chain id"))?;
        let input = reader.counted("input")?;
        Ok(Some(Outline { sender, recipient, nonce, gas_limit, value, input, access_list: reader }))
    }

    /// Calls `each` with every account of the access list, then with each of its slots, as far as the list can be read.
    pub(super) fn for_each_listed(mut self, each: impl FnMut(Address, Option<B256>)) {
        // Hints end where the list does.
        let _ = self.read_list(each);
    }

    fn read_list(&mut self, mut each: impl FnMut(Address, Option<B256>)) -> Result<(), WireError> {
        for _ in 0..self.access_list.u32("access list")? {
            let account = self.access_list.address("address of the access list")?;
            each(account, None);
            for _ in 0..self.access_list.u32("slots of the access list")? {
                each(account, Some(self.access_list.hash("slot")?));
            }
        }
        Ok(())
    }
}
