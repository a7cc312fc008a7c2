//! What an access list says that the items of one block leave, laid out in a row: to foresee it in a block takes one pass over memory.

use crate::ethereum::access_list::{AccountAccess, BlockAccessList, Changes, life_at};
use phalanx::types::{PrepareError, PreparedBlock, TxnIndex};
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, KECCAK_EMPTY, keccak256};
use phalanx::vm::evm::{CodeRecord, EvmKey, balance_value, slot_value};
use std::collections::BTreeMap;
use std::ops::Range;

/// The writes of one block, key by key.
#[derive(Clone, Debug, Default)]
pub struct ListedWrites {
    writes: Vec<ListedWrite>,
    /// Keys and values. Writes of one key that follow each other have it in common.
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct ListedWrite {
    item: TxnIndex,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// Which item of a block an index stands for.
#[derive(Clone, Copy, Debug)]
struct Items {
    /// Calls of the protocol before the transactions: what the last one leaves stands for them all.
    calls: usize,
    count: usize,
}

impl Items {
    fn of(self, index: u64) -> Option<TxnIndex> {
        let item = usize::try_from(index).ok()?.checked_add(self.calls)?.checked_sub(1)?;
        u32::try_from(item).ok().filter(|_| item < self.count).map(TxnIndex)
    }

    fn placed<T>(self, changes: &Changes<T>) -> impl Iterator<Item = (u64, TxnIndex, &T)> {
        changes.iter().filter_map(move |(&index, value)| Some((index, self.of(index)?, value)))
    }
}

/// Codes by their hashes, each with the first item that leaves it.
type Codes<'a> = BTreeMap<B256, (TxnIndex, &'a Bytes)>;

impl ListedWrites {
    /// What a list says of a block with `count` items, of which the first `calls` are the protocol's own calls, under the rules of
    /// `spec`.
    #[must_use]
    pub fn of(list: &BlockAccessList, calls: usize, count: usize, spec: SpecId) -> ListedWrites {
        let (mut listed, items, mut codes) = (ListedWrites::default(), Items { calls, count }, Codes::new());
        for (&address, access) in list.accounts() {
            listed.push_account(address, access, spec, items, &mut codes);
        }
        // Many accounts may get the same code: it is there from the first one on.
        for (hash, (item, code)) in codes.iter().filter(|(_, (_, code))| !code.is_empty()) {
            listed.push(*item, EvmKey::code(*hash).as_slice(), Some(code));
        }
        listed
    }

    fn push_account<'a>(
        &mut self,
        address: Address,
        access: &'a AccountAccess,
        spec: SpecId,
        items: Items,
        codes: &mut Codes<'a>,
    ) {
        let lives = access.lives(spec);
        for (slot, changes) in &access.slots {
            for (index, item, value) in items.placed(changes) {
                let key = EvmKey::slot(address, life_at(&lives, index), *slot);
                self.push(item, key.as_slice(), slot_value(*value, &mut [0; 32]));
            }
        }
        for (_, item, balance) in items.placed(&access.balances) {
            let value = &mut [0; 32];
            self.push(item, EvmKey::balance(address).as_slice(), Some(balance_value(*balance, value)));
        }
        for (_, item, nonce) in items.placed(&access.nonces) {
            self.push(item, EvmKey::nonce(address).as_slice(), Some(&nonce.to_le_bytes()));
        }
        for (index, item, code) in items.placed(&access.codes) {
            let hash = if code.is_empty() { KECCAK_EMPTY } else { keccak256(code) };
            let record = CodeRecord { hash, life: life_at(&lives, index) };
            self.push(item, EvmKey::code_of(address).as_slice(), record.value(&mut [0; 40]));
            let first = codes.entry(hash).or_insert((item, code));
            first.0 = first.0.min(item);
        }
    }

    fn push(&mut self, item: TxnIndex, key: &[u8], value: Option<&[u8]>) {
        let last = self.writes.last().map(|last| last.key.clone());
        let key = match last.filter(|last| self.bytes.get(last.clone()) == Some(key)) {
            Some(last) => last,
            None => self.append(key),
        };
        let value = value.map(|value| self.append(value));
        self.writes.push(ListedWrite { item, key, value });
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Foresees all of it in `block`.
    ///
    /// # Errors
    /// [`PrepareError`] when it is too large for a block.
    pub fn foresee(&self, block: &mut PreparedBlock) -> Result<(), PrepareError> {
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or(&[]);
        for write in &self.writes {
            block.foresee(write.item, part(&write.key), write.value.as_ref().map(part))?;
        }
        block.foresee_no_more();
        Ok(())
    }
}
